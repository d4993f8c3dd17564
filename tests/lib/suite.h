/*
 * suite.h - how a unit test program ends: it runs its suite and tells by its exit status whether all passed.
 */
#ifndef COPYHOLD_TESTS_SUITE_H
#define COPYHOLD_TESTS_SUITE_H

#include <check.h>
#include <stddef.h>
#include <stdlib.h>

static inline void tcase_add_tests(TCase *tcase, const TTest *const *tests, size_t count)
{
	for (size_t i = 0; i < count; i++)
		tcase_add_test(tcase, tests[i]);
}

/* Runs and frees the suite; its exit status. CK_VERBOSITY and CK_RUN_CASE count, as Check's manual has them. */
static inline int suite_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
