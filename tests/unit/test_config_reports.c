/* `reports`: what follows from the hostname, and what is said of what can't be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "main/config.h"
#include "world/linux.h"

static struct {
	struct world *world;
	struct config_errors errors;
	struct config *config;
} it;

static int set_up(void **state)
{
	return world_linux_new(NULL, &it.world);
}

static int tear_down(void **state)
{
	config_free(TAKE_PTR(it.config));
	config_errors_done(&it.errors);
	world_free(it.world);
	return 0;
}

static const struct report_config *parse(const char *section)
{
	char text[512];

	config_free(TAKE_PTR(it.config));
	config_errors_done(&it.errors);
	it.errors = (struct config_errors) { 0 };
	snprintf(text, sizeof(text), "hostname: mx.example.org\nspool: /spool\n%s", section);
	return config_parse(it.world, slice_from(text), "test.yaml", &it.errors, &it.config) < 0 ? NULL : &it.config->report;
}

static void test_nothing_is_reported_unless_somebody_wants_it(void **state)
{
	const struct report_config *r = parse("");

	assert_non_null(r);
	assert_false(r->dmarc || r->tls || r->failures || r->private_hosts);
	assert_string_equal(r->path, "/spool/reports.db");
	assert_string_equal(r->organization, "mx.example.org");
	assert_string_equal(r->from, "postmaster@mx.example.org");
	assert_string_equal(r->contact, r->from);
}

static void test_who_reports_can_be_said(void **state)
{
	const struct report_config *r = parse("reports: {dmarc: true, tls: true, from: r@example.org, organization: Us, at: 2h, size: 1M, file: /x/y}");

	assert_non_null(r);
	assert_true(r->dmarc && r->tls);
	assert_string_equal(r->from, "r@example.org");
	assert_string_equal(r->contact, "r@example.org");
	assert_string_equal(r->organization, "Us");
	assert_string_equal(r->path, "/x/y");
	assert_int_equal(r->at, 2 * USEC_HOUR);
	assert_int_equal(r->size, 1u << 20);
}

static void check_error(const char *section, const char *expected)
{
	assert_null(parse(section));
	if (!strstr(it.errors.text.data, expected))
		fail_msg("%s: expected \"%s\", got %s", section, expected, it.errors.text.data);
}

static void test_what_cannot_be_is_said(void **state)
{
	check_error("reports: {from: nobody}", "from: expected an address like reports@example.org, found \"nobody\"");
	check_error("reports: {contact: \"a b@example.org\"}", "contact: expected an address");
	check_error("reports: {failures: true}", "failures: failure reports are a part of DMARC; set dmarc: true, too");
	check_error("reports: {dmark: true}", "did you mean \"dmarc\"?");
	check_error("reports: {keep: 1d}", "keep");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_is_reported_unless_somebody_wants_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_who_reports_can_be_said, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_is_said, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
