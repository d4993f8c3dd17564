/*
 * net_private.h - what the files of the simulated network share: net.c (connections and what travels on them, the transport seam),
 * net_faults.c (what breaks). Not for others.
 */
#ifndef COPYHOLD_SIM_NET_PRIVATE_H
#define COPYHOLD_SIM_NET_PRIVATE_H

#include "tests/sim/net.h"
#include "proto/frame.h"
#include "proto/msg.h"

#define ADDRESS_MAX 128

enum item_kind {
	ITEM_FRAME,
	ITEM_CLOSE,
};

struct item {
	enum item_kind kind;
	int error;
	uint8_t header[FRAME_HEADER_BYTES];
	struct io_frame frame; /* body is ours, payload holds a reference */
	uint32_t payload_crc;  /* as it was at send */
	uint64_t arrives_ns;
	uint32_t bytes;
	TAILQ_ENTRY(item) link;
};
TAILQ_HEAD(items, item);

enum end_state {
	END_CONNECTING,
	END_OPEN,
	END_CLOSED, /* its user has been told, or has closed it, or is dead */
};

struct connection;

struct io_conn {
	struct connection *connection;
	struct sim_process *process;
	unsigned host;
	enum end_state state;
	bool accepting; /* accepted() has not been called yet */
	bool power_lost;
	bool held; /* nothing from this end arrives: net_hold */
	const struct io_conn_ops *ops;
	void *context;
	struct items outbox, wire, inbox; /* wire: from this end to the other */
	size_t outbox_bytes, wire_bytes, inbox_bytes;
	uint64_t last_arrival_ns;
	uint64_t stalled_since_ns;
	uint64_t retry_ns;
	struct sim_event departure, arrival, delivery;
	char peer[ADDRESS_MAX];
};

struct connection {
	struct sim_net *net;
	uint64_t id;
	struct io_conn end[2]; /* 0 connects, 1 accepts */
	struct prng random;
	bool broken;
	bool local;
	bool syn_pending;
	char address[ADDRESS_MAX];
	uint64_t asked_ns;
	struct sim_event syn, opened, accept;
	struct io_listener *listener;
	TAILQ_ENTRY(connection) link;
};
TAILQ_HEAD(connections, connection);

struct io_listener {
	struct sim_net *net;
	struct sim_process *process;
	char address[ADDRESS_MAX];
	void (*accepted)(void *context, struct io_conn *conn);
	void *context;
	TAILQ_ENTRY(io_listener) link;
};

struct sim_net {
	struct sim *sim;
	struct net_character character;
	struct net_watch watch;
	struct connections connections, gone;
	TAILQ_HEAD(, io_listener) listeners;
	uint64_t next_id;
	uint32_t cut[SIM_HOSTS_MAX][SIM_HOSTS_MAX];
	uint32_t slow[SIM_HOSTS_MAX];
};

/* net.c */
struct io_conn *net_other(struct io_conn *end);
void net_item_free(struct item *item);
void net_items_drop(struct items *items, size_t *bytes);
void net_wire_put_close(struct io_conn *from, int error, uint64_t extra_ns);
void net_outbox_flush(struct io_conn *end, bool all);

/* net_faults.c */
void net_end_hears(struct io_conn *end, int error);

#endif
