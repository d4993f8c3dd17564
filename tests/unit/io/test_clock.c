/* test_clock.c - the real clock: timers fire in order, never early, never from inside a call. */
#include "io_test.h"
#include "tests/lib/suite.h"

struct test_timer {
	struct io_timer timer;
	struct io_clock *clock;
	uint64_t end_ns;
	unsigned fired;
	unsigned order;
	bool early, again;
};

static struct ev_loop *loop;
static struct io_ev *io;
static struct io_clock *clk;
static unsigned fired_count;

static void setup(void)
{
	loop = ev_loop_new(EVFLAG_AUTO);
	io = io_ev_new(loop);
	clk = io_ev_clock(io);
	fired_count = 0;
}

static void teardown(void)
{
	io_ev_free(io);
	ev_loop_destroy(loop);
}

static void start(struct test_timer *t, uint64_t delay_ns);

static void fire(struct io_timer *timer)
{
	struct test_timer *t = container_of(timer, struct test_timer, timer);

	t->fired++;
	t->order = ++fired_count;
	if (t->clock->now_ns(t->clock) < t->end_ns)
		t->early = true;
	if (t->again) {
		t->again = false;
		start(t, NS_PER_MS);
		ck_assert_uint_eq(t->order, fired_count);
	}
}

static void start(struct test_timer *t, uint64_t delay_ns)
{
	t->clock = clk;
	t->timer.fire = fire;
	t->end_ns = clk->now_ns(clk) + delay_ns;
	clk->timer_start(clk, &t->timer, delay_ns);
}

START_TEST(time_goes_on)
{
	uint64_t before = clk->now_ns(clk);

	for (unsigned i = 0; i < 1000; i++) {
		uint64_t now = clk->now_ns(clk);

		ck_assert(now >= before);
		before = now;
	}
}
END_TEST

START_TEST(timers_fire_in_order_of_their_ends)
{
	struct test_timer t[3] = {0};

	start(&t[0], 30 * NS_PER_MS);
	start(&t[1], 0);
	start(&t[2], 10 * NS_PER_MS);
	ck_assert_uint_eq(fired_count, 0);
	run_until(loop, fired_count == 3);
	ck_assert_uint_eq(t[1].order, 1);
	ck_assert_uint_eq(t[2].order, 2);
	ck_assert_uint_eq(t[0].order, 3);
	ck_assert(!t[0].early && !t[1].early && !t[2].early);
}
END_TEST

/* libev counts from the start of the turn: after a long turn its timers alone would fire early. */
START_TEST(a_timer_started_late_in_a_turn_is_not_early)
{
	struct test_timer t = {0};
	uint64_t begin = clk->now_ns(clk);

	run_turns(loop, 1);
	while (clk->now_ns(clk) < begin + 40 * NS_PER_MS)
		;
	start(&t, 20 * NS_PER_MS);
	run_until(loop, t.fired);
	ck_assert(!t.early);
	ck_assert_uint_eq(t.fired, 1);
}
END_TEST

START_TEST(a_stopped_timer_does_not_fire)
{
	struct test_timer stopped = {0}, other = {0}, never = {0};

	clk->timer_stop(clk, &never.timer);
	start(&stopped, NS_PER_MS);
	start(&other, 5 * NS_PER_MS);
	clk->timer_stop(clk, &stopped.timer);
	clk->timer_stop(clk, &stopped.timer);
	run_until(loop, other.fired);
	ck_assert_uint_eq(stopped.fired, 0);
	start(&stopped, 0);
	run_until(loop, stopped.fired);
}
END_TEST

START_TEST(starting_again_replaces_the_end)
{
	struct test_timer moved = {0}, other = {0};

	start(&moved, NS_PER_MS);
	start(&moved, 20 * NS_PER_MS);
	start(&other, 5 * NS_PER_MS);
	run_until(loop, moved.fired);
	ck_assert_uint_eq(other.order, 1);
	ck_assert_uint_eq(moved.fired, 1);
	ck_assert(!moved.early);
}
END_TEST

START_TEST(a_timer_may_start_itself_again)
{
	struct test_timer t = {.again = true};

	start(&t, 0);
	run_until(loop, t.fired == 2);
}
END_TEST

START_TEST(random_bits_differ)
{
	uint64_t a = clk->random(clk), b = clk->random(clk), c = clk->random(clk);

	ck_assert(a != b && b != c && a != c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("clock");
	TCase *tcase = tcase_create("clock");

	tcase_set_timeout(tcase, HANG_S);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, time_goes_on);
	tcase_add_test(tcase, timers_fire_in_order_of_their_ends);
	tcase_add_test(tcase, a_timer_started_late_in_a_turn_is_not_early);
	tcase_add_test(tcase, a_stopped_timer_does_not_fire);
	tcase_add_test(tcase, starting_again_replaces_the_end);
	tcase_add_test(tcase, a_timer_may_start_itself_again);
	tcase_add_test(tcase, random_bits_differ);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
