/*
 * command.h - what every subcommand of copyhold(1) stands on: the table of commands, the parsed command line, and how
 * results and failures are told to people and to programs.
 *
 * A command returns the program's exit code. With --json standard output is exactly one JSON document: the result,
 * or {"error": {"code", "message", "hint"}}. Without it results go to standard output as text, failures to standard error.
 * Colours and progress appear only on a terminal. One thread; nothing here is freed before the program ends unless a
 * header says so.
 */
#ifndef COPYHOLD_CTL_COMMAND_H
#define COPYHOLD_CTL_COMMAND_H

#include "common/base/base.h"
#include <jansson.h>

enum exit_code {
	EXIT_CODE_OK = 0,
	EXIT_CODE_FAILED = 1,
	EXIT_CODE_USAGE = 2,
};

/* One option of a command. value: what its argument is called in the help; NULL: a switch. Lists end with name NULL. */
struct option_spec {
	const char *name;
	const char *value;
	const char *help;
};

#define COMMAND_OPTIONS_MAX   12
#define COMMAND_ARGUMENTS_MAX 2

struct invocation;

struct command {
	const char *noun;
	const char *verb;      /* NULL: the noun is the command */
	const char *arguments; /* for the usage line; "" if there are none */
	int arguments_min, arguments_max;
	const char *summary;
	const struct option_spec *options;
	enum exit_code (*run)(const struct invocation *invocation);
};

/* A parsed command line. Strings belong to argv. */
struct invocation {
	const struct command *command;
	bool json, verbose;
	const char *meta; /* --meta, or NULL */
	int argument_count;
	const char *arguments[COMMAND_ARGUMENTS_MAX];
	const char *values
		[COMMAND_OPTIONS_MAX]; /* by place in command->options; a switch that is set has "" */
};

/* All commands; ends with noun NULL. */
extern const struct command command_table[];

/* Finds the command and runs it; everything that can be wrong with a command line is told here. */
enum exit_code command_main(int argc, char **argv);
/* Fills invocation from argv; false if it is done (help, usage error), with *code. For command_main and tests. */
bool command_parse(const struct command *commands, int argc, char **argv,
		   struct invocation *invocation, enum exit_code *code);

/* The value of an option that the command declares (asserted), NULL if it was not given. */
const char *option_value(const struct invocation *invocation, const char *name);
bool option_is_set(const struct invocation *invocation, const char *name);
/* A number or size option; the default if it was not given. False: it is none, and the failure was told (exit 2). */
bool option_number(const struct invocation *invocation, const char *name, uint64_t fallback,
		   uint64_t *number);
bool option_size(const struct invocation *invocation, const char *name, uint64_t fallback,
		 uint64_t *bytes);

/* Tells a failure: what happened and why; hint: the next command, or NULL. */
enum exit_code fail(const struct invocation *invocation, const char *code, const char *hint,
		    const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same with exit code 2: the command line is wrong. */
enum exit_code fail_usage(const struct invocation *invocation, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* A line on standard error, for people; nothing with --json. */
void note(const struct invocation *invocation, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The same, only with --verbose. */
void note_verbose(const struct invocation *invocation, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Prints a document on standard output and drops the reference. */
enum exit_code print_json(json_t *document);

enum paint {
	PAINT_GOOD,
	PAINT_WARNING,
	PAINT_BAD,
	PAINT_BOLD,
	PAINT_OFF,
};
/* The escape sequence, or "" where standard output is no terminal (or NO_COLOR is set). */
const char *paint(enum paint paint);
/* The colour of a state word of the meta service ("healthy", "up", "degraded", ...). */
enum paint paint_of_state(const char *state);

/* The commands, each in the file of its noun. */
enum exit_code playground_start(const struct invocation *invocation);
enum exit_code playground_stop(const struct invocation *invocation);
enum exit_code playground_status(const struct invocation *invocation);
enum exit_code volume_create(const struct invocation *invocation);
enum exit_code volume_list(const struct invocation *invocation);
enum exit_code volume_show(const struct invocation *invocation);
enum exit_code volume_resize(const struct invocation *invocation);
enum exit_code volume_rename(const struct invocation *invocation);
enum exit_code volume_delete(const struct invocation *invocation);
enum exit_code attach_run(const struct invocation *invocation);
enum exit_code detach_run(const struct invocation *invocation);
enum exit_code attached_run(const struct invocation *invocation);
enum exit_code server_list(const struct invocation *invocation);
enum exit_code server_show(const struct invocation *invocation);
enum exit_code chunk_list(const struct invocation *invocation);
enum exit_code chunk_show(const struct invocation *invocation);
enum exit_code chunk_check(const struct invocation *invocation);
enum exit_code chunk_scrub(const struct invocation *invocation);
enum exit_code job_list(const struct invocation *invocation);
enum exit_code job_show(const struct invocation *invocation);
enum exit_code job_cancel(const struct invocation *invocation);
enum exit_code job_pause(const struct invocation *invocation);
enum exit_code job_resume(const struct invocation *invocation);
enum exit_code meta_confirm(const struct invocation *invocation);
enum exit_code status_run(const struct invocation *invocation);

#endif
