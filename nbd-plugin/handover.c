/* handover.c - see handover.h. */
#include "nbd-plugin/handover.h"

#include "common/io-ev/io_ev.h"
#include "common/trace/trace.h"

#include <errno.h>
#include <ev.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

struct handover {
	pthread_t thread;
	struct ev_loop *loop;
	struct ev_async wake;
	struct io_ev *io;
	struct engine *engine;
	pthread_mutex_t lock;
	STAILQ_HEAD(calls, call) queue; /* under lock */
	bool stop;                      /* under lock */
	bool stopping;                  /* the loop's */
};

static void stopped(void *context)
{
	struct handover *h = context;

	ev_break(h->loop, EVBREAK_ALL);
}

static void woken(struct ev_loop *loop, struct ev_async *wake, int events)
{
	struct handover *h = wake->data;
	struct calls calls = STAILQ_HEAD_INITIALIZER(calls);
	struct call *call;
	bool stop;

	(void)loop;
	(void)events;
	pthread_mutex_lock(&h->lock);
	STAILQ_CONCAT(&calls, &h->queue);
	stop = h->stop;
	pthread_mutex_unlock(&h->lock);
	while ((call = STAILQ_FIRST(&calls))) {
		STAILQ_REMOVE_HEAD(&calls, link);
		call->run(call, h->engine);
	}
	if (stop && !h->stopping) {
		h->stopping = true;
		engine_stop(h->engine, stopped, h);
	}
}

static void *run(void *context)
{
	struct handover *h = context;

	ev_run(h->loop, 0);
	engine_free(h->engine);
	io_ev_free(h->io);
	buf_pool_drain();
	return NULL;
}

static struct engine *make_engine(struct handover *h, const char *meta, uint64_t io_timeout_ns)
{
	struct engine_environment environment = {io_ev_clock(h->io), io_ev_transport(h->io)};
	struct engine_options options = {
		.meta = meta, .pid = (uint32_t)getpid(), .io_timeout_ns = io_timeout_ns};
	char host[NAME_BYTES] = "";
	uint64_t random[2];

	gethostname(host, sizeof host - 1);
	if (getrandom(random, sizeof random, 0) != sizeof random)
		abort(); /* can't happen for so few bytes (getrandom(2)) */
	options.host = host;
	options.instance = uuid_from_random(random[0], random[1]);
	return engine_new(&environment, &options);
}

int handover_start(const char *meta, uint64_t io_timeout_ns, struct handover **out)
{
	struct handover *h = xcalloc(1, sizeof *h);
	int error;

	h->loop = ev_loop_new(EVFLAG_AUTO);
	if (!h->loop) {
		free(h);
		return -EAGAIN;
	}
	h->io = io_ev_new(h->loop);
	STAILQ_INIT(&h->queue);
	pthread_mutex_init(&h->lock, NULL);
	ev_async_init(&h->wake, woken);
	h->wake.data = h;
	ev_async_start(h->loop, &h->wake);
	h->engine = make_engine(h, meta, io_timeout_ns);
	error = pthread_create(&h->thread, NULL, run, h);
	if (error) {
		engine_free(h->engine);
		io_ev_free(h->io);
		ev_loop_destroy(h->loop);
		free(h);
		return -error;
	}
	*out = h;
	return 0;
}

void handover_stop(struct handover *h)
{
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_mutex_unlock(&h->lock);
	ev_async_send(h->loop, &h->wake);
	pthread_join(h->thread, NULL);
	ev_loop_destroy(h->loop);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

int handover_call(struct handover *h, struct call *call)
{
	bool was_empty;

	sem_init(&call->ended, 0, 0);
	pthread_mutex_lock(&h->lock);
	was_empty = STAILQ_EMPTY(&h->queue);
	STAILQ_INSERT_TAIL(&h->queue, call, link);
	pthread_mutex_unlock(&h->lock);
	if (was_empty)
		ev_async_send(h->loop, &h->wake);
	while (sem_wait(&call->ended) < 0)
		assert(errno == EINTR);
	sem_destroy(&call->ended);
	return call->status;
}

void call_end(struct call *call, int status)
{
	call->status = status;
	sem_post(&call->ended);
}
