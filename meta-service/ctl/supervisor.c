/*
 * supervisor.c - see supervisor.h.
 *
 * The kernel's device outlives the process that serves it: when a connection dies, the driver holds the device's IO for the
 * dead-connection timeout and goes on as soon as it is given another socket. So whatever happens to nbdkit, the answer is
 * the same loop: have a running nbdkit (serve), hand the kernel as many connections as it lacks (fill), wait for trouble.
 *
 * Which requests were answered is only known to the kernel, which repeats the others. A repeat must not meet its first copy still under
 * way, or a write acknowledged in between would be undone when that copy lands late. Hence:
 *
 * - A new socket always leads to a new process. Its engine takes the volume's leases with new epochs, and with that whatever
 *   the old process left under way is fenced. When a connection dies though its nbdkit lives (the kernel
 *   gave it up), that process is killed first.
 * - With one connection the driver repeats nothing until it has a new socket. It looks for that when a request has been
 *   unanswered for the queue's io_timeout, so that is set to RETRY_MS. With several connections the same timeout makes the
 *   driver give a connection up and repeat on another one while the server may only be slow: there it stays at the kernel's 30 s, requests
 *   that were under way in a crash wait for that long, and nbdkit has a thread for each request (attach_nbdkit.c).
 *
 * The kernel doesn't tell whether it has taken a socket: one that comes before it has noticed the old one's death is ignored.
 * So the connections that are left after we closed our descriptors are counted at nbdkit's end.
 *
 * Nothing here may wait for the device's own IO: memory is locked, the log is in /run.
 */
#include "meta-service/ctl/supervisor.h"
#include "meta-service/ctl/attach_nbdkit.h"
#include "meta-service/ctl/client.h"
#include "meta-service/ctl/device.h"
#include "meta-service/ctl/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOGICAL_BLOCK_BYTES 512
#define RETRY_MS            3000 /* see above */
#define CHECK_MS            2000 /* between looks at what nobody tells us */
#define SETTLE_MS           30
#define SETTLE_TRIES        60
#define TERM_MS             10000 /* for nbdkit to finish requests and give its leases back */
#define BACKOFF_MS_MIN      50
#define BACKOFF_MS_MAX      3000
#define PROBE_MS            1000
#define PATIENCE_MS         30000
#define THREAD_STACK_BYTES  (1 * MIB)

struct supervisor {
	struct nbd_attachment *a;
	struct netlink *netlink, *listener;
	int signals;    /* signalfd */
	int report;     /* -1: said */
	int nbdkit_end; /* pidfd; -1: none */
	bool force;
	bool stop, replace, check_size;
	uint64_t log_offset;  /* where the present nbdkit's lines begin */
	uint64_t deadline_ms; /* of a probe; 0: none */
	unsigned backoff_ms;
	uint64_t started_ms;
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS;
}

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
	char text[600], when[32];
	struct tm parts;
	time_t now = time(NULL);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	gmtime_r(&now, &parts);
	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &parts);
	fprintf(stderr, "%s supervisor: %s\n", when, text);
}

/* Tells the command that waits, once. */
static void report(struct supervisor *s, int error, const char *text)
{
	if (s->report < 0)
		return;
	if (error)
		dprintf(s->report, "%d %s", error, text);
	else
		dprintf(s->report, "ok");
	close(s->report);
	s->report = -1;
}

/* A device that was taken over stays whatever happens, and the next try may well succeed: no failure for a while. */
static void report_failure(struct supervisor *s, int error, const char *text)
{
	if (!s->a->since_s || now_ms() - s->started_ms > PATIENCE_MS)
		report(s, error, text);
}

/* ---- events ---- */

static void take_signals(struct supervisor *s)
{
	struct signalfd_siginfo signal;

	while (read(s->signals, &signal, sizeof signal) == sizeof signal) {
		switch (signal.ssi_signo) {
		case SIGTERM:
		case SIGINT:
			s->stop = true;
			break;
		case SIGHUP:
			s->replace = true;
			break;
		case SIGUSR1:
			s->check_size = true;
			break;
		default: /* SIGCHLD */
			break;
		}
	}
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* For waits inside other modules. */
static bool must_stop(void *context)
{
	struct supervisor *s = context;

	take_signals(s);
	return s->stop || (s->deadline_ms && now_ms() >= s->deadline_ms);
}

static void pause_ms(struct supervisor *s, unsigned ms)
{
	struct pollfd wait = {.fd = s->signals, .events = POLLIN};

	poll(&wait, 1, (int)ms);
	take_signals(s);
}

/* ---- nbdkit ---- */

static void watch_nbdkit(struct supervisor *s)
{
	if (s->nbdkit_end >= 0)
		close(s->nbdkit_end);
	s->nbdkit_end = pidfd_open(s->a->nbdkit.pid, 0);
}

/*
 * After a crash the meta service takes the dead process for the holder of the volume until its session times out. That the
 * holder is ours, on this host, and dead, is reason enough to take the volume at once; any other holder is left alone.
 */
static bool holder_is_our_dead(const struct process *dead, const char *meta, const char *volume)
{
	json_t *answer =
		client_ask_quietly(meta, "volume.show", json_pack("{s:s}", "name", volume));
	const json_t *holder = json_object_get(json_object_get(answer, "volume"), "attached");
	char host[256] = "";
	bool ours;

	gethostname(host, sizeof host - 1);
	ours = dead->pid > 0 && !process_is_alive(dead) &&
	       json_u64(holder, "pid") == (uint64_t)dead->pid &&
	       strcmp(json_text(holder, "host"), host) == 0;
	json_decref(answer);
	return ours;
}

static int start_nbdkit(struct supervisor *s)
{
	char log[NBD_ATTACHMENT_PATH_BYTES];
	struct process dead = s->a->nbdkit;
	bool force = s->force || holder_is_our_dead(&dead, s->a->meta, s->a->volume);
	int error;

	s->force = false;
	if (nbd_attachment_path(s->a->volume, "log", log) == 0)
		s->log_offset = process_log_size(log);
	s->a->serving = false;
	error = nbdkit_start(s->a, force);
	if (error) {
		say("can't start nbdkit: %s", strerror(-error));
		return error;
	}
	watch_nbdkit(s);
	say("nbdkit is process %d", (int)s->a->nbdkit.pid);
	return nbd_attachment_save(s->a);
}

/*
 * Ends an nbdkit that serves the device. In order, if that is possible: it carries out what it has read and gives its leases
 * back, so that the next one needn't wait for them to run out.
 */
static void end_nbdkit(struct supervisor *s, bool in_order)
{
	int error = in_order ? nbdkit_drain(s->a, TERM_MS) : -ECANCELED;

	if (error == 0)
		process_stop(&s->a->nbdkit, TERM_MS);
	else if (process_is_alive(&s->a->nbdkit))
		pidfd_send_signal(s->nbdkit_end, SIGKILL, NULL, 0);
	process_wait_end(&s->a->nbdkit, TERM_MS);
	take_signals(s);
}

/* ---- the kernel's device ---- */

static bool is_connected(const struct supervisor *s)
{
	char backend[128];

	if (s->a->index == NETLINK_ANY_DEVICE || !device_is_connected(s->a->index))
		return false;
	device_backend(s->a->index, backend, sizeof backend);
	return strcmp(backend, s->a->uuid) == 0;
}

static int connect_device(struct supervisor *s, const struct handshake_export *export_,
			  const int *sockets, unsigned count)
{
	struct nbd_attachment *a = s->a;
	struct netlink_device device = {
		.index = a->index,
		.size_bytes = export_->size_bytes,
		.block_bytes = LOGICAL_BLOCK_BYTES,
		.server_flags = export_->server_flags | (a->read_only ? NBD_SERVER_READ_ONLY : 0),
		.dead_connection_timeout_s = a->dead_connection_timeout_s,
		.backend = a->uuid,
		.sockets = sockets,
		.socket_count = count,
	};
	int error = netlink_connect(s->netlink, &device, &a->index);

	if (error)
		return error;
	if (count == 1 && device_set_retry_ms(a->index, RETRY_MS) != 0)
		say("can't set the device's io_timeout: after a crash requests wait for 30 s");
	a->connections = count;
	a->size_bytes = export_->size_bytes;
	a->since_s = time(NULL);
	return 0;
}

static int give_sockets(struct supervisor *s, const int *sockets, unsigned count)
{
	struct netlink_device device = {
		.index = s->a->index,
		.backend = s->a->uuid,
		.sockets = sockets,
		.socket_count = count,
	};

	return netlink_replace_sockets(s->netlink, &device);
}

static void follow_size(struct supervisor *s, uint64_t size_bytes)
{
	int error;

	if (size_bytes == s->a->size_bytes)
		return;
	error = netlink_resize(s->netlink, s->a->index, s->a->uuid, size_bytes);
	say("size %llu -> %llu bytes: %s", (unsigned long long)s->a->size_bytes,
	    (unsigned long long)size_bytes, error ? strerror(-error) : "told the kernel");
	if (!error)
		s->a->size_bytes = size_bytes;
}

/* One round of opening connections and giving them to the kernel, which takes as many as it lacks. */
static int fill_once(struct supervisor *s)
{
	char why[HANDSHAKE_ERROR_BYTES], words[HANDSHAKE_ERROR_BYTES], text[1000];
	int sockets[NBD_CONNECTIONS_MAX], error;
	struct handshake_export export_;
	unsigned count = s->a->connections;

	error = nbdkit_open(s->a, 1, must_stop, s, sockets, &export_, why);
	if (!error && count > 1) {
		/* The kernel refuses several connections to a server that doesn't say that it can. */
		if (!(export_.server_flags & NBD_SERVER_MULTI_CONN))
			count = 1;
		else
			error = nbdkit_open(s->a, count - 1, must_stop, s, sockets + 1, &export_,
					    why);
		if (error)
			close(sockets[0]);
	}
	if (error) {
		nbdkit_last_words(s->a, s->log_offset, words, sizeof words);
		snprintf(text, sizeof text, "%s", *words ? words : *why ? why : strerror(-error));
		if (error != -ECANCELED) {
			say("no connection to nbdkit: %s", text);
			report_failure(s, error, text);
		}
		return error;
	}
	if (!is_connected(s)) {
		error = connect_device(s, &export_, sockets, count);
		if (error) {
			snprintf(text, sizeof text, "the kernel refuses the device: %s",
				 strerror(-error));
			say("%s", text);
			report_failure(s, error, text);
		}
	} else {
		error = give_sockets(s, sockets, count);
		if (!error)
			follow_size(s, export_.size_bytes);
	}
	for (unsigned i = 0; i < count; i++)
		close(sockets[i]);
	return error;
}

/* 0 once the kernel holds all its connections. */
static int fill(struct supervisor *s)
{
	unsigned before = UINT32_MAX, count;

	for (unsigned try = 0; try < SETTLE_TRIES && !s->stop; try++) {
		count = nbdkit_count_connections(s->a);
		if (is_connected(s) && count == before && count >= s->a->connections) {
			netlink_take_dead(s->listener, s->a->index);
			return 0;
		}
		if (!is_connected(s) || (count == before && count < s->a->connections)) {
			int error = fill_once(s);

			if (error)
				return error;
			count = UINT32_MAX;
		}
		before = count;
		pause_ms(s, SETTLE_MS);
	}
	return -EAGAIN;
}

/* A running nbdkit, and the device connected to it. */
static int serve(struct supervisor *s)
{
	int error = 0;

	if (s->replace) {
		say("replacing nbdkit process %d", (int)s->a->nbdkit.pid);
		end_nbdkit(s, true);
		s->replace = false;
	}
	if (!process_is_alive(&s->a->nbdkit))
		error = start_nbdkit(s);
	if (!error)
		error = fill(s);
	if (error)
		return error;
	s->backoff_ms = 0;
	s->a->serving = true;
	say("nbdkit process %d serves /dev/nbd%u over %u connection%s", (int)s->a->nbdkit.pid,
	    s->a->index, s->a->connections, s->a->connections == 1 ? "" : "s");
	error = nbd_attachment_save(s->a);
	report(s, 0, "");
	return error;
}

/* Asks nbdkit for the volume's size. A new size needs a new process: nbdkit keeps the old one for each connection. */
static void probe_size(struct supervisor *s)
{
	uint64_t size_bytes;

	s->deadline_ms = now_ms() + PROBE_MS;
	if (nbdkit_ask_size(s->a, must_stop, s, &size_bytes) == 0 && size_bytes != s->a->size_bytes)
		s->replace = true;
	s->deadline_ms = 0;
	s->check_size = false;
}

/* What nobody tells: somebody else disconnected the device, a message of the kernel was lost, the volume has grown. */
static bool look_around(struct supervisor *s)
{
	if (!is_connected(s))
		return true;
	if (nbdkit_count_connections(s->a) < s->a->connections)
		return true;
	probe_size(s);
	return s->replace;
}

/* Returns when serve() is needed, when the device is gone, or to stop. */
static void wait_for_trouble(struct supervisor *s)
{
	struct pollfd events[] = {
		{.fd = s->signals, .events = POLLIN},
		{.fd = s->nbdkit_end, .events = POLLIN},
		{.fd = netlink_descriptor(s->listener), .events = POLLIN},
	};

	while (!s->stop && !s->replace) {
		int ready = poll(events, ARRAY_SIZE(events), CHECK_MS);

		take_signals(s);
		if (!process_is_alive(&s->a->nbdkit)) {
			say("nbdkit process %d ended", (int)s->a->nbdkit.pid);
			s->a->restarts++;
			return;
		}
		if (ready > 0 && events[2].revents && netlink_take_dead(s->listener, s->a->index)) {
			/* The usual reason is that nbdkit is ending this very moment. */
			if (process_wait_end(&s->a->nbdkit, SETTLE_MS) != 0) {
				say("a connection died; killing nbdkit process %d",
				    (int)s->a->nbdkit.pid);
				end_nbdkit(s, false);
			}
			s->a->restarts++;
			return;
		}
		if ((ready == 0 || s->check_size) && look_around(s))
			return;
	}
}

/* ---- the process ---- */

/*
 * Swap space: when memory is short, what writes pages out needs some itself. A real-time task may take a quarter of
 * vm.min_free_kbytes that others may not (the kernel's gfp_to_alloc_flags).
 */
static void become_real_time(void)
{
	struct sched_param lowest = {.sched_priority = 1};

	if (sched_setscheduler(0, SCHED_RR, &lowest) != 0)
		say("can't become a real-time process: swapping may stop the host");
}

static void protect_process(bool swap)
{
	FILE *file = fopen("/proc/self/oom_score_adj", "we");
	struct rlimit stack;

	/* All of this is inherited by nbdkit. Where it is not permitted (containers), the device works all the same. */
	if (file) {
		fputs("-1000", file);
		fclose(file);
	}
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	/* The stacks of nbdkit's threads: 8 MiB each by default, of which --swap locks what was used. */
	getrlimit(RLIMIT_STACK, &stack);
	stack.rlim_cur = MIN(stack.rlim_cur, THREAD_STACK_BYTES);
	setrlimit(RLIMIT_STACK, &stack);
	mlockall(MCL_CURRENT | MCL_FUTURE);
	if (swap)
		become_real_time();
}

static int prepare(struct supervisor *s)
{
	sigset_t set;
	int error;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signals < 0)
		return -errno;
	error = netlink_open(&s->netlink);
	if (!error)
		error = netlink_listen(&s->listener);
	protect_process(s->a->swap);
	return error;
}

/* Attached before, and the device is not ours any more: somebody has disconnected it. */
static bool is_over(const struct supervisor *s)
{
	return s->a->since_s && !is_connected(s);
}

static void finish(struct supervisor *s)
{
	say("/dev/nbd%u was disconnected", s->a->index);
	end_nbdkit(s, true);
	nbd_attachment_remove(s->a->volume);
}

static void back_off(struct supervisor *s)
{
	pause_ms(s, s->backoff_ms);
	s->backoff_ms = MIN(MAX(s->backoff_ms * 2, BACKOFF_MS_MIN), BACKOFF_MS_MAX);
}

int supervisor_run(struct nbd_attachment *a, const struct supervisor_options *options)
{
	struct supervisor s = {
		.a = a,
		.report = options->report,
		.nbdkit_end = -1,
		.force = options->force,
		.started_ms = now_ms(),
	};
	int error = prepare(&s);

	if (error) {
		report(&s, error, strerror(-error));
		return EXIT_FAILURE;
	}
	if (process_is_alive(&a->nbdkit))
		watch_nbdkit(&s);
	while (!s.stop && !is_over(&s)) {
		error = serve(&s);
		if (!error) {
			wait_for_trouble(&s);
			continue;
		}
		/* Never connected: an attach that failed. */
		if (!a->since_s) {
			report(&s, error, strerror(-error));
			end_nbdkit(&s, true);
			nbd_attachment_remove(a->volume);
			return EXIT_FAILURE;
		}
		back_off(&s);
	}
	if (!s.stop)
		finish(&s);
	netlink_close(s.listener);
	netlink_close(s.netlink);
	return EXIT_SUCCESS;
}
