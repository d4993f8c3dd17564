/*
 * main.c - copyhold-metad: options, directory, signals; libev and SQLite for the driver.
 *
 * The directory given with --data holds meta.db and nothing else. A line that begins with "ready" on standard output says
 * that connections are accepted, and where.
 */
#include "common/io-ev/io_ev.h"
#include "common/trace/trace.h"
#include "meta-service/metad/metad.h"
#include "meta-service/store/meta_store_sqlite.h"

#include <dirent.h>
#include <errno.h>
#include <ev.h>
#include <getopt.h>
#include <ini.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_LISTEN "127.0.0.1:7700"
#define FILE_NAME      "meta.db"

enum {
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
};

static const char usage[] =
	"Usage: copyhold-metad --data DIR [--listen HOST:PORT] [--config FILE]\n"
	"\n"
	"The meta service of a Copyhold cluster: it decides which chunk servers hold what, who "
	"may\n"
	"write, and what is repaired.\n"
	"\n"
	"  --data DIR         directory of its own for the store (made if it does not exist)\n"
	"  --listen ADDRESS   HOST:PORT, [V6]:PORT or unix:/path; default " DEFAULT_LISTEN "\n"
	"  --config FILE      section [meta] with data, listen, and the delays scan_ms,\n"
	"                     resync_grace_ms, evict_dead_ms, garbage_delay_ms, repair_retry_ms,\n"
	"                     repair_stall_ms, scrub_ms (0: no scrub unless it is asked for);\n"
	"                     options given here win\n"
	"  --version, --help\n"
	"\n"
	"SIGTERM and SIGINT stop it in order. COPYHOLD_TRACE=debug shows more in its log.\n";

struct options {
	char *data, *listen, *config;
	char *file_data, *file_listen; /* from the config file */
	struct meta_config meta;
	char bad[256]; /* what is wrong in the config file */
};

static void fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

static void fail(int code, const char *format, ...)
{
	va_list ap;

	fputs("copyhold-metad: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(code);
}

/* ---- options ---- */

static uint64_t *find_delay(struct meta_config *config, const char *name)
{
	struct {
		const char *name;
		uint64_t *delay;
	} const delays[] = {
		{"scan_ms", &config->scan_ms},
		{"resync_grace_ms", &config->resync_grace_ms},
		{"evict_dead_ms", &config->evict_dead_ms},
		{"garbage_delay_ms", &config->garbage_delay_ms},
		{"repair_retry_ms", &config->repair_retry_ms},
		{"repair_stall_ms", &config->repair_stall_ms},
		{"scrub_ms", &config->scrub_ms},
	};

	for (size_t i = 0; i < ARRAY_SIZE(delays); i++)
		if (strcmp(delays[i].name, name) == 0)
			return delays[i].delay;
	return NULL;
}

static bool set_delay(struct options *options, const char *name, const char *value)
{
	uint64_t *delay = find_delay(&options->meta, name);
	unsigned long long number;
	char *end;

	if (!delay) {
		snprintf(options->bad, sizeof options->bad, "there is no setting %s in [meta]",
			 name);
		return false;
	}
	errno = 0;
	number = strtoull(value, &end, 10);
	if (errno || end == value || *end || *value == '-' || number > UINT32_MAX) {
		snprintf(options->bad, sizeof options->bad, "%s = %s: not a number of milliseconds",
			 name, value);
		return false;
	}
	*delay = number;
	return true;
}

/* inih's callback: 1 if the line is good. Sections of other programs are not ours to judge. */
static int config_line(void *context, const char *section, const char *name, const char *value)
{
	struct options *options = context;

	if (strcmp(section, "meta") != 0)
		return 1;
	if (strcmp(name, "data") == 0) {
		free(options->file_data);
		options->file_data = xstrdup(value);
		return 1;
	}
	if (strcmp(name, "listen") == 0) {
		free(options->file_listen);
		options->file_listen = xstrdup(value);
		return 1;
	}
	return set_delay(options, name, value);
}

static void read_config(struct options *options)
{
	int line = ini_parse(options->config, config_line, options);

	if (line < 0)
		fail(EXIT_USAGE, "can't read %s: %s", options->config, strerror(errno));
	if (line > 0)
		fail(EXIT_USAGE, "%s, line %d: %s", options->config, line,
		     *options->bad ? options->bad : "not a section or NAME = VALUE");
	if (!options->data && options->file_data)
		options->data = xstrdup(options->file_data);
	if (!options->listen && options->file_listen)
		options->listen = xstrdup(options->file_listen);
}

static void take_value(char **to, const char *value)
{
	free(*to);
	*to = xstrdup(value);
}

static void parse_options(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{"data", required_argument, NULL, 'd'},   {"listen", required_argument, NULL, 'l'},
		{"config", required_argument, NULL, 'c'}, {"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},         {0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (option) {
		case 'd':
			take_value(&options->data, optarg);
			break;
		case 'l':
			take_value(&options->listen, optarg);
			break;
		case 'c':
			take_value(&options->config, optarg);
			break;
		case 'v':
			puts("copyhold-metad " COPYHOLD_VERSION);
			exit(0);
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			fputs("Try copyhold-metad --help\n", stderr);
			exit(EXIT_USAGE);
		}
	}
	if (optind < argc)
		fail(EXIT_USAGE, "%s is not an option. Try copyhold-metad --help", argv[optind]);
	if (options->config)
		read_config(options);
	if (!options->data)
		fail(EXIT_USAGE, "--data DIR is missing: the directory of the store");
	if (!options->listen)
		options->listen = xstrdup(DEFAULT_LISTEN);
}

static void free_options(struct options *options)
{
	free(options->data);
	free(options->listen);
	free(options->config);
	free(options->file_data);
	free(options->file_listen);
}

/* ---- directory ---- */

/* Anything in it that does not belong to a store of ours. */
static bool holds_something_else(DIR *dir)
{
	const struct dirent *entry;
	bool ours = false, other = false;

	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, FILE_NAME) == 0)
			ours = true;
		else if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
			 strcmp(entry->d_name, "lost+found") != 0)
			other = true;
	}
	return other && !ours;
}

static void prepare_directory(const char *path)
{
	bool foreign;
	DIR *dir;

	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		fail(EXIT_FAILED, "can't make the directory %s: %s", path, strerror(errno));
	dir = opendir(path);
	if (!dir)
		fail(EXIT_FAILED, "can't read the directory %s: %s", path, strerror(errno));
	foreign = holds_something_else(dir);
	closedir(dir);
	if (foreign)
		fail(EXIT_FAILED,
		     "%s holds other files and no " FILE_NAME
		     ": it is not a directory of a meta service. Give a new or empty one",
		     path);
	if (access(path, W_OK) != 0)
		fail(EXIT_FAILED, "can't write into the directory %s: %s", path, strerror(errno));
}

/* ---- life ---- */

static void on_signal(struct ev_loop *loop, ev_signal *watcher, int revents)
{
	(void)revents;
	trace(TRACE_INFO, "metad", "signal %d: stopping", watcher->signum);
	ev_break(loop, EVBREAK_ALL);
}

static uint64_t wall_ms(void *context)
{
	struct timespec now;

	(void)context;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void say_ready(const struct metad *metad)
{
	char cluster[UUID_TEXT_BYTES];

	uuid_format(metad_cluster(metad), cluster);
	printf("ready: meta service of cluster %s listens at %s\n", cluster,
	       io_ev_listener_address(metad_listener(metad)));
	fflush(stdout);
}

static void serve(struct ev_loop *loop, struct io_ev *io, const struct options *options)
{
	struct metad_environment environment = {
		.clock = io_ev_clock(io),
		.transport = io_ev_transport(io),
		.listen_address = options->listen,
		.config = options->meta,
		.wall_ms = wall_ms,
	};
	char path[PATH_MAX], error[META_STORE_ERROR_BYTES];
	struct metad *metad;

	if (snprintf(path, sizeof path, "%s/" FILE_NAME, options->data) >= (int)sizeof path)
		fail(EXIT_USAGE, "the path of --data is too long");
	if (meta_store_sqlite_open(path, environment.clock, &environment.store, error) != 0)
		fail(EXIT_FAILED, "%s", error);
	metad = metad_new(&environment, error);
	if (!metad) {
		meta_store_sqlite_close(environment.store);
		fail(EXIT_FAILED, "%s", error);
	}
	say_ready(metad);
	ev_run(loop, 0);
	metad_free(metad);
	meta_store_sqlite_close(environment.store);
}

int main(int argc, char **argv)
{
	struct options options = {.meta = meta_config_default()};
	struct ev_loop *loop = ev_default_loop(0);
	ev_signal term, interrupt;
	struct io_ev *io;

	trace_init();
	parse_options(argc, argv, &options);
	prepare_directory(options.data);
	signal(SIGPIPE, SIG_IGN);
	ev_signal_init(&term, on_signal, SIGTERM);
	ev_signal_start(loop, &term);
	ev_signal_init(&interrupt, on_signal, SIGINT);
	ev_signal_start(loop, &interrupt);
	io = io_ev_new(loop);
	serve(loop, io, &options);
	io_ev_free(io);
	ev_signal_stop(loop, &term);
	ev_signal_stop(loop, &interrupt);
	ev_loop_destroy(loop);
	free_options(&options);
	return 0;
}
