/* The shipped rules against replies as the large receivers give them, and the reader of rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mail/status.h"
#include "queue/classify.h"
#include "queue/provider.h"
#include "queue/reply_classes.h"

static struct classifier *shipped;

static int read_shipped(void **state)
{
	char *why = NULL;

	if (classifier_from_text("reply-classes.yaml", slice_new(reply_classes_builtin, reply_classes_builtin_len), &shipped, &why) < 0) {
		print_error("%s\n", why ? why : "no memory");
		return -1;
	}
	return 0;
}

static int free_shipped(void **state)
{
	classifier_free(shipped);
	return 0;
}

/* "550 5.1.1 No such user" */
static struct reply parse(const char *line)
{
	struct slice s = slice_from(line + 4);
	struct status status = { 0 };
	struct reply r = { .code = atoi(line) };

	if (status_parse(&s, &status) == 0) {
		r.enhanced[0] = status.class;
		r.enhanced[1] = status.subject;
		r.enhanced[2] = status.detail;
	}
	r.text = s.data ? s.data : "";
	return r;
}

struct example {
	enum reply_class class;
	const char *host, *reply;
	enum stage stage;
	enum treat treat;
};

#define GMAIL "gmail-smtp-in.l.google.com"
#define OUTLOOK "outlook-com.olc.protection.outlook.com"
#define EXCHANGE "example-org.mail.protection.outlook.com"
#define YAHOO "mta7.am0.yahoodns.net"
#define APPLE "mx01.mail.icloud.com"

static const struct example examples[] = {
	/* blocked */
	{ CLASS_BLOCKED, OUTLOOK, "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3150).", STAGE_MAIL, 0 },
	{ CLASS_BLOCKED, OUTLOOK, "550 5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus. To request removal see (AS3130)", STAGE_RCPT, 0 },
	{ CLASS_BLOCKED, EXCHANGE, "550 5.7.606 Access denied, banned sending IP [192.0.2.1]", STAGE_RCPT, 0 },
	{ CLASS_BLOCKED, EXCHANGE, "550 5.7.511 Access denied, banned sender[192.0.2.1]", STAGE_RCPT, 0 },
	{ CLASS_BLOCKED, EXCHANGE, "451 4.7.850 Access denied, please try again later", STAGE_RCPT, 0 },
	{ CLASS_BLOCKED, GMAIL, "550 5.7.1 [192.0.2.1] Our system has detected an unusual rate of unsolicited mail originating from your IP address.", STAGE_DOT, 0 },
	{ CLASS_BLOCKED, GMAIL, "550 5.7.1 The IP you're using to send mail is not authorized to send email directly to our servers.", STAGE_DOT, 0 },
	{ CLASS_BLOCKED, GMAIL, "421 4.7.0 IP not in whitelist for RCPT domain, closing connection.", STAGE_RCPT, 0 },
	{ CLASS_BLOCKED, YAHOO, "553 5.7.2 [TSS09] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed.", STAGE_MAIL, 0 },
	{ CLASS_BLOCKED, YAHOO, "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list", STAGE_GREETING, 0 },
	{ CLASS_BLOCKED, APPLE, "550 5.7.0 Blocked - see https://support.proofpoint.com/dnsbl-lookup.cgi?ip=192.0.2.1", STAGE_MAIL, 0 },
	{ CLASS_BLOCKED, APPLE, "550 5.7.1 Mail from IP 192.0.2.1 was rejected due to listing in Spamhaus SBL.", STAGE_MAIL, 0 },
	{ CLASS_BLOCKED, "mx.example.net", "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", STAGE_RCPT, 0 },
	{ CLASS_BLOCKED, "mx.example.net", "550 5.7.1 Your IP address is blacklisted", STAGE_RCPT, 0 },
	{ CLASS_BLOCKED, "mx00.t-online.de", "554 IP=192.0.2.1 - A problem occurred. (Ask your postmaster for help or to contact tosa@rx.t-online.de to clarify.) (BL)", STAGE_GREETING, 0 },
	{ CLASS_BLOCKED, "mx.example.net", "554 no thanks", STAGE_GREETING, 0 },
	{ CLASS_BLOCKED, "smtp-in.orange.fr", "550 5.2.0 Mail rejete. Mail rejected. OFR006_102 [102]", STAGE_DOT, 0 },
	{ CLASS_BLOCKED, "eu-smtp-inbound-1.mimecast.com", "550 local CT IP reputation policy", STAGE_MAIL, 0 },
	/* not our address, though it reads alike */
	{ CLASS_SPAM_CONTENT, "mx.example.net", "554 5.7.1 Blocked: bad.example is listed by multi.uribl.com", STAGE_DOT, 0 },
	{ CLASS_SPAM_CONTENT, "mx.example.net", "550 5.7.1 Sender domain listed at dbl.spamhaus.org", STAGE_MAIL, 0 },
	/* throttled */
	{ CLASS_THROTTLED, GMAIL, "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your DKIM domain", STAGE_DOT, 0 },
	{ CLASS_THROTTLED, GMAIL, "421 4.7.0 Try again later, closing connection.", STAGE_DOT, 0 },
	{ CLASS_THROTTLED, GMAIL, "421 4.7.0 This message is suspicious due to the very low reputation of the sending IP", STAGE_DOT, 0 },
	{ CLASS_THROTTLED, OUTLOOK, "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation. (S775)", STAGE_MAIL, 0 },
	{ CLASS_THROTTLED, EXCHANGE, "451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (AS761)", STAGE_MAIL, 0 },
	{ CLASS_THROTTLED, YAHOO, "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints", STAGE_MAIL, 0 },
	{ CLASS_THROTTLED, APPLE, "421 4.7.1 [HCM1] Message rejected", STAGE_DOT, 0 },
	{ CLASS_THROTTLED, "mx.example.net", "421 4.7.0 mx.example.net Error: too many connections from 192.0.2.1", STAGE_GREETING, 0 },
	{ CLASS_THROTTLED, "mail.example.net", "452 4.3.1 Insufficient system resources", STAGE_MAIL, 0 },
	/* greylisted */
	{ CLASS_GREYLISTED, "mx.example.net", "450 4.2.0 <a@example.net>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help", STAGE_RCPT, 0 },
	{ CLASS_GREYLISTED, "mx.example.net", "451 4.7.1 Greylisting in action, please come back later", STAGE_RCPT, 0 },
	{ CLASS_GREYLISTED, "us-smtp-inbound-1.mimecast.com", "451 Internal resources are temporarily unavailable", STAGE_RCPT, 0 },
	/* recipients */
	{ CLASS_NO_SUCH_USER, GMAIL, "550 5.1.1 The email account that you tried to reach does not exist.", STAGE_RCPT, 0 },
	{ CLASS_NO_SUCH_USER, EXCHANGE, "550 5.4.1 Recipient address rejected: Access denied. AS(201806281)", STAGE_RCPT, 0 },
	{ CLASS_NO_SUCH_USER, "mx.example.net", "550 5.1.1 <nobody@example.net>: Recipient address rejected: User unknown in local recipient table", STAGE_RCPT, 0 },
	{ CLASS_NO_SUCH_USER, "mx.example.net", "550 no such user here", STAGE_RCPT, 0 },
	{ CLASS_NO_SUCH_USER, "mx.example.net", "556 5.1.10 null MX", STAGE_RCPT, 0 },
	{ CLASS_MAILBOX_FULL, GMAIL, "452 4.2.2 The email account that you tried to reach is over quota.", STAGE_RCPT, 0 },
	{ CLASS_MAILBOX_FULL, "mx.example.net", "552 5.2.2 Mailbox full", STAGE_RCPT, TREAT_TEMPORARY },
	{ CLASS_OTHER, "mx.example.net", "552 too many recipients", STAGE_RCPT, TREAT_TEMPORARY },
	{ CLASS_TOO_BIG, "mx.example.net", "552 5.3.4 Message size exceeds fixed limit", STAGE_MAIL, 0 },
	{ CLASS_OTHER, EXCHANGE, "550 5.2.121 The recipient has exceeded their limit", STAGE_RCPT, TREAT_TEMPORARY },
	/* encryption, logging in */
	{ CLASS_TLS, "mx.example.net", "530 5.7.0 Must issue a STARTTLS command first", STAGE_MAIL, 0 },
	{ CLASS_TLS, GMAIL, "550 5.7.29 This email has been rejected because it wasn't sent over TLS", STAGE_DOT, 0 },
	{ CLASS_AUTH, "smtp.example.net", "535 5.7.8 Authentication credentials invalid", STAGE_AUTH, TREAT_TEMPORARY },
	{ CLASS_AUTH, "smtp.example.net", "530 5.7.0 Authentication required", STAGE_MAIL, TREAT_TEMPORARY },
	/* the server's rules */
	{ CLASS_POLICY, GMAIL, "550 5.7.26 This mail has been blocked because the sender is unauthenticated.", STAGE_DOT, 0 },
	{ CLASS_POLICY, OUTLOOK, "550 5.7.515 Access denied, sending domain example.org does not meet the required authentication level", STAGE_DOT, 0 },
	{ CLASS_POLICY, "mx.example.net", "550 5.7.23 SPF validation failed", STAGE_DOT, 0 },
	{ CLASS_POLICY, "mx.example.net", "554 5.7.1 <a@b>: Relay access denied", STAGE_RCPT, 0 },
	{ CLASS_SPAM_CONTENT, "mx.example.net", "554 5.7.1 This message is considered spam", STAGE_DOT, 0 },
	{ CLASS_OTHER, "mx.example.net", "554 5.0.0 Transaction failed", STAGE_DOT, 0 },
	{ CLASS_OTHER, "mx.example.net", "451 4.4.1 try later", STAGE_DOT, 0 },
};

static void test_replies_of_large_receivers_have_the_right_class(void **state)
{
	bool wrong = false;

	for (size_t i = 0; i < ARRAY_LEN(examples); i++) {
		const struct example *e = &examples[i];
		struct reply reply = parse(e->reply);
		struct classification c;

		classify(shipped, &reply, e->stage, e->host, &c);
		if (c.class == e->class && c.treat == e->treat)
			continue;
		print_error("%s: %s (treat %d) by %s, expected %s\n", e->reply, reply_class_name(c.class), c.treat, c.rule ? c.rule : "no rule",
			    reply_class_name(e->class));
		wrong = true;
	}
	assert_false(wrong);
}

static void test_no_reply_at_all_is_unreachable(void **state)
{
	struct reply none = { 0 };
	struct classification c;

	classify(shipped, &none, STAGE_CONNECT, NULL, &c);
	assert_int_equal(c.class, CLASS_UNREACHABLE);
	assert_null(c.rule);
}

static void test_a_provider_is_known_by_the_end_of_the_host_name(void **state)
{
	struct reply reply = parse("554 5.7.9 Not accepted");
	struct classification c;

	classify(shipped, &reply, STAGE_MAIL, "MTA5.AM0.YahooDNS.net", &c);
	assert_int_equal(c.class, CLASS_POLICY);
	classify(shipped, &reply, STAGE_MAIL, "notyahoodns.net", &c);
	assert_int_equal(c.class, CLASS_AUTH);
	classify(shipped, &reply, STAGE_MAIL, NULL, &c);
	assert_int_equal(c.class, CLASS_AUTH);
}

static void test_a_text_made_to_be_slow_ends(void **state)
{
	enum { LENGTH = 60000 };
	char *text = calloc(1, LENGTH + 1);
	struct reply reply = { .code = 550, .text = text };
	struct classification c;

	assert_non_null(text);
	for (size_t i = 0; i < LENGTH; i++)
		text[i] = "ip host address "[i % 16];
	for (unsigned i = 0; i < 100; i++)
		classify(shipped, &reply, STAGE_DOT, NULL, &c);
	free(text);
}

static void assert_refused(const char *text, const char *complaint)
{
	struct classifier *c = NULL;
	char *why = NULL;

	assert_int_equal(classifier_from_text("my.yaml", slice_from(text), &c, &why), -EINVAL);
	assert_non_null(why);
	if (!strstr(why, complaint))
		fail_msg("\"%s\" does not contain \"%s\"", why, complaint);
	free(why);
}

static void test_wrong_rules_are_named_with_their_place(void **state)
{
	assert_refused("rules:\n  - {code: 550, clas: blocked}\n", "my.yaml:2:17: unknown key \"clas\"; did you mean \"class\"?");
	assert_refused("rules:\n  - {code: 850, class: blocked}\n", "my.yaml:2:12: \"850\" is no reply code");
	assert_refused("rules:\n  - {code: 5xx, class: bloked}\n", "\"bloked\" is no class");
	assert_refused("rules:\n  - {code: 5xx}\n", "the rule has no class");
	assert_refused("rules:\n  - {class: other}\n", "no condition");
	assert_refused("rules:\n  - {text: 'a(b', class: other}\n", "the pattern is wrong");
	assert_refused("rules:\n  - {enhanced: 5.7, class: other}\n", "is no enhanced code");
	assert_refused("rules:\n  - {enhanced: 5.9-7.1, class: other}\n", "is no enhanced code");
	assert_refused("rules:\n  - {code: 550, stage: lunch, class: other}\n", "is no stage");
	assert_refused("rules:\n  - {code: 550, provider: acme, class: other}\n", "no provider is called \"acme\"");
	assert_refused("rules:\n  - {code: 550, class: other, treat: gently}\n", "temporary or permanent");
	assert_refused("rules:\n  - {code: 550, class: other, fault: mine}\n", "fault must be path, sender, recipient, content or server");
	assert_refused("rules:\n  - {code: 550, class: other, key: moon}\n", "key must be address,");
	assert_refused("rules: 7\n", "rules is a list");
	assert_refused("- a\n", "expected the keys");
	assert_refused("rules: [\n", "my.yaml:");
	assert_refused("rulez: []\n", "unknown key \"rulez\"");
}

static void test_the_first_rule_that_fits_decides(void **state)
{
	static const char text[] =
		"providers: {acme: [.acme.example]}\n"
		"rules:\n"
		"  - {name: one, provider: acme, code: [45x, 550], class: throttled}\n"
		"  - {enhanced: 5.7.10-20, class: policy, treat: temporary}\n"
		"  - {text: 'no.*way', stage: [rcpt, dot], class: blocked}\n";
	struct classification c;
	struct classifier *cl = NULL;
	struct reply reply;
	char *why = NULL;

	assert_int_equal(classifier_from_text("my.yaml", slice_from(text), &cl, &why), 0);
	assert_int_equal(classifier_rules(cl), 3);
	reply = parse("550 5.7.15 No, no way");
	classify(cl, &reply, STAGE_RCPT, "mx.acme.example", &c);
	assert_string_equal(c.rule, "one");
	classify(cl, &reply, STAGE_RCPT, "mx.example", &c);
	assert_string_equal(c.rule, "my.yaml:4");
	assert_string_equal(c.file, "my.yaml");
	assert_int_equal(c.line, 4);
	assert_int_equal(c.fault, FAULT_SENDER);
	assert_int_equal(c.treat, TREAT_TEMPORARY);
	reply = parse("550 5.7.21 No, no way");
	classify(cl, &reply, STAGE_RCPT, "mx.example", &c);
	assert_int_equal(c.class, CLASS_BLOCKED);
	classify(cl, &reply, STAGE_MAIL, "mx.example", &c);
	assert_null(c.rule);
	assert_int_equal(c.class, CLASS_OTHER);
	classifier_free(cl);
}

/* --- providers -------------------------------------------------------------------------------- */

static void test_large_providers_have_limits(void **state)
{
	const struct provider *p = classifier_provider_of(shipped, "aspmx.l.google.com");

	assert_non_null(p);
	assert_string_equal(p->name, "google");
	assert_int_equal(p->limits.all_connections, 5);
	assert_int_equal(p->limits.messages_per_connection, 50);
	p = classifier_provider_of(shipped, "acme-com.mail.protection.outlook.com");
	assert_non_null(p);
	assert_string_equal(p->name, "exchange"); /* and not the wider one without limits */
	assert_null(classifier_provider_of(shipped, "eu-smtp-inbound-1.mimecast.com"));
	assert_null(classifier_provider_of(shipped, "notgoogle.com"));
	assert_null(classifier_provider_of(shipped, NULL));
}

static void test_the_configuration_goes_before_what_is_known_of_providers(void **state)
{
	static const char text[] = "providers:\n"
				   "  acme: {hosts: [.acme.example], connections: 3, rate: 10/1m}\n"
				   "  plain: [.plain.example]\n";
	static const char *const hosts[] = { ".new.example" };
	static const struct shaping_rule rules[] = {
		{ .name = "acme", .limits = { .connections = 7 } },
		{ .name = "plain", .hosts = hosts, .n_hosts = 1, .limits = { .messages_per_connection = 2 } },
	};
	static const struct shaping_rule unknown[] = { { .name = "acne", .limits = { .connections = 7 } } };
	struct classifier *c = NULL;
	const struct provider *p;
	char *why = NULL;

	assert_int_equal(classifier_from_text("my.yaml", slice_from(text), &c, &why), 0);
	assert_null(classifier_provider_of(c, "mx.plain.example"));
	assert_int_equal(classifier_shape(c, &(struct shaping_config) { .providers = rules, .n_providers = 2 }, &why), 0);
	p = classifier_provider_of(c, "mx.acme.example");
	assert_non_null(p);
	assert_int_equal(p->limits.connections, 7);
	assert_int_equal(p->limits.rate.count, 10); /* what isn't said again stays */
	assert_null(classifier_provider_of(c, "mx.plain.example"));
	assert_non_null(classifier_provider_of(c, "mx.new.example"));
	assert_int_equal(classifier_shape(c, &(struct shaping_config) { .providers = unknown, .n_providers = 1 }, &why), -EINVAL);
	assert_string_equal(why, "no provider is called \"acne\", and it has no hosts; did you mean \"acme\"?");
	free(why);
	classifier_free(c);
}

static void test_wrong_providers_are_named_with_their_place(void **state)
{
	assert_refused("providers: {a: {hosts: [.a], conections: 3}}\n", "my.yaml:1:30: unknown key \"conections\" of a provider");
	assert_refused("providers: {a: {hosts: [.a], connections: 0}}\n", "is no number from 1");
	assert_refused("providers: {a: {hosts: [.a], rate: 100}}\n", "\"100\" is no rate");
	assert_refused("providers: [a]\n", "providers is a mapping");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replies_of_large_receivers_have_the_right_class),
		cmocka_unit_test(test_no_reply_at_all_is_unreachable),
		cmocka_unit_test(test_a_provider_is_known_by_the_end_of_the_host_name),
		cmocka_unit_test(test_a_text_made_to_be_slow_ends),
		cmocka_unit_test(test_wrong_rules_are_named_with_their_place),
		cmocka_unit_test(test_the_first_rule_that_fits_decides),
		cmocka_unit_test(test_large_providers_have_limits),
		cmocka_unit_test(test_the_configuration_goes_before_what_is_known_of_providers),
		cmocka_unit_test(test_wrong_providers_are_named_with_their_place),
	};

	return cmocka_run_group_tests(tests, read_shipped, free_shipped);
}
