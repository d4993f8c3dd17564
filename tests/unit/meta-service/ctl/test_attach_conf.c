/* test_attach_conf.c - lines of attach.conf, and names of nbd devices. */
#include "meta-service/ctl/attach_conf.h"
#include "meta-service/ctl/device.h"
#include "meta-service/ctl/netlink.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[] = "/tmp/copyhold-attach-conf-XXXXXX";

static void setup(void)
{
	int fd;

	strcpy(path + sizeof path - 7, "XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
}

static void teardown(void)
{
	unlink(path);
}

static int find(const char *text, const char *volume, struct attach_settings *settings,
		char problem[200])
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
	return attach_conf_find(path, volume, settings, problem, 200);
}

START_TEST(a_full_line_is_read)
{
	struct attach_settings s;
	char problem[200];

	ck_assert_int_eq(find("# comment\n\nother\ndata /dev/nbd7 "
			      "connections=4,timeout=60,read-only,swap /srv/data # mine\n",
			      "data", &s, problem),
			 0);
	ck_assert_uint_eq(s.index, 7);
	ck_assert_uint_eq(s.connections, 4);
	ck_assert_uint_eq(s.timeout_s, 60);
	ck_assert(s.read_only && s.swap);
	ck_assert_str_eq(s.mountpoint, "/srv/data");
}
END_TEST

START_TEST(what_is_left_out_has_its_default)
{
	static const char *const lines[] = {"data\n", "data -\n", "data - -\n", "  data - - -",
					    "data\t-\t-\t-\t# all\n"};
	struct attach_settings s, expected;
	char problem[200];

	attach_settings_default(&expected);
	ck_assert_int_eq(find(lines[_i], "data", &s, problem), 0);
	ck_assert_uint_eq(s.index, NETLINK_ANY_DEVICE);
	ck_assert_uint_eq(s.connections, expected.connections);
	ck_assert_uint_eq(s.timeout_s, expected.timeout_s);
	ck_assert(!s.read_only && !s.swap);
	ck_assert_str_eq(s.mountpoint, "");
}
END_TEST

START_TEST(mistakes_are_named_with_their_line)
{
	static const struct {
		const char *line, *word;
	} mistakes[] = {
		{"data /dev/sda\n", "/dev/sda"},
		{"data - fast\n", "fast"},
		{"data - connections=0\n", "connections"},
		{"data - connections=17\n", "connections"},
		{"data - connections=x\n", "connections=x"},
		{"data - timeout=0\n", "timeout"},
		{"data - - srv\n", "srv"},
		{"data - - /srv more\n", "four"},
	};
	struct attach_settings s;
	char problem[200], text[200];

	snprintf(text, sizeof text, "first\n%s", mistakes[_i].line);
	ck_assert_int_eq(find(text, "data", &s, problem), -EINVAL);
	ck_assert_ptr_nonnull(strstr(problem, mistakes[_i].word));
	ck_assert_ptr_nonnull(strstr(problem, "line 2"));
}
END_TEST

START_TEST(others_lines_do_not_matter)
{
	struct attach_settings s;
	char problem[200];

	ck_assert_int_eq(find("data2 nonsense\ndata\n", "data", &s, problem), 0);
	ck_assert_int_eq(find("data2\n#data\n", "data", &s, problem), -ENOENT);
	unlink(path);
	ck_assert_int_eq(attach_conf_find(path, "data", &s, problem, 200), -ENOENT);
}
END_TEST

START_TEST(device_names)
{
	uint32_t index = 99;

	ck_assert_int_eq(device_parse("/dev/nbd0", &index), 0);
	ck_assert_uint_eq(index, 0);
	ck_assert_int_eq(device_parse("nbd15", &index), 0);
	ck_assert_uint_eq(index, 15);
	ck_assert_int_eq(device_parse("/dev/nbd", &index), -EINVAL);
	ck_assert_int_eq(device_parse("/dev/nbd1p1", &index), -EINVAL);
	ck_assert_int_eq(device_parse("/dev/nbd-1", &index), -EINVAL);
	ck_assert_int_eq(device_parse("/dev/sda", &index), -EINVAL);
	ck_assert_int_eq(device_parse("nbd99999999999", &index), -EINVAL);
	ck_assert_int_eq(device_parse("", &index), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("attach_conf");
	TCase *tests = tcase_create("lines");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, a_full_line_is_read);
	tcase_add_loop_test(tests, what_is_left_out_has_its_default, 0, 5);
	tcase_add_loop_test(tests, mistakes_are_named_with_their_line, 0, 8);
	tcase_add_test(tests, others_lines_do_not_matter);
	tcase_add_test(tests, device_names);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
