/* test_crash.c - the crash tests' short fixed run; `make check-crash` is the long one. */
#include "replica-engine/store/layout.h"
#include "tests/lib/store_crash.h"
#include "tests/lib/suite.h"

#include <check.h>

START_TEST(test_crash)
{
	struct crash_options options = {
		.seed = 1000 + (uint64_t)_i,
		.operations = 60,
		.depth = 1 + (unsigned)_i * 3,
		.mixes = 1,
		.tears = 1,
		.every = 2,
		.metadata_memory_bytes = _i % 3 ? 0 : (1 + (uint64_t)_i / 3) * PAGE_BYTES,
		.rounds = 2,
	};
	struct crash_result result;

	crash_run(&options, &result);
	ck_assert_msg(!result.problem[0], "%s", result.problem);
	ck_assert_uint_gt(result.states, 50);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store crash");
	TCase *t = tcase_create("crash");

	tcase_set_timeout(t, 0);
	tcase_add_loop_test(t, test_crash, 0, 6);
	suite_add_tcase(suite, t);
	return suite_run(suite);
}
