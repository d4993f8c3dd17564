/* prepare.c - making a file for a disk, and writing zeros over ranges. Blocking: for tools that format. */
#include "common/io-uring/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <unistd.h>

#define ZERO_DEPTH 8

/* Makes the name durable, too. */
static int sync_directory(const char *path)
{
	char *copy = xstrdup(path);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error = 0;

	free(copy);
	if (fd < 0)
		return -errno;
	if (fsync(fd) != 0)
		error = -errno;
	close(fd);
	return error;
}

static int allocate(int fd, uint64_t bytes)
{
	int rc;

	do
		rc = fallocate(fd, 0, 0, (off_t)bytes);
	while (rc != 0 && errno == EINTR);
	return rc == 0 && fsync(fd) == 0 ? 0 : -errno;
}

int io_uring_disk_create_file(const char *path, uint64_t bytes, char why[IO_URING_WHY_BYTES])
{
	int fd, error;

	if (bytes == 0 || bytes % BLOCK_BYTES || bytes > INT64_MAX)
		return give_why(why, -EINVAL,
				"%s cannot have %llu bytes: a disk is a multiple of 4096 bytes",
				path, (unsigned long long)bytes);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return give_why(why, -errno, "%s cannot be created: %s", path, strerror(errno));
	error = allocate(fd, bytes);
	close(fd);
	if (!error)
		error = sync_directory(path);
	if (!error)
		return 0;
	unlink(path);
	return give_why(why, error, "%s: %llu MiB cannot be allocated: %s", path,
			(unsigned long long)(bytes / MIB), strerror(-error));
}

struct zeroing {
	struct io_uring ring;
	int fd;
	void *zeros; /* 1 MiB, shared by all writes */
	uint64_t next, end;
	unsigned in_ring;
};

static void zero_next(struct zeroing *z, uint64_t offset, uint32_t bytes)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&z->ring);

	assert(sqe);
	io_uring_prep_write(sqe, z->fd, z->zeros, bytes, offset);
	io_uring_sqe_set_data64(sqe, bytes);
	z->in_ring++;
}

/* Waits for one write: *bytes is its length. -EIO and the like: the write failed. */
static int zero_wait(struct zeroing *z, uint32_t *bytes)
{
	struct io_uring_cqe *cqe;
	int res;

	do
		res = io_uring_submit_and_wait(&z->ring, 1);
	while (res == -EINTR || res == -EAGAIN);
	if (res >= 0)
		res = io_uring_wait_cqe(&z->ring, &cqe);
	if (res < 0)
		return res;
	*bytes = (uint32_t)io_uring_cqe_get_data64(cqe);
	res = cqe->res;
	io_uring_cqe_seen(&z->ring, cqe);
	z->in_ring--;
	if (res < 0)
		return res;
	return (uint32_t)res == *bytes ? 0 : -EIO;
}

/* On an error writes may still be under way: closing the ring waits for them. */
static int zero_range(struct zeroing *z, io_uring_progress_fn *progress, void *context)
{
	uint64_t total = z->end - z->next, done = 0;

	while (done < total) {
		uint32_t bytes;
		int error;

		while (z->in_ring < ZERO_DEPTH && z->next < z->end) {
			bytes = (uint32_t)MIN(z->end - z->next, MIB);
			zero_next(z, z->next, bytes);
			z->next += bytes;
		}
		error = zero_wait(z, &bytes);
		if (error)
			return error;
		done += bytes;
		if (progress && done < total)
			progress(context, done, total);
	}
	if (fdatasync(z->fd) != 0)
		return -errno;
	if (progress)
		progress(context, total, total);
	return 0;
}

static int zero_file(const struct opened_file *file, const char *path, struct zeroing *z,
		     io_uring_progress_fn *progress, void *context, char why[IO_URING_WHY_BYTES])
{
	int error;

	if (z->next > z->end || z->end > file->size_bytes || z->next % BLOCK_BYTES ||
	    z->end % BLOCK_BYTES)
		return give_why(why, -EINVAL,
				"%s has %llu bytes: zeros cannot be put at %llu - %llu", path,
				(unsigned long long)file->size_bytes, (unsigned long long)z->next,
				(unsigned long long)z->end);
	error = ring_open(&z->ring, ZERO_DEPTH, why);
	if (error)
		return error;
	z->fd = file->fd;
	z->zeros = aligned_alloc(BLOCK_BYTES, MIB);
	if (!z->zeros)
		abort();
	memset(z->zeros, 0, MIB);
	error = zero_range(z, progress, context);
	if (error)
		give_why(why, error, "zeros cannot be written to %s: %s", path, strerror(-error));
	io_uring_queue_exit(&z->ring);
	free(z->zeros);
	return error;
}

int io_uring_disk_write_zeros(const char *path, uint64_t offset, uint64_t bytes,
			      io_uring_progress_fn *progress, void *context,
			      char why[IO_URING_WHY_BYTES])
{
	struct zeroing z = {.next = offset, .end = offset + bytes};
	struct opened_file file;
	int error = file_open(path, false, &file, why);

	if (error)
		return error;
	error = zero_file(&file, path, &z, progress, context, why);
	close(file.fd);
	return error;
}
