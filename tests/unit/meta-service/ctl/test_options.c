/* test_options.c - command lines: what is understood, what is refused, and with which exit code. */
#include "meta-service/ctl/command.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static enum exit_code run_nothing(const struct invocation *invocation)
{
	(void)invocation;
	return EXIT_CODE_OK;
}

static const struct option_spec some_options[] = {
	{"size", "SIZE", "a size"}, {"number", "N", "a number"}, {"force", NULL, "a switch"}, {0}};
static const struct option_spec none[] = {{0}};
static const struct command commands[] = {
	{"volume", "create", "NAME", 1, 1, "make one", some_options, run_nothing},
	{"volume", "list", "", 0, 0, "list them", none, run_nothing},
	{"attach", NULL, "VOLUME [DEVICE]", 1, 2, "attach one", some_options, run_nothing},
	{0},
};

#define ARGUMENTS_MAX 16

/* Splits a line at blanks and parses it; the words live until the next call. */
static bool parse(const char *line, struct invocation *invocation, enum exit_code *code)
{
	static char copy[256];
	char *words[ARGUMENTS_MAX + 2] = {(char *)(uintptr_t) "copyhold"}, *at = copy;
	int count = 1;

	snprintf(copy, sizeof copy, "%s", line);
	while (at && *at) {
		ck_assert_int_lt(count, ARGUMENTS_MAX);
		words[count++] = strsep(&at, " ");
	}
	return command_parse(commands, count, words, invocation, code);
}

static void quiet(void)
{
	int null = open("/dev/null", O_WRONLY);

	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	close(null);
}

START_TEST(options_stand_anywhere)
{
	static const char *const lines[] = {
		"volume create --size 10G --force disk --json --meta a:1",
		"volume create disk --json --force --size=10G --meta=a:1",
		"--json --meta a:1 volume create disk --size 10G --force",
		"--json volume create --meta a:1 --force --size 10G -- disk",
	};
	struct invocation in;
	enum exit_code code;

	ck_assert(parse(lines[_i], &in, &code));
	ck_assert_ptr_eq(in.command, &commands[0]);
	ck_assert_int_eq(in.argument_count, 1);
	ck_assert_str_eq(in.arguments[0], "disk");
	ck_assert_str_eq(option_value(&in, "size"), "10G");
	ck_assert(option_is_set(&in, "force"));
	ck_assert(!option_is_set(&in, "number"));
	ck_assert(in.json);
	ck_assert_str_eq(in.meta, "a:1");
	ck_assert(!in.verbose);
}
END_TEST

static const struct {
	const char *line;
	enum exit_code code;
} refused[] = {
	{"", EXIT_CODE_USAGE},
	{"volume", EXIT_CODE_USAGE},
	{"volume frobnicate", EXIT_CODE_USAGE},
	{"frobnicate", EXIT_CODE_USAGE},
	{"volume create", EXIT_CODE_USAGE},
	{"volume create a b", EXIT_CODE_USAGE},
	{"volume list a", EXIT_CODE_USAGE},
	{"volume list --force", EXIT_CODE_USAGE},
	{"volume create a --size", EXIT_CODE_USAGE},
	{"volume create a --force=1", EXIT_CODE_USAGE},
	{"volume create a -x", EXIT_CODE_USAGE},
	{"--bad volume list", EXIT_CODE_USAGE},
	{"attach", EXIT_CODE_USAGE},
	{"attach a b c", EXIT_CODE_USAGE},
	{"--help", EXIT_CODE_OK},
	{"volume --help", EXIT_CODE_OK},
	{"volume create --help", EXIT_CODE_OK},
	{"volume create a b c -h", EXIT_CODE_OK},
};

START_TEST(the_rest_ends_here)
{
	struct invocation in;
	enum exit_code code = EXIT_CODE_FAILED;

	quiet();
	ck_assert(!parse(refused[_i].line, &in, &code));
	ck_assert_int_eq(code, refused[_i].code);
}
END_TEST

START_TEST(a_command_without_verb_takes_arguments)
{
	struct invocation in;
	enum exit_code code;

	ck_assert(parse("attach disk /dev/loop3", &in, &code));
	ck_assert_ptr_eq(in.command, &commands[2]);
	ck_assert_int_eq(in.argument_count, 2);
	ck_assert_str_eq(in.arguments[1], "/dev/loop3");
}
END_TEST

START_TEST(values_are_read)
{
	struct invocation in;
	enum exit_code code;
	uint64_t value;

	quiet();
	ck_assert(parse("volume create a --size 4K --number 7", &in, &code));
	ck_assert(option_size(&in, "size", 1, &value) && value == 4096);
	ck_assert(option_number(&in, "number", 1, &value) && value == 7);
	ck_assert(parse("volume create a", &in, &code));
	ck_assert(option_size(&in, "size", 5, &value) && value == 5);
	ck_assert(option_number(&in, "number", 6, &value) && value == 6);
	ck_assert(parse("volume create a --size many --number 1G", &in, &code));
	ck_assert(!option_size(&in, "size", 5, &value));
	ck_assert(!option_number(&in, "number", 6, &value));
}
END_TEST

/* Every command of the program: its help can be made, and its numbers make sense. */
START_TEST(the_table_is_sound)
{
	for (const struct command *c = command_table; c->noun; c++) {
		int options = 0;

		while (c->options[options].name)
			options++;
		ck_assert_int_le(options, COMMAND_OPTIONS_MAX);
		ck_assert_int_le(c->arguments_min, c->arguments_max);
		ck_assert_int_le(c->arguments_max, COMMAND_ARGUMENTS_MAX);
		ck_assert(c->run != NULL);
		ck_assert(c->summary[0] >= 'a' && c->summary[0] <= 'z');
		ck_assert_int_eq(c->arguments_max > 0, *c->arguments != 0);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("options");
	TCase *tcase = tcase_create("options");

	tcase_add_loop_test(tcase, options_stand_anywhere, 0, 4);
	tcase_add_loop_test(tcase, the_rest_ends_here, 0, (int)ARRAY_SIZE(refused));
	tcase_add_test(tcase, a_command_without_verb_takes_arguments);
	tcase_add_test(tcase, values_are_read);
	tcase_add_test(tcase, the_table_is_sound);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
