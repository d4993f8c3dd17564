/*
 * client.h - requests to the meta service: one connection, one MSG_ADMIN, one answer, over the same transport and codec
 * as everybody.
 */
#ifndef COPYHOLD_CTL_CLIENT_H
#define COPYHOLD_CTL_CLIENT_H

#include "meta-service/ctl/command.h"

/*
 * Where the meta service is: --meta, COPYHOLD_META, the configuration file, else the playground in the default directory.
 * NULL: nowhere, and the failure was told.
 */
const char *client_meta(const struct invocation *invocation);

/*
 * Sends verb with arguments (the reference is taken) to the first metad of the list that answers and leads. EXIT_CODE_OK and
 * the answer, which the caller owns; else the failure was told.
 */
enum exit_code client_request(const struct invocation *invocation, const char *verb,
			      json_t *arguments, json_t **answer);
/* The same, but the answer is only printed, when --json asks for that: *answer is NULL then. */
enum exit_code client_request_or_print(const struct invocation *invocation, const char *verb,
				       json_t *arguments, json_t **answer);

/* Without a word to anybody: the answer of the metads of a list, or NULL. Takes the reference to arguments. */
json_t *client_ask_quietly(const char *meta, const char *verb, json_t *arguments);

/* Members of an answer; a missing one, or one of another type, is 0, "" or NULL: old and new programs may meet. */
uint64_t json_u64(const json_t *object, const char *name);
const char *json_text(const json_t *object, const char *name);
bool json_is_set(const json_t *object, const char *name);

#endif
