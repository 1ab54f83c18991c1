/* Whose client certificate it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "receive/external.h"

static const char *const names[] = { "dns:host.example", "email:alice@example.org", "email:alias@example.org" };
static const struct users_certificate rules[] = {
	{ .user = "printer", .fingerprint = "AB:CD:01" },
	{ .user = "backup", .subject = "CN=backup,O=Example" },
	{ .user = "host", .name = "DNS:host.example" },
	{ .user = "both", .name = "dns:host.example" },
};
static const struct users_config config = { .certificates = rules, .n_certificates = ARRAY_LEN(rules) };

static const char *who(const struct users_config *c, const struct tls_info *tls, const char *wanted)
{
	const char *user = external_user(c, tls, slice_from(wanted));

	return user ? user : "-";
}

static void test_a_fingerprint_holds_whoever_signed(void **state)
{
	const struct tls_info own = { .peer_fingerprint = "abcd01" }, other = { .peer_fingerprint = "abcd0102" };

	assert_string_equal(who(&config, &own, ""), "printer");
	assert_string_equal(who(&config, &own, "Printer"), "printer");
	assert_string_equal(who(&config, &own, "backup"), "-");
	assert_string_equal(who(&config, &other, ""), "-");
	assert_string_equal(who(&config, &(struct tls_info) { .peer_fingerprint = "abcd" }, ""), "-");
	assert_string_equal(who(&config, &(struct tls_info) { 0 }, ""), "-");
}

static void test_a_subject_and_a_name_need_a_ca(void **state)
{
	struct tls_info tls = { .peer_subject = "CN=backup,O=Example", .peer_names = names, .n_peer_names = ARRAY_LEN(names) };

	assert_string_equal(who(&config, &tls, ""), "-");
	tls.peer_verified = true;
	assert_string_equal(who(&config, &tls, ""), "backup");
	assert_string_equal(who(&config, &tls, "host"), "host");
	assert_string_equal(who(&config, &tls, "both"), "both");
	assert_string_equal(who(&config, &tls, "printer"), "-");
	tls.peer_subject = "CN=backup,O=Example2";
	assert_string_equal(who(&config, &tls, "backup"), "-");
}

static void test_addresses_of_a_certificate(void **state)
{
	const struct users_config emails = { .certificate_email = true };
	struct tls_info tls = { .peer_names = names, .n_peer_names = ARRAY_LEN(names) };

	assert_string_equal(who(&emails, &tls, ""), "-");
	tls.peer_verified = true;
	assert_string_equal(who(&emails, &tls, ""), "alice@example.org");
	assert_string_equal(who(&emails, &tls, "alias@example.org"), "alias@example.org");
	assert_string_equal(who(&emails, &tls, "host.example"), "-");
	assert_string_equal(who(&config, &tls, "alice@example.org"), "-");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_fingerprint_holds_whoever_signed),
		cmocka_unit_test(test_a_subject_and_a_name_need_a_ca),
		cmocka_unit_test(test_addresses_of_a_certificate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
