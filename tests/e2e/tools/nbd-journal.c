/*
 * nbd-journal.c - writes numbered patterns to an NBD export and proves later that nothing acknowledged was lost (journal.h).
 *
 *   nbd-journal write URI JOURNAL [seconds=N] [count=N] [depth=N] [connections=N] [region=BYTES] [zero=PERCENT]
 *   nbd-journal verify URI JOURNAL [until=NANOSECONDS]
 *
 * `verify` reads every block that the journal names and checks it; with until= against what had been acknowledged at that time.
 *
 * write ends with 0, also when SIGTERM ends it early, in order: nbdkit 1.32 aborts when a client with requests under way
 * goes away (raw_send_socket: sock >= 0). 3 if the server went away or refused a write, after N acknowledged ones: the journal is good for
 * verify all the same. Both print one line of JSON. The longest time from submission to acknowledgement is part of it.
 */
#include "tests/e2e/tools/journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libnbd.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK           JOURNAL_BLOCK
#define WRITE_BLOCKS    32u
#define DEPTH_MAX       256
#define CONNECTIONS_MAX 16
#define SHOWN_MAX       10

struct writer;
struct slot {
	struct writer *writer;
	struct journal_record record;
	bool busy;
	uint64_t started_ns;
	uint8_t *data;
};

struct writer {
	struct nbd_handle *handles[CONNECTIONS_MAX];
	int journal;
	unsigned depth, connections, zero_percent, next_connection;
	uint32_t region_blocks;
	uint64_t count, end_ns, next_number, random;
	uint64_t acknowledged, under_way, longest_ns, bytes;
	struct slot slots[DEPTH_MAX];
	int error;
};

static volatile sig_atomic_t told_to_end;

static void on_signal(int signal_number)
{
	(void)signal_number;
	told_to_end = 1;
}

static void die(const char *what)
{
	fprintf(stderr, "nbd-journal: %s: %s\n", what,
		nbd_get_error() ? nbd_get_error() : strerror(errno));
	exit(2);
}

/* ---- journal ---- */

static void append(int journal, struct journal_record record)
{
	record.time_ns = journal_now_ns();
	if (write(journal, &record, sizeof record) != (ssize_t)sizeof record)
		die("the journal can't be written");
}

/* ---- write ---- */

static struct nbd_handle *open_connection(const char *uri)
{
	struct nbd_handle *handle = nbd_create();

	if (!handle || nbd_connect_uri(handle, uri) < 0)
		die(uri);
	return handle;
}

static bool overlaps_one_under_way(const struct writer *writer, uint32_t first, uint32_t blocks)
{
	for (unsigned i = 0; i < writer->depth; i++) {
		const struct journal_record *r = &writer->slots[i].record;

		if (writer->slots[i].busy && first < r->first_block + r->blocks &&
		    r->first_block < first + blocks)
			return true;
	}
	return false;
}

static uint64_t next_random(struct writer *writer)
{
	return writer->random = journal_mix(writer->random);
}

static int completed(void *context, int *error)
{
	struct slot *slot = context;
	struct writer *writer = slot->writer;
	uint64_t took_ns = journal_now_ns() - slot->started_ns;

	slot->busy = false;
	writer->under_way--;
	if (*error) {
		writer->error = *error;
		return 1;
	}
	slot->record.kind = JOURNAL_ACKNOWLEDGED;
	append(writer->journal, slot->record);
	writer->acknowledged++;
	writer->bytes += (uint64_t)slot->record.blocks * BLOCK;
	if (took_ns > writer->longest_ns)
		writer->longest_ns = took_ns;
	return 1;
}

static void submit(struct writer *writer, struct slot *slot)
{
	struct journal_record *record = &slot->record;
	nbd_completion_callback callback = {.callback = completed, .user_data = slot};
	struct nbd_handle *handle =
		writer->handles[writer->next_connection++ % writer->connections];
	size_t bytes;
	int64_t rc;

	do {
		record->blocks = (uint16_t)(1 + next_random(writer) % WRITE_BLOCKS);
		record->first_block =
			(uint32_t)(next_random(writer) % (writer->region_blocks - record->blocks));
	} while (overlaps_one_under_way(writer, record->first_block, record->blocks));
	record->number = writer->next_number++;
	record->is_zero = next_random(writer) % 100 < writer->zero_percent;
	record->kind = JOURNAL_SUBMITTED;
	append(writer->journal, *record);
	for (uint32_t i = 0; i < record->blocks && !record->is_zero; i++)
		journal_fill_block((uint64_t *)(void *)(slot->data + i * BLOCK), record->number,
				   record->first_block + i);
	bytes = (size_t)record->blocks * BLOCK;
	slot->busy = true;
	slot->started_ns = journal_now_ns();
	writer->under_way++;
	if (record->is_zero)
		rc = nbd_aio_zero(handle, bytes, (uint64_t)record->first_block * BLOCK, callback,
				  0);
	else
		rc = nbd_aio_pwrite(handle, slot->data, bytes,
				    (uint64_t)record->first_block * BLOCK, callback, 0);
	if (rc < 0) {
		writer->error = nbd_get_errno() ? nbd_get_errno() : EIO;
		slot->busy = false;
		writer->under_way--;
	}
}

/* Waits for the sockets and lets libnbd work on what has come; completed() is called from here. */
static void turn(struct writer *writer)
{
	struct pollfd polls[CONNECTIONS_MAX];

	for (unsigned i = 0; i < writer->connections; i++) {
		unsigned direction = nbd_aio_get_direction(writer->handles[i]);

		polls[i] = (struct pollfd){.fd = nbd_aio_get_fd(writer->handles[i])};
		if (direction & LIBNBD_AIO_DIRECTION_READ)
			polls[i].events |= POLLIN;
		if (direction & LIBNBD_AIO_DIRECTION_WRITE)
			polls[i].events |= POLLOUT;
	}
	if (poll(polls, writer->connections, 100) < 0 && errno != EINTR)
		die("poll");
	for (unsigned i = 0; i < writer->connections; i++) {
		struct nbd_handle *handle = writer->handles[i];
		int rc = 0;

		if (polls[i].revents & (POLLIN | POLLHUP | POLLERR))
			rc = nbd_aio_notify_read(handle);
		else if (polls[i].revents & POLLOUT)
			rc = nbd_aio_notify_write(handle);
		if (rc < 0 || nbd_aio_is_dead(handle) || nbd_aio_is_closed(handle))
			writer->error = ENOTCONN;
	}
}

static bool may_submit(const struct writer *writer)
{
	return !writer->error && !told_to_end &&
	       (!writer->count || writer->next_number <= writer->count) &&
	       (!writer->end_ns || journal_now_ns() < writer->end_ns);
}

static void run(struct writer *writer)
{
	/* After an error too what is under way is waited for: it may have been done, and then it counts. */
	while (may_submit(writer) || (writer->under_way && writer->error != ENOTCONN)) {
		for (unsigned i = 0; i < writer->depth && may_submit(writer); i++) {
			if (!writer->slots[i].busy)
				submit(writer, &writer->slots[i]);
		}
		turn(writer);
	}
}

/* "name=number"; leaves *number alone if the argument is another. */
static bool take_option(const char *argument, const char *name, uint64_t *number)
{
	size_t length = strlen(name);

	if (strncmp(argument, name, length) != 0 || argument[length] != '=')
		return false;
	*number = strtoull(argument + length + 1, NULL, 0);
	return true;
}

static void open_journal(struct writer *writer, const char *path)
{
	struct journal journal;

	journal_read(path, &journal);
	writer->next_number = 1;
	for (size_t i = 0; i < journal.count; i++) {
		if (journal.records[i].number >= writer->next_number)
			writer->next_number = journal.records[i].number + 1;
	}
	free(journal.records);
	writer->journal = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (writer->journal < 0)
		die(path);
}

static int command_write(const char *uri, const char *path, int argc, char **argv)
{
	static struct writer writer;
	uint64_t seconds = 0, count = 0, depth = 32, connections = 1, region = 64u << 20, zero = 5;
	uint64_t started_ns = journal_now_ns(), first;

	for (int i = 0; i < argc; i++) {
		if (!take_option(argv[i], "seconds", &seconds) &&
		    !take_option(argv[i], "count", &count) &&
		    !take_option(argv[i], "depth", &depth) &&
		    !take_option(argv[i], "connections", &connections) &&
		    !take_option(argv[i], "region", &region) &&
		    !take_option(argv[i], "zero", &zero)) {
			fprintf(stderr, "nbd-journal: %s is no option\n", argv[i]);
			return 2;
		}
	}
	if ((!seconds && !count) || !depth || depth > DEPTH_MAX || !connections ||
	    connections > CONNECTIONS_MAX || region / BLOCK < 4 * WRITE_BLOCKS * depth) {
		fprintf(stderr,
			"nbd-journal: give seconds or count; depth to %d, connections to %d, "
			"region for 128 blocks a write under way\n",
			DEPTH_MAX, CONNECTIONS_MAX);
		return 2;
	}
	signal(SIGTERM, on_signal);
	open_journal(&writer, path);
	first = writer.next_number;
	writer.depth = (unsigned)depth;
	writer.connections = (unsigned)connections;
	writer.zero_percent = (unsigned)zero;
	writer.region_blocks = (uint32_t)(region / BLOCK);
	writer.count = count ? first + count - 1 : 0;
	writer.end_ns = seconds ? started_ns + seconds * 1000000000u : 0;
	writer.random = journal_mix(first ^ (uint64_t)getpid() << 32);
	for (unsigned i = 0; i < writer.connections; i++)
		writer.handles[i] = open_connection(uri);
	for (unsigned i = 0; i < writer.depth; i++) {
		writer.slots[i].writer = &writer;
		writer.slots[i].data = aligned_alloc(BLOCK, WRITE_BLOCKS * BLOCK);
		assert(writer.slots[i].data);
	}
	run(&writer);
	printf("{\"acknowledged\": %" PRIu64 ", \"submitted\": %" PRIu64 ", \"bytes\": %" PRIu64
	       ", \"longest_ms\": %" PRIu64 ", \"elapsed_ms\": %" PRIu64 ", \"error\": \"%s\"}\n",
	       writer.acknowledged, writer.next_number - first, writer.bytes,
	       writer.longest_ns / 1000000, (journal_now_ns() - started_ns) / 1000000,
	       writer.error ? strerror(writer.error) : "");
	return writer.error ? 3 : 0;
}

/* ---- verify ---- */

static int command_verify(const char *uri, const char *path, uint64_t until_ns)
{
	enum {
		READ_BLOCKS = 256
	};
	/* First the connection: with it a forced attachment has ended the writes of others. */
	struct nbd_handle *handle = open_connection(uri);
	uint8_t *data = aligned_alloc(BLOCK, READ_BLOCKS * BLOCK);
	uint64_t checked = 0, bad = 0;
	struct journal_block *states;
	struct journal journal;

	journal_read(path, &journal);
	if (!journal.count) {
		fprintf(stderr, "nbd-journal: %s holds no record\n", path);
		return 2;
	}
	states = journal_digest(&journal, until_ns);
	assert(data);
	for (uint32_t first = 0; first < journal.blocks; first += READ_BLOCKS) {
		uint32_t n =
			journal.blocks - first < READ_BLOCKS ? journal.blocks - first : READ_BLOCKS;

		if (nbd_pread(handle, data, (size_t)n * BLOCK, (uint64_t)first * BLOCK, 0) < 0)
			die("read");
		for (uint32_t i = 0; i < n; i++) {
			const uint64_t *words = (const uint64_t *)(const void *)(data + i * BLOCK);
			const char *why;

			checked += states[first + i].acknowledged != 0;
			if (bad >= SHOWN_MAX ||
			    journal_check_block(&journal, first + i, &states[first + i], until_ns,
						words, &why))
				continue;
			printf("%s\n", why);
			bad++;
		}
	}
	printf("{\"checked\": %" PRIu64 ", \"bad\": %" PRIu64 "}\n", checked, bad);
	nbd_close(handle);
	free(journal.records);
	free(states);
	free(data);
	return bad ? 1 : 0;
}

int main(int argc, char **argv)
{
	uint64_t until_ns = UINT64_MAX;

	if (argc >= 4 && strcmp(argv[1], "write") == 0)
		return command_write(argv[2], argv[3], argc - 4, argv + 4);
	if ((argc == 4 || argc == 5) && strcmp(argv[1], "verify") == 0 &&
	    (argc == 4 || take_option(argv[4], "until", &until_ns)))
		return command_verify(argv[2], argv[3], until_ns);
	fprintf(stderr, "usage: nbd-journal write URI JOURNAL [name=value]... | verify URI JOURNAL "
			"[until=NS]\n");
	return 2;
}
