/*
 * command_inspect.c - copyhold-chunkd inspect and fsck: what is on a disk, and whether all of it is as it should be. Both only
 * read; the disk must not be in use.
 */
#include "common/io-uring/io_uring_disk.h"
#include "replica-engine/chunkd/command.h"
#include "replica-engine/store/store_tools.h"

#include <errno.h>
#include <ev.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct look {
	const char *path;
	uint64_t chunk; /* inspect: 0: none */
	bool quick;     /* fsck: not the data */
	struct ev_loop *loop;
	struct io_disk *disk;
	bool done;
	int status;
	struct store_fsck_result result;
};

static void parse(int argc, char **argv, struct look *look)
{
	static const struct option longs[] = {
		{"chunk", required_argument, NULL, 'c'},
		{"quick", no_argument, NULL, 'q'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	char *end;
	int option;

	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (option) {
		case 'c':
			errno = 0;
			look->chunk = strtoull(optarg, &end, 10);
			if (errno || *end || look->chunk == 0)
				fail(EXIT_USAGE, "--chunk %s: the id of a chunk is a number",
				     optarg);
			break;
		case 'q':
			look->quick = true;
			break;
		case 'h':
			fputs(usage_text, stdout);
			exit(0);
		default:
			fputs("Try copyhold-chunkd --help\n", stderr);
			exit(EXIT_USAGE);
		}
	}
	if (optind != argc - 1)
		fail(EXIT_USAGE, "%s takes one file or block device. Try copyhold-chunkd --help",
		     argv[0]);
	look->path = argv[optind];
}

static void begin(int argc, char **argv, struct look *look)
{
	const struct io_uring_disk_options options = {.read_only = true};
	char why[IO_URING_WHY_BYTES];

	parse(argc, argv, look);
	look->loop = ev_default_loop(0);
	if (io_uring_disk_open(look->loop, look->path, &options, &look->disk, why) != 0)
		fail(EXIT_FAILED, "%s", why);
	require_disk_size(look->disk, look->path);
}

static void finish(struct look *look, int status)
{
	look->status = status;
	look->done = true;
	ev_break(look->loop, EVBREAK_ONE);
}

static void wait_done(struct look *look)
{
	while (!look->done)
		ev_run(look->loop, 0);
	io_uring_disk_close(look->disk);
	ev_loop_destroy(look->loop);
}

static void print_line(void *context, const char *line)
{
	(void)context;
	puts(line);
}

static void inspected(void *context, int status)
{
	finish(context, status);
}

int command_inspect(int argc, char **argv)
{
	struct look look = {0};

	begin(argc, argv, &look);
	store_inspect(look.disk, look.chunk, print_line, inspected, &look);
	wait_done(&look);
	return look.status ? EXIT_FAILED : 0;
}

static void checked(void *context, const struct store_fsck_result *result)
{
	struct look *look = context;

	look->result = *result;
	finish(look, result->status);
}

int command_fsck(int argc, char **argv)
{
	struct look look = {0};
	const struct store_fsck_result *r = &look.result;

	begin(argc, argv, &look);
	store_fsck(look.disk, !look.quick, print_line, checked, &look);
	wait_done(&look);
	if (look.status == -EUCLEAN) /* the line above has said where and why */
		fail(EXIT_FAILED,
		     "%s is damaged and can't be opened. Formatted anew (copyhold-chunkd format "
		     "--force) it is filled from the other replicas",
		     look.path);
	if (look.status)
		fail(EXIT_FAILED, "%s can't be opened. %s", look.path, open_remedy(look.status));
	printf("%s: %s, %" PRIu64 " chunks, %" PRIu64 " units, %" PRIu64 " problems\n", look.path,
	       r->problems ? "damaged" : "clean", r->chunks, r->units, r->problems);
	return r->problems ? EXIT_FAILED : 0;
}
