/*
 * command_format.c - copyhold-chunkd format: makes a file or a block device the disk of a new chunk server.
 *
 * What holds something already is refused without --force (content.c).
 */
#include "common/base/buf.h"
#include "common/io-uring/io_uring_disk.h"
#include "replica-engine/chunkd/command.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

struct format {
	const char *path;
	uint64_t size_bytes;
	uint64_t journal_bytes;
	bool force;
	bool allocate;
	bool made; /* the file is ours: removed again if it can't be formatted */
};

static void parse(int argc, char **argv, struct format *f)
{
	static const struct option longs[] = {
		{"size", required_argument, NULL, 's'}, {"force", no_argument, NULL, 'f'},
		{"allocate", no_argument, NULL, 'a'},   {"journal", required_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},       {0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (option) {
		case 's':
			if (!parse_size(optarg, &f->size_bytes))
				fail(EXIT_USAGE,
				     "--size %s: a size is a number and K, M, G or T: 10G", optarg);
			break;
		case 'j':
			if (!parse_size(optarg, &f->journal_bytes))
				fail(EXIT_USAGE,
				     "--journal %s: a size is a number and K, M, G or T: 256M",
				     optarg);
			break;
		case 'f':
			f->force = true;
			break;
		case 'a':
			f->allocate = true;
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
		fail(EXIT_USAGE,
		     "format takes one file or block device. Try copyhold-chunkd --help");
	f->path = argv[optind];
}

/* ---- what is there ---- */

static void refuse_content(const struct format *f, int fd)
{
	off_t size = lseek(fd, 0, SEEK_END); /* of a device, too */
	char text[CONTENT_TEXT_BYTES];
	int found = size < 0 ? -errno : find_content(fd, (uint64_t)size, text, sizeof text);

	if (found < 0)
		fail(EXIT_FAILED, "%s can't be read: %s", f->path, strerror(-found));
	if (found)
		fail(EXIT_FAILED,
		     "%s %s. To look at it: blkid -p %s, or copyhold-chunkd inspect %s. To "
		     "overwrite all of it: copyhold-chunkd format %s --force",
		     f->path, text, f->path, f->path, f->path);
}

static void look_at_existing(const struct format *f, int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		fail(EXIT_FAILED, "%s: %s", f->path, strerror(errno));
	if (S_ISREG(st.st_mode) && f->size_bytes)
		fail(EXIT_FAILED,
		     "%s exists: --size is for a new file. Remove it, or leave --size out to use "
		     "it as it is",
		     f->path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		fail(EXIT_FAILED, "%s is neither a file nor a block device", f->path);
	if (S_ISBLK(st.st_mode) && f->size_bytes)
		fail(EXIT_USAGE, "--size is for files: a block device is used whole");
	if (!f->force)
		refuse_content(f, fd);
}

/* A file that takes space as it is used. */
static void make_sparse(const struct format *f)
{
	int fd = open(f->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		fail(EXIT_FAILED, "%s can't be made: %s", f->path, strerror(errno));
	if (ftruncate(fd, (off_t)ROUND_DOWN(f->size_bytes, BLOCK_BYTES)) != 0 || fsync(fd) != 0) {
		int error = errno;

		unlink(f->path);
		fail(EXIT_FAILED, "%s can't have %llu MiB: %s", f->path,
		     (unsigned long long)(f->size_bytes / MIB), strerror(error));
	}
	close(fd);
}

static void prepare(struct format *f)
{
	char why[IO_URING_WHY_BYTES];
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		look_at_existing(f, fd);
		close(fd);
		return;
	}
	if (errno != ENOENT)
		fail(EXIT_FAILED, "%s can't be opened: %s", f->path, strerror(errno));
	if (!f->size_bytes)
		fail(EXIT_FAILED,
		     "%s does not exist. To make a file: copyhold-chunkd format %s --size 10G",
		     f->path, f->path);
	f->made = true;
	if (!f->allocate)
		make_sparse(f);
	else if (io_uring_disk_create_file(f->path, ROUND_DOWN(f->size_bytes, BLOCK_BYTES), why) !=
		 0)
		fail(EXIT_FAILED, "%s", why);
}

/* ---- formatting ---- */

struct formatting {
	struct ev_loop *loop;
	bool done;
	int status;
	char why[512];
};

static void formatted(void *context, int status, const char *why)
{
	struct formatting *w = context;

	w->done = true;
	w->status = status;
	snprintf(w->why, sizeof w->why, "%s", why ? why : "");
	ev_break(w->loop, EVBREAK_ONE);
}

static void fail_format(const struct format *f, const char *why)
{
	if (f->made)
		unlink(f->path);
	fail(EXIT_FAILED, "%s can't be formatted: %s", f->path, why);
}

static void write_format(const struct format *f)
{
	const struct io_uring_disk_options disk_options = {0};
	struct formatting w = {.loop = ev_default_loop(0)};
	struct store_format_options options = {.journal_bytes = f->journal_bytes};
	char why[IO_URING_WHY_BYTES], disk_text[UUID_TEXT_BYTES];
	uint64_t random[2];
	struct io_disk *disk;

	if (getrandom(random, sizeof random, 0) != sizeof random)
		fail(EXIT_FAILED, "no random numbers: %s", strerror(errno));
	options.disk = uuid_from_random(random[0], random[1]);
	if (io_uring_disk_open(w.loop, f->path, &disk_options, &disk, why) != 0)
		fail_format(f, why);
	store_format(disk, &options, formatted, &w);
	while (!w.done)
		ev_run(w.loop, 0);
	if (w.status)
		fail_format(f, *w.why ? w.why : strerror(-w.status));
	uuid_format(options.disk, disk_text);
	printf("formatted %s: disk %s, %llu MiB\n", f->path, disk_text,
	       (unsigned long long)(disk->size_bytes / MIB));
	io_uring_disk_close(disk);
	ev_loop_destroy(w.loop);
}

int command_format(int argc, char **argv)
{
	struct format f = {0};

	parse(argc, argv, &f);
	prepare(&f);
	write_format(&f);
	buf_pool_drain();
	return 0;
}
