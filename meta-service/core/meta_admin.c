/*
 * meta_admin.c - what copyhold(1) asks for: verbs with JSON arguments, answered by a JSON document.
 *
 * A verb names the arguments that it knows; anything else is refused, so that a misspelt one is never ignored. An error is a
 * document too, {"error":{"code","message","hint"}}, and the frame's status says the same as its code.
 */
#include "meta-service/core/meta_admin.h"

#include <stdlib.h>

bool args_text(const struct admin_call *call, const char *key, const char **out)
{
	const json_t *value = json_object_get(call->args, key);

	if (!value || json_is_null(value))
		return true;
	*out = json_string_value(value);
	if (!*out)
		admin_refuse(call->result, WIRE_BAD_REQUEST, "Give a string",
			     "Argument \"%s\" is not a string", key);
	return *out != NULL;
}

bool args_number(const struct admin_call *call, const char *key, uint64_t most, uint64_t *out)
{
	const json_t *value = json_object_get(call->args, key);

	if (!value || json_is_null(value))
		return true;
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    (uint64_t)json_integer_value(value) > most) {
		admin_refuse(call->result, WIRE_BAD_REQUEST, "Give a whole number in that range",
			     "Argument \"%s\" is not a whole number from 0 to %" PRIu64, key, most);
		return false;
	}
	*out = (uint64_t)json_integer_value(value);
	return true;
}

bool args_flag(const struct admin_call *call, const char *key, bool *out)
{
	const json_t *value = json_object_get(call->args, key);

	if (!value || json_is_null(value))
		return true;
	*out = json_is_true(value);
	if (!json_is_boolean(value))
		admin_refuse(call->result, WIRE_BAD_REQUEST, "Give true or false",
			     "Argument \"%s\" is neither true nor false", key);
	return json_is_boolean(value);
}

bool args_need(const struct admin_call *call, const char *key)
{
	const json_t *value = json_object_get(call->args, key);

	if (value && !json_is_null(value))
		return true;
	admin_refuse(call->result, WIRE_BAD_REQUEST, "Give it", "Argument \"%s\" is missing", key);
	return false;
}

static uint64_t usual_min_replicas(uint64_t replicas)
{
	return replicas <= 2 ? 1 : replicas / 2 + 1;
}

static json_t *volume_create(struct meta *meta, const struct admin_call *call)
{
	uint64_t size = 0, replicas = 3, min_replicas, chunk_bytes = CHUNK_BYTES_DEFAULT;
	struct volume_request request = {.name = ""};
	const struct volume *volume;

	if (!args_need(call, "name") || !args_need(call, "size_bytes") ||
	    !args_text(call, "name", &request.name) ||
	    !args_number(call, "size_bytes", INT64_MAX, &size) ||
	    !args_number(call, "replicas", UINT32_MAX, &replicas) ||
	    !args_number(call, "chunk_bytes", INT64_MAX, &chunk_bytes))
		return NULL;
	min_replicas = usual_min_replicas(replicas);
	if (!args_number(call, "min_replicas", UINT32_MAX, &min_replicas))
		return NULL;
	request.size_bytes = size;
	request.chunk_bytes = chunk_bytes;
	request.replicas = (uint32_t)replicas;
	request.min_replicas = (uint32_t)min_replicas;
	volume = meta_create_volume(meta, &request, call->result);
	return volume ? json_pack("{s:o}", "volume", show_volume(meta, volume)) : NULL;
}

static json_t *volume_delete(struct meta *meta, const struct admin_call *call)
{
	const char *name = "";
	bool force = false;

	if (!args_need(call, "name") || !args_text(call, "name", &name) ||
	    !args_flag(call, "force", &force) ||
	    !meta_delete_volume(meta, name, force, call->result))
		return NULL;
	return json_pack("{s:s}", "deleted", name);
}

static json_t *volume_resize(struct meta *meta, const struct admin_call *call)
{
	const struct volume *volume;
	const char *name = "";
	bool force = false;
	uint64_t size = 0;

	if (!args_need(call, "name") || !args_need(call, "size_bytes") ||
	    !args_text(call, "name", &name) || !args_number(call, "size_bytes", INT64_MAX, &size) ||
	    !args_flag(call, "force", &force))
		return NULL;
	volume = meta_resize_volume(meta, name, size, force, call->result);
	return volume ? json_pack("{s:o}", "volume", show_volume(meta, volume)) : NULL;
}

static json_t *volume_rename(struct meta *meta, const struct admin_call *call)
{
	const char *name = "", *new_name = "";
	const struct volume *volume;

	if (!args_need(call, "name") || !args_need(call, "new_name") ||
	    !args_text(call, "name", &name) || !args_text(call, "new_name", &new_name))
		return NULL;
	volume = meta_rename_volume(meta, name, new_name, call->result);
	return volume ? json_pack("{s:o}", "volume", show_volume(meta, volume)) : NULL;
}

/* An operator accepts this store as the truth: the counters start above everything that was reported. */
static json_t *meta_confirm(struct meta *meta, const struct admin_call *call)
{
	struct meta_cluster_row *counters = &meta->cluster;
	const struct doubt *doubt = &meta->doubt;
	bool force = false;

	if (!args_flag(call, "force", &force))
		return NULL;
	if (!doubt->doubted) {
		admin_refuse(call->result, WIRE_ALREADY, "Nothing is to be done",
			     "There is no doubt about the store of this meta service");
		return NULL;
	}
	if (!force) {
		admin_refuse(call->result, WIRE_REFUSED,
			     "Restore the newest copy of the store; if there is none, repeat with "
			     "--force",
			     "The store is older than the cluster. Going on with it may lose "
			     "volumes and replicas that were made since");
		return NULL;
	}
	counters->commit = MAX(counters->commit, doubt->commit) + 1;
	counters->epoch = MAX(counters->epoch, doubt->epoch) + 1;
	counters->chunk = MAX(counters->chunk, doubt->chunk);
	meta->doubt.doubted = false;
	meta_scan_soon(meta);
	trace(TRACE_WARN, MODULE,
	      "an operator has confirmed this store with --force: commit %" PRIu64
	      ", epoch=%" PRIu64 " from now on",
	      counters->commit, counters->epoch);
	return json_pack("{s:b}", "confirmed", 1);
}

static const struct verb {
	const char *name;
	json_t *(*run)(struct meta *meta, const struct admin_call *call);
	bool changes;     /* refused while the store is in doubt */
	const char *args; /* those it knows, each between blanks */
} verbs[] = {
	{"volume.create", volume_create, true,
	 " name size_bytes replicas min_replicas chunk_bytes "},
	{"volume.list", admin_volume_list, false, " after "},
	{"volume.show", admin_volume_show, false, " name "},
	{"volume.resize", volume_resize, true, " name size_bytes force "},
	{"volume.rename", volume_rename, true, " name new_name "},
	{"volume.delete", volume_delete, true, " name force "},
	{"server.list", admin_server_list, false, " after "},
	{"server.show", admin_server_show, false, " cid "},
	{"chunk.list", admin_chunk_list, false, " volume cid state after "},
	{"chunk.show", admin_chunk_show, false, " chunk volume index "},
	{"chunk.check", admin_chunk_check, false, " chunk volume detail after "},
	{"chunk.scrub", admin_chunk_scrub, true, " chunk volume "},
	{"job.list", admin_job_list, false, " "},
	{"job.show", admin_job_show, false, " job "},
	{"job.cancel", admin_job_cancel, true, " job "},
	{"job.pause", admin_job_pause, true, " job "},
	{"job.resume", admin_job_resume, true, " job "},
	{"status", admin_status, false, " "},
	{"meta.confirm", meta_confirm, false, " force "},
};

static bool check_args(const struct verb *verb, const struct admin_call *call)
{
	const char *key;
	json_t *value;
	char blank[NAME_BYTES + 2];

	json_object_foreach(call->args, key, value)
	{
		snprintf(blank, sizeof blank, " %.60s ", key);
		if (strstr(verb->args, blank))
			continue;
		admin_refuse(call->result, WIRE_BAD_REQUEST, "Leave it out, or correct its name",
			     "%s has no argument \"%.60s\"", verb->name, key);
		return false;
	}
	return true;
}

static json_t *run_verb(struct meta *meta, const char *name, const struct admin_call *call)
{
	char text[TEXT_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(verbs[i].name, name) != 0)
			continue;
		if (!check_args(&verbs[i], call))
			return NULL;
		if (verbs[i].changes && meta->doubt.doubted) {
			meta_doubt_text(meta, text);
			admin_refuse(call->result, WIRE_REFUSED, "copyhold meta confirm --force",
				     "%s", text);
			return NULL;
		}
		return verbs[i].run(meta, call);
	}
	admin_refuse(call->result, WIRE_BAD_REQUEST,
		     "Use a copyhold command of the same version as the meta service",
		     "This meta service knows no verb \"%.80s\"", name);
	return NULL;
}

static json_t *error_document(const struct admin_result *result)
{
	return json_pack("{s:{s:s,s:s,s:s}}", "error", "code", wire_status_name(result->status),
			 "message", result->message, "hint", result->hint);
}

void meta_on_admin(struct meta *meta, struct connection *connection, const struct msg *msg)
{
	const char *text = msg->u.admin.json && *msg->u.admin.json ? msg->u.admin.json : "{}";
	struct admin_result result = {.status = WIRE_OK};
	struct admin_call call = {.result = &result};
	struct msg answer = meta_answer(msg, WIRE_OK);
	json_error_t error;
	json_t *document = NULL;
	char *memory;

	call.args = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	if (!json_is_object(call.args))
		admin_refuse(&result, WIRE_BAD_REQUEST, "Give the arguments as one JSON object",
			     "The arguments of %.60s are no JSON object: %.100s", msg->u.admin.verb,
			     error.text);
	else
		document = run_verb(meta, msg->u.admin.verb, &call);
	if (!document) {
		assert(result.status != WIRE_OK);
		document = error_document(&result);
	}
	memory = json_dumps(document, JSON_COMPACT);
	if (!memory || strlen(memory) > ADMIN_JSON_MAX) {
		free(memory);
		json_decref(document);
		admin_refuse(&result, WIRE_BAD_REQUEST, "Ask for less at a time",
			     "The answer is too long");
		document = error_document(&result);
		memory = json_dumps(document, JSON_COMPACT);
	}
	answer.status = result.status;
	answer.u.admin_ok.json = memory;
	meta_send(meta, connection->id, &answer, memory);
	json_decref(document);
	json_decref(call.args);
}
