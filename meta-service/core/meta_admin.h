/* meta_admin.h - what the files behind the admin verbs share. */
#ifndef COPYHOLD_META_ADMIN_H
#define COPYHOLD_META_ADMIN_H

#include "meta-service/core/meta_internal.h"

#include <jansson.h>

/* One request. A verb returns a document, or NULL after admin_refuse(call->result, ...). */
struct admin_call {
	json_t *args;
	struct admin_result *result;
};

/* Arguments by key: an absent one leaves *out as it is. False after a refusal. */
bool args_text(const struct admin_call *call, const char *key, const char **out);
bool args_number(const struct admin_call *call, const char *key, uint64_t most, uint64_t *out);
bool args_flag(const struct admin_call *call, const char *key, bool *out);
/* Refuses if it is absent. */
bool args_need(const struct admin_call *call, const char *key);

/* New documents; the caller owns the reference. */
json_t *show_volume(const struct meta *meta, const struct volume *volume);
json_t *show_server(const struct meta *meta, const struct server *server);
json_t *show_chunk(const struct meta *meta, const struct chunk *chunk);
const char *chunk_state_name(enum chunk_health health);
/* The volume that call names; NULL after a refusal. */
struct volume *admin_find_volume(const struct meta *meta, const struct admin_call *call);
/* What call is limited to: the volume and the chunk that it names, or NULL and 0 for all. False after a refusal. */
bool admin_find_scope(const struct meta *meta, const struct admin_call *call,
		      const struct volume **volume, uint64_t *chunk);

json_t *admin_volume_list(struct meta *meta, const struct admin_call *call);
json_t *admin_volume_show(struct meta *meta, const struct admin_call *call);
json_t *admin_server_list(struct meta *meta, const struct admin_call *call);
json_t *admin_server_show(struct meta *meta, const struct admin_call *call);
json_t *admin_chunk_list(struct meta *meta, const struct admin_call *call);
json_t *admin_chunk_show(struct meta *meta, const struct admin_call *call);
json_t *admin_chunk_check(struct meta *meta, const struct admin_call *call);
/* What is known of its scrubs. */
json_t *show_scrub(const struct meta *meta, const struct chunk *chunk);
json_t *admin_chunk_scrub(struct meta *meta, const struct admin_call *call);
json_t *admin_job_list(struct meta *meta, const struct admin_call *call);
json_t *admin_job_show(struct meta *meta, const struct admin_call *call);
json_t *admin_job_cancel(struct meta *meta, const struct admin_call *call);
json_t *admin_job_pause(struct meta *meta, const struct admin_call *call);
json_t *admin_job_resume(struct meta *meta, const struct admin_call *call);
json_t *admin_status(struct meta *meta, const struct admin_call *call);

#endif
