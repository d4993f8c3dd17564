/* test_files.c - the configuration file, state files, and processes that are remembered. */
#include "meta-service/ctl/config.h"
#include "meta-service/ctl/files.h"
#include "meta-service/ctl/process.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static void setup(void)
{
	snprintf(dir, sizeof dir, "/tmp/copyhold-test.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void)
{
	files_remove_directory(dir);
	ck_assert_int_ne(access(dir, F_OK), 0);
}

static char *put(const char *name, const char *content)
{
	char *path = files_format("%s/%s", dir, name);
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	fputs(content, file);
	fclose(file);
	return path;
}

static const struct {
	const char *content;
	int rc, line;
	const char *meta;
} configs[] = {
	{"", 0, 0, NULL},
	{"[copyhold]\nmeta = a:1,b:2\n", 0, 0, "a:1,b:2"},
	{"# a comment\n\n[copyhold]\nmeta=a:1\n", 0, 0, "a:1"},
	{"[copyhold]\nmetta = a:1\n", -EINVAL, 2, NULL},
	{"[chunkd]\nlisten = b:2\n[copyhold]\nmeta = a:1\n", 0, 0, "a:1"},
	{"meta = a:1\n", -EINVAL, 1, NULL},
	{"[copyhold]\nmeta\n", -EINVAL, 2, NULL},
};

START_TEST(configuration_is_read)
{
	char *path = put("copyhold.conf", configs[_i].content);
	struct config config = {0};
	int line = 0;

	ck_assert_int_eq(config_read(path, &config, &line), configs[_i].rc);
	ck_assert_int_eq(line, configs[_i].line);
	ck_assert_pstr_eq(config.meta, configs[_i].meta);
	free(config.meta);
	free(path);
}
END_TEST

START_TEST(a_missing_configuration_is_none)
{
	char *path = files_format("%s/nothing/here.conf", dir);
	struct config config = {0};
	int line;

	ck_assert_int_eq(config_read(path, &config, &line), 0);
	ck_assert_ptr_null(config.meta);
	free(path);
}
END_TEST

START_TEST(state_is_written_whole)
{
	char *path = files_format("%s/state.json", dir), *bad;
	json_t *document = json_pack("{s:i}", "a", 1), *back;

	ck_assert_ptr_null(files_read_json(path));
	ck_assert_int_eq(files_write_json(path, document), 0);
	back = files_read_json(path);
	ck_assert(json_equal(document, back));
	json_decref(document);
	json_decref(back);
	free(path);

	bad = put("bad.json", "{\"a\": ");
	ck_assert_ptr_null(files_read_json(bad));
	free(bad);
	bad = put("array.json", "[1]");
	ck_assert_ptr_null(files_read_json(bad));
	free(bad);
	document = json_object();
	ck_assert_int_lt(files_write_json("/nonexistent/state.json", document), 0);
	json_decref(document);
}
END_TEST

START_TEST(directories_are_made_with_their_parents)
{
	char *path = files_format("%s/a/b/c", dir), *file = put("file", ""), *below;
	struct stat st;

	ck_assert_int_eq(files_make_directory(path), 0);
	ck_assert_int_eq(files_make_directory(path), 0);
	ck_assert(stat(path, &st) == 0 && S_ISDIR(st.st_mode));
	below = files_format("%s/below", file);
	ck_assert_int_eq(files_make_directory(below), -ENOTDIR);
	ck_assert_int_eq(files_make_directory(file), -ENOTDIR);
	rmdir(path);
	for (int i = 0; i < 2; i++) {
		*strrchr(path, '/') = 0;
		rmdir(path);
	}
	free(path);
	free(file);
	free(below);
}
END_TEST

static struct process start(const char *script, char **log)
{
	char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c",
			(char *)(uintptr_t)script, NULL};
	struct process process = {0};

	*log = files_format("%s/log", dir);
	ck_assert_int_eq(process_start(argv, *log, &process), 0);
	ck_assert_int_gt(process.pid, 0);
	return process;
}

static bool says_ready(void *log)
{
	char line[64];

	process_log_line(log, 0, "ready", line, sizeof line);
	return *line;
}

START_TEST(a_process_is_awaited_and_stopped)
{
	char *log;
	struct process process = start("echo ready; exec sleep 1000", &log);

	ck_assert_int_eq(process_wait_ready(&process, says_ready, log, 20000), 0);
	ck_assert(process_is_alive(&process));
	ck_assert_int_eq(process_wait_end(&process, 0), -ETIMEDOUT);
	ck_assert_int_eq(process_stop(&process, 20000), 0);
	ck_assert(!process_is_alive(&process));
	ck_assert_int_eq(process_stop(&process, 20000), 0);
	free(log);
}
END_TEST

START_TEST(one_that_ignores_term_is_killed)
{
	char *log;
	struct process process =
		start("trap '' TERM; echo ready; while :; do sleep 0.1; done", &log);

	ck_assert_int_eq(process_wait_ready(&process, says_ready, log, 20000), 0);
	ck_assert_int_eq(process_stop(&process, 200), 1);
	ck_assert(!process_is_alive(&process));
	free(log);
}
END_TEST

START_TEST(one_that_ends_early_is_noticed)
{
	char *log, line[64];
	struct process process = start("echo first; echo the reason; echo; exit 3", &log);

	ck_assert_int_eq(process_wait_ready(&process, says_ready, log, 20000), -ESRCH);
	ck_assert(!process_succeeded(&process));
	process_log_line(log, 0, NULL, line, sizeof line);
	ck_assert_str_eq(line, "the reason");
	process_log_line(log, process_log_size(log), NULL, line, sizeof line);
	ck_assert_str_eq(line, "");
	free(log);
}
END_TEST

/* A pid that was used again: same number, another start. It is neither alive nor ever signalled. */
START_TEST(another_process_with_the_same_pid_is_left_alone)
{
	char *log;
	struct process process = start("exec sleep 1000", &log), other = process;

	other.start_ticks++;
	ck_assert(!process_is_alive(&other));
	ck_assert_int_eq(process_stop(&other, 100), 0);
	ck_assert(process_is_alive(&process));
	ck_assert_int_eq(process_stop(&process, 20000), 0);
	free(log);
}
END_TEST

START_TEST(a_process_survives_the_state_file)
{
	struct process process = {.pid = 17, .start_ticks = 123456789}, back;
	json_t *object = process_to_json(&process);

	back = process_from_json(object);
	ck_assert_int_eq(back.pid, process.pid);
	ck_assert_uint_eq(back.start_ticks, process.start_ticks);
	json_decref(object);
	back = process_from_json(NULL);
	ck_assert_int_eq(back.pid, 0);
	ck_assert(!process_is_alive(&back));
}
END_TEST

START_TEST(a_program_that_is_not_there_fails_to_start)
{
	char *argv[] = {(char *)(uintptr_t) "/nonexistent/program", NULL};
	char *log = files_format("%s/log", dir);
	struct process process;

	ck_assert_int_eq(process_start(argv, log, &process), -ENOENT);
	free(log);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("files");
	TCase *tcase = tcase_create("files");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, configuration_is_read, 0, (int)ARRAY_SIZE(configs));
	tcase_add_test(tcase, a_missing_configuration_is_none);
	tcase_add_test(tcase, state_is_written_whole);
	tcase_add_test(tcase, directories_are_made_with_their_parents);
	tcase_add_test(tcase, a_process_is_awaited_and_stopped);
	tcase_add_test(tcase, one_that_ignores_term_is_killed);
	tcase_add_test(tcase, one_that_ends_early_is_noticed);
	tcase_add_test(tcase, another_process_with_the_same_pid_is_left_alone);
	tcase_add_test(tcase, a_process_survives_the_state_file);
	tcase_add_test(tcase, a_program_that_is_not_there_fails_to_start);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
