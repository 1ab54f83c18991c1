#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/time.h"

#include <time.h>

static void test_a_deadline_never_wraps(void **state)
{
	assert_true(deadline_after(5, 7) == 12);
	assert_true(deadline_after(5, DEADLINE_NEVER) == DEADLINE_NEVER);
	assert_true(deadline_after(UINT64_MAX - 3, 3) == DEADLINE_NEVER);
	assert_true(deadline_after(UINT64_MAX - 3, 4) == DEADLINE_NEVER);
	assert_true(deadline_after(0, 0) == 0);
}

static void test_durations_as_people_write_them(void **state)
{
	static const struct {
		const char *text;
		usec_t value;
	} good[] = {
		{ "90", 90 * USEC_SEC }, { "90s", 90 * USEC_SEC }, { "5m", 5 * USEC_MIN }, { "4h", 4 * USEC_HOUR },
		{ "5d", 5 * USEC_DAY }, { "250ms", 250 * USEC_MS }, { "1h30m", 90 * USEC_MIN }, { "0", 0 },
		{ "0s", 0 }, { "12us", 12 }, { "1d2h3m4s5ms6us", 93784005006 }, { "36525d", 36525 * USEC_DAY },
	};
	static const char *const bad[] = {
		"", "s", "-1s", "+1", "1.5h", "1 h", " 1h", "1h ", "5M", "1h30", "30m1h", "1s1s", "5mm", "5min", "h5",
		"1w", "0x5", "99999999999999999999x",
	};
	static const char *const huge[] = {
		"36526d", "4000000000", "18446744073709551615", "18446744073709551616", "99999999999999999999h",
		"36525d1us", "18446744073709551615us1us",
	};
	usec_t v;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(duration_parse(slice_from(good[i].text), &v), 0);
		assert_true(v == good[i].value);
	}
	v = 7;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(duration_parse(slice_from(bad[i]), &v), -EINVAL);
	for (size_t i = 0; i + 1 < ARRAY_LEN(huge); i++)
		assert_int_equal(duration_parse(slice_from(huge[i]), &v), -ERANGE);
	assert_int_equal(duration_parse(slice_from(huge[ARRAY_LEN(huge) - 1]), &v), -EINVAL); /* a unit twice */
	assert_true(v == 7);
}

static void test_the_shortest_form_is_written(void **state)
{
	static const struct {
		usec_t value;
		const char *text;
	} cases[] = {
		{ 0, "0s" }, { 90 * USEC_SEC, "90s" }, { 5 * USEC_MIN, "5m" }, { 90 * USEC_MIN, "90m" },
		{ 5 * USEC_DAY, "5d" }, { USEC_DAY + USEC_SEC, "1d1s" }, { 250 * USEC_MS, "250ms" },
		{ 36 * USEC_HOUR + USEC_SEC, "36h1s" }, { 1500, "1500us" }, { USEC_HOUR, "1h" },
	};
	char out[32];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(duration_format(cases[i].value, out, sizeof(out)), cases[i].text);
	assert_string_equal(duration_format(90 * USEC_SEC, out, 3), "90"); /* cut, never beyond the size */
}

static void test_what_is_written_reads_back(void **state)
{
	static const usec_t unit[] = { 1, USEC_MS, USEC_SEC, USEC_MIN, USEC_HOUR, USEC_DAY };
	char out[64];

	srand(9);
	for (int round = 0; round < 5000; round++) {
		usec_t d = (usec_t) (rand() % 10000) * unit[rand() % 6] + (usec_t) (rand() % 100) * unit[rand() % 6], v;

		assert_int_equal(duration_parse(slice_from(duration_format(d, out, sizeof(out))), &v), 0);
		assert_true(v == d);
	}
	assert_string_equal(duration_format(UINT64_MAX, out, sizeof(out)), "18446744073709551615us");
}

static void test_people_read_two_parts_at_most(void **state)
{
	static const struct {
		usec_t value;
		const char *text;
	} cases[] = {
		{ 0, "0 us" }, { 999, "999 us" }, { 1499, "1 ms" }, { 250 * USEC_MS, "250 ms" },
		{ 999600, "1 s" }, { 1520 * USEC_MS, "1.5 s" }, { 9970 * USEC_MS, "10 s" }, { 42 * USEC_SEC, "42 s" },
		{ 59600 * USEC_MS, "1 min" }, { 90 * USEC_SEC, "1 min 30 s" }, { 59 * USEC_MIN + 59700 * USEC_MS, "1 h" },
		{ 3 * USEC_HOUR + 20 * USEC_MIN + 10 * USEC_SEC, "3 h 20 min" }, { USEC_DAY - USEC_SEC, "1 d" },
		{ 2 * USEC_DAY + 5 * USEC_HOUR, "2 d 5 h" }, { 5 * USEC_DAY, "5 d" },
		{ USEC_HOUR, "1 h" }, { 40 * USEC_MIN, "40 min" }, { UINT64_MAX, "213503982 d 8 h" },
	};
	char out[32];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(duration_for_people(cases[i].value, out, sizeof(out)), cases[i].text);
}

static void test_dates_are_written_as_the_standards_say(void **state)
{
	const wall_t t = INT64_C(1795406706) * 1000000 + 789999; /* 2026-11-23T04:05:06.789999Z */
	char out[32];

	assert_string_equal(wall_format_rfc3339(t, out, 25), "2026-11-23T04:05:06.789Z");
	assert_string_equal(wall_format_rfc5322(t, out, 32), "Mon, 23 Nov 2026 04:05:06 +0000");
	assert_string_equal(wall_format_rfc3339(0, out, 25), "1970-01-01T00:00:00.000Z");
	assert_string_equal(wall_format_rfc5322(0, out, 32), "Thu, 01 Jan 1970 00:00:00 +0000");
	assert_string_equal(wall_format_rfc3339(-1, out, 25), "1969-12-31T23:59:59.999Z");
	assert_string_equal(wall_format_rfc3339(INT64_MAX, out, 25), "9999-12-31T23:59:59.999Z");
	assert_string_equal(wall_format_rfc3339(INT64_MIN, out, 25), "0000-01-01T00:00:00.000Z");
	assert_string_equal(wall_format_rfc5322(INT64_MAX, out, 32), "Fri, 31 Dec 9999 23:59:59 +0000");
}

/* Against the C library, over the years 0 to 9999 and around each turn of a month. */
static void test_civil_dates_match_the_c_library(void **state)
{
	srand(10);
	for (int64_t day = -719528; day < 2932897; day += 1 + rand() % 7) {
		time_t seconds = (time_t) (day * 86400 + rand() % 86400);
		struct civil c;
		struct tm tm;

		assert_non_null(gmtime_r(&seconds, &tm));
		wall_to_civil((wall_t) seconds * 1000000 + rand() % 1000000, &c);
		assert_int_equal(c.year, tm.tm_year + 1900);
		assert_int_equal(c.month, tm.tm_mon + 1);
		assert_int_equal(c.day, tm.tm_mday);
		assert_int_equal(c.hour, tm.tm_hour);
		assert_int_equal(c.minute, tm.tm_min);
		assert_int_equal(c.second, tm.tm_sec);
		assert_int_equal(c.weekday, tm.tm_wday);
	}
}

static void test_times_of_rfc_3339_are_read(void **state)
{
	static const struct { const char *text; int64_t seconds; } good[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "1985-04-12T23:20:50.52Z", 482196050 }, /* RFC 3339 section 5.8 */
		{ "1996-12-19T16:39:57-08:00", 851042397 },
		{ "1990-12-31T23:59:60Z", 662688000 },
		{ "1937-01-01T12:00:27.87+00:20", -1041337173 },
		{ "2014-04-03t23:01:00z", 1396566060 },
		{ "2000-02-29T00:00:00Z", 951782400 },
		{ "0001-01-01T00:00:00Z", -62135596800 },
		{ "9999-12-31T23:59:59Z", 253402300799 },
	};
	static const char *const bad[] = {
		"", "1970-01-01", "1970-01-01T00:00:00", "1970-01-01 00:00:00Z", "1970-13-01T00:00:00Z", "1970-00-01T00:00:00Z",
		"1970-01-32T00:00:00Z", "2001-02-29T00:00:00Z", "1970-04-31T00:00:00Z", "1970-01-01T24:00:00Z",
		"1970-01-01T00:60:00Z", "1970-01-01T00:00:61Z", "1970-01-01T00:00:00+24:00", "1970-01-01T00:00:00+01",
		"1970-01-01T00:00:00Zx", "1970-01-01T00:00:00.Z", "+970-01-01T00:00:00Z", "1970-1-01T00:00:00Z",
	};
	char text[32];
	wall_t t;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(wall_parse_rfc3339(slice_from(good[i].text), &t), 0);
		assert_int_equal(t, good[i].seconds * 1000000);
		wall_format_seconds(t, text, sizeof(text));
		assert_int_equal(wall_parse_rfc3339(slice_from(text), &t), 0);
		assert_int_equal(t, good[i].seconds * 1000000);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(wall_parse_rfc3339(slice_from(bad[i]), &t), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_deadline_never_wraps),
		cmocka_unit_test(test_durations_as_people_write_them),
		cmocka_unit_test(test_the_shortest_form_is_written),
		cmocka_unit_test(test_what_is_written_reads_back),
		cmocka_unit_test(test_people_read_two_parts_at_most),
		cmocka_unit_test(test_dates_are_written_as_the_standards_say),
		cmocka_unit_test(test_times_of_rfc_3339_are_read),
		cmocka_unit_test(test_civil_dates_match_the_c_library),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
