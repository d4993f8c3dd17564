/*
 * nbd-journal.c - writes numbered patterns to an NBD export and proves later that nothing acknowledged was lost.
 *
 *   nbd-journal write URI JOURNAL [seconds=N] [count=N] [depth=N] [connections=N] [region=BYTES] [zero=PERCENT]
 *   nbd-journal verify URI JOURNAL
 *
 * Each write has a number, one after another over all runs on a journal; every 8 bytes of its blocks are made from the
 * number and the block's place, so a block tells which write it holds and whether it holds all of it. The journal gets a record
 * before a write is submitted and another one when it was acknowledged, before anything else happens. A write never overlaps one
 * that is under way.
 *
 * After any crash a block must hold the last write that was acknowledged for it, or a later one that was submitted
 * (a crash may leave it done or not). `verify` reads every block that the journal names and checks that.
 *
 * write ends with 0, also when SIGTERM ends it early, in order: nbdkit 1.32 aborts when a client with requests under way
 * goes away (raw_send_socket: sock >= 0). 3 if the server went away or refused a write, after N acknowledged ones: the journal is good for
 * verify all the same. Both print one line of JSON. The longest time from submission to acknowledgement is part of it.
 */
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

#define BLOCK           4096u
#define WRITE_BLOCKS    32u
#define DEPTH_MAX       256
#define CONNECTIONS_MAX 16
#define SHOWN_MAX       10

enum record_kind {
	RECORD_SUBMITTED = 1,
	RECORD_ACKNOWLEDGED = 2,
};

struct record {
	uint64_t number;
	uint32_t first_block;
	uint16_t blocks;
	uint8_t kind;
	uint8_t is_zero;
};

/* What the journal says about a block. */
struct block_state {
	uint64_t acknowledged; /* number of the last acknowledged write; 0: none */
	bool acknowledged_is_zero;
};

struct writer;
struct slot {
	struct writer *writer;
	struct record record;
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

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static void die(const char *what)
{
	fprintf(stderr, "nbd-journal: %s: %s\n", what,
		nbd_get_error() ? nbd_get_error() : strerror(errno));
	exit(2);
}

/* ---- patterns ---- */

static void fill_block(uint64_t *words, uint64_t number, uint32_t block)
{
	uint64_t seed = mix(number) ^ mix(block);

	words[0] = number;
	words[1] = block;
	for (unsigned i = 2; i < BLOCK / 8; i++)
		words[i] = mix(seed + i);
}

/* The number of the write that a block holds, 0 if it is all zero; false if it is neither. */
static bool read_block(const uint64_t *words, uint32_t block, uint64_t *number)
{
	uint64_t expected[BLOCK / 8];

	*number = words[0];
	if (words[0])
		fill_block(expected, words[0], block);
	else
		memset(expected, 0, sizeof expected);
	return memcmp(words, expected, BLOCK) == 0;
}

/* ---- journal ---- */

static void append(int journal, struct record record)
{
	if (write(journal, &record, sizeof record) != (ssize_t)sizeof record)
		die("the journal can't be written");
}

static struct record *read_journal(const char *path, size_t *count)
{
	FILE *file = fopen(path, "r");
	struct record *records = NULL;
	size_t room = 0;

	*count = 0;
	if (!file)
		return NULL;
	for (;;) {
		if (*count == room) {
			room = room ? 2 * room : 4096;
			records = realloc(records, room * sizeof *records);
			assert(records);
		}
		if (fread(&records[*count], sizeof *records, 1, file) != 1)
			break;
		(*count)++;
	}
	fclose(file);
	return records;
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
		const struct record *r = &writer->slots[i].record;

		if (writer->slots[i].busy && first < r->first_block + r->blocks &&
		    r->first_block < first + blocks)
			return true;
	}
	return false;
}

static uint64_t next_random(struct writer *writer)
{
	return writer->random = mix(writer->random);
}

static int completed(void *context, int *error)
{
	struct slot *slot = context;
	struct writer *writer = slot->writer;
	uint64_t took_ns = now_ns() - slot->started_ns;

	slot->busy = false;
	writer->under_way--;
	if (*error) {
		writer->error = *error;
		return 1;
	}
	slot->record.kind = RECORD_ACKNOWLEDGED;
	append(writer->journal, slot->record);
	writer->acknowledged++;
	writer->bytes += (uint64_t)slot->record.blocks * BLOCK;
	if (took_ns > writer->longest_ns)
		writer->longest_ns = took_ns;
	return 1;
}

static void submit(struct writer *writer, struct slot *slot)
{
	struct record *record = &slot->record;
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
	record->kind = RECORD_SUBMITTED;
	append(writer->journal, *record);
	for (uint32_t i = 0; i < record->blocks && !record->is_zero; i++)
		fill_block((uint64_t *)(void *)(slot->data + i * BLOCK), record->number,
			   record->first_block + i);
	bytes = (size_t)record->blocks * BLOCK;
	slot->busy = true;
	slot->started_ns = now_ns();
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
	       (!writer->end_ns || now_ns() < writer->end_ns);
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
	size_t count;
	struct record *records = read_journal(path, &count);

	writer->next_number = 1;
	for (size_t i = 0; i < count; i++) {
		if (records[i].number >= writer->next_number)
			writer->next_number = records[i].number + 1;
	}
	free(records);
	writer->journal = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (writer->journal < 0)
		die(path);
}

static int command_write(const char *uri, const char *path, int argc, char **argv)
{
	static struct writer writer;
	uint64_t seconds = 0, count = 0, depth = 32, connections = 1, region = 64u << 20, zero = 5;
	uint64_t started_ns = now_ns(), first;

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
	writer.random = mix(first ^ (uint64_t)getpid() << 32);
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
	       writer.longest_ns / 1000000, (now_ns() - started_ns) / 1000000,
	       writer.error ? strerror(writer.error) : "");
	return writer.error ? 3 : 0;
}

/* ---- verify ---- */

/* One submitted write of a block, in the order of numbers; later ones than the acknowledged are allowed. */
static bool was_submitted(const struct record *records, size_t count, uint32_t block,
			  uint64_t number)
{
	for (size_t i = 0; i < count; i++) {
		if (records[i].number == number && records[i].kind == RECORD_SUBMITTED)
			return block >= records[i].first_block &&
			       block < records[i].first_block + records[i].blocks &&
			       !records[i].is_zero;
	}
	return false;
}

/* Zeros are right if the last acknowledged write was one of zeros, or there was none, or a later one of zeros was submitted. */
static bool zeros_allowed(const struct record *records, size_t count, uint32_t block,
			  const struct block_state *state)
{
	if (!state->acknowledged || state->acknowledged_is_zero)
		return true;
	for (size_t i = 0; i < count; i++) {
		if (records[i].is_zero && records[i].number > state->acknowledged &&
		    block >= records[i].first_block &&
		    block < records[i].first_block + records[i].blocks)
			return true;
	}
	return false;
}

static bool check_block(const struct record *records, size_t count, uint32_t block,
			const struct block_state *state, const uint64_t *words)
{
	uint64_t number;

	if (!read_block(words, block, &number)) {
		printf("block %u: torn, or foreign: it begins like write %" PRIu64 "\n", block,
		       number);
		return false;
	}
	if (number == 0 && zeros_allowed(records, count, block, state))
		return true;
	if (number && number == state->acknowledged && !state->acknowledged_is_zero)
		return true;
	if (number > state->acknowledged && was_submitted(records, count, block, number))
		return true;
	printf("block %u: holds write %" PRIu64 ", but write %" PRIu64 "%s was acknowledged\n",
	       block, number, state->acknowledged, state->acknowledged_is_zero ? " (zeros)" : "");
	return false;
}

static struct block_state *digest_journal(const struct record *records, size_t count,
					  uint32_t *blocks)
{
	struct block_state *states;

	*blocks = 0;
	for (size_t i = 0; i < count; i++) {
		if (records[i].first_block + records[i].blocks > *blocks)
			*blocks = records[i].first_block + records[i].blocks;
	}
	states = calloc(*blocks + 1u, sizeof *states);
	assert(states);
	for (size_t i = 0; i < count; i++) {
		for (uint32_t b = 0;
		     records[i].kind == RECORD_ACKNOWLEDGED && b < records[i].blocks; b++) {
			struct block_state *state = &states[records[i].first_block + b];

			if (records[i].number > state->acknowledged) {
				state->acknowledged = records[i].number;
				state->acknowledged_is_zero = records[i].is_zero;
			}
		}
	}
	return states;
}

static int command_verify(const char *uri, const char *path)
{
	enum {
		READ_BLOCKS = 256
	};
	/* First the connection: with it a forced attachment has ended the writes of others. */
	struct nbd_handle *handle = open_connection(uri);
	size_t count;
	struct record *records = read_journal(path, &count);
	uint8_t *data = aligned_alloc(BLOCK, READ_BLOCKS * BLOCK);
	uint64_t checked = 0, bad = 0;
	struct block_state *states;
	uint32_t blocks;

	if (!count) {
		fprintf(stderr, "nbd-journal: %s holds no record\n", path);
		return 2;
	}
	states = digest_journal(records, count, &blocks);
	assert(data);
	for (uint32_t first = 0; first < blocks; first += READ_BLOCKS) {
		uint32_t n = blocks - first < READ_BLOCKS ? blocks - first : READ_BLOCKS;

		if (nbd_pread(handle, data, (size_t)n * BLOCK, (uint64_t)first * BLOCK, 0) < 0)
			die("read");
		for (uint32_t i = 0; i < n; i++) {
			checked += states[first + i].acknowledged != 0;
			if (bad >= SHOWN_MAX ||
			    check_block(records, count, first + i, &states[first + i],
					(const uint64_t *)(const void *)(data + i * BLOCK)))
				continue;
			bad++;
		}
	}
	printf("{\"checked\": %" PRIu64 ", \"bad\": %" PRIu64 "}\n", checked, bad);
	nbd_close(handle);
	free(records);
	free(states);
	free(data);
	return bad ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc >= 4 && strcmp(argv[1], "write") == 0)
		return command_write(argv[2], argv[3], argc - 4, argv + 4);
	if (argc == 4 && strcmp(argv[1], "verify") == 0)
		return command_verify(argv[2], argv[3]);
	fprintf(stderr,
		"usage: nbd-journal write URI JOURNAL [name=value]... | verify URI JOURNAL\n");
	return 2;
}
