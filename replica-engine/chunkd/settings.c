/* settings.c - see settings.h. */
#include "replica-engine/chunkd/settings.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void fail(int code, const char *format, ...)
{
	va_list ap;

	fputs("copyhold-chunkd: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(code);
}

bool parse_size(const char *text, uint64_t *bytes)
{
	static const char letters[] = "KMGT";
	unsigned long long number;
	const char *letter;
	unsigned shift = 0;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (*end) {
		letter = strchr(letters, toupper((unsigned char)*end));
		if (!letter)
			return false;
		shift = 10 * (unsigned)(letter - letters + 1);
		end++;
	}
	if (strcmp(end, "") != 0 && strcmp(end, "B") != 0 && strcmp(end, "iB") != 0)
		return false;
	if (number == 0 || number > UINT64_MAX >> shift)
		return false;
	*bytes = number << shift;
	return true;
}

/* ---- one setting ---- */

enum set_result {
	SET,
	SET_UNKNOWN,
	SET_BAD
};

static bool parse_flag(const char *text, bool *value)
{
	*value = strcmp(text, "yes") == 0 || strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
	return *value || strcmp(text, "no") == 0 || strcmp(text, "false") == 0 ||
	       strcmp(text, "0") == 0;
}

static char **text_setting(struct settings *s, const char *name)
{
	const struct {
		const char *name;
		char **text;
	} texts[] = {
		{"data", &s->data},   {"listen", &s->listen}, {"advertise", &s->advertise},
		{"local", &s->local}, {"meta", &s->meta},     {"host", &s->host},
		{"zone", &s->zone},   {"rack", &s->rack},     {"node", &s->node},
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (strcmp(texts[i].name, name) == 0)
			return texts[i].text;
	return NULL;
}

static uint64_t *size_setting(struct settings *s, const char *name)
{
	if (strcmp(name, "memory_limit") == 0)
		return &s->memory_limit_bytes;
	return strcmp(name, "metadata_memory") == 0 ? &s->metadata_memory_bytes : NULL;
}

/* overwrite: the command line; else a value that was set before stays. */
static enum set_result set(struct settings *s, const char *name, const char *value, bool overwrite)
{
	char **text = text_setting(s, name);
	uint64_t *size, bytes;
	bool flag;

	if (text) {
		if (*text && !overwrite)
			return SET;
		free(*text);
		*text = xstrdup(value);
		return SET;
	}
	size = size_setting(s, name);
	if (size) {
		if (!parse_size(value, &bytes))
			return SET_BAD;
		if (overwrite || !*size)
			*size = bytes;
		return SET;
	}
	if (strcmp(name, "power_loss_protected") == 0) {
		if (!parse_flag(value, &flag))
			return SET_BAD;
		s->power_loss_protected |= flag;
		return SET;
	}
	return SET_UNKNOWN;
}

/* ---- the file ---- */

struct reading {
	struct settings *settings;
	char wrong[256];
};

/* inih's callback: 1 if the line is good. Sections of other programs are not ours to judge. */
static int config_line(void *context, const char *section, const char *name, const char *value)
{
	struct reading *reading = context;

	if (strcmp(section, "chunkd") != 0)
		return 1;
	switch (set(reading->settings, name, value, false)) {
	case SET:
		return 1;
	case SET_UNKNOWN:
		snprintf(reading->wrong, sizeof reading->wrong,
			 "there is no setting %s in [chunkd]", name);
		return 0;
	case SET_BAD:
		break;
	}
	snprintf(reading->wrong, sizeof reading->wrong, "%s can't be %s", name, value);
	return 0;
}

static void read_config(struct settings *settings, const char *path)
{
	struct reading reading = {.settings = settings};
	int line = ini_parse(path, config_line, &reading);

	if (line < 0)
		fail(EXIT_USAGE, "can't read %s: %s", path, strerror(errno));
	if (line > 0)
		fail(EXIT_USAGE, "%s, line %d: %s", path, line,
		     *reading.wrong ? reading.wrong : "not a section or NAME = VALUE");
}

/* ---- the command line ---- */

static void set_defaults(struct settings *s)
{
	char host[256] = "";

	if (!s->data)
		fail(EXIT_USAGE, "--data FILE|DEVICE is missing: the disk of this chunk server. "
				 "A new one is made by copyhold-chunkd format");
	if (!s->listen)
		s->listen = xstrdup(SETTINGS_LISTEN_DEFAULT);
	if (!s->meta)
		s->meta = xstrdup(SETTINGS_META_DEFAULT);
	if (!s->host) {
		gethostname(host, sizeof host - 1);
		s->host = xstrdup(*host ? host : "localhost");
	}
}

void settings_parse(int argc, char **argv, const char *usage, struct settings *settings)
{
	static const struct option longs[] = {
		{"data", required_argument, NULL, 's'},
		{"listen", required_argument, NULL, 's'},
		{"advertise", required_argument, NULL, 's'},
		{"local", required_argument, NULL, 's'},
		{"meta", required_argument, NULL, 's'},
		{"host", required_argument, NULL, 's'},
		{"zone", required_argument, NULL, 's'},
		{"rack", required_argument, NULL, 's'},
		{"node", required_argument, NULL, 's'},
		{"memory-limit", required_argument, NULL, 'm'},
		{"metadata-memory", required_argument, NULL, 'M'},
		{"power-loss-protected", no_argument, NULL, 'p'},
		{"config", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *config = NULL;
	int option, index = 0;

	while ((option = getopt_long(argc, argv, "", longs, &index)) != -1) {
		switch (option) {
		case 's':
			set(settings, longs[index].name, optarg, true);
			break;
		case 'm':
		case 'M':
			if (set(settings, option == 'm' ? "memory_limit" : "metadata_memory",
				optarg, true) != SET)
				fail(EXIT_USAGE, "--%s %s: a size is a number and K, M, G or T: 2G",
				     longs[index].name, optarg);
			break;
		case 'p':
			settings->power_loss_protected = true;
			break;
		case 'c':
			config = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			fputs("Try copyhold-chunkd --help\n", stderr);
			exit(EXIT_USAGE);
		}
	}
	if (optind < argc)
		fail(EXIT_USAGE, "%s is not an option. Try copyhold-chunkd --help", argv[optind]);
	if (config)
		read_config(settings, config);
	set_defaults(settings);
}

void settings_free(struct settings *s)
{
	char *const texts[] = {s->data, s->listen, s->advertise, s->local, s->meta,
			       s->host, s->zone,   s->rack,      s->node};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		free(texts[i]);
}
