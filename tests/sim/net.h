/*
 * net.h - the simulated network behind io_transport: connections that carry frames, in order, until they break.
 *
 * What it does as TCP and Unix sockets do: a partition delays (frames wait and are sent again), it loses nothing by
 * itself; what is lost is lost with its connection: a suffix of what was under way, each direction for itself. The two
 * ends learn of a break at times of their own, so frames of an old connection may arrive after the new one is up. A process
 * that dies sends a FIN; a machine that loses power sends nothing, its peers learn of it when it answers again. Bytes that
 * a paused process has not read wait in its kernel, and then at the sender.
 *
 * Every frame passes through the header of proto/frame.h and is copied on the way, so no memory is shared.
 */
#ifndef COPYHOLD_SIM_NET_H
#define COPYHOLD_SIM_NET_H

#include "tests/sim/sim.h"

/* How a network behaves while nothing is broken; drawn from the seed. */
struct net_character {
	uint64_t latency_ns;   /* least one-way delay between hosts */
	uint64_t jitter_ns;    /* added, uniformly */
	uint64_t spike_ns;     /* added to one frame in spike_one_in */
	uint32_t spike_one_in; /* 0: never */
	uint64_t bytes_per_s;  /* of a connection */
	uint32_t window_bytes; /* not yet read by the receiver: the rest waits at the sender */
	uint32_t flip_one_in;  /* payloads with a bit flipped under way; 0: never */
};

/* Called for each frame as it is handed over to its receiver, and as it is sent. */
struct net_watch {
	void (*sent)(void *context, struct sim_process *from, struct sim_process *to,
		     uint64_t connection, const struct io_frame *frame);
	void (*delivered)(void *context, struct sim_process *from, struct sim_process *to,
			  uint64_t connection, const struct io_frame *frame);
	void *context;
};

struct sim_net *net_new(struct sim *sim, const struct net_character *character);
void net_free(struct sim_net *net);
void net_set_watch(struct sim_net *net, const struct net_watch *watch);
/* Fills in process->transport. */
void net_attach(struct sim_net *net, struct sim_process *process);

/* To be called after sim_process_end: its connections and listeners are gone, orderly (FIN) or not (power). */
void net_process_ended(struct sim_net *net, struct sim_process *process, bool power);

/* One direction of a link fails, or is whole again; nested. */
void net_link_cut(struct sim_net *net, unsigned from_host, unsigned to_host);
void net_link_heal(struct sim_net *net, unsigned from_host, unsigned to_host);
/* All frames from this host take `times` as long (1: as usual). */
void net_host_slow(struct sim_net *net, unsigned host, uint32_t times);
/* All links whole and as fast as usual. */
void net_heal_all(struct sim_net *net);
/* Breaks all connections between two hosts; each end hears of it up to notice_ns later. */
unsigned net_break(struct sim_net *net, unsigned host_a, unsigned host_b, uint64_t notice_ns);
/*
 * The same for host_a alone, which hears of it at once: what it had sent is late_ns longer on its way, whole, and may arrive when
 * a new connection is long up; then the other end hears of it too.
 */
unsigned net_linger(struct sim_net *net, unsigned host_a, unsigned host_b, uint64_t late_ns);

/*
 * Holds back what is under way from this process on this connection, and what it sends later, until net_release(). With
 * linger the process hears that the connection is broken, and may have a new one long before the other end hears
 * what was sent last on the old one. False if there is no such connection between two hosts.
 */
bool net_hold(struct sim_net *net, uint64_t connection, const struct sim_process *from,
	      bool linger);
void net_release(struct sim_net *net, uint64_t connection);

/* For the checks of growth. */
size_t net_bytes_under_way(const struct sim_net *net);
unsigned net_open_connections(const struct sim_net *net);

#endif
