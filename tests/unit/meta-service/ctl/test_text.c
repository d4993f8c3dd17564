/* test_text.c - sizes and numbers as people write and read them. */
#include "meta-service/ctl/text.h"
#include "tests/lib/suite.h"

#include <check.h>
#include <stdlib.h>

static const struct {
	const char *text;
	int rc;
	uint64_t bytes;
} sizes[] = {
	{"0", 0, 0},
	{"4096", 0, 4096},
	{"4096B", 0, 4096},
	{"4k", 0, 4096},
	{"512M", 0, 512 * MIB},
	{"10G", 0, 10 * GIB},
	{"10GiB", 0, 10 * GIB},
	{"10gb", 0, 10 * GIB},
	{"1.5T", 0, TIB + TIB / 2},
	{"0.5K", 0, 512},
	{"7E", 0, UINT64_C(7) << 60},
	{"9223372036854775807", 0, INT64_MAX},
	{"9223372036854775808", -ERANGE, 0},
	{"8E", -ERANGE, 0},
	{"99999999999999999999", -ERANGE, 0},
	{"999999999999999999999", -ERANGE, 0},
	{"99999999999999999999E", -ERANGE, 0},
	{"", -EINVAL, 0},
	{"G", -EINVAL, 0},
	{"-1G", -EINVAL, 0},
	{"+1G", -EINVAL, 0},
	{" 1G", -EINVAL, 0},
	{"1 G", -EINVAL, 0},
	{"1GG", -EINVAL, 0},
	{"1Gi", -EINVAL, 0},
	{"1.G", -EINVAL, 0},
	{"1.5.5G", -EINVAL, 0},
	{"0x10", -EINVAL, 0},
	{"ten", -EINVAL, 0},
	{"10Q", -EINVAL, 0},
};

START_TEST(sizes_are_parsed)
{
	uint64_t bytes = 0;

	ck_assert_int_eq(text_parse_size(sizes[_i].text, &bytes), sizes[_i].rc);
	if (sizes[_i].rc == 0)
		ck_assert_uint_eq(bytes, sizes[_i].bytes);
}
END_TEST

static const struct {
	uint64_t bytes;
	const char *text;
} shown[] = {
	{0, "0"},
	{512, "512 B"},
	{999, "999 B"},
	{1000, "1 KiB"},
	{4096, "4 KiB"},
	{1536, "1.5 KiB"},
	{10 * GIB, "10 GiB"},
	{GIB - 1, "1 GiB"},
	{10 * TIB, "10 TiB"},
	{123 * MIB + MIB / 2, "124 MiB"},
	{UINT64_MAX, "16 EiB"},
};

START_TEST(sizes_are_shown)
{
	char out[TEXT_SIZE_BYTES];

	ck_assert_str_eq(text_size(shown[_i].bytes, out), shown[_i].text);
}
END_TEST

/* What is shown without a fraction reads back as itself. */
START_TEST(whole_sizes_read_back)
{
	char out[TEXT_SIZE_BYTES], squeezed[TEXT_SIZE_BYTES];
	uint64_t bytes = UINT64_C(1) << _i, back;
	size_t n = 0;

	text_size(bytes, out);
	for (const char *c = out; *c; c++) {
		if (*c != ' ')
			squeezed[n++] = *c;
	}
	squeezed[n] = 0;
	ck_assert_int_eq(text_parse_size(squeezed, &back), 0);
	ck_assert_uint_eq(back, bytes);
}
END_TEST

START_TEST(numbers_are_parsed)
{
	uint64_t number;

	ck_assert_int_eq(text_parse_number("0", &number), 0);
	ck_assert_uint_eq(number, 0);
	ck_assert_int_eq(text_parse_number("18446744073709551615", &number), 0);
	ck_assert_uint_eq(number, UINT64_MAX);
	ck_assert_int_eq(text_parse_number("18446744073709551616", &number), -EINVAL);
	ck_assert_int_eq(text_parse_number("", &number), -EINVAL);
	ck_assert_int_eq(text_parse_number("-1", &number), -EINVAL);
	ck_assert_int_eq(text_parse_number("1 ", &number), -EINVAL);
}
END_TEST

START_TEST(durations_are_shown)
{
	char out[TEXT_SIZE_BYTES];

	ck_assert_str_eq(text_duration(0, out), "0 s");
	ck_assert_str_eq(text_duration(119999, out), "119 s");
	ck_assert_str_eq(text_duration(120000, out), "2 min");
	ck_assert_str_eq(text_duration(3 * 3600 * 1000, out), "3 h");
	ck_assert_str_eq(text_duration(UINT64_C(400) * 86400 * 1000, out), "400 d");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("text");
	TCase *tcase = tcase_create("text");

	tcase_add_loop_test(tcase, sizes_are_parsed, 0, (int)ARRAY_SIZE(sizes));
	tcase_add_loop_test(tcase, sizes_are_shown, 0, (int)ARRAY_SIZE(shown));
	tcase_add_loop_test(tcase, whole_sizes_read_back, 0, 63);
	tcase_add_test(tcase, numbers_are_parsed);
	tcase_add_test(tcase, durations_are_shown);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
