/*
 * test_handover.c - calls from many threads to one engine: each is run once, by the driver, and ends once, with its own status; one
 * thread drives at a time, and one always does when something is to be done. Under ThreadSanitizer too (scripts/check tsan): the
 * hand-over is all that keeps the threads apart.
 */
#include "nbd-plugin/handover.c" /* the plugin's archive needs nbdkit around it */

#include <check.h>
#include <semaphore.h>

#include "tests/lib/suite.h"

/* More than the bits of the futex on which they sleep. */
#define THREADS          40
#define CALLS_PER_THREAD 400
/* Nobody listens there: the engine goes on looking for a metad. */
#define META "127.0.0.1:1"

static struct handover *handover;

static void setup(void)
{
	trace_limit = TRACE_ERROR;
	ck_assert_int_eq(handover_start(META, 0, &handover), 0);
}

/* What belongs to the driver: no lock. */
static struct loop_state {
	uint64_t runs, own_runs; /* own: by the thread that calls */
	struct number_call *held;
	struct buf *buf; /* allocated by one driver, freed by the next */
	bool inside;
} loop_state;

struct number_call {
	struct call call;
	pthread_t thread;
	int number;
	bool hold;    /* ends with the next call only */
	unsigned ran; /* times */
};

static void end(struct number_call *n)
{
	call_end(&n->call, -n->number);
}

static void run_number(struct call *call, struct engine *engine)
{
	struct number_call *n = container_of(call, struct number_call, call), *held;

	ck_assert_ptr_nonnull(engine);
	ck_assert(!loop_state.inside);
	loop_state.inside = true;
	loop_state.runs++;
	if (pthread_equal(n->thread, pthread_self()))
		loop_state.own_runs++;
	n->ran++;
	buf_unref(loop_state.buf);
	loop_state.buf = loop_state.runs % 3 ? buf_new(BLOCK_BYTES) : NULL;
	held = loop_state.held;
	loop_state.held = n->hold ? n : NULL;
	loop_state.inside = false;
	if (held)
		end(held);
	if (!n->hold)
		end(n);
}

static void free_buf(struct call *call, struct engine *engine)
{
	(void)engine;
	buf_unref(loop_state.buf);
	loop_state.buf = NULL;
	call_end(call, 0);
}

static void teardown(void)
{
	struct call last = {.run = free_buf};

	handover_call(handover, &last);
	handover_stop(handover);
}

struct caller {
	pthread_t thread;
	int number;
	bool hold;
};

/* Numbers differ between threads: a status that went astray shows. */
static void *call_often(void *context)
{
	const struct caller *caller = context;

	for (int i = 0; i < CALLS_PER_THREAD; i++) {
		struct number_call n = {.call.run = run_number,
					.thread = pthread_self(),
					.number = caller->number * CALLS_PER_THREAD + i,
					.hold = caller->hold && i % 4 == 0};

		ck_assert_int_eq(handover_call(handover, &n.call), -n.number);
		ck_assert_uint_eq(n.ran, 1);
	}
	return NULL;
}

/* The last caller never holds and goes on until the others have ended: nobody waits for ever. */
START_TEST(calls_of_many_threads_end_once_each)
{
	struct caller callers[THREADS];
	struct number_call last = {.call.run = run_number, .number = 1};

	memset(&loop_state, 0, sizeof loop_state);
	for (int i = 0; i < THREADS; i++) {
		callers[i].number = i;
		callers[i].hold =
			i == 0; /* one at most is held at a time: the others set it free */
		ck_assert_int_eq(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]),
				 0);
	}
	for (int i = 1; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(callers[i].thread, NULL), 0);
	/* The holder may have calls left, each waiting for another one. */
	while (pthread_tryjoin_np(callers[0].thread, NULL) != 0)
		ck_assert_int_eq(handover_call(handover, &last.call), -1);
	ck_assert_uint_ge(loop_state.runs, THREADS * CALLS_PER_THREAD);
}
END_TEST

static void call_alone(void)
{
	for (int i = 0; i < CALLS_PER_THREAD; i++) {
		struct number_call n = {
			.call.run = run_number, .thread = pthread_self(), .number = i};

		ck_assert_int_eq(handover_call(handover, &n.call), -i);
	}
}

/* The first call meets the background; those that follow closely are run, and driven, by the caller itself. */
START_TEST(a_caller_that_is_alone_drives_itself)
{
	memset(&loop_state, 0, sizeof loop_state);
	call_alone();
	ck_assert_uint_eq(loop_state.runs, CALLS_PER_THREAD);
	ck_assert_uint_gt(loop_state.own_runs, CALLS_PER_THREAD / 4);
}
END_TEST

struct timer_call {
	struct call call;
	ev_timer timer;
	bool ends_at_once; /* the timer posts `fired`, long after; else it ends the call */
	sem_t fired;
};

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct timer_call *t = timer->data;

	(void)loop;
	(void)events;
	if (t->ends_at_once)
		sem_post(&t->fired);
	else
		call_end(&t->call, 0);
}

static void start_timer(struct call *call, struct engine *engine)
{
	struct timer_call *t = container_of(call, struct timer_call, call);

	(void)engine;
	ev_timer_init(&t->timer, on_timer, 0.02, 0.);
	t->timer.data = t;
	ev_timer_start(handover->loop, &t->timer);
	if (t->ends_at_once)
		call_end(call, 0);
}

/* Nobody calls any more: the background goes on, within its look. */
START_TEST(the_loop_goes_on_when_callers_have_left)
{
	struct timer_call t = {.call.run = start_timer, .ends_at_once = true};

	sem_init(&t.fired, 0, 0);
	for (int i = 0; i < 10; i++) {
		call_alone();
		ck_assert_int_eq(handover_call(handover, &t.call), 0);
		while (sem_wait(&t.fired) < 0)
			ck_assert_int_eq(errno, EINTR);
	}
	sem_destroy(&t.fired);
}
END_TEST

static void *call_timer(void *context)
{
	struct timer_call t = {.call.run = start_timer};

	(void)context;
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(handover_call(handover, &t.call), 0);
	return NULL;
}

/* Whoever drives and is done leaves others behind, whose calls end later. */
START_TEST(those_who_are_left_behind_end_too)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, call_timer, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}
END_TEST

START_TEST(it_stops_whatever_the_engine_is_doing)
{
	struct handover *h;
	struct number_call n = {.call.run = run_number, .number = 3};
	struct call last = {.run = free_buf};

	memset(&loop_state, 0, sizeof loop_state);
	ck_assert_int_eq(handover_start(META, 0, &h), 0);
	for (int i = 0; i < _i; i++)
		ck_assert_int_eq(handover_call(h, &n.call), -3);
	ck_assert_int_eq(handover_call(h, &last), 0);
	handover_stop(h);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("handover");
	TCase *tcase = tcase_create("handover");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 300);
	tcase_add_test(tcase, calls_of_many_threads_end_once_each);
	tcase_add_test(tcase, a_caller_that_is_alone_drives_itself);
	tcase_add_test(tcase, the_loop_goes_on_when_callers_have_left);
	tcase_add_test(tcase, those_who_are_left_behind_end_too);
	tcase_add_loop_test(tcase, it_stops_whatever_the_engine_is_doing, 0, 6);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
