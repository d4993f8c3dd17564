/*
 * process.h - programs that this command starts, remembers and ends: daemons of the playground, nbdkit and nbdfuse of an
 * attachment.
 *
 * A process is remembered by pid and start time, so that a pid that was used again never passes for it. Only processes
 * remembered in this way are ever signalled.
 */
#ifndef COPYHOLD_CTL_PROCESS_H
#define COPYHOLD_CTL_PROCESS_H

#include "common/base/base.h"
#include <jansson.h>
#include <sys/types.h>

struct process {
	pid_t pid;            /* 0: none */
	uint64_t start_ticks; /* since boot, from /proc/PID/stat */
};

/* True while it runs; a zombie does not. */
bool process_is_alive(const struct process *process);

/* A running process, by pid. -ESRCH. */
int process_find(pid_t pid, struct process *process);

/*
 * Starts argv (NULL at its end; argv[0] is looked for in PATH unless it has a slash) in a session of its own, input from
 * /dev/null, output appended to the file log. A negative errno if it can't be started.
 */
int process_start(char *const argv[], const char *log, struct process *process);

/*
 * The same, but its parent is init from its first instruction on: for nbdkit, which asks the kernel (PR_SET_PDEATHSIG) for a
 * SIGTERM when its parent dies, and has to outlive whoever started it.
 */
int process_start_orphan(char *const argv[], const char *log, struct process *process);

/* Waits until is_ready(context). 0; -ESRCH: the process ended before; -ETIMEDOUT. */
int process_wait_ready(const struct process *process, bool (*is_ready)(void *context),
		       void *context, uint64_t timeout_ms);

/* Waits for the end. 0, or -ETIMEDOUT. */
int process_wait_end(const struct process *process, uint64_t timeout_ms);
/* After its end, for a child of this process: whether it exited with 0. Reaps it. */
bool process_succeeded(const struct process *process);
/*
 * TERM, and KILL when it hasn't ended after term_ms. 0 if it ended by itself, was not running, or ended after TERM; 1 if it
 * took KILL; a negative errno (-EPERM).
 */
int process_stop(const struct process *process, uint64_t term_ms);

/* {"pid", "start_ticks"}; a process of 0 from anything else. */
json_t *process_to_json(const struct process *process);
struct process process_from_json(const json_t *object);

/* The path of a program beside this one, or its bare name if there is none there. Allocated. */
char *process_find_program(const char *name);
/* The last non-empty line of a log from offset on that contains what (NULL: any); "" if there is none. */
void process_log_line(const char *log, uint64_t offset, const char *what, char *line,
		      size_t line_bytes);
uint64_t process_log_size(const char *log);

#endif
