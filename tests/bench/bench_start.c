/*
 * bench_start.c - how long a store with much data takes to start, and its memory: bench_start FILE GIB [METADATA-MEMORY-MIB].
 * FILE is made sparse and somewhat larger than GIB; all units of GIB are written, but the data itself is dropped on its way to the
 * file: only superblocks, journal and metadata are real. Then it is closed and opened (a clean start), and 4 KiB writes fill
 * some of the journal. All this a process does that ends there and then; another one opens what it has left (a start after a crash).
 * METADATA-MEMORY-MIB is the option of all these stores; what each of the two processes had at most is told.
 */
#include "common/base/prng.h"
#include "common/io-uring/io_uring_disk.h"
#include "replica-engine/store/layout.h"
#include "replica-engine/store/store.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK_BYTES CHUNK_BYTES_DEFAULT
#define DEPTH       64u

static struct ev_loop *loop;
static struct io_disk *file;
static struct io_disk thin;
static uint64_t data_offset = UINT64_MAX, data_end;
static struct store *store;
static struct slice data;
static uint64_t left, next_offset, total_bytes, generation;
static uint32_t op_bytes, in_flight;
static struct prng prng = {1};
static bool finished;
static struct store_options options;

static void know_layout(const struct disk_superblock *super)
{
	data_offset = super->data_offset;
	data_end = super->size_bytes - sizeof *super;
}

/* Writes to the data region are done without being done. */
static void thin_submit(struct io_disk *disk, struct io_disk_request *r)
{
	(void)disk;
	if (r->op == IO_DISK_WRITE && r->offset == 0) {
		const struct disk_superblock *super = r->iov[0].iov_base;

		if (super->magic == SUPERBLOCK_MAGIC)
			know_layout(super);
	}
	if (r->op == IO_DISK_WRITE && r->offset >= data_offset && r->offset < data_end) {
		r->op = IO_DISK_READ;
		r->bytes = 0;
		r->iov = NULL;
		r->iov_count = 0;
	}
	file->submit(file, r);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void wait_finished(void)
{
	while (!finished)
		ev_run(loop, EVRUN_ONCE);
	finished = false;
}

static void check(int status, const char *what, const char *why)
{
	if (status) {
		fprintf(stderr, "%s: %s (%s)\n", what, why, strerror(-status));
		exit(1);
	}
	finished = true;
}

static void format_done(void *context, int status, const char *why)
{
	(void)context;
	check(status, "format", why);
}

static void open_done(void *context, int status, const char *why, struct store *s)
{
	(void)context;
	store = s;
	check(status, "open", why);
}

static void close_done(void *context, int status)
{
	(void)context;
	check(status, "close", "");
}

static double cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* What this process had at most. */
static double process_gib(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_maxrss * 1024 / GIB;
}

struct start {
	double seconds, cpu;
};

static struct start open_store(void)
{
	struct start begin = {now_s(), cpu_s()};

	store_open(&thin, &options, open_done, NULL);
	wait_finished();
	return (struct start){now_s() - begin.seconds, cpu_s() - begin.cpu};
}

static void op_done(struct store_op *op);

static void submit(struct store_op *op)
{
	uint64_t at = op_bytes == MIB ? next_offset
				      : prng_below(&prng, total_bytes / op_bytes) * op_bytes;

	next_offset += op_bytes;
	left -= op_bytes;
	op->kind = STORE_WRITE;
	op->chunk = 1 + at / CHUNK_BYTES;
	op->offset = (uint32_t)(at % CHUNK_BYTES);
	op->bytes = op_bytes;
	op->position = (struct version){1, ++generation};
	op->data = (struct slice){data.buf, 0, op_bytes};
	op->done = op_done;
	in_flight++;
	store_submit(store, op);
}

static void op_done(struct store_op *op)
{
	if (op->status != STORE_OK) {
		fprintf(stderr, "write: status %d\n", op->status);
		exit(1);
	}
	in_flight--;
	if (left)
		submit(op);
}

static void write_all(uint64_t bytes, uint32_t each)
{
	static struct store_op ops[DEPTH];

	left = bytes;
	op_bytes = each;
	for (uint32_t i = 0; i < DEPTH && left; i++)
		submit(&ops[i]);
	while (in_flight)
		ev_run(loop, EVRUN_ONCE);
}

static void created(struct store_op *op)
{
	check(op->status == STORE_OK ? 0 : -EIO, "create", "");
}

static void make_chunks(void)
{
	for (uint64_t at = 0; at < total_bytes; at += CHUNK_BYTES) {
		struct store_op op = {.kind = STORE_CREATE,
				      .chunk = 1 + at / CHUNK_BYTES,
				      .root_chunk = 1 + at / CHUNK_BYTES,
				      .epoch = 1,
				      .commit = 1,
				      .chunk_bytes = CHUNK_BYTES,
				      .done = created};

		store_submit(store, &op);
		wait_finished();
	}
}

static void make_file(const char *path, uint64_t bytes)
{
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) {
		perror(path);
		exit(1);
	}
	close(fd);
}

/* A process that has just died holds its lock until the kernel has carried out what it had under way. */
static void open_disk(const char *path)
{
	char why[IO_URING_WHY_BYTES];
	int rc;

	loop = ev_default_loop(0);
	while ((rc = io_uring_disk_open(loop, path, &(struct io_uring_disk_options){0}, &file,
					why)) == -EBUSY)
		usleep(1000);
	if (rc) {
		fprintf(stderr, "%s\n", why);
		exit(1);
	}
	thin = *file;
	thin.submit = thin_submit;
	data = slice_new(MIB);
	memset(slice_data(data), 0, MIB);
}

static void close_store(void)
{
	store_close(store, close_done, NULL);
	wait_finished();
	store_free(store);
}

static void fill(void)
{
	struct store_format_options format = {.disk = uuid_from_random(1, 2)};

	store_format(&thin, &format, format_done, NULL);
	wait_finished();
	open_store();
	make_chunks();
	write_all(total_bytes, (uint32_t)MIB);
	close_store();
}

/* The first process: ends with some of the journal in use. */
static void fill_and_crash(const char *path)
{
	struct store_counters c;
	struct start clean;
	uint64_t bytes;
	double begin;

	open_disk(path);
	fill();
	clean = open_store();
	c = store_counters(store);
	if (options.metadata_memory_bytes)
		printf("metadata_memory: %llu MiB\n",
		       (unsigned long long)(options.metadata_memory_bytes / MIB));
	printf("%llu GiB in use: %.3f GiB of memory (%.3f GiB a TiB; the process, filled and "
	       "opened: "
	       "%.3f GiB)\n",
	       (unsigned long long)(total_bytes / GIB), (double)c.memory_bytes / GIB,
	       (double)c.memory_bytes / GIB / ((double)c.used_bytes / TIB), process_gib());
	printf("clean start %.2f s (%.2f s of CPU)\n", clean.seconds, clean.cpu);
	bytes = MIN(c.journal_bytes / 4, total_bytes);
	begin = now_s();
	write_all(bytes, BLOCK_BYTES);
	printf("%.3f GiB of random 4 KiB writes: %.0f /s\n", (double)bytes / GIB,
	       (double)(bytes / BLOCK_BYTES) / (now_s() - begin));
	c = store_counters(store);
	printf("journal in use: %.3f GiB\n", (double)c.journal_used_bytes / GIB);
	if (options.metadata_memory_bytes)
		printf("pages of units: %llu hits, %llu misses\n",
		       (unsigned long long)c.metadata_hits, (unsigned long long)c.metadata_misses);
	printf("this process at most %.3f GiB\n", process_gib());
	fflush(stdout);
	_exit(0);
}

static void start_again(const char *path)
{
	static struct disk_superblock super;
	struct store_counters c;
	struct start crash;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &super, sizeof super, 0) != sizeof super) {
		perror(path);
		exit(1);
	}
	close(fd);
	know_layout(&super);
	open_disk(path);
	crash = open_store();
	c = store_counters(store);
	printf("start after a crash %.2f s (%.2f s of CPU); %.3f GiB of memory, the process at "
	       "most %.3f GiB\n",
	       crash.seconds, crash.cpu, (double)c.memory_bytes / GIB, process_gib());
	close_store();
	slice_unref(&data);
	io_uring_disk_close(file);
}

int main(int argc, char **argv)
{
	int status;
	pid_t pid;

	if (argc < 3) {
		fprintf(stderr, "bench_start FILE GIB [METADATA-MEMORY-MIB]\n");
		return 2;
	}
	total_bytes = strtoull(argv[2], NULL, 10) * GIB;
	options.metadata_memory_bytes = argc > 3 ? strtoull(argv[3], NULL, 10) * MIB : 0;
	make_file(argv[1], total_bytes + total_bytes / 16);
	pid = fork();
	if (pid == 0)
		fill_and_crash(argv[1]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
		fprintf(stderr, "the process that fills %s has failed\n", argv[1]);
		return 1;
	}
	start_again(argv[1]);
	return 0;
}
