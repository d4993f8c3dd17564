/* test_replica_check.c - the verdicts on epochs and generations, as a table. */
#include "replica-engine/core/replica_check.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <stdlib.h>

static const struct {
	struct replica_standing at;
	uint64_t epoch, generation;
	enum replica_verdict write, other;
} cases[] = {
	/* seen fence base position          epoch generation */
	{{5, 5, 10, {5, 12}}, 5, 13, REPLICA_ACCEPT, REPLICA_ACCEPT},
	{{5, 5, 10, {5, 12}}, 5, 12, REPLICA_DUPLICATE, REPLICA_ACCEPT},
	{{5, 5, 10, {5, 12}}, 5, 11, REPLICA_DUPLICATE, REPLICA_ACCEPT},
	/* of an earlier epoch: not "applied already" */
	{{5, 5, 10, {5, 12}}, 5, 10, REPLICA_GAP, REPLICA_ACCEPT},
	{{5, 5, 10, {5, 12}}, 5, 1, REPLICA_GAP, REPLICA_ACCEPT},
	{{5, 5, 10, {5, 12}}, 5, 14, REPLICA_GAP, REPLICA_ACCEPT},
	{{5, 5, 10, {5, 12}}, 4, 13, REPLICA_FENCED, REPLICA_FENCED},
	{{5, 5, 10, {5, 12}}, 4, 11, REPLICA_FENCED, REPLICA_FENCED},
	/* an owner that never came with SYNC */
	{{5, 5, 10, {5, 12}}, 6, 13, REPLICA_GAP, REPLICA_GAP},
	/* a later epoch waits to be let in */
	{{6, 5, 10, {5, 12}}, 5, 13, REPLICA_FENCED, REPLICA_FENCED},
	{{6, 5, 10, {5, 12}}, 5, 12, REPLICA_FENCED, REPLICA_FENCED},
	{{6, 5, 10, {5, 12}}, 6, 13, REPLICA_GAP, REPLICA_GAP},
	{{7, 5, 10, {5, 12}}, 6, 13, REPLICA_FENCED, REPLICA_FENCED},
	/* nothing written in this epoch so far */
	{{6, 6, 12, {5, 12}}, 6, 13, REPLICA_ACCEPT, REPLICA_ACCEPT},
	{{6, 6, 12, {5, 12}}, 6, 12, REPLICA_GAP, REPLICA_ACCEPT},
	/* the fence was raised by the meta service: the base is still that of epoch 5 */
	{{6, 6, 10, {5, 12}}, 6, 11, REPLICA_GAP, REPLICA_ACCEPT},
	{{6, 6, 10, {5, 12}}, 6, 13, REPLICA_GAP, REPLICA_ACCEPT},
	/* a new replica */
	{{1, 1, 0, {0, 0}}, 1, 1, REPLICA_ACCEPT, REPLICA_ACCEPT},
	{{1, 1, 0, {0, 0}}, 1, 0, REPLICA_GAP, REPLICA_ACCEPT},
	{{1, 1, 0, {0, 0}}, 1, 2, REPLICA_GAP, REPLICA_ACCEPT},
	{{1, 1, 0, {0, 0}}, 1, UINT64_MAX, REPLICA_GAP, REPLICA_ACCEPT},
};

START_TEST(verdicts)
{
	ck_assert_int_eq(replica_check_write(&cases[_i].at, cases[_i].epoch, cases[_i].generation),
			 cases[_i].write);
	ck_assert_int_eq(replica_check_epoch(&cases[_i].at, cases[_i].epoch), cases[_i].other);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("replica_check");
	TCase *tcase = tcase_create("verdicts");

	tcase_add_loop_test(tcase, verdicts, 0, ARRAY_SIZE(cases));
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
