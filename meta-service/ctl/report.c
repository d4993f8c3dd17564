/* report.c - results and failures, for people and for programs (command.h). */
#include "meta-service/ctl/command.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool colours(int fd)
{
	const char *no = getenv("NO_COLOR");

	return isatty(fd) && !(no && *no);
}

const char *paint(enum paint paint)
{
	static const char *const sequences[] = {"\033[32m", "\033[33m", "\033[31m", "\033[1m",
						"\033[0m"};

	return colours(STDOUT_FILENO) ? sequences[paint] : "";
}

enum paint paint_of_state(const char *state)
{
	static const char *const good[] = {"healthy", "ok", "up", "running", "ACTIVE"};
	static const char *const bad[] = {"unavailable", "error", "down",
					  "failed",      "dead",  "stopped"};

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		if (strcmp(state, good[i]) == 0)
			return PAINT_GOOD;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		if (strcmp(state, bad[i]) == 0)
			return PAINT_BAD;
	}
	return PAINT_WARNING;
}

enum exit_code print_json(json_t *document)
{
	json_dumpf(document, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(document);
	return EXIT_CODE_OK;
}

static void tell(const struct invocation *invocation, const char *code, const char *hint,
		 const char *message)
{
	bool painted = colours(STDERR_FILENO);

	if (invocation->json) {
		print_json(json_pack("{s:{s:s, s:s, s:s}}", "error", "code", code, "message",
				     message, "hint", hint ? hint : ""));
		return;
	}
	fflush(stdout);
	fprintf(stderr, "%scopyhold: %s%s\n", painted ? "\033[31m" : "", message,
		painted ? "\033[0m" : "");
	if (hint && *hint)
		fprintf(stderr, "  %s\n", hint);
}

enum exit_code fail(const struct invocation *invocation, const char *code, const char *hint,
		    const char *format, ...)
{
	char *message;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&message, format, ap) < 0)
		abort();
	va_end(ap);
	tell(invocation, code, hint, message);
	free(message);
	return EXIT_CODE_FAILED;
}

enum exit_code fail_usage(const struct invocation *invocation, const char *format, ...)
{
	const struct command *command = invocation->command;
	char *message, hint[96] = "see: copyhold --help";
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&message, format, ap) < 0)
		abort();
	va_end(ap);
	if (command)
		snprintf(hint, sizeof hint, "see: copyhold %s%s%s --help", command->noun,
			 command->verb ? " " : "", command->verb ? command->verb : "");
	tell(invocation, "USAGE", hint, message);
	free(message);
	return EXIT_CODE_USAGE;
}

__attribute__((format(printf, 1, 0))) static void note_line(const char *format, va_list ap)
{
	fflush(stdout);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
}

void note(const struct invocation *invocation, const char *format, ...)
{
	va_list ap;

	if (invocation->json)
		return;
	va_start(ap, format);
	note_line(format, ap);
	va_end(ap);
}

void note_verbose(const struct invocation *invocation, const char *format, ...)
{
	va_list ap;

	if (!invocation->verbose || invocation->json)
		return;
	va_start(ap, format);
	note_line(format, ap);
	va_end(ap);
}
