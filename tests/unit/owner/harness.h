/*
 * harness.h - the owner core under a script: events in, its actions as one line of text each.
 *
 * A test reads as a story: what happened, then the exact list of things that the owner wants done.
 */
#ifndef COPYHOLD_TEST_OWNER_HARNESS_H
#define COPYHOLD_TEST_OWNER_HARNESS_H

#include "replica-engine/core/owner.h"

/* Its reads go to the first replica, if nothing speaks against that. */
#define TEST_CHUNK       UINT64_C(12)
#define TEST_CHUNK_BYTES (4 * MIB)
#define TEST_UNITS       (TEST_CHUNK_BYTES / UNIT_BYTES)

struct story {
	struct owner o;
	struct owner_update up;
	struct owner_peer peers[8]; /* cid 1 .. 7 */
	uint64_t now_ns;
	char trace[16384];
	uint64_t last_id[8][128]; /* the id of the last message of each type to each cid */
	struct msg_read last_read[8];
	struct version versions[TEST_UNITS];
	uint32_t crcs[IO_BLOCKS_MAX];
	struct owner_request requests[32];
	unsigned request_count;
	enum wire_status completed[32]; /* by request, WIRE_STATUS_COUNT: not yet */
	uint64_t last_floor;
};

void story_begin(struct story *s);
void story_end(struct story *s);
void story_peer_up(struct story *s, uint32_t cid);
void story_peer_down(struct story *s, uint32_t cid);
/* A heartbeat asked now is answered now, by all that are up. */
void story_heartbeats(struct story *s);
void story_wait_ms(struct story *s,
		   uint64_t ms); /* time passes, in ticks, with heartbeats of those that are up */
void story_wait_silent_ms(struct story *s, uint64_t ms); /* without heartbeats */

/* metad grants epoch with a list like "1A 2A 3F" (cid, state), list number and floor. */
void story_grant(struct story *s, uint64_t epoch, const char *list, uint64_t number,
		 uint64_t floor);
void story_list(struct story *s, const char *list, uint64_t number);
void story_changed(struct story *s, enum wire_status status, const char *list, uint64_t number);

void story_synced(struct story *s, uint32_t cid, uint64_t epoch, uint64_t generation,
		  uint64_t digest);
void story_synced_mending(struct story *s, uint32_t cid, uint64_t epoch, uint64_t generation,
			  uint64_t digest);
void story_answer(struct story *s, uint32_t cid, enum msg_type type, enum wire_status status);
void story_wrote(struct story *s, uint32_t cid, uint64_t generation, enum wire_status status);
void story_versions(struct story *s, uint32_t cid, uint64_t id_of_cid,
		    const struct version *versions);
void story_held(struct story *s, uint32_t cid, unsigned first, unsigned count, uint64_t free_bytes);
void story_invalidated(struct story *s, uint32_t cid, unsigned first, unsigned count);
/* Answers the last READ to cid with blocks that hold the byte; bad: bit mask of blocks whose data is damaged. */
void story_read(struct story *s, uint32_t cid, uint8_t byte, uint32_t bad);
void story_read_version(struct story *s, uint32_t cid, uint8_t byte, uint32_t bad,
			struct version version);
void story_read_status(struct story *s, uint32_t cid, enum wire_status status);

/* A request; gives its index. */
unsigned story_write(struct story *s, uint32_t offset, uint32_t bytes, uint8_t byte);
unsigned story_request(struct story *s, enum owner_operation operation, uint32_t offset,
		       uint32_t bytes);

/* The actions of all events since the last expectation, "; " between them. */
void story_expect(struct story *s, const char *expected, const char *file, int line);
#define EXPECT(s, expected) story_expect(s, expected, __FILE__, __LINE__)
/* Forgets what happened so far: for parts of a story that another test has told. */
void story_skip(struct story *s);

/* Epoch 5 of this list (number 3) is granted, and its first replicas have answered SYNC, all at 4.10. */
void story_level(struct story *s, const char *list, uint32_t replicas);
/* To the phase IO with replicas 1, 2, 3 at generation 10, epoch 5, list 3. */
void story_io(struct story *s);

/* Boilerplate of a test program; it includes tests/lib/suite.h. */
#define STORY_MAIN(suite_name, ...)                                                                \
	int main(void)                                                                             \
	{                                                                                          \
		const TTest *const tests[] = {__VA_ARGS__};                                        \
		Suite *suite = suite_create(suite_name);                                           \
		TCase *tc = tcase_create("stories");                                               \
                                                                                                   \
		tcase_add_tests(tc, tests, ARRAY_SIZE(tests));                                     \
		suite_add_tcase(suite, tc);                                                        \
		return suite_run(suite);                                                           \
	}

#endif
