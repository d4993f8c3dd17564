/* trace.c - see trace.h. */
#include "common/trace/trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum trace_level trace_limit = TRACE_INFO;

static const char *const names[] = {"error", "warn", "info", "debug", "data"};

static void to_stderr(void *context, enum trace_level level, const char *module, const char *text)
{
	struct timespec now;
	struct tm tm;
	char stamp[32];

	(void)context;
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(stderr, "%s.%03ld %s %s: %s\n", stamp, now.tv_nsec / 1000000, names[level], module,
		text);
}

static trace_sink_fn *sink = to_stderr;
static void *sink_context;

void trace_set_sink(trace_sink_fn *fn, void *context)
{
	sink = fn ? fn : to_stderr;
	sink_context = context;
}

void trace_init(void)
{
	const char *word = getenv("COPYHOLD_TRACE");

	if (!word || !*word)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(word, names[i]) == 0) {
			trace_limit = (enum trace_level)i;
			return;
		}
	}
	trace(TRACE_WARN, "trace", "COPYHOLD_TRACE=%s is none of error, warn, info, debug, data",
	      word);
}

void trace_line(enum trace_level level, const char *module, const char *format, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	sink(sink_context, level, module, text);
}
