/*
 * command_run.c - copyhold-chunkd run: opens the disk, serves until SIGTERM or SIGINT, closes the disk in order.
 *
 * A line that begins with "ready" on standard output says that the store is open and connections are accepted.
 */
#include "common/io-ev/io_ev.h"
#include "common/io-uring/io_uring_disk.h"
#include "common/trace/trace.h"
#include "replica-engine/chunkd/chunkd.h"
#include "replica-engine/chunkd/command.h"

#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct server {
	struct ev_loop *loop;
	struct io_ev *io;
	struct chunkd *chunkd;
	bool stopping;
	ev_signal term, interrupt;
};

static void stopped(void *context)
{
	struct server *server = context;

	ev_break(server->loop, EVBREAK_ALL);
}

static void on_signal(struct ev_loop *loop, ev_signal *watcher, int revents)
{
	struct server *server = watcher->data;

	(void)loop;
	(void)revents;
	if (server->stopping)
		return;
	server->stopping = true;
	trace(TRACE_INFO, "chunkd", "signal %d: stopping", watcher->signum);
	chunkd_stop(server->chunkd, stopped, server);
}

static void watch_signal(struct server *server, ev_signal *watcher, int number)
{
	ev_signal_init(watcher, on_signal, number);
	watcher->data = server;
	ev_signal_start(server->loop, watcher);
}

/* Others can't reach a wildcard: they are told this host's name instead. NULL: the address as it is. */
static char *advertised(const struct settings *settings, char text[ADDRESS_BYTES])
{
	const char *colon = strrchr(settings->listen, ':');

	if (settings->advertise)
		return settings->advertise;
	if (!colon || (strncmp(settings->listen, "0.0.0.0:", 8) != 0 &&
		       strncmp(settings->listen, "[::]:", 5) != 0))
		return NULL;
	snprintf(text, ADDRESS_BYTES, "%s%s", settings->host, colon);
	return text;
}

static void begin(struct server *server, const struct settings *settings, struct store *store)
{
	struct io_clock *clock = io_ev_clock(server->io);
	const struct chunkd_environment environment = {
		.clock = clock,
		.transport = io_ev_transport(server->io),
		.store = store,
		.listener_address = io_ev_listener_address,
	};
	char address[ADDRESS_BYTES], error[TEXT_BYTES];
	const struct chunkd_options options = {
		.listen = settings->listen,
		.advertise = advertised(settings, address),
		.local = settings->local,
		.meta = settings->meta,
		.host = settings->host,
		.zone = settings->zone,
		.rack = settings->rack,
		.node = settings->node,
		.pid = (uint32_t)getpid(),
		.instance = uuid_from_random(clock->random(clock), clock->random(clock)),
	};

	server->chunkd = chunkd_new(&environment, &options, error);
	if (!server->chunkd) {
		close_store(server->loop, store);
		fail(EXIT_FAILED, "%s", error);
	}
}

static void say_ready(const struct server *server, struct store *store)
{
	char disk[UUID_TEXT_BYTES];

	uuid_format(store_identity(store).disk, disk);
	printf("ready: chunk server of disk %s listens at %s\n", disk,
	       chunkd_address(server->chunkd));
	fflush(stdout);
}

static int serve(struct server *server, const struct settings *settings)
{
	const struct io_uring_disk_options disk_options = {.power_loss_protected =
								   settings->power_loss_protected};
	const struct store_options store_options = {
		.memory_limit_bytes = settings->memory_limit_bytes,
		.metadata_memory_bytes = settings->metadata_memory_bytes,
	};
	char why[IO_URING_WHY_BYTES];
	struct io_disk *disk;
	struct store *store;
	int rc = io_uring_disk_open(server->loop, settings->data, &disk_options, &disk, why);

	if (rc == -ENOENT)
		fail(EXIT_FAILED, "%s. Make it: copyhold-chunkd format %s --size 10G", why,
		     settings->data);
	if (rc)
		fail(EXIT_FAILED, "%s", why);
	store = open_store(server->loop, disk, settings->data, &store_options);
	begin(server, settings, store);
	watch_signal(server, &server->term, SIGTERM);
	watch_signal(server, &server->interrupt, SIGINT);
	say_ready(server, store);
	ev_run(server->loop, 0);
	chunkd_free(server->chunkd);
	rc = close_store(server->loop, store);
	ev_signal_stop(server->loop, &server->term);
	ev_signal_stop(server->loop, &server->interrupt);
	io_uring_disk_close(disk);
	if (rc)
		trace(TRACE_ERROR, "chunkd",
		      "%s was not closed in order: %s; the next start replays its journal",
		      settings->data, strerror(-rc));
	return rc ? EXIT_FAILED : 0;
}

int command_run(int argc, char **argv)
{
	struct settings settings = {0};
	struct server server = {.loop = ev_default_loop(0)};
	int code;

	settings_parse(argc, argv, usage_text, &settings);
	signal(SIGPIPE, SIG_IGN);
	server.io = io_ev_new(server.loop);
	code = serve(&server, &settings);
	io_ev_free(server.io);
	ev_loop_destroy(server.loop);
	settings_free(&settings);
	return code;
}
