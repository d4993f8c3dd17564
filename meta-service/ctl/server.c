/* server.c - copyhold server list | show. */
#include "meta-service/ctl/client.h"
#include "meta-service/ctl/text.h"

#include <stdio.h>

enum exit_code server_list(const struct invocation *in)
{
	char capacity[TEXT_SIZE_BYTES], used[TEXT_SIZE_BYTES], seen[TEXT_SIZE_BYTES];
	json_t *answer, *servers, *server;
	enum exit_code code;
	struct table *table;
	size_t i;

	code = client_request_or_print(in, "server.list", json_object(), &answer);
	if (!answer)
		return code;
	servers = json_object_get(answer, "servers");
	table = table_new(">CID|STATE|ADDRESS|HOST|>CAPACITY|>USED|>REPLICAS|LAST SEEN");
	json_array_foreach(servers, i, server)
	{
		table_cell(table, "%llu", (unsigned long long)json_u64(server, "cid"));
		table_state(table, json_text(server, "state"));
		table_cell(table, "%s", json_text(server, "address"));
		table_cell(table, "%s", json_text(server, "host"));
		table_cell(table, "%s", text_size(json_u64(server, "capacity_bytes"), capacity));
		table_cell(table, "%s", text_size(json_u64(server, "used_bytes"), used));
		table_cell(table, "%llu", (unsigned long long)json_u64(server, "replica_count"));
		table_cell(table, "%s ago",
			   text_duration(json_u64(server, "last_seen_ms_ago"), seen));
	}
	table_print(table);
	if (json_array_size(servers) == 0)
		note(in, "no chunk server has registered yet: copyhold-chunkd run --help");
	json_decref(answer);
	return EXIT_CODE_OK;
}

static void print_member(const char *name, const json_t *value)
{
	if (json_is_string(value))
		printf("  %-24s %s\n", name, json_string_value(value));
	else if (json_is_integer(value))
		printf("  %-24s %lld\n", name, (long long)json_integer_value(value));
	else if (json_is_boolean(value))
		printf("  %-24s %s\n", name, json_is_true(value) ? "yes" : "no");
}

enum exit_code server_show(const struct invocation *in)
{
	json_t *answer, *server, *value;
	const char *name;
	uint64_t cid;
	enum exit_code code;
	char size[TEXT_SIZE_BYTES];
	size_t length;

	if (text_parse_number(in->arguments[0], &cid) != 0)
		return fail_usage(in, "\"%s\" is not a chunk server's id (a number)",
				  in->arguments[0]);
	code = client_request_or_print(in, "server.show",
				       json_pack("{s:I}", "cid", (json_int_t)cid), &answer);
	if (!answer)
		return code;
	server = json_object_get(answer, "server");
	json_object_foreach(server, name, value)
	{
		length = strlen(name);
		if (length > 6 && strcmp(name + length - 6, "_bytes") == 0)
			printf("  %-24.*s %s\n", (int)length - 6, name,
			       text_size(json_u64(server, name), size));
		else
			print_member(name, value);
	}
	printf("counters\n");
	json_object_foreach(json_object_get(server, "stats"), name, value)
		print_member(name, value);
	json_decref(answer);
	return EXIT_CODE_OK;
}
