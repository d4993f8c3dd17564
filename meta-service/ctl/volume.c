/* volume.c - copyhold volume create | list | show | resize | rename | delete. */
#include "meta-service/ctl/attach_nbd.h"
#include "meta-service/ctl/client.h"
#include "meta-service/ctl/text.h"

#include <stdio.h>

/* "host, pid 123" of an attached or owner object; "-" if there is none. */
static const char *holder(const json_t *attached, char out[128])
{
	if (!json_is_object(attached))
		return "-";
	snprintf(out, 128, "%s, pid %llu%s", json_text(attached, "host"),
		 (unsigned long long)json_u64(attached, "pid"),
		 json_is_false(json_object_get(attached, "alive")) ? " (not heard of)" : "");
	return out;
}

enum exit_code volume_create(const struct invocation *in)
{
	uint64_t size_bytes, replicas, min_replicas, chunk_bytes;
	char size[TEXT_SIZE_BYTES];
	json_t *arguments, *answer, *volume;
	enum exit_code code;

	if (!option_is_set(in, "size"))
		return fail_usage(in, "how large? Give --size, for instance --size 10G");
	if (!option_size(in, "size", 0, &size_bytes) ||
	    !option_size(in, "chunk-size", CHUNK_BYTES_DEFAULT, &chunk_bytes) ||
	    !option_number(in, "replicas", 3, &replicas) ||
	    !option_number(in, "min-replicas", replicas > 2 ? 2 : 1, &min_replicas))
		return EXIT_CODE_USAGE;
	arguments =
		json_pack("{s:s, s:I, s:I, s:I, s:I}", "name", in->arguments[0], "size_bytes",
			  (json_int_t)size_bytes, "replicas", (json_int_t)replicas, "min_replicas",
			  (json_int_t)min_replicas, "chunk_bytes", (json_int_t)chunk_bytes);
	if (!arguments)
		return fail_usage(in, "the name is not valid UTF-8");
	code = client_request_or_print(in, "volume.create", arguments, &answer);
	if (!answer)
		return code;
	volume = json_object_get(answer, "volume");
	printf("volume %s created: %s, %llu replicas\nattach it with: copyhold attach %s\n",
	       json_text(volume, "name"), text_size(json_u64(volume, "size_bytes"), size),
	       (unsigned long long)json_u64(volume, "replicas"), json_text(volume, "name"));
	json_decref(answer);
	return EXIT_CODE_OK;
}

enum exit_code volume_list(const struct invocation *in)
{
	char size[TEXT_SIZE_BYTES], allocated[TEXT_SIZE_BYTES], who[128];
	json_t *answer, *volumes, *volume;
	enum exit_code code;
	struct table *table;
	size_t i;

	code = client_request_or_print(in, "volume.list", json_object(), &answer);
	if (!answer)
		return code;
	volumes = json_object_get(answer, "volumes");
	table = table_new("VOLUME|>SIZE|>ALLOCATED|>REPLICAS|STATE|ATTACHED BY");
	json_array_foreach(volumes, i, volume)
	{
		table_cell(table, "%s", json_text(volume, "name"));
		table_cell(table, "%s", text_size(json_u64(volume, "size_bytes"), size));
		table_cell(table, "%s", text_size(json_u64(volume, "allocated_bytes"), allocated));
		table_cell(table, "%llu", (unsigned long long)json_u64(volume, "replicas"));
		table_state(table, json_text(volume, "state"));
		table_cell(table, "%s", holder(json_object_get(volume, "attached"), who));
	}
	table_print(table);
	if (json_array_size(volumes) == 0)
		note(in, "there are no volumes yet: copyhold volume create NAME --size 10G");
	json_decref(answer);
	return EXIT_CODE_OK;
}

enum exit_code volume_show(const struct invocation *in)
{
	char size[TEXT_SIZE_BYTES], who[128];
	json_t *answer, *volume, *attached;
	enum exit_code code;

	code = client_request_or_print(in, "volume.show",
				       json_pack("{s:s?}", "name", in->arguments[0]), &answer);
	if (!answer)
		return code;
	volume = json_object_get(answer, "volume");
	attached = json_object_get(volume, "attached");
	printf("%s%s%s\n", paint(PAINT_BOLD), json_text(volume, "name"), paint(PAINT_OFF));
	printf("  state       %s%s%s", paint(paint_of_state(json_text(volume, "state"))),
	       json_text(volume, "state"), paint(PAINT_OFF));
	if (json_u64(volume, "degraded_chunks"))
		printf(", %llu of %llu chunks degraded",
		       (unsigned long long)json_u64(volume, "degraded_chunks"),
		       (unsigned long long)json_u64(volume, "chunk_count"));
	printf("\n  size        %s\n", text_size(json_u64(volume, "size_bytes"), size));
	printf("  allocated   %s, in %llu chunks",
	       text_size(json_u64(volume, "allocated_bytes"), size),
	       (unsigned long long)json_u64(volume, "chunk_count"));
	printf(" of %s\n", text_size(json_u64(volume, "chunk_bytes"), size));
	printf("  replicas    %llu, writes need %llu\n",
	       (unsigned long long)json_u64(volume, "replicas"),
	       (unsigned long long)json_u64(volume, "min_replicas"));
	printf("  uuid        %s\n", json_text(volume, "uuid"));
	printf("  attached by %s", holder(attached, who));
	if (*json_text(attached, "since"))
		printf(", since %s", json_text(attached, "since"));
	printf("\n");
	json_decref(answer);
	return EXIT_CODE_OK;
}

/* What a user of the volume sees of its new size, and when. */
static void tell_who_follows(const json_t *volume, bool on_this_host)
{
	const json_t *attached = json_object_get(volume, "attached");

	if (!json_is_object(attached))
		return;
	if (on_this_host)
		printf("this host's device follows at once; then the filesystem can grow "
		       "(resize2fs, xfs_growfs)\n");
	else
		printf("it is attached on %s: a device of 'copyhold attach' follows within 2 s, "
		       "other NBD clients when they connect again\n",
		       json_text(attached, "host"));
}

enum exit_code volume_resize(const struct invocation *in)
{
	char size[TEXT_SIZE_BYTES];
	json_t *answer, *volume;
	uint64_t size_bytes;
	enum exit_code code;
	bool on_this_host;

	if (!option_is_set(in, "size"))
		return fail_usage(in, "to what size? Give --size, for instance --size 20G");
	if (!option_size(in, "size", 0, &size_bytes))
		return EXIT_CODE_USAGE;
	code = client_request_or_print(in, "volume.resize",
				       json_pack("{s:s?, s:I, s:b}", "name", in->arguments[0],
						 "size_bytes", (json_int_t)size_bytes, "force",
						 option_is_set(in, "force")),
				       &answer);
	on_this_host = code == EXIT_CODE_OK && attach_nbd_resized(in->arguments[0]) == 0;
	if (!answer)
		return code;
	volume = json_object_get(answer, "volume");
	printf("volume %s has %s now\n", json_text(volume, "name"),
	       text_size(json_u64(volume, "size_bytes"), size));
	tell_who_follows(volume, on_this_host);
	json_decref(answer);
	return EXIT_CODE_OK;
}

enum exit_code volume_rename(const struct invocation *in)
{
	enum exit_code code;
	json_t *answer;

	code = client_request_or_print(
		in, "volume.rename",
		json_pack("{s:s?, s:s?}", "name", in->arguments[0], "new_name", in->arguments[1]),
		&answer);
	if (!answer)
		return code;
	printf("volume %s is %s now\n", in->arguments[0],
	       json_text(json_object_get(answer, "volume"), "name"));
	json_decref(answer);
	return EXIT_CODE_OK;
}

enum exit_code volume_delete(const struct invocation *in)
{
	json_t *answer;
	enum exit_code code;

	code = client_request_or_print(in, "volume.delete",
				       json_pack("{s:s?, s:b}", "name", in->arguments[0], "force",
						 option_is_set(in, "force")),
				       &answer);
	if (!answer)
		return code;
	printf("volume %s deleted\n", json_text(answer, "deleted"));
	json_decref(answer);
	return EXIT_CODE_OK;
}
