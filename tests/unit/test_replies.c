/* The texts of the server's replies: ours, those of the configuration, and what is filled in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "receive/replies.h"

static void every_reply_has_a_name_that_leads_back_to_it(void **state)
{
	for (unsigned i = 0; i < REPLY_COUNT; i++) {
		assert_non_null(reply_name(i));
		assert_int_equal(reply_from_name(slice_from(reply_name(i))), i);
	}
	assert_int_equal(reply_from_name(SLICE("no_such_thing")), REPLY_COUNT);
	assert_int_equal(reply_from_name(SLICE("")), REPLY_COUNT);
}

/* RFC 2034 section 4: a 2xx, 4xx or 5xx reply has an enhanced code of its class. */
static void every_refusal_has_an_enhanced_code_of_its_class(void **state)
{
	for (unsigned i = 0; i < REPLY_COUNT; i++) {
		const struct reply *r = reply_of(i);

		if (r->code / 100 != 4 && r->code / 100 != 5)
			continue;
		if (r->enhanced[0] != r->code / 100)
			fail_msg("%s: %d with %d.%d.%d", reply_name(i), r->code, r->enhanced[0], r->enhanced[1], r->enhanced[2]);
	}
}

static const char *filled(const char *text, struct buffer *out)
{
	const struct reply_subjects about = { .client = "192.0.2.1", .helo = "bad\r\nname", .hostname = "mx.example",
					      .sender = SLICE("a@b.example") };

	buffer_clear(out);
	reply_fill(text, SLICE("one"), SLICE("two"), &about, out);
	return out->data ? out->data : "";
}

static void placeholders_are_filled_in_and_the_rest_stays(void **state)
{
	_cleanup_buffer_ struct buffer out = { 0 };

	assert_string_equal(filled("%1 and %2, %3 100%", &out), "one and two, %3 100%");
	assert_string_equal(filled("{client} as {helo} at {hostname}", &out), "192.0.2.1 as bad??name at mx.example");
	assert_string_equal(filled("<{sender}> <{recipient}> {user}", &out), "<a@b.example> <> ");
	assert_string_equal(filled("{nothing} {client", &out), "{nothing} {client");
	buffer_clear(&out);
	reply_fill("{client}: %1", SLICE("{helo}"), SLICE_NULL, NULL, &out);
	assert_string_equal(out.data, "{client}: {helo}");
}

static void texts_of_the_configuration_are_checked(void **state)
{
	char out[200];

	assert_null(reply_check_text(REPLY_NO_SUCH_USER, "<%1> is unknown; ask postmaster@{hostname}", out));
	assert_null(reply_check_text(REPLY_COUNT, "{client} is not welcome", out));
	assert_non_null(reply_check_text(REPLY_NO_SUCH_USER, "", out));
	assert_non_null(reply_check_text(REPLY_NO_SUCH_USER, "a\nb", out));
	assert_string_equal(reply_check_text(REPLY_NO_SUCH_USER, "%2", out), "%2 stands for nothing in this reply");
	assert_non_null(reply_check_text(REPLY_COUNT, "%1", out));
	assert_string_equal(reply_check_text(REPLY_COUNT, "{clients}", out),
			    "{clients} is none of {client}, {client_name}, {helo}, {user}, {hostname}, {sender} and {recipient}");
	assert_null(reply_check_text(REPLY_COUNT, "a { b", out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_reply_has_a_name_that_leads_back_to_it),
		cmocka_unit_test(every_refusal_has_an_enhanced_code_of_its_class),
		cmocka_unit_test(placeholders_are_filled_in_and_the_rest_stays),
		cmocka_unit_test(texts_of_the_configuration_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
