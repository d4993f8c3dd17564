/*
 * test_handover.c - calls from many threads to the engine's one: each is run once, on that thread, and ends once, with its
 * own status. Under ThreadSanitizer too (scripts/check tsan): the hand-over is all that keeps the threads apart.
 */
#include "nbd-plugin/handover.c" /* the plugin's archive needs nbdkit around it */

#include <check.h>

#include "tests/lib/suite.h"

#define THREADS          8
#define CALLS_PER_THREAD 1000
/* Nobody listens there: the engine goes on looking for a metad. */
#define META "127.0.0.1:1"

static struct handover *handover;

static void setup(void)
{
	trace_limit = TRACE_ERROR;
	ck_assert_int_eq(handover_start(META, 0, &handover), 0);
}

static void teardown(void)
{
	handover_stop(handover);
}

/* What belongs to the loop's thread: no lock. */
static struct loop_state {
	pthread_t thread;
	uint64_t runs;
	struct number_call *held;
} loop_state;

struct number_call {
	struct call call;
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
	if (loop_state.runs++ == 0)
		loop_state.thread = pthread_self();
	ck_assert(pthread_equal(loop_state.thread, pthread_self()));
	n->ran++;
	held = loop_state.held;
	loop_state.held = n->hold ? n : NULL;
	if (held)
		end(held);
	if (!n->hold)
		end(n);
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

START_TEST(it_stops_whatever_the_engine_is_doing)
{
	struct handover *h;
	struct number_call n = {.call.run = run_number, .number = 3};

	memset(&loop_state, 0, sizeof loop_state);
	ck_assert_int_eq(handover_start(META, 0, &h), 0);
	if (_i % 2)
		ck_assert_int_eq(handover_call(h, &n.call), -3);
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
	tcase_add_loop_test(tcase, it_stops_whatever_the_engine_is_doing, 0, 6);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
