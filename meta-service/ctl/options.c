/*
 * options.c - command lines: which command, its options and arguments, and --help for all of it, from the table in table.c.
 *
 * Options that every command has may stand before the noun as well as after it.
 */
#include "meta-service/ctl/command.h"
#include "meta-service/ctl/text.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	OPTION_JSON = 256,
	OPTION_META,
	OPTION_VERBOSE,
	OPTION_HELP,
	OPTION_OWN, /* the command's own: OPTION_OWN + place */
};

#define GLOBAL_OPTIONS 4
static const struct option global_options[GLOBAL_OPTIONS] = {
	{"json", no_argument, NULL, OPTION_JSON},
	{"meta", required_argument, NULL, OPTION_META},
	{"verbose", no_argument, NULL, OPTION_VERBOSE},
	{"help", no_argument, NULL, OPTION_HELP},
};

static const char global_help[] = "      --meta HOST:PORT[,...]  the meta service (else "
				  "COPYHOLD_META, the configuration file, or a\n"
				  "                              playground in the default place)\n"
				  "      --json                  print one JSON document\n"
				  "  -v, --verbose               say more\n"
				  "  -h, --help                  this text\n";

static void print_command(FILE *out, const struct command *command)
{
	char left[64];

	snprintf(left, sizeof left, "%s%s%s%s%s", command->noun, command->verb ? " " : "",
		 command->verb ? command->verb : "", *command->arguments ? " " : "",
		 command->arguments);
	fprintf(out, "  %-36s %s\n", left, command->summary);
}

/* noun NULL: all commands. Asked for, it goes to standard output; else it is part of an error. */
static enum exit_code print_commands(const struct command *commands, const char *noun, bool asked)
{
	FILE *out = asked ? stdout : stderr;

	fprintf(out, "usage: copyhold %s [OPTION]...\n\n", noun ? noun : "COMMAND");
	for (const struct command *c = commands; c->noun; c++) {
		if (!noun || strcmp(c->noun, noun) == 0)
			print_command(out, c);
	}
	fprintf(out, "\nEvery command takes\n%s", global_help);
	fprintf(out, "\ncopyhold COMMAND --help tells more. Exit codes: 0 done, 1 failed, 2 bad "
		     "usage.\n");
	return asked ? EXIT_CODE_OK : EXIT_CODE_USAGE;
}

static void print_help(const struct command *command)
{
	char left[64];

	printf("usage: copyhold %s%s%s %s%s[OPTION]...\n\n%c%s.\n\n", command->noun,
	       command->verb ? " " : "", command->verb ? command->verb : "", command->arguments,
	       *command->arguments ? " " : "", command->summary[0] - ('a' - 'A'),
	       command->summary + 1);
	for (const struct option_spec *o = command->options; o->name; o++) {
		snprintf(left, sizeof left, "--%s%s%s", o->name, o->value ? " " : "",
			 o->value ? o->value : "");
		printf("      %-23s %s\n", left, o->help);
	}
	fputs(global_help, stdout);
}

/* Takes a global option; 1 if it was one, 0 if not, -1 for help. */
static int take_global(struct invocation *invocation, int option)
{
	switch (option) {
	case OPTION_JSON:
		invocation->json = true;
		return 1;
	case OPTION_META:
		invocation->meta = optarg;
		return 1;
	case 'v':
	case OPTION_VERBOSE:
		invocation->verbose = true;
		return 1;
	case 'h':
	case OPTION_HELP:
		return -1;
	default:
		return 0;
	}
}

static const char *bad_option(int option, char **argv)
{
	static char text[128];
	const char *word = argv[optind - 1];

	if (optopt && optopt < OPTION_JSON)
		snprintf(text, sizeof text, "there is no option -%c here", optopt);
	else if (option == ':')
		snprintf(text, sizeof text, "%s needs a value", word);
	else if (optopt)
		snprintf(text, sizeof text, "%s takes no value", word);
	else
		snprintf(text, sizeof text, "there is no option %s here", word);
	return text;
}

/* The command named by argv[0] and argv[1]; NULL with *noun_known if only its verb is missing or wrong. */
static const struct command *find(const struct command *commands, int argc, char **argv,
				  bool *noun_known)
{
	*noun_known = false;
	for (const struct command *c = commands; c->noun; c++) {
		if (strcmp(c->noun, argv[0]) != 0)
			continue;
		*noun_known = true;
		if (!c->verb || (argc > 1 && strcmp(c->verb, argv[1]) == 0))
			return c;
	}
	return NULL;
}

static bool parse_own(struct invocation *invocation, int argc, char **argv, enum exit_code *code)
{
	const struct command *command = invocation->command;
	struct option options[GLOBAL_OPTIONS + COMMAND_OPTIONS_MAX + 1] = {{0}};
	int count = 0, option;

	for (; command->options[count].name; count++) {
		assert(count < COMMAND_OPTIONS_MAX);
		options[count] = (struct option){command->options[count].name,
						 command->options[count].value ? required_argument
									       : no_argument,
						 NULL, OPTION_OWN + count};
	}
	memcpy(options + count, global_options, sizeof global_options);
	optind = 0; /* glibc: start anew, with permutation of arguments */
	while ((option = getopt_long(argc, argv, ":hv", options, NULL)) != -1) {
		int global = take_global(invocation, option);

		if (global < 0) {
			print_help(command);
			*code = EXIT_CODE_OK;
			return false;
		}
		if (option >= OPTION_OWN) {
			invocation->values[option - OPTION_OWN] = optarg ? optarg : "";
		} else if (!global) {
			*code = fail_usage(invocation, "%s", bad_option(option, argv));
			return false;
		}
	}
	argc -= optind;
	argv += optind;
	if (argc < command->arguments_min) {
		*code = fail_usage(invocation, "it needs %s", command->arguments);
		return false;
	}
	if (argc > command->arguments_max) {
		*code = fail_usage(invocation, "\"%s\" is one argument too many",
				   argv[command->arguments_max]);
		return false;
	}
	for (int i = 0; i < argc; i++)
		invocation->arguments[i] = argv[i];
	invocation->argument_count = argc;
	return true;
}

bool command_parse(const struct command *commands, int argc, char **argv,
		   struct invocation *invocation, enum exit_code *code)
{
	struct option options[GLOBAL_OPTIONS + 1] = {{0}};
	bool noun_known, help = false;
	int option;

	*invocation = (struct invocation){0};
	memcpy(options, global_options, sizeof global_options);
	opterr = 0;
	optind = 0;
	while ((option = getopt_long(argc, argv, "+:hv", options, NULL)) != -1) {
		int global = take_global(invocation, option);

		help |= global < 0;
		if (!global) {
			*code = fail_usage(invocation, "%s", bad_option(option, argv));
			return false;
		}
	}
	argc -= optind;
	argv += optind;
	if (argc == 0 || help) {
		*code = print_commands(commands, NULL, help);
		return false;
	}
	invocation->command = find(commands, argc, argv, &noun_known);
	if (!invocation->command && noun_known &&
	    (argc == 1 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		*code = print_commands(commands, argv[0], argc > 1);
		return false;
	}
	if (!invocation->command) {
		*code = noun_known ? fail_usage(invocation, "there is no command \"%s %s\"",
						argv[0], argv[1])
				   : fail_usage(invocation, "there is no command \"%s\"", argv[0]);
		return false;
	}
	/* The last word of the command stands where getopt expects the program's name. */
	if (invocation->command->verb) {
		argc--;
		argv++;
	}
	return parse_own(invocation, argc, argv, code);
}

enum exit_code command_main(int argc, char **argv)
{
	struct invocation invocation;
	enum exit_code code;

	if (!command_parse(command_table, argc, argv, &invocation, &code))
		return code;
	code = invocation.command->run(&invocation);
	if (fflush(stdout) != 0 && code == EXIT_CODE_OK) {
		fprintf(stderr, "copyhold: the output could not be written: %s\n", strerror(errno));
		return EXIT_CODE_FAILED;
	}
	return code;
}

const char *option_value(const struct invocation *invocation, const char *name)
{
	for (int i = 0; invocation->command->options[i].name; i++) {
		if (strcmp(invocation->command->options[i].name, name) == 0)
			return invocation->values[i];
	}
	assert(!"the command declares this option");
	return NULL;
}

bool option_is_set(const struct invocation *invocation, const char *name)
{
	return option_value(invocation, name) != NULL;
}

bool option_number(const struct invocation *invocation, const char *name, uint64_t fallback,
		   uint64_t *number)
{
	const char *text = option_value(invocation, name);

	*number = fallback;
	if (!text || text_parse_number(text, number) == 0)
		return true;
	fail_usage(invocation, "--%s: \"%s\" is not a number", name, text);
	return false;
}

bool option_size(const struct invocation *invocation, const char *name, uint64_t fallback,
		 uint64_t *bytes)
{
	const char *text = option_value(invocation, name);
	int rc;

	*bytes = fallback;
	if (!text)
		return true;
	rc = text_parse_size(text, bytes);
	if (rc == -ERANGE)
		fail_usage(invocation,
			   "--%s: %s is beyond 8 EiB, the most that a block device can have", name,
			   text);
	else if (rc)
		fail_usage(invocation, "--%s: \"%s\" is not a size; write 4096, 512M, 10G, 1T, ...",
			   name, text);
	return rc == 0;
}
