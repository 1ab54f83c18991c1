/* The arguments of XCLIENT and XFORWARD. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "smtp/client_attributes.h"

static struct arena *arena;
static struct client_attributes attributes;
static struct slice wrong;

static int set_up(void **state)
{
	attributes = (struct client_attributes) { 0 };
	return arena_new(0, &arena);
}

static int tear_down(void **state)
{
	arena_free(arena);
	return 0;
}

static int parse(const char *args, unsigned takes)
{
	return client_attributes_parse(slice_from(args), takes, arena, &attributes, &wrong);
}

/* The examples of Postfix's XCLIENT_README and XFORWARD_README. */
static void test_the_examples_of_the_description(void **state)
{
	char ip[IP_TEXT];

	assert_int_equal(parse("NAME=spike.porcupine.org ADDR=168.100.189.2", ATTRIBUTES_OF_XCLIENT), 0);
	assert_int_equal(attributes.given, ATTRIBUTE_NAME | ATTRIBUTE_ADDR);
	assert_string_equal(attributes.name, "spike.porcupine.org");
	assert_string_equal(ip_format(&attributes.addr, ip), "168.100.189.2");
	attributes = (struct client_attributes) { 0 };
	assert_int_equal(parse("NAME=spike.porcupine.org ADDR=168.100.189.2 PROTO=ESMTP", ATTRIBUTES_OF_XFORWARD), 0);
	assert_string_equal(attributes.proto, "ESMTP");
	assert_int_equal(parse("HELO=spike.porcupine.org", ATTRIBUTES_OF_XFORWARD), 0); /* goes on */
	assert_int_equal(attributes.given, ATTRIBUTE_NAME | ATTRIBUTE_ADDR | ATTRIBUTE_PROTO | ATTRIBUTE_HELO);
}

static void test_all_attributes(void **state)
{
	char ip[IP_TEXT];

	assert_int_equal(parse("name=a.example addr=IPV6:2001:db8::1 port=25 proto=smtp helo=x+20y login=jo+2Be "
			       "destaddr=192.0.2.1 destport=587", ATTRIBUTES_OF_XCLIENT), 0);
	assert_int_equal(attributes.given, ATTRIBUTES_OF_XCLIENT);
	assert_string_equal(ip_format(&attributes.addr, ip), "2001:db8::1");
	assert_int_equal(attributes.port, 25);
	assert_string_equal(attributes.proto, "SMTP");
	assert_string_equal(attributes.helo, "x y");
	assert_string_equal(attributes.login, "jo+e");
	assert_string_equal(ip_format(&attributes.dest, ip), "192.0.2.1");
	assert_int_equal(attributes.dest_port, 587);
	assert_int_equal(parse("SOURCE=LOCAL IDENT=0sb9k3ny88000", ATTRIBUTES_OF_XFORWARD), 0);
	assert_string_equal(attributes.ident, "0sb9k3ny88000");
}

static void test_what_is_not_known_is_forgotten(void **state)
{
	assert_int_equal(parse("NAME=a.example ADDR=192.0.2.1 PORT=1 HELO=x LOGIN=y", ATTRIBUTES_OF_XCLIENT), 0);
	assert_int_equal(parse("NAME=[UNAVAILABLE] ADDR=[unavailable] PORT=[TEMPUNAVAIL] HELO=[TEMPUNAVAIL] LOGIN=[UNAVAILABLE]",
			       ATTRIBUTES_OF_XCLIENT), 0);
	assert_null(attributes.name);
	assert_null(attributes.helo);
	assert_null(attributes.login);
	assert_int_equal(attributes.addr.family, 0);
	assert_int_equal(attributes.port, 0);
	assert_true(attributes.given & ATTRIBUTE_NAME);
}

static void test_wrong_attributes_change_nothing(void **state)
{
	static const char *const bad[] = {
		"X=1", "NAME", "NAME=", "NAME=not+20a+20name", "ADDR=1.2.3", "ADDR=IPV6:x", "PORT=65536", "PORT=x", "PROTO=LMTP",
		"HELO=+0D+0A", "HELO=+", "HELO=+C3+A4", "LOGIN=+00", "SOURCE=LOCAL", "IDENT=1", "DESTADDR=x", "DESTPORT=-1",
	};

	assert_int_equal(parse("NAME=a.example", ATTRIBUTES_OF_XCLIENT), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(parse(bad[i], ATTRIBUTES_OF_XCLIENT), -EINVAL);
		assert_true(slice_eq_str(wrong, bad[i]));
	}
	assert_int_equal(attributes.given, ATTRIBUTE_NAME);
	assert_string_equal(attributes.name, "a.example");
	assert_int_equal(parse("LOGIN=x", ATTRIBUTES_OF_XFORWARD), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_examples_of_the_description, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_all_attributes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_not_known_is_forgotten, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wrong_attributes_change_nothing, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
