/*
 * bench_store.c - the store alone over io_uring: bench_store FILE MODE SECONDS [GIB-OF-DATA].
 * MODE: write4k-qd1, write4k-qd32, write1m, read4k-qd32. The file is formatted. Prints a line of key=value pairs; bench-store.sh puts
 * them beside fio's. write4k modes first write all data once, so that writes overwrite.
 */
#include "common/base/crc.h"
#include "common/base/prng.h"
#include "common/io-uring/io_uring_disk.h"
#include "replica-engine/store/store.h"

#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define CHUNK_BYTES   CHUNK_BYTES_DEFAULT
#define LATENCIES_MAX (16u << 20)

struct job {
	struct store_op op;
	uint64_t started_ns;
};

static struct ev_loop *loop;
static struct io_disk *disk;
static struct store *store;
static struct prng prng = {1};
static struct slice data;
static uint64_t data_bytes, end_ns, generation, next_offset, done_ops, fill_left;
static uint32_t op_bytes, depth, in_flight, failures;
static bool reading, sequential, filling;
static float *latencies; /* in microseconds */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static double cpu_s(bool user_only)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec / 1e6 +
	       (user_only ? 0 : (double)u.ru_stime.tv_sec + (double)u.ru_stime.tv_usec / 1e6);
}

static void wait_until(const bool *flag)
{
	while (!*flag)
		ev_run(loop, EVRUN_ONCE);
}

static bool formatted, opened, closed, op_finished;

static void format_done(void *context, int status, const char *why)
{
	(void)context;
	if (status) {
		fprintf(stderr, "format: %s\n", why);
		exit(1);
	}
	formatted = true;
}

static void open_done(void *context, int status, const char *why, struct store *s)
{
	(void)context;
	if (status) {
		fprintf(stderr, "open: %s\n", why);
		exit(1);
	}
	store = s;
	opened = true;
}

static void close_done(void *context, int status)
{
	(void)context;
	(void)status;
	closed = true;
}

static void simple_done(struct store_op *op)
{
	(void)op;
	op_finished = true;
}

static void submit(struct job *j);

static void job_done(struct store_op *op)
{
	struct job *j = op->context;
	uint64_t now = now_ns();

	failures += op->status != STORE_OK;
	if (reading)
		store_op_clear(op);
	if (!filling && done_ops < LATENCIES_MAX)
		latencies[done_ops++] = (float)(now - j->started_ns) / 1000;
	in_flight--;
	if (filling ? fill_left > 0 : now < end_ns)
		submit(j);
}

static void submit(struct job *j)
{
	struct store_op *op = &j->op;
	uint32_t bytes = filling ? (uint32_t)MIB : op_bytes;
	uint64_t at;

	if (filling || sequential) {
		at = next_offset;
		next_offset = (next_offset + bytes) % data_bytes;
	} else {
		at = prng_below(&prng, data_bytes / bytes) * bytes;
	}
	if (filling)
		fill_left -= bytes;
	op->kind = reading && !filling ? STORE_READ : STORE_WRITE;
	op->no_verify = true;
	op->chunk = 1 + at / CHUNK_BYTES;
	op->offset = (uint32_t)(at % CHUNK_BYTES);
	op->bytes = bytes;
	op->position = (struct version){1, ++generation};
	if (op->kind == STORE_WRITE) {
		op->data = (struct slice){data.buf, 0, bytes};
		crc_blocks(op->chunk, op->offset / BLOCK_BYTES, bytes / BLOCK_BYTES,
			   slice_data(op->data), op->crcs);
	}
	op->done = job_done;
	op->context = j;
	j->started_ns = now_ns();
	in_flight++;
	store_submit(store, op);
}

static void run(struct job *jobs, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		submit(&jobs[i]);
	while (in_flight)
		ev_run(loop, EVRUN_ONCE);
}

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return x < y ? -1 : x > y;
}

static void tick(struct ev_loop *l, ev_timer *w, int events)
{
	(void)l;
	(void)w;
	(void)events;
	store_tick(store, now_ns());
}

static void make_chunks(void)
{
	for (uint64_t at = 0; at < data_bytes; at += CHUNK_BYTES) {
		struct store_op op = {.kind = STORE_CREATE,
				      .chunk = 1 + at / CHUNK_BYTES,
				      .root_chunk = 1 + at / CHUNK_BYTES,
				      .epoch = 1,
				      .commit = 1,
				      .chunk_bytes = CHUNK_BYTES,
				      .done = simple_done};

		op_finished = false;
		store_submit(store, &op);
		wait_until(&op_finished);
	}
}

static void choose_mode(const char *mode)
{
	op_bytes = BLOCK_BYTES;
	depth = 32;
	if (!strcmp(mode, "write4k-qd1")) {
		depth = 1;
	} else if (!strcmp(mode, "write1m")) {
		op_bytes = (uint32_t)MIB;
		depth = 4;
		sequential = true;
	} else if (!strcmp(mode, "read4k-qd32")) {
		reading = true;
	} else if (strcmp(mode, "write4k-qd32") != 0) {
		fprintf(stderr, "mode %s is not known\n", mode);
		exit(2);
	}
}

static void report(const char *mode, double seconds, double cpu, double user,
		   const struct store_counters *b, const struct store_counters *e)
{
	uint64_t user_bytes = e->user_write_bytes - b->user_write_bytes;
	uint64_t written = e->journal_write_bytes - b->journal_write_bytes + e->home_write_bytes -
			   b->home_write_bytes + e->metadata_write_bytes - b->metadata_write_bytes;

	qsort(latencies, done_ops, sizeof *latencies, by_value);
	printf("mode=%s iops=%.0f mib_s=%.1f p50_us=%.0f p99_us=%.0f p999_us=%.0f max_us=%.0f "
	       "cpu_us=%.2f user_us=%.2f amplification=%.3f journal=%.3f home=%.3f metadata=%.3f "
	       "failures=%u\n",
	       mode, (double)done_ops / seconds, (double)done_ops * op_bytes / seconds / MIB,
	       latencies[done_ops / 2], latencies[done_ops * 99 / 100],
	       latencies[done_ops * 999 / 1000], latencies[done_ops - 1],
	       cpu / (double)done_ops * 1e6, user / (double)done_ops * 1e6,
	       user_bytes ? (double)written / (double)user_bytes : 0,
	       user_bytes ? (double)(e->journal_write_bytes - b->journal_write_bytes) /
				    (double)user_bytes
			  : 0,
	       user_bytes ? (double)(e->home_write_bytes - b->home_write_bytes) / (double)user_bytes
			  : 0,
	       user_bytes ? (double)(e->metadata_write_bytes - b->metadata_write_bytes) /
				    (double)user_bytes
			  : 0,
	       failures);
}

int main(int argc, char **argv)
{
	struct io_uring_disk_options disk_options = {0};
	struct store_format_options format = {.disk = uuid_from_random(1, now_ns())};
	struct store_counters before, after;
	char why[IO_URING_WHY_BYTES];
	static struct job jobs[32];
	double seconds, cpu, user;
	ev_timer timer;

	if (argc < 4) {
		fprintf(stderr, "bench_store FILE MODE SECONDS [GIB-OF-DATA]\n");
		return 2;
	}
	choose_mode(argv[2]);
	data_bytes = (argc > 4 ? strtoull(argv[4], NULL, 10) : 2) * GIB;
	loop = ev_default_loop(0);
	if (io_uring_disk_open(loop, argv[1], &disk_options, &disk, why)) {
		fprintf(stderr, "%s\n", why);
		return 1;
	}
	store_format(disk, &format, format_done, NULL);
	wait_until(&formatted);
	store_open(disk, &(struct store_options){0}, open_done, NULL);
	wait_until(&opened);
	ev_timer_init(&timer, tick, 0.1, 0.1);
	ev_timer_start(loop, &timer);
	latencies = xmalloc(LATENCIES_MAX * sizeof *latencies);
	data = slice_new(MIB);
	for (uint64_t at = 0; at < MIB; at += 8) {
		uint64_t word = prng_next(&prng);

		memcpy(slice_data(data) + at, &word, sizeof word);
	}
	make_chunks();
	filling = true;
	fill_left = data_bytes;
	run(jobs, 4);
	filling = false;
	before = store_counters(store);
	cpu = cpu_s(false);
	user = cpu_s(true);
	seconds = strtod(argv[3], NULL);
	end_ns = now_ns() + (uint64_t)(seconds * 1e9);
	seconds = (double)now_ns();
	run(jobs, depth);
	seconds = ((double)now_ns() - seconds) / 1e9;
	cpu = cpu_s(false) - cpu;
	user = cpu_s(true) - user;
	after = store_counters(store);
	report(argv[2], seconds, cpu, user, &before, &after);
	store_close(store, close_done, NULL);
	wait_until(&closed);
	store_free(store);
	ev_timer_stop(loop, &timer);
	io_uring_disk_close(disk);
	slice_unref(&data);
	free(latencies);
	return failures != 0;
}
