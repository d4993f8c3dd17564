/*
 * playground.c - copyhold playground start | stop | status: one metad and some chunk servers on this machine, each a
 * process of its own.
 *
 * Everything lies in one directory:
 *   playground.json     the processes: name, address, and pid with start time while it should run
 *   NAME.log            what a process says
 *   metad/              the meta service's store
 *   chunkd-N.disk       a chunk server's data file, sparse
 *   chunkd-N.sock       where engines on this host reach it
 *
 * playground.json is written before and after each step, so that `start` always knows what an interrupted one left: it
 * starts what is missing and touches nothing that runs. Addresses are chosen once and kept as long as they are free.
 */
#include "meta-service/ctl/playground.h"
#include "meta-service/ctl/attachment.h"
#include "meta-service/ctl/client.h"
#include "meta-service/ctl/files.h"
#include "meta-service/ctl/process.h"
#include "meta-service/ctl/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_PORT         7700
#define CHUNK_SERVERS      3
#define CHUNK_SERVERS_MAX  64
#define DISK_BYTES_DEFAULT (10 * GIB)
#define READY_TIMEOUT_MS   30000
#define STOP_TIMEOUT_MS    10000
#define FORMAT_TIMEOUT_MS  60000
#define METAD              "metad"

struct playground {
	const struct invocation *in;
	char *dir;
	char *state_path;
	json_t *state;     /* the document of playground.json */
	json_t *processes; /* its array; borrowed */
	int lock;
	uint64_t next_port;
};

static void playground_close(struct playground *playground)
{
	if (playground->lock >= 0)
		close(playground->lock);
	json_decref(playground->state);
	free(playground->state_path);
	free(playground->dir);
}

static char *chosen_directory(const struct invocation *in)
{
	const char *dir = option_value(in, "dir");
	char *here, *path;

	if (!dir)
		return files_state_path("playground");
	if (*dir == '/')
		return xstrdup(dir);
	here = getcwd(NULL, 0);
	path = here ? files_format("%s/%s", here, dir) : NULL;
	free(here);
	return path;
}

/* Opens the directory and locks it against another start or stop. With create unset it must exist. */
static enum exit_code playground_open(struct playground *playground, const struct invocation *in,
				      bool create)
{
	char *lock_path;
	int rc = 0;

	*playground = (struct playground){.in = in, .lock = -1, .dir = chosen_directory(in)};
	if (!playground->dir)
		return fail(in, "NO_DIRECTORY", "name one with --dir",
			    "there is no home directory");
	playground->state_path = files_format("%s/playground.json", playground->dir);
	if (create)
		rc = files_make_directory(playground->dir);
	if (rc)
		return fail(in, "NO_DIRECTORY", "name another with --dir",
			    "the directory %s can't be made: %s", playground->dir, strerror(-rc));
	if (!create && access(playground->state_path, F_OK) != 0)
		return fail(in, "NOT_FOUND", "copyhold playground start",
			    "there is no playground in %s", playground->dir);
	lock_path = files_format("%s/lock", playground->dir);
	playground->lock = files_lock(lock_path);
	free(lock_path);
	if (playground->lock < 0)
		return fail(in, "NO_DIRECTORY", "name another with --dir",
			    "the directory %s can't be used: %s", playground->dir,
			    strerror(-playground->lock));
	playground->state = files_read_json(playground->state_path);
	if (!playground->state && access(playground->state_path, F_OK) == 0)
		return fail(in, "BAD_STATE", "move it away to start anew with the same data",
			    "%s is damaged", playground->state_path);
	if (!playground->state)
		playground->state = json_pack("{s:i, s:[]}", "version", 1, "processes");
	playground->processes = json_object_get(playground->state, "processes");
	return EXIT_CODE_OK;
}

static enum exit_code save(struct playground *playground)
{
	int rc = files_write_json(playground->state_path, playground->state);

	if (rc)
		return fail(playground->in, "NO_DIRECTORY", NULL, "%s can't be written: %s",
			    playground->state_path, strerror(-rc));
	return EXIT_CODE_OK;
}

static json_t *find_process(const struct playground *playground, const char *name)
{
	json_t *entry;
	size_t i;

	json_array_foreach(playground->processes, i, entry)
	{
		if (strcmp(json_text(entry, "name"), name) == 0)
			return entry;
	}
	return NULL;
}

static struct process process_of(const json_t *entry)
{
	return process_from_json(json_object_get(entry, "process"));
}

static bool entry_is_alive(const json_t *entry)
{
	struct process process = process_of(entry);

	return process_is_alive(&process);
}

static char *file_of(const struct playground *playground, const json_t *entry, const char *suffix)
{
	return files_format("%s/%s%s", playground->dir, json_text(entry, "name"), suffix);
}

static bool is_metad(const json_t *entry)
{
	return strcmp(json_text(entry, "name"), METAD) == 0;
}

/* ---- addresses ---- */

static bool port_is_free(uint64_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)port),
				      .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	bool is_free;

	/* As a daemon binds it: connections that linger from before don't count. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	is_free = bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0;
	close(fd);
	return is_free;
}

static bool port_is_ours(const struct playground *playground, uint64_t port)
{
	json_t *entry;
	size_t i;

	json_array_foreach(playground->processes, i, entry)
	{
		const char *colon = strrchr(json_text(entry, "address"), ':');

		if (colon && strtoull(colon + 1, NULL, 10) == port)
			return true;
	}
	return false;
}

/* Gives an entry the next free port; says which ones are taken. */
static enum exit_code choose_address(struct playground *playground, json_t *entry)
{
	char address[32];

	for (; playground->next_port < 65536; playground->next_port++) {
		if (port_is_ours(playground, playground->next_port))
			continue;
		if (port_is_free(playground->next_port))
			break;
		note(playground->in, "port %llu is in use by another program; trying the next",
		     (unsigned long long)playground->next_port);
	}
	if (playground->next_port >= 65536)
		return fail(playground->in, "NO_PORT", "try others with --port",
			    "no free TCP port was found");
	snprintf(address, sizeof address, "127.0.0.1:%llu",
		 (unsigned long long)playground->next_port++);
	json_object_set_new(entry, "address", json_string(address));
	return EXIT_CODE_OK;
}

/* A port that was ours may have been taken while we were down. *moved: the address is another now. */
static enum exit_code keep_address(struct playground *playground, json_t *entry, bool *moved)
{
	const char *colon = strrchr(json_text(entry, "address"), ':');

	*moved = false;
	if (colon && port_is_free(strtoull(colon + 1, NULL, 10)))
		return EXIT_CODE_OK;
	note(playground->in, "%s: the port of %s is in use by another program by now",
	     json_text(entry, "name"), json_text(entry, "address"));
	*moved = true;
	return choose_address(playground, entry);
}

/* ---- start ---- */

static enum exit_code add_process(struct playground *playground, const char *name,
				  uint64_t disk_bytes)
{
	json_t *entry = json_pack("{s:s, s:I}", "name", name, "disk_bytes", (json_int_t)disk_bytes);
	enum exit_code code = choose_address(playground, entry);

	json_array_append_new(playground->processes, entry);
	return code;
}

/* Makes the entries of all processes that shall be there; those that are known keep what they have. */
static enum exit_code add_processes(struct playground *playground)
{
	uint64_t chunk_servers, disk_bytes, known = json_array_size(playground->processes);
	enum exit_code code = EXIT_CODE_OK;
	char name[32];

	known = known ? known - 1 : 0;
	if (!option_number(playground->in, "chunk-servers", known ? known : CHUNK_SERVERS,
			   &chunk_servers) ||
	    !option_size(playground->in, "size", DISK_BYTES_DEFAULT, &disk_bytes) ||
	    !option_number(playground->in, "port", FIRST_PORT, &playground->next_port))
		return EXIT_CODE_USAGE;
	if (chunk_servers < 1 || chunk_servers > CHUNK_SERVERS_MAX)
		return fail_usage(playground->in, "--chunk-servers: from 1 to %d",
				  CHUNK_SERVERS_MAX);
	if (playground->next_port < 1 || playground->next_port > 65535)
		return fail_usage(playground->in, "--port: from 1 to 65535");
	if (!find_process(playground, METAD))
		code = add_process(playground, METAD, 0);
	for (uint64_t i = known + 1; code == EXIT_CODE_OK && i <= chunk_servers; i++) {
		snprintf(name, sizeof name, "chunkd-%llu", (unsigned long long)i);
		code = add_process(playground, name, disk_bytes);
	}
	return code == EXIT_CODE_OK ? save(playground) : code;
}

struct ready {
	const char *log;
	uint64_t offset;
};

static bool has_said_ready(void *context)
{
	const struct ready *ready = context;
	char line[512];

	process_log_line(ready->log, ready->offset, "ready", line, sizeof line);
	return *line;
}

static enum exit_code fail_start(const struct playground *playground, const char *name,
				 const char *what, const char *log, uint64_t offset)
{
	char line[512], hint[256];

	process_log_line(log, offset, NULL, line, sizeof line);
	snprintf(hint, sizeof hint, "its log is %s; playground start goes on from here", log);
	return fail(playground->in, "START_FAILED", hint, "%s %s%s%s", name, what,
		    *line ? ": " : "", line);
}

/* Formats the data file of a new chunk server, under another name until it is whole. */
static enum exit_code format_disk(const struct playground *playground, const json_t *entry,
				  const char *program, const char *disk, const char *log)
{
	uint64_t offset = process_log_size(log);
	char *fresh = files_format("%s.new", disk);
	char *size = files_format("%llu", (unsigned long long)json_u64(entry, "disk_bytes"));
	char *argv[] = {(char *)(uintptr_t)program,
			(char *)(uintptr_t) "format",
			fresh,
			(char *)(uintptr_t) "--size",
			size,
			NULL};
	struct process process;
	enum exit_code code = EXIT_CODE_OK;
	int rc;

	unlink(fresh);
	rc = process_start(argv, log, &process);
	if (rc) {
		code = fail(playground->in, "START_FAILED", "build it with make",
			    "%s can't be run: %s", program, strerror(-rc));
	} else if (process_wait_end(&process, FORMAT_TIMEOUT_MS) != 0) {
		process_stop(&process, STOP_TIMEOUT_MS);
		code = fail_start(playground, json_text(entry, "name"),
				  "took too long to format its disk", log, offset);
	} else if (!process_succeeded(&process) || rename(fresh, disk) != 0) {
		code = fail_start(playground, json_text(entry, "name"), "could not format its disk",
				  log, offset);
	}
	if (code != EXIT_CODE_OK)
		unlink(fresh);
	free(fresh);
	free(size);
	return code;
}

/* Starts argv as the process of entry; await_ready has to follow. */
static enum exit_code start_daemon(struct playground *playground, json_t *entry, char *argv[],
				   const char *log)
{
	uint64_t offset = process_log_size(log);
	struct process process;
	int rc = process_start(argv, log, &process);

	if (rc)
		return fail(playground->in, "START_FAILED", "build it with make",
			    "%s can't be run: %s", argv[0], strerror(-rc));
	json_object_set_new(entry, "process", process_to_json(&process));
	json_object_set_new(entry, "starting_at", json_integer((json_int_t)offset));
	return save(playground);
}

/* Waits until a process that was started, by this command or by one that was interrupted, says that it is ready. */
static enum exit_code await_ready(struct playground *playground, json_t *entry)
{
	struct process process = process_of(entry);
	char *log = file_of(playground, entry, ".log");
	struct ready ready = {log, json_u64(entry, "starting_at")};
	enum exit_code code = EXIT_CODE_OK;
	int rc = 0;

	if (json_object_get(entry, "starting_at"))
		rc = process_wait_ready(&process, has_said_ready, &ready, READY_TIMEOUT_MS);
	if (rc) {
		code = fail_start(playground, json_text(entry, "name"),
				  rc == -ESRCH ? "ended before it was ready"
					       : "is not ready after 30 s",
				  log, ready.offset);
	} else if (json_object_get(entry, "starting_at")) {
		json_object_del(entry, "starting_at");
		note(playground->in, "  %-10s %-16s pid %d", json_text(entry, "name"),
		     json_text(entry, "address"), (int)process.pid);
	}
	free(log);
	return code;
}

static enum exit_code start_metad(struct playground *playground, json_t *entry)
{
	char *program = process_find_program("copyhold-metad");
	char *data = file_of(playground, entry, ""), *log = file_of(playground, entry, ".log");
	char *listen_at = xstrdup(json_text(entry, "address"));
	char *argv[] = {program,   (char *)(uintptr_t) "--data",
			data,      (char *)(uintptr_t) "--listen",
			listen_at, NULL};
	enum exit_code code;

	files_make_directory(data);
	code = start_daemon(playground, entry, argv, log);
	free(program);
	free(data);
	free(log);
	free(listen_at);
	return code;
}

static enum exit_code start_chunkd(struct playground *playground, json_t *entry)
{
	char *program = process_find_program("copyhold-chunkd");
	char *disk = file_of(playground, entry, ".disk"), *log = file_of(playground, entry, ".log");
	char *sock = file_of(playground, entry, ".sock");
	char *local = files_format("unix:%s", sock);
	char *listen_at = xstrdup(json_text(entry, "address"));
	char *meta = xstrdup(json_text(find_process(playground, METAD), "address"));
	char *argv[] = {program,
			(char *)(uintptr_t) "run",
			(char *)(uintptr_t) "--data",
			disk,
			(char *)(uintptr_t) "--listen",
			listen_at,
			(char *)(uintptr_t) "--meta",
			meta,
			(char *)(uintptr_t) "--local",
			local,
			NULL};
	enum exit_code code = EXIT_CODE_OK;

	if (strlen(sock) >= sizeof((struct sockaddr_un *)0)->sun_path)
		code = fail(playground->in, "NO_DIRECTORY", "choose a shorter one with --dir",
			    "the directory's name is too long for Unix sockets in it");
	if (code == EXIT_CODE_OK && access(disk, F_OK) != 0)
		code = format_disk(playground, entry, program, disk, log);
	if (code == EXIT_CODE_OK)
		code = start_daemon(playground, entry, argv, log);
	free(program);
	free(disk);
	free(log);
	free(sock);
	free(local);
	free(listen_at);
	free(meta);
	return code;
}

static enum exit_code stop_entry(const struct playground *playground, json_t *entry)
{
	struct process process = process_of(entry);
	int rc;

	if (!process_is_alive(&process)) {
		json_object_del(entry, "process");
		return EXIT_CODE_OK;
	}
	rc = process_stop(&process, STOP_TIMEOUT_MS);
	if (rc < 0)
		return fail(playground->in, "STOP_FAILED", "run it as the user who started it",
			    "%s (pid %d) can't be ended: %s", json_text(entry, "name"),
			    (int)process.pid, strerror(-rc));
	note(playground->in, "  %-10s %s", json_text(entry, "name"),
	     rc == 1 ? "killed: it did not end in 10 s" : "ended");
	json_object_del(entry, "process");
	return EXIT_CODE_OK;
}

/* Starts one that doesn't run. A metad at a new address takes the chunk servers along: they were told the old one. */
static enum exit_code start_entry(struct playground *playground, json_t *entry)
{
	enum exit_code code;
	json_t *other;
	bool moved;
	size_t i;

	code = keep_address(playground, entry, &moved);
	json_array_foreach(playground->processes, i, other)
	{
		if (moved && is_metad(entry) && other != entry && code == EXIT_CODE_OK)
			code = stop_entry(playground, other);
	}
	if (code != EXIT_CODE_OK)
		return code;
	return is_metad(entry) ? start_metad(playground, entry) : start_chunkd(playground, entry);
}

/* Whether metad counts all chunk servers as up: only then a volume can be placed. */
static bool all_registered(void *context)
{
	const struct playground *playground = context;
	json_t *answer, *server;
	size_t i, up = 0;

	answer = client_ask_quietly(json_text(find_process(playground, METAD), "address"),
				    "server.list", json_object());
	json_array_foreach(json_object_get(answer, "servers"), i, server) up +=
		strcmp(json_text(server, "state"), "up") == 0;
	json_decref(answer);
	return up + 1 >= json_array_size(playground->processes);
}

static json_t *describe(const struct playground *playground)
{
	json_t *processes = json_array(), *entry;
	bool running = true;
	size_t i;

	json_array_foreach(playground->processes, i, entry)
	{
		bool alive = entry_is_alive(entry);
		char *log = file_of(playground, entry, ".log");
		char *data = file_of(playground, entry, is_metad(entry) ? "" : ".disk");

		running &= alive;
		json_array_append_new(processes,
				      json_pack("{s:s, s:s, s:i, s:b, s:s, s:s}", "name",
						json_text(entry, "name"), "address",
						json_text(entry, "address"), "pid",
						alive ? (int)process_of(entry).pid : 0, "alive",
						alive, "data", data, "log", log));
		free(log);
		free(data);
	}
	return json_pack("{s:s, s:s, s:b, s:o}", "dir", playground->dir, "meta",
			 json_text(find_process(playground, METAD), "address"), "running", running,
			 "processes", processes);
}

static enum exit_code start_all(struct playground *playground)
{
	json_t *metad = find_process(playground, METAD), *entry;
	enum exit_code code = EXIT_CODE_OK;
	struct process process;
	size_t i;

	if (!entry_is_alive(metad))
		code = start_entry(playground, metad);
	if (code == EXIT_CODE_OK)
		code = await_ready(playground, metad);
	json_array_foreach(playground->processes, i, entry)
	{
		if (code == EXIT_CODE_OK && !entry_is_alive(entry))
			code = start_entry(playground, entry);
	}
	json_array_foreach(playground->processes, i, entry)
	{
		if (code == EXIT_CODE_OK)
			code = await_ready(playground, entry);
	}
	if (code == EXIT_CODE_OK)
		code = save(playground);
	if (code != EXIT_CODE_OK)
		return code;
	process = process_of(metad);
	if (process_wait_ready(&process, all_registered, playground, READY_TIMEOUT_MS) != 0)
		return fail(playground->in, "START_FAILED", "the logs are in the same directory",
			    "not all chunk servers of %s have registered at the meta service after "
			    "30 s",
			    playground->dir);
	return EXIT_CODE_OK;
}

enum exit_code playground_start(const struct invocation *in)
{
	struct playground playground;
	enum exit_code code = playground_open(&playground, in, true);

	if (code == EXIT_CODE_OK)
		code = add_processes(&playground);
	if (code == EXIT_CODE_OK)
		code = start_all(&playground);
	if (code == EXIT_CODE_OK && in->json) {
		print_json(describe(&playground));
	} else if (code == EXIT_CODE_OK) {
		note(in, "the playground in %s is running; for the commands that follow:",
		     playground.dir);
		printf("export COPYHOLD_META=%s\n",
		       json_text(find_process(&playground, METAD), "address"));
	}
	playground_close(&playground);
	return code;
}

/* What is still attached waits, for as long as it takes: that is no error, but worth a word. */
static void tell_attached(const struct playground *playground)
{
	const char *meta = json_text(find_process(playground, METAD), "address");
	json_t *all = attachment_all_to_json(), *entry;
	size_t i;

	json_array_foreach(all, i, entry)
	{
		if (strcmp(json_text(entry, "meta"), meta) == 0)
			note(playground->in,
			     "volume %s is still attached as %s: its IO waits until the playground "
			     "is started again (or: copyhold detach %s)",
			     json_text(entry, "volume"), json_text(entry, "device"),
			     json_text(entry, "device"));
	}
	json_decref(all);
}

/* Chunk servers first: they take their leave of a metad that is still there. */
enum exit_code playground_stop(const struct invocation *in)
{
	struct playground playground;
	enum exit_code code = playground_open(&playground, in, false);
	json_t *entry;
	size_t i;

	if (code == EXIT_CODE_OK)
		tell_attached(&playground);
	json_array_foreach(playground.processes, i, entry)
	{
		if (code == EXIT_CODE_OK && !is_metad(entry))
			code = stop_entry(&playground, entry);
	}
	if (code == EXIT_CODE_OK)
		code = stop_entry(&playground, find_process(&playground, METAD));
	if (playground.state && code == EXIT_CODE_OK)
		code = save(&playground);
	if (code == EXIT_CODE_OK && in->json)
		print_json(describe(&playground));
	playground_close(&playground);
	return code;
}

enum exit_code playground_status(const struct invocation *in)
{
	struct playground playground;
	enum exit_code code = playground_open(&playground, in, false);
	json_t *document, *process;
	struct table *table;
	size_t i;

	if (code != EXIT_CODE_OK || in->json) {
		if (code == EXIT_CODE_OK)
			print_json(describe(&playground));
		playground_close(&playground);
		return code;
	}
	document = describe(&playground);
	printf("playground in %s\n", playground.dir);
	table = table_new("PROCESS|STATE|ADDRESS|>PID|LOG");
	json_array_foreach(json_object_get(document, "processes"), i, process)
	{
		bool alive = json_is_set(process, "alive");

		table_cell(table, "%s", json_text(process, "name"));
		table_state(table, alive ? "running" : "stopped");
		table_cell(table, "%s", json_text(process, "address"));
		table_cell(table, alive ? "%llu" : "-",
			   (unsigned long long)json_u64(process, "pid"));
		table_cell(table, "%s", json_text(process, "log"));
	}
	table_print(table);
	printf("export COPYHOLD_META=%s\n", json_text(document, "meta"));
	json_decref(document);
	playground_close(&playground);
	return EXIT_CODE_OK;
}

char *playground_default_meta(void)
{
	char *dir = files_state_path("playground"), *path, *meta = NULL;
	json_t *state, *entry;
	size_t i;

	if (!dir)
		return NULL;
	path = files_format("%s/playground.json", dir);
	state = files_read_json(path);
	json_array_foreach(json_object_get(state, "processes"), i, entry)
	{
		if (is_metad(entry) && *json_text(entry, "address")) {
			free(meta);
			meta = xstrdup(json_text(entry, "address"));
		}
	}
	json_decref(state);
	free(path);
	free(dir);
	return meta;
}
