/*
 * disk.c - requests through io_uring.
 *
 *   submit --> waiting --(kick: end of the turn, as long as the ring has room)--> ring --> reap --> done()
 *        \---> finished (refused, or nothing to do) --------------------------------------^
 *
 * The kick is an event that submit feeds to libev at a low priority: it runs behind all that happens in the wake-up, so
 * that one system call takes everything, and the transport's flush comes after it. Only when KICK_READS reads wait is the
 * kernel told at once: the device works on them while the loop goes through the rest of what came in. Writes wait for
 * the turn's end, where the store has put together what it can.
 *
 * The ring's own descriptor is what libev watches; it is readable as long as there are completions, so that no eventfd has to be
 * read besides. With IORING_SETUP_DEFER_TASKRUN it would not be: the descriptor tells of completions only once the loop has entered
 * the kernel to have them made.
 *
 * LAZY requests have a ring of their own, whose completions wake nobody. What waits is handed over, and what is complete looked
 * for, each time the loop is about to sleep, behind the transport's flush; if nothing else wakes it, after LAZY_S.
 *
 * A small DURABLE write that is alone, as those before it were, is done in place by pwritev2: the loop has nothing else to do, and
 * two wake-ups are saved (the kernel's worker's, and the loop's), which are a tenth of a lone write where cores idle. Not while
 * the device is slow: the loop stands still for as long as the write takes.
 *
 * In request->implementation: how much of the request is done, the iovec of the rest if a transfer was short, and how
 * often the kernel asked to try again.
 */
#include "common/io-uring/internal.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define RING_ENTRIES 128
#define TRIES_MAX    100
/* So many reads make a system call worth its price (0.3 of 3 us each); 2 to 8 differ little. */
#define KICK_READS 4
/* How long to leave the kernel alone when it cannot take requests (no memory). */
#define RETRY_S 0.001
#define LAZY_S  0.002
/* In place: at most so much, behind so many that were alone; after one that took so long, not for so many. */
#define IN_PLACE_BYTES   (16 * KIB)
#define IN_PLACE_BEHIND  8
#define IN_PLACE_SLOW_NS (3 * NS_PER_MS)
#define IN_PLACE_PAUSE   64

STAILQ_HEAD(request_list, io_disk_request);

/* A ring, how many requests it holds, and what waits for it. */
struct lane {
	struct io_uring ring;
	unsigned in_ring;
	struct request_list waiting;
	unsigned reads_waiting;
};

struct uring_disk {
	struct io_disk disk;
	struct ev_loop *loop;
	int fd;
	struct lane urgent, lazy;
	int alone; /* durable writes that were, one behind the other; negative: how many more are not done in place */
	struct request_list finished;
	ev_io ready;
	ev_prepare before_sleep;
	ev_timer lazy_timer;
	ev_watcher kick, finish;
	ev_timer retry;
};

struct progress {
	uint64_t done_bytes;
	struct iovec *rest; /* allocated; NULL: the user's iov from the beginning */
	int rest_count;
	int tries;
};

static_assert(sizeof(struct progress) <= sizeof(((struct io_disk_request *)0)->implementation),
	      "io_disk_request has no room for the progress");

static struct progress *progress_of(struct io_disk_request *request)
{
	return (struct progress *)(void *)request->implementation;
}

static struct uring_disk *uring_of(struct io_disk *disk)
{
	return container_of(disk, struct uring_disk, disk);
}

/* A READ of nothing: the user wants to be called from the loop. It takes its turn among the others. */
static bool is_call_back(const struct io_disk_request *request)
{
	return request->op == IO_DISK_READ && request->bytes == 0;
}

/* ---- submitting ---- */

static void assert_well_formed(const struct io_disk *disk, const struct io_disk_request *request)
{
	uint64_t sum = 0;

	assert(request->done);
	if (request->op == IO_DISK_SYNC || is_call_back(request))
		return;
	assert(request->bytes > 0);
	assert(request->offset % disk->block_bytes == 0 && request->bytes % disk->block_bytes == 0);
	if (request->op == IO_DISK_DISCARD)
		return;
	assert(request->iov_count > 0 && request->iov_count <= IOV_MAX);
	for (int i = 0; i < request->iov_count; i++) {
		assert(request->iov[i].iov_len % disk->block_bytes == 0);
		assert((uintptr_t)request->iov[i].iov_base % disk->block_bytes == 0);
		sum += request->iov[i].iov_len;
	}
	assert(sum == request->bytes);
}

static bool in_range(const struct io_disk *disk, const struct io_disk_request *request)
{
	return request->op == IO_DISK_SYNC ||
	       (request->offset <= disk->size_bytes &&
		request->bytes <= disk->size_bytes - request->offset);
}

static void finish_later(struct uring_disk *u, struct io_disk_request *request, int result)
{
	request->result = result;
	STAILQ_INSERT_TAIL(&u->finished, request, link);
	ev_feed_event(u->loop, &u->finish, EV_CUSTOM);
}

static void hand_over(struct uring_disk *u, struct lane *lane);

static void wait_for_kick(struct uring_disk *u, struct io_disk_request *request)
{
	struct lane *lane = request->flags & IO_DISK_LAZY ? &u->lazy : &u->urgent;

	STAILQ_INSERT_TAIL(&lane->waiting, request, link);
	lane->reads_waiting += request->op == IO_DISK_READ;
	if (lane == &u->lazy)
		return;
	if (lane->reads_waiting >= KICK_READS)
		hand_over(u, lane);
	if (!STAILQ_EMPTY(&lane->waiting))
		ev_feed_event(u->loop, &u->kick, EV_CUSTOM);
}

static void disk_submit(struct io_disk *disk, struct io_disk_request *request)
{
	struct uring_disk *u = uring_of(disk);

	assert_well_formed(disk, request);
	memset(request->implementation, 0, sizeof request->implementation);
	if (!in_range(disk, request))
		finish_later(u, request, -EINVAL);
	else if (request->op == IO_DISK_SYNC && disk->power_loss_protected)
		finish_later(u, request, 0);
	else
		wait_for_kick(u, request);
}

static void on_finish(struct ev_loop *loop, ev_watcher *watcher, int events)
{
	struct uring_disk *u = watcher->data;
	struct request_list now = STAILQ_HEAD_INITIALIZER(now);
	struct io_disk_request *request;

	(void)loop;
	(void)events;
	STAILQ_CONCAT(&now, &u->finished);
	while ((request = STAILQ_FIRST(&now))) {
		STAILQ_REMOVE_HEAD(&now, link);
		request->done(request);
	}
}

static void prepare_transfer(struct uring_disk *u, struct io_uring_sqe *sqe,
			     struct io_disk_request *request)
{
	const struct progress *p = progress_of(request);
	const struct iovec *iov = p->rest ? p->rest : request->iov;
	unsigned count = (unsigned)(p->rest ? p->rest_count : request->iov_count);
	uint64_t offset = request->offset + p->done_bytes;

	if (is_call_back(request))
		io_uring_prep_nop(sqe);
	else if (request->op == IO_DISK_READ && count == 1)
		io_uring_prep_read(sqe, u->fd, iov->iov_base, (unsigned)iov->iov_len, offset);
	else if (request->op == IO_DISK_READ)
		io_uring_prep_readv(sqe, u->fd, iov, count, offset);
	else if (count == 1)
		io_uring_prep_write(sqe, u->fd, iov->iov_base, (unsigned)iov->iov_len, offset);
	else
		io_uring_prep_writev(sqe, u->fd, iov, count, offset);
	if (request->op == IO_DISK_WRITE && (request->flags & IO_DISK_DURABLE) &&
	    !u->disk.power_loss_protected)
		sqe->rw_flags = RWF_DSYNC;
}

static void prepare(struct uring_disk *u, struct io_uring_sqe *sqe, struct io_disk_request *request)
{
	switch (request->op) {
	case IO_DISK_READ:
	case IO_DISK_WRITE:
		prepare_transfer(u, sqe, request);
		break;
	case IO_DISK_SYNC:
		io_uring_prep_fsync(sqe, u->fd, IORING_FSYNC_DATASYNC);
		break;
	case IO_DISK_DISCARD:
		/* On a block device the kernel turns this into a discard that leaves zeros, or says EOPNOTSUPP. */
		io_uring_prep_fallocate(sqe, u->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					(off_t)request->offset, (off_t)request->bytes);
		break;
	}
	io_uring_sqe_set_data(sqe, request);
}

/* Moves what waits into the ring, as far as it has room, and tells the kernel. */
static void hand_over(struct uring_disk *u, struct lane *lane)
{
	struct io_disk_request *request;
	int taken = 0;

	while (lane->in_ring < RING_ENTRIES && (request = STAILQ_FIRST(&lane->waiting))) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&lane->ring);

		if (!sqe)
			break;
		STAILQ_REMOVE_HEAD(&lane->waiting, link);
		lane->reads_waiting -= request->op == IO_DISK_READ;
		prepare(u, sqe, request);
		lane->in_ring++;
	}
	while (taken >= 0 && io_uring_sq_ready(&lane->ring) > 0)
		taken = io_uring_submit(&lane->ring);
	if (taken < 0 && !ev_is_active(&u->retry)) {
		ev_timer_set(&u->retry, RETRY_S, 0.);
		ev_timer_start(u->loop, &u->retry);
	}
}

/* ---- in place ---- */

/* The write to do in place, taken from what waits, or NULL. */
static struct io_disk_request *lone_write(struct uring_disk *u)
{
	struct io_disk_request *request = STAILQ_FIRST(&u->urgent.waiting);

	if (!request || is_call_back(request))
		return NULL;
	if (STAILQ_NEXT(request, link) || u->urgent.in_ring || request->op != IO_DISK_WRITE ||
	    !(request->flags & IO_DISK_DURABLE) || request->bytes > IN_PLACE_BYTES ||
	    progress_of(request)->tries || progress_of(request)->rest) {
		u->alone = MIN(u->alone, 0);
		return NULL;
	}
	if (u->alone < IN_PLACE_BEHIND) {
		u->alone++;
		return NULL;
	}
	STAILQ_REMOVE_HEAD(&u->urgent.waiting, link);
	return request;
}

static uint64_t now_ns(void)
{
	struct timespec now;
	int rc = clock_gettime(CLOCK_MONOTONIC, &now);

	assert(rc == 0);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void complete(struct uring_disk *u, struct io_disk_request *request, int res);

static void write_in_place(struct uring_disk *u, struct io_disk_request *request)
{
	uint64_t began_ns = now_ns();
	ssize_t written = pwritev2(u->fd, request->iov, request->iov_count, (off_t)request->offset,
				   u->disk.power_loss_protected ? 0 : RWF_DSYNC);
	int res = written < 0 ? -errno : (int)written;

	if (now_ns() - began_ns > IN_PLACE_SLOW_NS)
		u->alone = -IN_PLACE_PAUSE;
	complete(u, request, res);
}

static void on_kick(struct ev_loop *loop, ev_watcher *watcher, int events)
{
	struct uring_disk *u = watcher->data;
	struct io_disk_request *alone = lone_write(u);

	(void)loop;
	(void)events;
	if (alone)
		write_in_place(u, alone);
	else
		hand_over(u, &u->urgent);
}

static void on_retry(struct ev_loop *loop, ev_timer *watcher, int events)
{
	struct uring_disk *u = watcher->data;

	(void)loop;
	(void)events;
	hand_over(u, &u->urgent);
}

/* ---- completing ---- */

/* Skips what is done; from then on the request has an iovec of its own. Seldom: the rest of a short transfer. */
static void keep_rest(struct io_disk_request *request, uint64_t bytes)
{
	struct progress *p = progress_of(request);
	int first = 0;

	if (!p->rest) {
		p->rest_count = request->iov_count;
		p->rest = xmalloc((size_t)p->rest_count * sizeof *p->rest);
		memcpy(p->rest, request->iov, (size_t)p->rest_count * sizeof *p->rest);
	}
	p->done_bytes += bytes;
	while (bytes >= p->rest[first].iov_len)
		bytes -= p->rest[first++].iov_len;
	p->rest_count -= first;
	memmove(p->rest, p->rest + first, (size_t)p->rest_count * sizeof *p->rest);
	p->rest[0].iov_base = (uint8_t *)p->rest[0].iov_base + bytes;
	p->rest[0].iov_len -= bytes;
}

/* What a completion means: 0, a negative errno, or 1 if the request must go on. */
static int judge(const struct uring_disk *u, struct io_disk_request *request, int res)
{
	struct progress *p = progress_of(request);
	uint64_t left = request->bytes - p->done_bytes;

	if ((res == -EINTR || res == -EAGAIN) && ++p->tries < TRIES_MAX)
		return 1;
	if (request->op == IO_DISK_DISCARD && res == -EOPNOTSUPP)
		return 0; /* the space stays taken; its content is undefined anyway */
	if (res < 0 || request->op == IO_DISK_SYNC || request->op == IO_DISK_DISCARD)
		return res;
	if ((uint64_t)res == left)
		return 0;
	/* Short: nothing at the end of the file; direct IO cannot go on in the middle of a block. */
	if (res == 0 || (uint64_t)res > left || (uint32_t)res % u->disk.block_bytes)
		return -EIO;
	keep_rest(request, (uint64_t)res);
	return 1;
}

static void complete(struct uring_disk *u, struct io_disk_request *request, int res)
{
	int result = judge(u, request, res);

	if (result > 0) {
		wait_for_kick(u, request);
		return;
	}
	free(progress_of(request)->rest);
	request->result = result;
	request->done(request);
}

static void reap(struct uring_disk *u, struct lane *lane)
{
	struct io_uring_cqe *cqes[RING_ENTRIES];
	unsigned count = io_uring_peek_batch_cqe(&lane->ring, cqes, RING_ENTRIES);

	for (unsigned i = 0; i < count; i++) {
		struct io_disk_request *request = io_uring_cqe_get_data(cqes[i]);

		assert(lane->in_ring > 0);
		lane->in_ring--;
		complete(u, request, cqes[i]->res);
	}
	io_uring_cq_advance(&lane->ring, count);
}

static void on_ready(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct uring_disk *u = watcher->data;

	(void)events;
	reap(u, &u->urgent);
	if (!STAILQ_EMPTY(&u->urgent.waiting))
		ev_feed_event(loop, &u->kick, EV_CUSTOM);
}

static void on_before_sleep(struct ev_loop *loop, ev_prepare *watcher, int events)
{
	struct uring_disk *u = watcher->data;

	(void)events;
	if (u->lazy.in_ring)
		reap(u, &u->lazy);
	hand_over(u, &u->lazy);
	if (u->lazy.in_ring && !ev_is_active(&u->lazy_timer)) {
		ev_timer_set(&u->lazy_timer, LAZY_S, 0.);
		ev_timer_start(loop, &u->lazy_timer);
	}
}

/* It has woken the loop, which looks before it sleeps again. */
static void on_lazy_timer(struct ev_loop *loop, ev_timer *watcher, int events)
{
	(void)loop;
	(void)watcher;
	(void)events;
}

/* ---- opening and closing ---- */

static void watch(struct uring_disk *u)
{
	ev_io_init(&u->ready, on_ready, u->urgent.ring.ring_fd, EV_READ);
	ev_init(&u->kick, on_kick);
	ev_set_priority(&u->kick, EV_MINPRI + 1);
	ev_init(&u->finish, on_finish);
	ev_init(&u->retry, on_retry);
	ev_prepare_init(&u->before_sleep, on_before_sleep);
	ev_init(&u->lazy_timer, on_lazy_timer);
	u->ready.data = u->kick.data = u->finish.data = u->retry.data = u->before_sleep.data = u;
	ev_io_start(u->loop, &u->ready);
	ev_prepare_start(u->loop, &u->before_sleep);
}

static int rings_open(struct uring_disk *u, char why[IO_URING_WHY_BYTES])
{
	int error = ring_open(&u->urgent.ring, RING_ENTRIES, why);

	if (error)
		return error;
	error = ring_open_silent(&u->lazy.ring, RING_ENTRIES, why);
	if (error)
		io_uring_queue_exit(&u->urgent.ring);
	return error;
}

int io_uring_disk_open(struct ev_loop *loop, const char *path,
		       const struct io_uring_disk_options *options, struct io_disk **disk,
		       char why[IO_URING_WHY_BYTES])
{
	struct opened_file file;
	struct uring_disk *u;
	int error = file_open(path, options->read_only, &file, why);

	if (error)
		return error;
	u = xcalloc(1, sizeof *u);
	error = rings_open(u, why);
	if (error) {
		close(file.fd);
		free(u);
		return error;
	}
	u->disk.size_bytes = file.size_bytes;
	u->disk.block_bytes = file.block_bytes;
	u->disk.power_loss_protected = options->power_loss_protected && file.block_device;
	u->disk.submit = disk_submit;
	u->loop = loop;
	u->fd = file.fd;
	STAILQ_INIT(&u->urgent.waiting);
	STAILQ_INIT(&u->lazy.waiting);
	STAILQ_INIT(&u->finished);
	watch(u);
	*disk = &u->disk;
	return 0;
}

void io_uring_disk_close(struct io_disk *disk)
{
	struct uring_disk *u = uring_of(disk);

	assert(u->urgent.in_ring == 0 && STAILQ_EMPTY(&u->urgent.waiting));
	assert(u->lazy.in_ring == 0 && STAILQ_EMPTY(&u->lazy.waiting));
	assert(STAILQ_EMPTY(&u->finished));
	ev_io_stop(u->loop, &u->ready);
	ev_prepare_stop(u->loop, &u->before_sleep);
	ev_timer_stop(u->loop, &u->retry);
	ev_timer_stop(u->loop, &u->lazy_timer);
	ev_clear_pending(u->loop, &u->kick);
	ev_clear_pending(u->loop, &u->finish);
	io_uring_queue_exit(&u->urgent.ring);
	io_uring_queue_exit(&u->lazy.ring);
	close(u->fd);
	free(u);
}
