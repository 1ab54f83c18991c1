#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"

static wall_t fixed_now(void *context)
{
	return INT64_C(1795406706) * 1000000 + 789000;
}

static void keep(void *context, const char *line, size_t len)
{
	buffer_append(context, line, len);
}

static struct log make_log(struct buffer *lines, bool json)
{
	return (struct log) { .level = LOG_INFO, .json = json, .now = fixed_now, .write = keep, .context = lines };
}

static void test_a_text_line_has_time_level_message_and_fields(void **state)
{
	_cleanup_buffer_ struct buffer lines = { 0 };
	struct log log = make_log(&lines, false);

	LOG(&log, LOG_INFO, "message", F_STR("field", "value"), F_STR("other", "with spaces"));
	LOG(&log, LOG_ERROR, "no fields");
	assert_string_equal(lines.data, "2026-11-23T04:05:06.789Z info message field=value other=\"with spaces\"\n"
					"2026-11-23T04:05:06.789Z error no fields\n");
}

static void test_every_type_of_field_has_its_form(void **state)
{
	_cleanup_buffer_ struct buffer lines = { 0 };
	struct log log = make_log(&lines, false);

	for (int json = 0; json < 2; json++) {
		log.json = json;
		LOG(&log, LOG_NOTICE, "m", F_STR("absent", NULL), F_SLICE("empty", SLICE_NULL), F_INT("i", INT64_MIN),
		    F_UINT("u", UINT64_MAX), F_BOOL("b", true), F_ERRNO("e", -ECONNREFUSED), F_ERRNO("none", 0), F_ERRNO("odd", -99999),
		    F_ID("id", 33), F_USEC("took", 1500000), F_USEC("least", 1), F_USEC("whole", 60 * USEC_SEC),
		    F_USEC("none", 0));
	}
	assert_string_equal(
		lines.data,
		"2026-11-23T04:05:06.789Z notice m empty=\"\" i=-9223372036854775808 u=18446744073709551615 b=true"
		" e=\"Connection refused\" odd=\"error -99999\" id=0000000000011 took=1.5s least=0.000001s whole=60s"
		" none=0s\n"
		"{\"time\":\"2026-11-23T04:05:06.789Z\",\"level\":\"notice\",\"message\":\"m\",\"empty\":\"\","
		"\"i\":-9223372036854775808,\"u\":18446744073709551615,\"b\":true,\"e\":\"Connection refused\","
		"\"odd\":\"error -99999\",\"id\":\"0000000000011\",\"took\":1.5,\"least\":0.000001,\"whole\":60,"
		"\"none\":0}\n");
}

static void test_bytes_from_the_network_cannot_forge_a_line(void **state)
{
	_cleanup_buffer_ struct buffer lines = { 0 };
	struct log log = make_log(&lines, false);

	LOG(&log, LOG_INFO, "two\nlines", F_STR("a", "x\r\n2026 info forged"), F_STR("b", "say \"hi\" c=\\d"),
	    F_STR("c", "\x1b[2J"), F_STR("d", "\xff\xc2\x9b"), F_STR("e", "a=b"));
	assert_string_equal(lines.data, "2026-11-23T04:05:06.789Z info two\\nlines a=\"x\\r\\n2026 info forged\""
					" b=\"say \\\"hi\\\" c=\\\\d\" c=\"\\x1b[2J\" d=\"\\xff\\xc2\\x9b\" e=\"a=b\"\n");
}

static void test_readable_names_stay_readable(void **state)
{
	_cleanup_buffer_ struct buffer lines = { 0 };
	struct log log = make_log(&lines, false);

	/* A letter beyond ASCII is shown, a sign that turns the direction of writing is not. */
	LOG(&log, LOG_INFO, "m", F_STR("from", "用户@例子.cn"), F_STR("to", "a\xe2\x80\xae" "b"));
	assert_string_equal(lines.data, "2026-11-23T04:05:06.789Z info m from=用户@例子.cn to=\"a\\xe2\\x80\\xaeb\"\n");
}

static void test_a_json_line_is_one_object(void **state)
{
	_cleanup_buffer_ struct buffer lines = { 0 };
	struct log log = make_log(&lines, true);

	LOG(&log, LOG_WARNING, "quote \" here", F_SLICE("bytes", SLICE("a\0\n\xff")));
	assert_string_equal(lines.data, "{\"time\":\"2026-11-23T04:05:06.789Z\",\"level\":\"warning\","
					"\"message\":\"quote \\\" here\",\"bytes\":\"a\\u0000\\n\\ufffd\"}\n");
}

/* One newline per line, at its end; no control byte; in JSON as many quotes as the form has. */
static void test_random_bytes_keep_the_form(void **state)
{
	_cleanup_buffer_ struct buffer lines = { 0 };

	srand(13);
	for (int round = 0; round < 20000; round++) {
		struct log log = make_log(&lines, round % 2);
		char bytes[30];
		size_t len = (size_t) rand() % sizeof(bytes);
		unsigned quotes = 0;

		for (size_t i = 0; i < len; i++)
			bytes[i] = (char) (rand() % 3 ? rand() : "\"\\\n\r= "[rand() % 6]);
		buffer_clear(&lines);
		LOG(&log, LOG_INFO, "m", F_SLICE("f", slice_new(bytes, len)));
		assert_int_equal(buffer_error(&lines), 0);
		for (size_t i = 0; i < lines.len; i++) {
			unsigned char c = (unsigned char) lines.data[i];

			assert_true(i == lines.len - 1 ? c == '\n' : (c >= 0x20 && c != 0x7f));
			if (c == '\\')
				i++;
			else
				quotes += c == '"';
		}
		assert_int_equal(quotes, log.json ? 16 : quotes & 2);
	}
}

static void test_lines_below_the_level_are_not_written(void **state)
{
	_cleanup_buffer_ struct buffer lines = { 0 };
	struct log log = make_log(&lines, false);
	const struct log *none = NULL;

	LOG(&log, LOG_DEBUG, "m");
	log_write(&log, LOG_DEBUG, "m", NULL, 0);
	LOG(none, LOG_CRITICAL, "m");
	log_write(NULL, LOG_CRITICAL, "m", NULL, 0);
	assert_int_equal(lines.len, 0);
}

static void test_levels_have_names(void **state)
{
	enum log_level level;

	for (enum log_level l = LOG_DEBUG; l <= LOG_CRITICAL; l++) {
		assert_int_equal(log_level_from_name(slice_from(log_level_name(l)), &level), 0);
		assert_int_equal(level, l);
	}
	assert_int_equal(log_level_from_name(SLICE("loud"), &level), -EINVAL);
	assert_int_equal(level, LOG_CRITICAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_text_line_has_time_level_message_and_fields),
		cmocka_unit_test(test_every_type_of_field_has_its_form),
		cmocka_unit_test(test_bytes_from_the_network_cannot_forge_a_line),
		cmocka_unit_test(test_readable_names_stay_readable),
		cmocka_unit_test(test_a_json_line_is_one_object),
		cmocka_unit_test(test_random_bytes_keep_the_form),
		cmocka_unit_test(test_lines_below_the_level_are_not_written),
		cmocka_unit_test(test_levels_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
