/*
 * trace.h - logging. One line an event, prefix in a fixed order: level, module, then what the
 * caller says (name actors as volume=, chunk=, cid=, epoch=, generation=). Nothing here is called per request
 * on the data path: TRACE_DATA lines cost one predictable branch unless switched on
 * (COPYHOLD_TRACE=data).
 */
#ifndef COPYHOLD_TRACE_H
#define COPYHOLD_TRACE_H

#include "common/base/base.h"

enum trace_level {
	TRACE_ERROR,
	TRACE_WARN,
	TRACE_INFO,
	TRACE_DEBUG,
	TRACE_DATA,
};

/* Lines above this level are dropped. Set from COPYHOLD_TRACE (error|warn|info|debug|data). */
extern enum trace_level trace_limit;

/*
 * Where lines go: by default standard error with a wall-clock stamp. The simulator puts its own here.
 * The text has no newline. Called from any thread.
 */
typedef void trace_sink_fn(void *context, enum trace_level level, const char *module,
			   const char *text);
void trace_set_sink(trace_sink_fn *sink, void *context);
/* Reads COPYHOLD_TRACE; unknown words leave the default (info) and say so. */
void trace_init(void);

void trace_line(enum trace_level level, const char *module, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define trace(level, module, ...)                                                                  \
	do {                                                                                       \
		if ((level) <= trace_limit)                                                        \
			trace_line(level, module, __VA_ARGS__);                                    \
	} while (0)

#endif
