/*
 * random_msg.h - random legal messages, and a deep comparison: for tests of the codec and of whatever carries messages.
 */
#ifndef COPYHOLD_TESTS_RANDOM_MSG_H
#define COPYHOLD_TESTS_RANDOM_MSG_H

#include "common/base/prng.h"
#include "proto/msg.h"

/* A message with the memory behind its pointers; each array is a heap block of its own, of exact size. */
struct random_msg {
	struct msg msg;
	void *memory[16];
	size_t memory_count;
};

/* Every type of message, in ascending order. */
extern const enum msg_type random_msg_types[];
extern const size_t random_msg_type_count;

/*
 * A legal message of this type; about every fourth answer has a status other than OK, half of those an empty body.
 * Free it with random_msg_free.
 */
void random_msg_make(struct prng *prng, enum msg_type type, struct random_msg *out);
/* The largest legal message of its type: all arrays full, all numbers random over their whole range. */
void random_msg_make_largest(struct prng *prng, enum msg_type type, struct random_msg *out);
void random_msg_free(struct random_msg *random);

bool msg_type_is_answer(enum msg_type type);

/* NULL if a and b say the same, payload included; else the field that differs. */
const char *msg_difference(const struct msg *a, const struct msg *b);

#endif
