/* What the replies of the large receivers mean to the shipped rules: the class, whose fault it is, and whether it
 * lasts; and the same for every code of the IANA registry of enhanced status codes, said without any text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mail/status.h"
#include "queue/consequence.h"
#include "queue/reply_classes.h"
#include "queue/rules.h"

static struct classifier *shipped;

static int read_shipped(void **state)
{
	char *why = NULL;

	if (classifier_from_text("reply-classes.yaml", slice_new(reply_classes_builtin, reply_classes_builtin_len), &shipped, &why) == 0)
		return 0;
	print_error("%s\n", why ? why : "no memory");
	free(why);
	return -1;
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

struct meaning {
	enum reply_class class;
	enum fault fault;
	char lasts; /* 'P'ermanent, 'T'emporary */
	const char *host;
	enum stage stage;
	const char *reply;
};

#define GMAIL "gmail-smtp-in.l.google.com"
#define OUTLOOK "outlook-com.olc.protection.outlook.com"
#define EXCHANGE "example-org.mail.protection.outlook.com"
#define YAHOO "mta7.am0.yahoodns.net"
#define APPLE "mx01.mail.icloud.com"
#define MIMECAST "eu-smtp-inbound-1.mimecast.com"
#define ORANGE "smtp-in.orange.fr"
#define SOME "mx.example.net"

static bool differs(const struct meaning *m)
{
	const struct retry_schedule schedule = { 0 };
	struct reply reply = parse(m->reply);
	struct classification c;
	struct consequence q;

	classify(shipped, &reply, m->stage, m->host, &c);
	consequence_of(&c, &reply, &schedule, &q);
	if (c.class == m->class && c.fault == m->fault && q.permanent == (m->lasts == 'P'))
		return false;
	print_error("%s\n  is %s, %s, %s by %s; expected %s, %s, %c\n", m->reply, reply_class_name(c.class), fault_name(c.fault),
		    q.permanent ? "permanent" : "temporary", c.rule ? c.rule : "no rule", reply_class_name(m->class), fault_name(m->fault), m->lasts);
	return true;
}

static void assert_meanings(const struct meaning *m, size_t n)
{
	size_t wrong = 0;

	for (size_t i = 0; i < n; i++)
		wrong += differs(&m[i]);
	assert_int_equal(wrong, 0);
}

/* --- our address is blocked ------------------------------------------------------------------------------------------ */

static const struct meaning address_blocked[] = {
	{ CLASS_BLOCKED, FAULT_PATH, 'P', OUTLOOK, STAGE_MAIL, "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3150)." },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', OUTLOOK, STAGE_MAIL, "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. (S3140)" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', NULL, STAGE_RCPT, "550 5.7.1 messages weren't sent, part of their network is on our block list" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', OUTLOOK, STAGE_RCPT, "550 5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus. To request removal from this list see (AS3130)" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', EXCHANGE, STAGE_RCPT, "550 5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus (AS16012611)" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', OUTLOOK, STAGE_GREETING, "421 RP-001 The mail server IP connecting has exceeded the rate limit allowed" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', OUTLOOK, STAGE_GREETING, "550 DY-001 Mail rejected: dynamic IP" },
	{ CLASS_SPAM_CONTENT, FAULT_CONTENT, 'P', OUTLOOK, STAGE_MAIL, "550 DY-002 Mail rejected for policy reasons: virus" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', OUTLOOK, STAGE_MAIL, "550 OU-001 Mail rejected for policy reasons" },
	{ CLASS_SPAM_CONTENT, FAULT_CONTENT, 'P', OUTLOOK, STAGE_MAIL, "550 OU-002 Mail rejected for policy reasons" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', OUTLOOK, STAGE_MAIL, "550 SC-001 Mail rejected for policy reasons" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', OUTLOOK, STAGE_MAIL, "550 SC-002 Mail rejected for policy reasons" },
	{ CLASS_POLICY, FAULT_SENDER, 'P', OUTLOOK, STAGE_MAIL, "550 SC-003 Mail rejected: open relay" },
	{ CLASS_SPAM_CONTENT, FAULT_CONTENT, 'P', OUTLOOK, STAGE_MAIL, "550 SC-004 Mail rejected for policy reasons" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', EXCHANGE, STAGE_RCPT, "550 5.7.606 Access denied, banned sending IP [192.0.2.1]" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', EXCHANGE, STAGE_RCPT, "550 5.7.649 Access denied, banned sending IP [192.0.2.1]" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', EXCHANGE, STAGE_RCPT, "550 5.7.511 Access denied, banned sender[192.0.2.1]" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', EXCHANGE, STAGE_RCPT, "550 5.7.502 Access denied, banned sender" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', EXCHANGE, STAGE_DOT, "550 5.7.708 Access denied, traffic not accepted from this IP" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', EXCHANGE, STAGE_RCPT, "550 5.7.513 Client host [192.0.2.1] blocked by example.org using Customer Block list (AS16012607)" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', EXCHANGE, STAGE_RCPT, "550 5.7.507 Access denied, rejected by recipient" },
	{ CLASS_BLOCKED, FAULT_PATH, 'T', EXCHANGE, STAGE_RCPT, "451 4.7.850 Access denied, please try again later" },
	{ CLASS_BLOCKED, FAULT_PATH, 'T', EXCHANGE, STAGE_RCPT, "451 4.7.899 Access denied, please try again later" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', EXCHANGE, STAGE_RCPT, "451 4.7.699 Access denied, please try again later" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', GMAIL, STAGE_DOT, "550 5.7.1 [192.0.2.1] Our system has detected an unusual rate of unsolicited mail originating from your IP address." },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', GMAIL, STAGE_DOT, "550 5.7.28 There is an unusual rate of mail from your IP" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', GMAIL, STAGE_DOT, "550 5.7.1 This message is likely suspicious due to the very low reputation of the sending IP address." },
	{ CLASS_BLOCKED, FAULT_PATH, 'T', GMAIL, STAGE_RCPT, "421 4.7.0 IP not in whitelist for RCPT domain, closing connection." },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', GMAIL, STAGE_DOT, "550 5.7.1 The IP you're using to send mail is not authorized to send email directly to our servers." },
	{ CLASS_BLOCKED, FAULT_PATH, 'T', GMAIL, STAGE_EHLO, "421 4.7.0 Try again later, closing connection." },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', YAHOO, STAGE_GREETING, "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', YAHOO, STAGE_GREETING, "553 5.7.1 [BL23] Connections not accepted from IP addresses on Spamhaus XBL" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', YAHOO, STAGE_MAIL, "553 5.7.1 [TSS07] All messages from 192.0.2.1 are refused, because the ip is in Spamhaus's list" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', YAHOO, STAGE_MAIL, "553 5.7.2 [TSS09] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed." },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', YAHOO, STAGE_MAIL, "553 5.7.2 [TSS11] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed." },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', YAHOO, STAGE_MAIL, "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', YAHOO, STAGE_MAIL, "421 4.7.0 [TSS01] Messages from 192.0.2.1 temporarily deferred" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', YAHOO, STAGE_MAIL, "421 4.7.0 [TSS05] Messages from 192.0.2.1 temporarily deferred" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', YAHOO, STAGE_MAIL, "421 4.7.0 [IPTS04] Messages from 192.0.2.1 temporarily deferred" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', APPLE, STAGE_MAIL, "550 5.7.0 Blocked - see https://support.proofpoint.com/dnsbl-lookup.cgi?ip=192.0.2.1" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', APPLE, STAGE_MAIL, "550 5.7.1 Mail from IP 192.0.2.1 was rejected due to listing in Spamhaus SBL." },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', APPLE, STAGE_GREETING, "554 mx.icloud.example ESMTP not accepting connections" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', APPLE, STAGE_DOT, "421 4.7.1 [HCM1] Message deferred" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', APPLE, STAGE_DOT, "451 4.7.1 [BS02] Message deferred" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', SOME, STAGE_GREETING, "550 Refused, see https://csi.cloudmark.com/reset-request/?ip=192.0.2.1" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', MIMECAST, STAGE_MAIL, "550 local CT IP reputation policy" },
	{ CLASS_BLOCKED, FAULT_PATH, 'T', MIMECAST, STAGE_MAIL, "451 IP temporarily blacklisted" },
	{ CLASS_GREYLISTED, FAULT_SERVER, 'T', MIMECAST, STAGE_RCPT, "451 Internal resources are temporarily unavailable" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', ORANGE, STAGE_DOT, "550 5.2.0 Mail rejete. Mail rejected. OFR006_102 [102]" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', ORANGE, STAGE_DOT, "550 5.2.0 Mail rejected. OFR006_103 [103]" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', SOME, STAGE_GREETING, "550 5.7.1 Service refused, please try later. LPNAAA_101" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', ORANGE, STAGE_GREETING, "421 OFR005_104 Too many connections, slow down" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', SOME, STAGE_RCPT, "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', SOME, STAGE_RCPT, "550 5.7.1 Mail from 192.0.2.1 listed at bl.spamcop.net" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', SOME, STAGE_RCPT, "550 5.7.1 Mail from 192.0.2.1 rejected using rbl.example.net" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', SOME, STAGE_RCPT, "550 5.7.1 The address 192.0.2.1 is blacklisted" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', SOME, STAGE_RCPT, "550 5.7.1 Blacklisted by our administrators" },
	{ CLASS_POLICY, FAULT_RECIPIENT, 'P', SOME, STAGE_RCPT, "550 5.7.1 Blacklisted by recipient" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', SOME, STAGE_MAIL, "550 DNSBL:ATTRBL 521< 192.0.2.1 >_is_blocked. See the list's pages" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', "mx00.t-online.de", STAGE_GREETING, "554 IP=192.0.2.1 - A problem occurred. (BL)" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', SOME, STAGE_MAIL, "550 Dynamic/zombied/spam IPs blocked" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', SOME, STAGE_MAIL, "550 Please use the SMTP server of your ISP" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', SOME, STAGE_GREETING, "554 no" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', SOME, STAGE_GREETING, "521 no" },
	{ CLASS_SPAM_CONTENT, FAULT_CONTENT, 'P', SOME, STAGE_DOT, "554 5.7.1 Blocked: bad.example is listed by multi.uribl.com" },
	{ CLASS_SPAM_CONTENT, FAULT_CONTENT, 'P', SOME, STAGE_MAIL, "550 5.7.1 Sender domain listed at dbl.spamhaus.org" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', "mx3.qq.com", STAGE_MAIL, "550 Suspected spam ip" },
	{ CLASS_BLOCKED, FAULT_PATH, 'P', "163mx01.mxmail.netease.com", STAGE_GREETING, "554 HL:IPB 163 mx1" },
};

static void test_who_refuses_our_address_has_a_fault_with_our_path(void **state)
{
	assert_meanings(address_blocked, ARRAY_LEN(address_blocked));
}

/* --- slow down ------------------------------------------------------------------------------------------------------- */

static const struct meaning slow_down[] = {
	{ CLASS_THROTTLED, FAULT_PATH, 'T', GMAIL, STAGE_DOT, "421 4.7.28 Gmail has detected an unusual rate of mail originating from your IP address" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', GMAIL, STAGE_DOT, "421 4.7.28 Gmail has detected an unusual rate of mail originating from your IP Netblock" },
	{ CLASS_THROTTLED, FAULT_SENDER, 'T', GMAIL, STAGE_DOT, "421 4.7.28 Gmail has detected an unusual rate of mail originating from your DKIM domain [example.org 36]" },
	{ CLASS_THROTTLED, FAULT_SENDER, 'T', GMAIL, STAGE_DOT, "421 4.7.28 Gmail has detected an unusual rate of mail originating from your SPF domain [example.org 36]" },
	{ CLASS_THROTTLED, FAULT_CONTENT, 'T', GMAIL, STAGE_DOT, "421 4.7.28 Gmail has detected an unusual rate of mail containing one of your URL domains" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', GMAIL, STAGE_DOT, "421 4.7.0 This message is suspicious due to the very low reputation of the sending IP" },
	{ CLASS_SPAM_CONTENT, FAULT_SENDER, 'T', GMAIL, STAGE_DOT, "421 4.7.0 This message is suspicious due to the very low reputation of the sending domain" },
	{ CLASS_OTHER, FAULT_RECIPIENT, 'T', GMAIL, STAGE_RCPT, "450 4.2.1 The user you are trying to contact is receiving mail too quickly." },
	{ CLASS_OTHER, FAULT_RECIPIENT, 'T', GMAIL, STAGE_RCPT, "450 4.2.1 The user is receiving mail at a rate that prevents additional messages from being delivered." },
	{ CLASS_POLICY, FAULT_SENDER, 'T', GMAIL, STAGE_DOT, "421 4.7.28 Gmail has detected you are sending messages with the same Message-ID" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', OUTLOOK, STAGE_MAIL, "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation. (S775)" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', EXCHANGE, STAGE_MAIL, "451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (AS761)" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', EXCHANGE, STAGE_MAIL, "451 4.7.700 PFA agent busy, please try again" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', OUTLOOK, STAGE_GREETING, "421 the server at 192.0.2.1 has exceeded the maximum number of connections" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', OUTLOOK, STAGE_GREETING, "421 Connection refused from 192.0.2.1 due to exceed max concurrent connections. IB007" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', OUTLOOK, STAGE_MAIL, "421 exceeded maximum number of messages per connection" },
	{ CLASS_OTHER, FAULT_SERVER, 'T', EXCHANGE, STAGE_RCPT, "452 4.5.3 Too many recipients" },
	{ CLASS_OTHER, FAULT_SERVER, 'T', EXCHANGE, STAGE_RCPT, "451 4.5.3 Too many recipients" },
	{ CLASS_THROTTLED, FAULT_RECIPIENT, 'T', EXCHANGE, STAGE_DOT, "450 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', EXCHANGE, STAGE_DOT, "450 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', "smtp.office365.com", STAGE_AUTH, "432 4.3.2 STOREDRV.ClientSubmit; concurrent connection limit exceeded" },
	{ CLASS_OTHER, FAULT_RECIPIENT, 'T', EXCHANGE, STAGE_DOT, "550 5.2.121 The recipient has exceeded their message receive limit" },
	{ CLASS_OTHER, FAULT_RECIPIENT, 'T', EXCHANGE, STAGE_DOT, "550 5.2.122 The recipient has exceeded their per hour message receive limit" },
	{ CLASS_OTHER, FAULT_SERVER, 'T', EXCHANGE, STAGE_DOT, "451 4.4.24 Message failed to be replicated" },
	{ CLASS_OTHER, FAULT_SERVER, 'T', EXCHANGE, STAGE_DOT, "451 4.4.28 Message failed to be replicated" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', YAHOO, STAGE_MAIL, "421 Max message per connection reached, closing transmission channel" },
	{ CLASS_OTHER, FAULT_RECIPIENT, 'T', YAHOO, STAGE_RCPT, "450 User is receiving mail too quickly" },
	{ CLASS_THROTTLED, FAULT_SERVER, 'T', "mail.example.net", STAGE_MAIL, "452 4.3.1 Insufficient system resources" },
	{ CLASS_THROTTLED, FAULT_SERVER, 'T', "mail.example.net", STAGE_MAIL, "421 4.3.2 System not accepting network messages" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', "mail.example.net", STAGE_MAIL, "421 4.4.2 Message submission rate for this client has exceeded the configured limit" },
	{ CLASS_THROTTLED, FAULT_SENDER, 'T', "mx3.qq.com", STAGE_MAIL, "550 Domain frequency limited" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', "mx3.qq.com", STAGE_MAIL, "550 Ip frequency limited" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', "163mx01.mxmail.netease.com", STAGE_GREETING, "421 HL:ICC 163 mx1" },
};

static void test_who_says_slow_down_names_what_is_too_fast(void **state)
{
	assert_meanings(slow_down, ARRAY_LEN(slow_down));
}

static void test_a_sentence_may_be_broken_into_lines_anywhere(void **state)
{
	static const struct meaning m = { CLASS_BLOCKED, FAULT_PATH, 'P', GMAIL, STAGE_DOT, "550 5.7.1 The IP you're using to send mail is not authorized to\nsend email directly to our servers." };

	assert_false(differs(&m));
}

static void test_the_key_of_a_limit_is_known(void **state)
{
	static const struct {
		enum limit_key key;
		const char *reply;
	} keys[] = {
		{ KEY_ADDRESS, "421 4.7.28 Gmail has detected an unusual rate of mail originating from your IP address" },
		{ KEY_NETBLOCK, "421 4.7.28 Gmail has detected an unusual rate of mail originating from your IP Netblock" },
		{ KEY_DKIM, "421 4.7.28 Gmail has detected an unusual rate of mail originating from your DKIM domain" },
		{ KEY_SPF, "421 4.7.28 Gmail has detected an unusual rate of mail originating from your SPF domain" },
		{ KEY_URL, "421 4.7.28 Gmail has detected an unusual rate of mail containing one of your URL domains" },
		{ KEY_RECIPIENT, "450 4.2.1 The user you are trying to contact is receiving mail too quickly" },
		{ KEY_SENDER, "550 5.4.5 Daily user sending limit exceeded" },
	};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		struct reply reply = parse(keys[i].reply);
		struct classification c;

		classify(shipped, &reply, STAGE_DOT, GMAIL, &c);
		assert_string_equal(limit_key_name(c.key), limit_key_name(keys[i].key));
	}
}

/* --- who are you ----------------------------------------------------------------------------------------------------- */

static const struct meaning authentication[] = {
	{ CLASS_POLICY, FAULT_SENDER, 'P', GMAIL, STAGE_DOT, "550 5.7.26 This mail has been blocked because the sender is unauthenticated." },
	{ CLASS_POLICY, FAULT_SENDER, 'T', GMAIL, STAGE_DOT, "421 4.7.26 Your email has been rate limited because it is unauthenticated." },
	{ CLASS_POLICY, FAULT_SENDER, 'P', GMAIL, STAGE_DOT, "550 5.7.27 Your email has been blocked because SPF did not pass." },
	{ CLASS_POLICY, FAULT_SENDER, 'T', GMAIL, STAGE_DOT, "421 4.7.30 DKIM did not pass." },
	{ CLASS_POLICY, FAULT_SENDER, 'P', GMAIL, STAGE_DOT, "550 5.7.30 Your email has been blocked because DKIM authentication didn't pass." },
	{ CLASS_POLICY, FAULT_SENDER, 'T', GMAIL, STAGE_DOT, "421 4.7.32 The From: header (RFC5322) isn't aligned" },
	{ CLASS_POLICY, FAULT_SENDER, 'T', GMAIL, STAGE_DOT, "421 4.7.23 The sending IP address doesn't match a PTR record" },
	{ CLASS_POLICY, FAULT_SENDER, 'P', GMAIL, STAGE_DOT, "550 5.7.25 The IP address sending this message does not have a PTR record" },
	{ CLASS_POLICY, FAULT_SENDER, 'T', GMAIL, STAGE_DOT, "421 4.7.24 The SPF record of the sending domain has one or more suspicious entries" },
	{ CLASS_TLS, FAULT_PATH, 'P', GMAIL, STAGE_DOT, "550 5.7.29 This email has been rejected because it wasn't sent over TLS" },
	{ CLASS_TLS, FAULT_PATH, 'T', GMAIL, STAGE_DOT, "421 4.7.29 Your email has been rate limited because this message wasn't sent over a TLS connection" },
	{ CLASS_POLICY, FAULT_CONTENT, 'P', GMAIL, STAGE_DOT, "550 5.7.1 Messages missing a valid Message-ID header are not accepted." },
	{ CLASS_POLICY, FAULT_CONTENT, 'P', GMAIL, STAGE_DOT, "550 5.7.1 This message is not RFC 5322 compliant. There are multiple From headers." },
	{ CLASS_OTHER, FAULT_SERVER, 'P', GMAIL, STAGE_DOT, "554 5.4.6 Message exceeded 50 hops, this may indicate a mail loop." },
	{ CLASS_POLICY, FAULT_SENDER, 'P', OUTLOOK, STAGE_DOT, "550 5.7.515 Access denied, sending domain example.org does not meet the required authentication level" },
	{ CLASS_POLICY, FAULT_SENDER, 'P', OUTLOOK, STAGE_DOT, "550 5.7.509 Access denied, sending domain example.org does not pass DMARC verification" },
	{ CLASS_POLICY, FAULT_SENDER, 'T', EXCHANGE, STAGE_RCPT, "450 4.7.26 Service does not accept messages sent over IPv6 unless they pass either SPF or DKIM validation" },
	{ CLASS_POLICY, FAULT_SENDER, 'P', EXCHANGE, STAGE_RCPT, "550 5.7.25 Service does not accept IPv6 senders without reverse DNS" },
	{ CLASS_BLOCKED, FAULT_PATH, 'T', EXCHANGE, STAGE_RCPT, "550 5.7.510 Access denied, example.org does not accept email over IPv6" },
	{ CLASS_POLICY, FAULT_SENDER, 'P', YAHOO, STAGE_DOT, "554 5.7.9 Message not accepted for policy reasons" },
	{ CLASS_POLICY, FAULT_SENDER, 'T', YAHOO, STAGE_MAIL, "451 Message temporarily deferred due to unresolvable RFC.5321 from domain" },
	{ CLASS_POLICY, FAULT_CONTENT, 'P', YAHOO, STAGE_DOT, "554 5.6.0 Message not accepted due to failed RFC compliance" },
	{ CLASS_POLICY, FAULT_SENDER, 'P', APPLE, STAGE_DOT, "554 5.7.1 [HME1] Message rejected, both SPF and DKIM failed" },
	{ CLASS_SPAM_CONTENT, FAULT_CONTENT, 'P', APPLE, STAGE_DOT, "554 5.7.1 [CS01] Message rejected due to local policy" },
	{ CLASS_THROTTLED, FAULT_PATH, 'T', APPLE, STAGE_MAIL, "421 4.7.1 Message deferred due to excessive volume" },
};

static void test_who_asks_for_authentication_has_a_fault_with_the_sender(void **state)
{
	assert_meanings(authentication, ARRAY_LEN(authentication));
}

/* --- how they speak -------------------------------------------------------------------------------------------------- */

static const struct meaning habits[] = {
	{ CLASS_OTHER, FAULT_CONTENT, 'P', EXCHANGE, STAGE_DOT, "550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal" },
	{ CLASS_OTHER, FAULT_SERVER, 'P', EXCHANGE, STAGE_DATA, "503 5.5.1 BODY=BINARYMIME requires BDAT" },
	{ CLASS_TOO_BIG, FAULT_CONTENT, 'P', EXCHANGE, STAGE_DOT, "552 5.3.4 Header size exceeds fixed maximum size" },
	{ CLASS_TLS, FAULT_PATH, 'P', SOME, STAGE_DOT, "550 5.7.321 starttls-not-supported: Destination mail server must support TLS" },
	{ CLASS_TLS, FAULT_PATH, 'T', SOME, STAGE_DOT, "450 4.7.322 certificate-expired" },
	{ CLASS_TLS, FAULT_PATH, 'T', SOME, STAGE_DOT, "450 4.7.323 tlsa-invalid" },
	{ CLASS_TLS, FAULT_PATH, 'T', SOME, STAGE_DOT, "450 4.7.324 dnssec-invalid" },
	{ CLASS_TLS, FAULT_PATH, 'P', SOME, STAGE_DOT, "550 5.7.325 certificate-host-mismatch" },
	{ CLASS_TLS, FAULT_PATH, 'T', SOME, STAGE_DOT, "450 4.4.317 starttls-not-supported" },
	{ CLASS_NO_SUCH_USER, FAULT_RECIPIENT, 'P', EXCHANGE, STAGE_RCPT, "550 5.4.1 Recipient address rejected: Access denied. AS(201806281)" },
	{ CLASS_NO_SUCH_USER, FAULT_RECIPIENT, 'P', EXCHANGE, STAGE_DOT, "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup" },
	{ CLASS_NO_SUCH_USER, FAULT_RECIPIENT, 'P', OUTLOOK, STAGE_RCPT, "550 5.5.0 Requested action not taken: mailbox unavailable" },
	{ CLASS_OTHER, FAULT_SERVER, 'T', SOME, STAGE_RCPT, "552 too many recipients" },
	{ CLASS_OTHER, FAULT_SERVER, 'T', SOME, STAGE_RCPT, "552 5.5.3 try less" },
	{ CLASS_OTHER, FAULT_SERVER, 'T', SOME, STAGE_RCPT, "552 no" },
	{ CLASS_MAILBOX_FULL, FAULT_RECIPIENT, 'T', SOME, STAGE_RCPT, "552 5.2.2 Mailbox full" },
	{ CLASS_MAILBOX_FULL, FAULT_RECIPIENT, 'P', SOME, STAGE_DOT, "552 5.2.2 Mailbox full" },
	{ CLASS_TOO_BIG, FAULT_CONTENT, 'P', SOME, STAGE_RCPT, "552 5.3.4 Message too big for system" },
	{ CLASS_TOO_BIG, FAULT_CONTENT, 'P', SOME, STAGE_MAIL, "552 no" },
	{ CLASS_NO_SUCH_USER, FAULT_RECIPIENT, 'P', SOME, STAGE_RCPT, "552 5.1.1 no such user" },
	{ CLASS_OTHER, FAULT_SERVER, 'P', EXCHANGE, STAGE_DOT, "554 5.4.14 Hop count exceeded - possible mail loop" },
	{ CLASS_AUTH, FAULT_SENDER, 'P', EXCHANGE, STAGE_RCPT, "550 5.7.64 TenantAttribution; Relay Access Denied" },
	{ CLASS_AUTH, FAULT_SENDER, 'P', EXCHANGE, STAGE_RCPT, "550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains" },
	{ CLASS_BLOCKED, FAULT_PATH, 'T', "smtp-relay.gmail.google.com", STAGE_EHLO, "421 4.7.0 Try again later, closing connection. (EHLO)" },
	{ CLASS_AUTH, FAULT_SENDER, 'P', "smtp-relay.gmail.google.com", STAGE_MAIL, "550 5.7.0 Mail relay denied [192.0.2.1]" },
	{ CLASS_AUTH, FAULT_SENDER, 'P', "smtp-relay.gmail.google.com", STAGE_MAIL, "550 5.7.1 Invalid credentials for relay [192.0.2.1]" },
	{ CLASS_THROTTLED, FAULT_SENDER, 'T', "smtp-relay.gmail.google.com", STAGE_DOT, "550 5.4.5 Daily user sending limit exceeded" },
};

static void test_the_habits_of_servers_are_known(void **state)
{
	assert_meanings(habits, ARRAY_LEN(habits));
}

/* --- codes alone ----------------------------------------------------------------------------------------------------- */

struct registered {
	unsigned subject, detail;
	enum reply_class temporary, permanent; /* as 4.x.x and as 5.x.x */
	enum fault fault;
};

/* RFC 3463 section 3, and what RFC 3886, 4468, 4954, 5248, 6531, 6710, 7293, 7372, 7505, 8617 and 8689 added. */
static const struct registered registry[] = {
	{ 0, 0, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 1, 0, CLASS_OTHER, CLASS_NO_SUCH_USER, FAULT_RECIPIENT },
	{ 1, 1, CLASS_OTHER, CLASS_NO_SUCH_USER, FAULT_RECIPIENT },
	{ 1, 2, CLASS_OTHER, CLASS_NO_SUCH_USER, FAULT_RECIPIENT },
	{ 1, 3, CLASS_OTHER, CLASS_NO_SUCH_USER, FAULT_RECIPIENT },
	{ 1, 4, CLASS_OTHER, CLASS_NO_SUCH_USER, FAULT_RECIPIENT },
	{ 1, 6, CLASS_OTHER, CLASS_NO_SUCH_USER, FAULT_RECIPIENT },
	{ 1, 7, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 1, 8, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 1, 9, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 2, 0, CLASS_OTHER, CLASS_OTHER, FAULT_RECIPIENT },
	{ 2, 2, CLASS_MAILBOX_FULL, CLASS_MAILBOX_FULL, FAULT_RECIPIENT },
	{ 2, 1, CLASS_OTHER, CLASS_NO_SUCH_USER, FAULT_RECIPIENT },
	{ 2, 3, CLASS_TOO_BIG, CLASS_TOO_BIG, FAULT_CONTENT },
	{ 2, 4, CLASS_OTHER, CLASS_OTHER, FAULT_RECIPIENT },
	{ 3, 0, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 3, 1, CLASS_THROTTLED, CLASS_OTHER, FAULT_SERVER },
	{ 3, 2, CLASS_THROTTLED, CLASS_OTHER, FAULT_SERVER },
	{ 3, 3, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 3, 4, CLASS_TOO_BIG, CLASS_TOO_BIG, FAULT_CONTENT },
	{ 3, 5, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 3, 6, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 4, 0, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 4, 1, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 4, 2, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 4, 3, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 4, 4, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 4, 5, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 4, 6, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 4, 7, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 5, 0, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 5, 1, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 5, 2, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 5, 4, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 5, 5, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 5, 6, CLASS_AUTH, CLASS_AUTH, FAULT_SENDER },
	{ 6, 0, CLASS_OTHER, CLASS_OTHER, FAULT_CONTENT },
	{ 6, 1, CLASS_OTHER, CLASS_OTHER, FAULT_CONTENT },
	{ 6, 2, CLASS_OTHER, CLASS_OTHER, FAULT_CONTENT },
	{ 6, 3, CLASS_OTHER, CLASS_OTHER, FAULT_CONTENT },
	{ 6, 4, CLASS_OTHER, CLASS_OTHER, FAULT_CONTENT },
	{ 6, 5, CLASS_OTHER, CLASS_OTHER, FAULT_CONTENT },
	{ 6, 6, CLASS_OTHER, CLASS_OTHER, FAULT_CONTENT },
	{ 6, 7, CLASS_OTHER, CLASS_OTHER, FAULT_CONTENT },
	{ 6, 8, CLASS_OTHER, CLASS_OTHER, FAULT_CONTENT },
	{ 6, 9, CLASS_OTHER, CLASS_OTHER, FAULT_CONTENT },
	{ 6, 10, CLASS_OTHER, CLASS_OTHER, FAULT_CONTENT },
	{ 7, 0, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 1, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 2, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 3, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 4, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 5, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 6, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 7, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 8, CLASS_AUTH, CLASS_AUTH, FAULT_SENDER },
	{ 7, 9, CLASS_AUTH, CLASS_AUTH, FAULT_SENDER },
	{ 7, 10, CLASS_TLS, CLASS_TLS, FAULT_PATH },
	{ 7, 11, CLASS_TLS, CLASS_TLS, FAULT_PATH },
	{ 7, 12, CLASS_AUTH, CLASS_AUTH, FAULT_SENDER },
	{ 7, 13, CLASS_AUTH, CLASS_AUTH, FAULT_SENDER },
	{ 7, 14, CLASS_AUTH, CLASS_AUTH, FAULT_SENDER },
	{ 7, 15, CLASS_OTHER, CLASS_OTHER, FAULT_SERVER },
	{ 7, 16, CLASS_TOO_BIG, CLASS_TOO_BIG, FAULT_CONTENT },
	{ 7, 17, CLASS_NO_SUCH_USER, CLASS_NO_SUCH_USER, FAULT_RECIPIENT },
	{ 7, 18, CLASS_NO_SUCH_USER, CLASS_NO_SUCH_USER, FAULT_RECIPIENT },
	{ 7, 19, CLASS_OTHER, CLASS_OTHER, FAULT_RECIPIENT },
	{ 7, 20, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 21, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 22, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 23, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 24, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 25, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 26, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 27, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 28, CLASS_THROTTLED, CLASS_THROTTLED, FAULT_PATH },
	{ 7, 29, CLASS_POLICY, CLASS_POLICY, FAULT_SENDER },
	{ 7, 30, CLASS_TLS, CLASS_TLS, FAULT_PATH },
};

static void test_every_registered_code_has_a_meaning_without_any_text(void **state)
{
	char text[40];
	size_t wrong = 0;

	for (size_t i = 0; i < ARRAY_LEN(registry); i++) {
		const struct registered *r = &registry[i];
		struct meaning m = { r->temporary, r->fault, 'T', SOME, STAGE_RCPT, text };

		snprintf(text, sizeof(text), "450 4.%u.%u x", r->subject, r->detail);
		wrong += differs(&m);
		m.class = r->permanent;
		m.lasts = 'P';
		snprintf(text, sizeof(text), "550 5.%u.%u x", r->subject, r->detail);
		wrong += differs(&m);
	}
	assert_int_equal(wrong, 0);
}

static const struct meaning codes_alone[] = {
	{ CLASS_NO_SUCH_USER, FAULT_RECIPIENT, 'P', SOME, STAGE_RCPT, "556 5.1.10 x" },
	{ CLASS_OTHER, FAULT_SERVER, 'T', SOME, STAGE_RCPT, "550 5.5.3 x" },
	{ CLASS_OTHER, FAULT_SERVER, 'T', SOME, STAGE_MAIL, "421 x" },
	{ CLASS_OTHER, FAULT_SERVER, 'T', SOME, STAGE_RCPT, "450 x" },
	{ CLASS_OTHER, FAULT_SERVER, 'T', SOME, STAGE_RCPT, "452 x" },
	{ CLASS_TLS, FAULT_PATH, 'T', SOME, STAGE_STARTTLS, "454 x" },
	{ CLASS_AUTH, FAULT_SENDER, 'T', SOME, STAGE_AUTH, "535 x" },
	{ CLASS_AUTH, FAULT_SENDER, 'P', SOME, STAGE_MAIL, "535 x" },
	{ CLASS_AUTH, FAULT_SENDER, 'T', SOME, STAGE_MAIL, "530 x" },
	{ CLASS_NO_SUCH_USER, FAULT_RECIPIENT, 'P', SOME, STAGE_RCPT, "551 x" },
	{ CLASS_NO_SUCH_USER, FAULT_RECIPIENT, 'P', SOME, STAGE_RCPT, "553 x" },
	{ CLASS_POLICY, FAULT_SENDER, 'P', SOME, STAGE_MAIL, "553 x" },
	{ CLASS_NO_SUCH_USER, FAULT_RECIPIENT, 'P', SOME, STAGE_RCPT, "521 x" },
	{ CLASS_OTHER, FAULT_SERVER, 'P', SOME, STAGE_DOT, "554 x" },
	{ CLASS_OTHER, FAULT_SERVER, 'P', SOME, STAGE_MAIL, "555 x" },
	{ CLASS_OTHER, FAULT_SERVER, 'P', SOME, STAGE_RCPT, "550 x" },
};

static void test_a_code_alone_has_a_meaning_too(void **state)
{
	assert_meanings(codes_alone, ARRAY_LEN(codes_alone));
}

/* --- the rules among themselves ------------------------------------------------------------------------------------------ */

/* What moves a message to the next rung is a fault of the path, and nothing else is. */
static void test_a_fault_of_the_path_is_what_another_path_may_mend(void **state)
{
	struct ruleset set;
	char *why = NULL;

	ruleset_init(&set);
	assert_int_equal(ruleset_read(&set, "reply-classes.yaml", slice_new(reply_classes_builtin, reply_classes_builtin_len), &why), 0);
	for (const struct rule *r = set.first; r; r = r->next) {
		const bool moves = r->class == CLASS_BLOCKED || r->class == CLASS_THROTTLED || r->class == CLASS_TLS;

		if (r->fault == FAULT_PATH && !moves)
			fail_msg("rule %s at line %u: a fault of the path that moves nothing", r->name, r->line);
	}
	ruleset_done(&set);
}

static void test_no_two_shipped_rules_have_the_same_name(void **state)
{
	struct ruleset set;
	char *why = NULL;

	ruleset_init(&set);
	assert_int_equal(ruleset_read(&set, "reply-classes.yaml", slice_new(reply_classes_builtin, reply_classes_builtin_len), &why), 0);
	for (const struct rule *r = set.first; r; r = r->next)
		for (const struct rule *other = r->next; other; other = other->next)
			if (strcmp(r->name, other->name) == 0)
				fail_msg("two rules are called %s: lines %u and %u", r->name, r->line, other->line);
	ruleset_done(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_refuses_our_address_has_a_fault_with_our_path),
		cmocka_unit_test(test_who_says_slow_down_names_what_is_too_fast),
		cmocka_unit_test(test_a_sentence_may_be_broken_into_lines_anywhere),
		cmocka_unit_test(test_the_key_of_a_limit_is_known),
		cmocka_unit_test(test_who_asks_for_authentication_has_a_fault_with_the_sender),
		cmocka_unit_test(test_the_habits_of_servers_are_known),
		cmocka_unit_test(test_every_registered_code_has_a_meaning_without_any_text),
		cmocka_unit_test(test_a_code_alone_has_a_meaning_too),
		cmocka_unit_test(test_a_fault_of_the_path_is_what_another_path_may_mend),
		cmocka_unit_test(test_no_two_shipped_rules_have_the_same_name),
	};

	return cmocka_run_group_tests(tests, read_shipped, free_shipped);
}
