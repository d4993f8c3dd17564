/* process.c - see process.h. */
#include "meta-service/ctl/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 20

/* The state letter and start time of a process; -ESRCH. */
static int read_stat(pid_t pid, char *state, uint64_t *start_ticks)
{
	char path[64], text[1024];
	unsigned long long ticks;
	const char *after;
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -ESRCH;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0)
		return -ESRCH;
	text[n] = 0;
	/* The name, in parentheses, may contain anything; what is counted begins behind it. */
	after = strrchr(text, ')');
	if (!after || sscanf(after + 1,
			     " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
			     "%*d %*d %llu",
			     state, &ticks) != 2)
		return -ESRCH;
	*start_ticks = ticks;
	return 0;
}

bool process_is_alive(const struct process *process)
{
	uint64_t start_ticks;
	char state;

	if (process->pid <= 0 || read_stat(process->pid, &state, &start_ticks) != 0)
		return false;
	return start_ticks == process->start_ticks && state != 'Z' && state != 'X';
}

int process_find(pid_t pid, struct process *process)
{
	char state;

	process->pid = pid;
	return read_stat(pid, &state, &process->start_ticks);
}

int process_start(char *const argv[], const char *log, struct process *process)
{
	extern char **environ;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	char state;
	pid_t pid;
	int rc;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log,
					 O_WRONLY | O_CREAT | O_APPEND, 0644);
	posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
	/* What this command inherited (a pipe to its caller, a lock) must not live on in a daemon. */
	posix_spawn_file_actions_addclosefrom_np(&actions, 3);
	posix_spawnattr_init(&attributes);
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
	rc = posix_spawnp(&pid, argv[0], &actions, &attributes, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	if (rc)
		return -rc;
	process->pid = pid;
	/* It can't be gone: an ended child stays a zombie until somebody waits for it. */
	return read_stat(pid, &state, &process->start_ticks);
}

/* In the child of a child: waits for its parent's end, then becomes argv. */
static void become_orphan(char *const argv[], const char *log, pid_t parent)
{
	struct timespec pause = {.tv_nsec = 1000000};
	int null = open("/dev/null", O_RDONLY);
	int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	sigset_t none;

	while (getppid() == parent)
		nanosleep(&pause, NULL);
	setsid();
	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	closefrom(STDERR_FILENO + 1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(argv[0], argv);
	dprintf(STDERR_FILENO, "error: %s can't be run: %s\n", argv[0], strerror(errno));
	_exit(127);
}

int process_start_orphan(char *const argv[], const char *log, struct process *process)
{
	pid_t between, pid = 0;
	int ends[2], rc = 0;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return -errno;
	between = fork();
	if (between == 0) {
		pid_t parent = getpid();

		pid = fork();
		if (pid == 0)
			become_orphan(argv, log, parent);
		_exit(write(ends[1], &pid, sizeof pid) == sizeof pid ? 0 : 1);
	}
	if (between < 0)
		rc = -errno;
	close(ends[1]);
	if (!rc && (read(ends[0], &pid, sizeof pid) != sizeof pid || pid <= 0))
		rc = -EAGAIN;
	close(ends[0]);
	if (between > 0)
		waitpid(between, NULL, 0);
	return rc ? rc : process_find(pid, process);
}

/* A descriptor that becomes readable when the process ends; -ESRCH if it isn't the one that was remembered. */
static int open_pidfd(const struct process *process)
{
	int fd = process->pid > 0 ? pidfd_open(process->pid, 0) : -1;

	if (fd < 0)
		return -ESRCH;
	/* Checked after the opening: from here on the descriptor stands for this very process. */
	if (!process_is_alive(process)) {
		close(fd);
		return -ESRCH;
	}
	return fd;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* True if it ended within the time. */
static bool poll_end(int pidfd, uint64_t timeout_ms)
{
	struct pollfd end = {.fd = pidfd, .events = POLLIN};
	uint64_t until = now_ms() + timeout_ms, now;
	int rc;

	do {
		now = now_ms();
		rc = poll(&end, 1, until > now ? (int)(until - now) : 0);
	} while (rc < 0 && errno == EINTR);
	return rc > 0;
}

int process_wait_ready(const struct process *process, bool (*is_ready)(void *context),
		       void *context, uint64_t timeout_ms)
{
	uint64_t until = now_ms() + timeout_ms;
	int fd = open_pidfd(process), rc = -ETIMEDOUT;

	if (fd < 0)
		return -ESRCH;
	do {
		if (is_ready(context))
			rc = 0;
		else if (poll_end(fd, POLL_MS))
			rc = -ESRCH;
	} while (rc == -ETIMEDOUT && now_ms() < until);
	close(fd);
	return rc;
}

int process_wait_end(const struct process *process, uint64_t timeout_ms)
{
	int fd = open_pidfd(process);
	bool ended;

	if (fd < 0)
		return 0;
	ended = poll_end(fd, timeout_ms);
	close(fd);
	return ended ? 0 : -ETIMEDOUT;
}

bool process_succeeded(const struct process *process)
{
	int status;

	return waitpid(process->pid, &status, 0) == process->pid && WIFEXITED(status) &&
	       WEXITSTATUS(status) == 0;
}

int process_stop(const struct process *process, uint64_t term_ms)
{
	int fd = open_pidfd(process), rc = 0;

	if (fd < 0)
		return 0;
	if (pidfd_send_signal(fd, SIGTERM, NULL, 0) != 0 && errno != ESRCH) {
		rc = -errno;
	} else if (!poll_end(fd, term_ms)) {
		rc = pidfd_send_signal(fd, SIGKILL, NULL, 0) == 0 ? 1 : -errno;
		poll_end(fd, term_ms);
	}
	close(fd);
	return rc == -ESRCH ? 0 : rc;
}

json_t *process_to_json(const struct process *process)
{
	return json_pack("{s:i, s:I}", "pid", (int)process->pid, "start_ticks",
			 (json_int_t)process->start_ticks);
}

struct process process_from_json(const json_t *object)
{
	return (struct process){
		.pid = (pid_t)json_integer_value(json_object_get(object, "pid")),
		.start_ticks = (uint64_t)json_integer_value(json_object_get(object, "start_ticks")),
	};
}

char *process_find_program(const char *name)
{
	char self[4096], *path, *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

	if (n > 0) {
		self[n] = 0;
		slash = strrchr(self, '/');
		*slash = 0;
		if (asprintf(&path, "%s/%s", self, name) < 0)
			abort();
		if (access(path, R_OK) == 0)
			return path;
		free(path);
	}
	return xstrdup(name);
}

uint64_t process_log_size(const char *log)
{
	struct stat st;

	return stat(log, &st) == 0 ? (uint64_t)st.st_size : 0;
}

void process_log_line(const char *log, uint64_t offset, const char *what, char *line,
		      size_t line_bytes)
{
	FILE *file = fopen(log, "re");
	char *text = NULL;
	size_t text_bytes = 0;
	ssize_t n;

	*line = 0;
	if (!file)
		return;
	fseeko(file, (off_t)offset, SEEK_SET);
	while ((n = getline(&text, &text_bytes, file)) > 0) {
		if (text[n - 1] == '\n')
			text[n - 1] = 0;
		if (*text && (!what || strstr(text, what)))
			snprintf(line, line_bytes, "%s", text);
	}
	free(text);
	fclose(file);
}
