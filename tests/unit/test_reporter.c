/* Reports from the first note to the message in the queue, on a simulated machine whose days pass in a moment. The file
 * is a real one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "dns/zone.h"
#include "mail/mime.h"
#include "report/failure.h"
#include "report/post.h"
#include "report/report.h"
#include "report/rows.h"
#include "report/store.h"
#include "report/unpack.h"
#include "unit/queue_office.h"

static const char names[] =
	"$ORIGIN example.\n"
	"_dmarc.author TXT \"v=DMARC1; p=reject; rua=mailto:d@author.example\"\n"
	"_dmarc.one TXT \"v=DMARC1\"\n"
	"slow.example._report._dmarc.one TXT \"v=DMARC1\"\n"
	"_dmarc.two TXT \"v=DMARC1\"\n"
	"author.example._report._dmarc.one TXT \"v=DMARC1\"\n"
	"author.example._report._dmarc.moved TXT \"v=DMARC1; rua=mailto:new@moved.example\"\n"
	"author.example._report._dmarc.stray TXT \"v=DMARC1; rua=mailto:victim@two.example\"\n"
	"author.example._report._dmarc.other TXT \"v=spf1 -all\"\n"
	"; SERVFAIL slow\n"
	"; SERVFAIL _dmarc.slow\n"
	"_smtp._tls.one TXT \"v=TLSRPTv1; rua=mailto:tls@one.example\"\n"
	"_smtp._tls.mx1.one TXT \"v=TLSRPTv1; rua=mailto:host@one.example\"\n"
	"_smtp._tls.two TXT \"v=TLSRPTv1; rua=mailto:a@two.example\" \n"
	"_smtp._tls.two TXT \"v=TLSRPTv1; rua=mailto:b@two.example\"\n"
	"_smtp._tls.web TXT \"v=TLSRPTv1; rua=https://collector.example/v1\"\n"
	"collector A 127.0.0.1\n";

/* What the receivers of reports have. */
struct letters {
	unsigned n;
	char to[40][80];
	char *text[40];
};

struct scene {
	struct office *office;
	struct resolver *resolver;
	struct reporter *reporter;
	struct report_config config;
	char path[80];
	struct letters letters;
};

static struct scene *scene;

static void take_letter(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	struct letters *l = &scene->letters;

	assert_true(l->n < 40);
	slice_copy(slice_from(r->address), l->to[l->n], sizeof(l->to[0]));
	l->text[l->n++] = strdup(office_content(s, d->id));
	r->outcome = (struct outcome) { .kind = OUTCOME_DELIVERED, .from_remote = true, .stage = STAGE_DOT, .host = "mx.example",
					.reply = { 250, { 2, 0, 0 }, "OK" } };
}

static void free_reporter(struct office *s)
{
	reporter_free(TAKE_PTR(scene->reporter));
	resolver_free(TAKE_PTR(scene->resolver));
}

static void prepare(struct office *s)
{
	s->answer = take_letter;
	s->halted = free_reporter;
	scene->office = s;
}

static int set_up(void **state)
{
	scene = calloc(1, sizeof(*scene));
	strcpy(scene->path, "/tmp/test-reporter-XXXXXX");
	assert_non_null(mkdtemp(scene->path));
	strcat(scene->path, "/db");
	scene->config = (struct report_config) {
		.dmarc = true, .tls = true, .failures_per_hour = 2, .path = scene->path, .hostname = "us.example", .organization = "Us",
		.contact = "tls@us.example", .from = "postmaster@us.example", .at = 30 * USEC_MIN, .spread = USEC_HOUR, .keep = 7 * USEC_DAY,
		.size = 1 << 20, .rows = 1000,
	};
	return 0;
}

static int tear_down(void **state)
{
	char command[100];

	for (unsigned i = 0; i < scene->letters.n; i++)
		free(scene->letters.text[i]);
	*strrchr(scene->path, '/') = '\0';
	snprintf(command, sizeof(command), "rm -rf %s", scene->path);
	assert_int_equal(system(command), 0);
	free(scene);
	return 0;
}

static void open_reporter(struct office *s)
{
	assert_int_equal(reporter_new(s->world, &s->log, &scene->config, scene->resolver, s->queue, s->loops[0], &scene->reporter), 0);
	assert_int_equal(reporter_start(scene->reporter), 0);
}

static void begin(struct office *s)
{
	struct zone *zone;
	char *why;

	assert_int_equal(zone_parse(slice_from(names), "names", &zone, &why), 0);
	assert_int_equal(zone_resolver_new(s->world, zone, 0, &scene->resolver), 0);
	open_reporter(s);
}

/* --- notes --------------------------------------------------------------------------------------------------------- */

struct mail_seen {
	const char *policy_domain, *from, *mail_from, *ip, *rua, *ruf, *fo;
	bool pass;
	const struct content *message;
	enum dmarc_override override;
};

static void see(const struct mail_seen *m)
{
	struct dkim_result dkim[] = {
		{ .word = DKIM_FAIL, .domain = "esp.example", .selector = "k", .reason = "" },
		{ .word = DKIM_PASS, .domain = m->from, .selector = "s1", .reason = "" },
	};
	struct judge_result v = {
		.spf = { .word = SPF_SOFTFAIL, .domain = "Bounce.example", .reason = "" },
		.n_dkim = m->pass ? 2 : 1, .dkim = dkim,
		.dmarc = { .word = m->pass ? DMARC_PASS : DMARC_FAIL, .domain = m->from, .policy_domain = m->policy_domain,
			   .policy = DMARC_POLICY_REJECT, .dkim_aligned = m->pass,
			   .record = { .p = DMARC_POLICY_REJECT, .sp = DMARC_POLICY_ABSENT, .np = DMARC_POLICY_ABSENT,
				       .rua = slice_from(m->rua ? m->rua : "mailto:d@one.example"), .ruf = slice_from(m->ruf),
				       .fo = slice_from(m->fo) } },
	};
	struct dmarc_sink sink = reporter_dmarc_sink(scene->reporter);
	struct dmarc_note note = { .mail_from = m->mail_from ? m->mail_from : "x@Bounce.example", .verdict = &v,
				   .disposition = m->pass ? DMARC_DONE_PASS : m->override ? DMARC_DONE_NONE : DMARC_DONE_REJECT,
				   .override = m->override, .comment = m->override ? "a friend" : NULL,
				   .arrival = world_wall(scene->office->world), .message = m->message };
	struct ip ip;

	assert_int_equal(ip_parse(slice_from(m->ip ? m->ip : "192.0.2.7"), &ip), 0);
	note.client = &ip;
	dmarc_sink_note(&sink, &note);
}

static void see_author(bool pass)
{
	see(&(struct mail_seen) { .policy_domain = "author.example", .from = "author.example", .pass = pass });
}

static void see_tls(const char *domain, const char *host, enum tls_report_policy policy, enum tls_report_result result)
{
	struct tls_sink sink = reporter_tls_sink(scene->reporter);
	struct tls_note note = { .domain = policy == TLS_REPORT_TLSA ? host : domain, .recipient_domain = domain, .policy = policy, .result = result,
				 .policy_strings = policy == TLS_REPORT_STS ? "version: STSv1\nmode: enforce" : NULL,
				 .mx_patterns = policy == TLS_REPORT_STS ? "*.one.example" : NULL, .mx = host, .reason = "expired yesterday",
				 .time = world_wall(scene->office->world) };

	assert_int_equal(ip_parse(SLICE("192.0.2.99"), &note.local), 0);
	assert_int_equal(ip_parse(SLICE("192.0.2.1"), &note.remote), 0);
	tls_sink_note(&sink, &note);
}

/* --- what came of them ---------------------------------------------------------------------------------------------- */

static struct report_items stored(enum report_kind kind)
{
	struct report_items items;
	char error[STORE_ERROR];

	assert_int_equal(report_store_list(scene->path, kind, 0, NULL, scene->office->arena, &items, error), 0);
	return items;
}

static int keep_text(enum document_kind kind, struct slice text, void *context)
{
	*(char **) context = arena_slice(scene->office->arena, text);
	return 0;
}

/* The document in the n-th letter. */
static const char *document(unsigned n)
{
	char *text = NULL;
	struct unpack_found found = { .document = keep_text, .context = &text };

	assert_true(n < scene->letters.n);
	assert_int_equal(report_unpack(slice_from(scene->letters.text[n]), NULL, &found), 0);
	assert_non_null(text);
	return text;
}

static struct dmarc_report read_dmarc(unsigned n)
{
	struct dmarc_report r;
	const char *why;

	assert_int_equal(dmarc_report_read(slice_from(document(n)), NULL, scene->office->arena, &r, &why), 0);
	return r;
}

static unsigned letters_to(const char *address)
{
	unsigned n = 0;

	for (unsigned i = 0; i < scene->letters.n; i++)
		n += strcmp(scene->letters.to[i], address) == 0;
	return n;
}

/* --- DMARC ---------------------------------------------------------------------------------------------------------- */

static void a_day(struct office *s)
{
	struct dmarc_report r;
	struct report_items items;

	begin(s);
	for (unsigned i = 0; i < 3; i++)
		see_author(true);
	see_author(false);
	assert_int_equal(stored(REPORT_DMARC).n, 0);
	office_wait(10 * USEC_SEC);
	see_author(true);
	see(&(struct mail_seen) { .policy_domain = "author.example", .from = "sub.author.example", .mail_from = "", .override = DMARC_OVERRIDE_LOCAL_POLICY });
	office_wait(20 * USEC_HOUR);
	items = stored(REPORT_DMARC);
	assert_int_equal(items.n, 1);
	assert_int_equal(items.items[0].rows, 3);
	assert_int_equal(items.items[0].count, 6);
	assert_int_equal(scene->letters.n, 0);
	office_wait(6 * USEC_HOUR);
	assert_int_equal(letters_to("d@one.example"), 1);
	r = read_dmarc(0);
	assert_string_equal(r.organization, "Us");
	assert_string_equal(r.domain, "author.example");
	assert_string_equal(r.np, "reject");
	assert_int_equal(r.begin, (wall_t) 1767225600 * (wall_t) USEC_SEC);
	assert_int_equal(r.end, (wall_t) 1767311999 * (wall_t) USEC_SEC);
	assert_int_equal(r.n_rows, 3);
	assert_int_equal(r.rows[0].count, 4);
	assert_string_equal(r.rows[0].disposition, "pass");
	assert_string_equal(r.rows[0].source_ip, "192.0.2.7");
	assert_string_equal(r.rows[0].envelope_from, "bounce.example");
	assert_int_equal(r.rows[0].n_signatures, 2);
	/* Those that pass come first (RFC 9990 section 2.1.3). */
	assert_string_equal(r.rows[0].signatures[0].domain, "author.example");
	assert_string_equal(r.rows[0].signatures[1].result, "fail");
	for (unsigned i = 1; i < 3; i++)
		if (r.rows[i].override) {
			assert_string_equal(r.rows[i].override, "local_policy");
			assert_string_equal(r.rows[i].comment, "a friend");
			assert_string_equal(r.rows[i].envelope_from, "");
			assert_string_equal(r.rows[i].header_from, "sub.author.example");
		}
	assert_int_equal(stored(REPORT_DMARC).n, 0);
	office_wait(3 * USEC_DAY);
	assert_int_equal(scene->letters.n, 1);
}

static void test_what_a_day_brought_is_reported_once_in_the_night_after(void **state)
{
	office_play(prepare, a_day, NULL);
}

static void destinations(struct office *s)
{
	begin(s);
	see(&(struct mail_seen) { .policy_domain = "author.example", .from = "author.example",
				  .rua = "mailto:in@sub.author.example, mailto:yes@one.example, mailto:no@two.example, mailto:old@moved.example,"
					 "mailto:x@stray.example,mailto:spf@other.example,mailto:small@one.example!100,https://one.example/,mailto:big@one.example!1m" });
	office_wait(30 * USEC_HOUR);
	assert_int_equal(letters_to("yes@one.example"), 1);
	assert_int_equal(letters_to("big@one.example"), 1);
	assert_int_equal(letters_to("small@one.example"), 0);
	assert_int_equal(letters_to("no@two.example"), 0);
	assert_int_equal(letters_to("victim@two.example"), 0);
	/* in@sub.author.example and new@moved.example, whose domains have no address here: written to, and nobody is told. */
	assert_int_equal(office_events(s, EVENT_RECEIVED), 4);
	assert_int_equal(stored(REPORT_DMARC).n, 0);
}

static void test_who_did_not_ask_for_a_report_gets_none(void **state)
{
	office_play(prepare, destinations, NULL);
}

static void asks_again(struct office *s)
{
	struct report_items items;

	begin(s);
	see(&(struct mail_seen) { .policy_domain = "slow.example", .from = "slow.example", .rua = "mailto:d@one.example" });
	see_author(true);
	office_wait(26 * USEC_HOUR);
	assert_int_equal(letters_to("d@one.example"), 1); /* the other one */
	items = stored(REPORT_DMARC);
	assert_int_equal(items.n, 1);
	assert_string_equal(items.items[0].domain, "slow.example");
	assert_true(items.items[0].attempts >= 1);
	office_wait(USEC_DAY + 6 * USEC_HOUR);
	assert_int_equal(stored(REPORT_DMARC).n, 0); /* given up */
	assert_int_equal(scene->letters.n, 1);
}

static void test_trouble_with_the_dns_is_waited_for_and_holds_up_nobody_else(void **state)
{
	office_play(prepare, asks_again, NULL);
}

/* As a crash leaves it that came between sending and forgetting: the rows are there, and so is the letter. */
static void put_yesterday(struct office *s)
{
	static const char row[] = "{\"ip\":\"192.0.2.7\",\"disposition\":\"none\",\"dkim\":\"fail\",\"spf\":\"fail\",\"from\":\"author.example\","
				  "\"mail_from\":\"\",\"spf_domain\":\"x.example\",\"spf_result\":\"none\",\"signatures\":[]}";
	struct report_note note = { .kind = REPORT_DMARC, .time = world_wall(s->world) - (wall_t) USEC_DAY, .domain = "author.example", .count = 3,
				    .row = row, .policy = "{\"domain\":\"author.example\",\"p\":\"none\",\"rua\":\"mailto:d@one.example\"}" };
	const struct report_note *notes[] = { &note };
	char error[STORE_ERROR];
	uint64_t dropped;

	assert_int_equal(report_store_add(scene->path, notes, 1, 100, &dropped, error), 0);
}

static const char *field_of(unsigned letter, const char *name)
{
	const char *at = strstr(scene->letters.text[letter], name);

	assert_non_null(at);
	return arena_slice(scene->office->arena, slice_new(at, strcspn(at, "\r")));
}

static int ignore_outcome(const struct report_outcome *o, void *context)
{
	return 0;
}

static void sends_twice(struct office *s)
{
	begin(s);
	for (unsigned i = 0; i < 2; i++) {
		put_yesterday(s);
		assert_int_equal(reporter_send(scene->reporter, REPORT_DMARC, NULL, false, ignore_outcome, NULL), 0);
		office_wait(USEC_MIN);
	}
	assert_int_equal(letters_to("d@one.example"), 2);
	assert_string_equal(document(0), document(1));
	assert_string_equal(field_of(0, "Message-ID:"), field_of(1, "Message-ID:"));
	assert_string_equal(field_of(0, " Report-ID:"), field_of(1, " Report-ID:"));
	assert_string_equal(field_of(0, " filename="), field_of(1, " filename="));
}

static void test_what_is_sent_twice_has_the_same_name(void **state)
{
	office_play(prepare, sends_twice, NULL);
}

static int take_outcome(const struct report_outcome *o, void *context)
{
	snprintf(context, 200, "%s to %s: %s", o->domain, o->to, o->what);
	return 0;
}

static void by_hand(struct office *s)
{
	char said[200] = "";
	struct report_items items;

	begin(s);
	see_author(true);
	assert_int_equal(reporter_send(scene->reporter, REPORT_DMARC, NULL, true, take_outcome, said), 0);
	assert_string_equal(said, "author.example to mailto:d@one.example: would be sent");
	office_wait(USEC_SEC);
	assert_int_equal(scene->letters.n, 0);
	assert_int_equal(stored(REPORT_DMARC).n, 1);
	office_wait(USEC_HOUR);
	assert_int_equal(reporter_send(scene->reporter, REPORT_DMARC, "author.example", false, take_outcome, said), 0);
	assert_string_equal(said, "author.example to mailto:d@one.example: sent");
	office_wait(USEC_SEC);
	assert_int_equal(letters_to("d@one.example"), 1);
	assert_int_equal(stored(REPORT_DMARC).n, 0);
	/* The rest of the day is a period of its own, so that none is reported twice. */
	see_author(false);
	office_wait(10 * USEC_SEC);
	items = stored(REPORT_DMARC);
	assert_int_equal(items.n, 1);
	assert_true(items.items[0].begin > read_dmarc(0).end);
	assert_true(items.items[0].begin <= read_dmarc(0).end + (wall_t) USEC_SEC);
	office_wait(USEC_DAY + 2 * USEC_HOUR);
	assert_int_equal(letters_to("d@one.example"), 2);
	assert_string_not_equal(read_dmarc(0).id, read_dmarc(1).id);
	scene->config.dmarc = false;
	assert_int_equal(reporter_send(scene->reporter, REPORT_DMARC, NULL, false, take_outcome, said), -EOPNOTSUPP);
}

static void test_by_hand_todays_part_is_sent_too(void **state)
{
	office_play(prepare, by_hand, NULL);
}

static struct reporter *first;

static void restart_body(struct office *s)
{
	begin(s);
	see_author(true);
	reporter_stop(scene->reporter);
	assert_int_equal(stored(REPORT_DMARC).items[0].count, 1);
	first = scene->reporter;
	open_reporter(s);
	see_author(true);
	office_wait(30 * USEC_HOUR);
	assert_true(letters_to("d@one.example") >= 1);
	assert_int_equal(read_dmarc(0).rows[0].count, 2);
}

static void free_both(struct office *s)
{
	reporter_free(TAKE_PTR(first));
	free_reporter(s);
}

static void prepare_restart(struct office *s)
{
	prepare(s);
	s->halted = free_both;
}

static void test_a_restart_forgets_nothing(void **state)
{
	office_play(prepare_restart, restart_body, NULL);
}

static void bounded(struct office *s)
{
	char ip[40];

	scene->config.rows = 100;
	begin(s);
	for (unsigned i = 0; i < 150; i++) {
		snprintf(ip, sizeof(ip), "192.0.2.%u", i);
		see(&(struct mail_seen) { .policy_domain = "author.example", .from = "author.example", .ip = ip });
	}
	office_wait(10 * USEC_SEC);
	assert_int_equal(stored(REPORT_DMARC).items[0].rows, 100);
	see(&(struct mail_seen) { .policy_domain = "nobody.example", .from = "nobody.example", .rua = "" });
	office_wait(10 * USEC_SEC);
	assert_int_equal(stored(REPORT_DMARC).n, 1);
	office_wait(30 * USEC_HOUR);
	assert_int_equal(read_dmarc(0).n_rows, 100);
}

static void test_the_file_has_a_limit_and_only_what_somebody_wants(void **state)
{
	office_play(prepare, bounded, NULL);
}

static void no_file(struct office *s)
{
	char said[200] = "";

	scene->config.path = "/nonexistent/directory/db";
	begin(s);
	see_author(true);
	assert_true(reporter_send(scene->reporter, REPORT_DMARC, NULL, false, take_outcome, said) < 0);
	office_wait(2 * USEC_DAY);
	assert_int_equal(scene->letters.n, 0);
}

static void test_a_file_that_cannot_be_used_costs_reports_and_nothing_else(void **state)
{
	office_play(prepare, no_file, NULL);
}

/* --- TLS ------------------------------------------------------------------------------------------------------------ */

static void tls_day(struct office *s)
{
	struct tls_report r;
	const char *why;

	begin(s);
	for (unsigned i = 0; i < 5; i++)
		see_tls("One.example", "mx1.one.example", TLS_REPORT_STS, TLS_REPORT_SUCCESS);
	see_tls("one.example", "mx1.one.example", TLS_REPORT_STS, TLS_REPORT_CERTIFICATE_EXPIRED);
	see_tls("one.example", "mx1.one.example", TLS_REPORT_TLSA, TLS_REPORT_SUCCESS);
	see_tls("two.example", "mx1.two.example", TLS_REPORT_NO_POLICY, TLS_REPORT_SUCCESS); /* has two records: none counts */
	see_tls("web.example", "mx.web.example", TLS_REPORT_NO_POLICY, TLS_REPORT_SUCCESS);
	see_tls("quiet.example", "mx.quiet.example", TLS_REPORT_NO_POLICY, TLS_REPORT_SUCCESS);
	office_wait(10 * USEC_SEC);
	assert_int_equal(stored(REPORT_TLS).n, 5);
	office_wait(30 * USEC_HOUR);
	assert_int_equal(scene->letters.n, 2);
	assert_int_equal(letters_to("tls@one.example"), 1);
	assert_int_equal(letters_to("host@one.example"), 1);
	assert_int_equal(stored(REPORT_TLS).n, 0); /* web's leads to a private address */
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(tls_report_read(slice_from(document(i)), s->arena, &r, &why), 0);
		assert_string_equal(r.contact, "tls@us.example");
		assert_non_null(strstr(scene->letters.text[i], "\r\nTLS-Report-Submitter: us.example\r\n"));
		if (strcmp(scene->letters.to[i], "host@one.example") == 0) {
			assert_int_equal(r.n_policies, 1);
			assert_string_equal(r.policies[0].type, "tlsa");
			assert_string_equal(r.policies[0].domain, "mx1.one.example");
			continue;
		}
		assert_int_equal(r.n_policies, 2);
		assert_string_equal(r.policies[0].type, "sts");
		assert_string_equal(r.policies[0].domain, "one.example");
		assert_int_equal(r.policies[0].successes, 5);
		assert_int_equal(r.policies[0].failures, 1);
		assert_string_equal(r.policies[0].strings[1], "mode: enforce");
		assert_string_equal(r.policies[0].details[0].result, "certificate-expired");
		assert_string_equal(r.policies[0].details[0].sending_ip, "192.0.2.99");
		assert_string_equal(r.policies[0].details[0].reason, "expired yesterday");
	}
}

static void test_connections_are_reported_to_the_domain_and_to_hosts_with_dane(void **state)
{
	office_play(prepare, tls_day, NULL);
}

/* --- failure reports ------------------------------------------------------------------------------------------------ */

static const char message[] = "Received: from x by y; z\r\nFrom: <a@author.example>\r\nTo: secret@us.example\r\nSubject: caf\xe9\r\n\r\nbody\r\n";

static void failing(struct office *s)
{
	struct content *m;
	const char *text;

	scene->config.failures = true;
	begin(s);
	assert_int_equal(content_new(s->arena, NULL, false, &m), 0);
	assert_int_equal(content_feed(m, SLICE(message)), 0);
	assert_int_equal(content_end(m), 0);
	see(&(struct mail_seen) { .policy_domain = "author.example", .from = "author.example", .message = m, .pass = true,
				  .ruf = "mailto:f@one.example" });
	see(&(struct mail_seen) { .policy_domain = "author.example", .from = "author.example", .message = m, .ruf = "mailto:f@two.example" });
	office_wait(10 * USEC_SEC);
	assert_int_equal(scene->letters.n, 0); /* it passed; and two has not agreed */
	for (unsigned i = 0; i < 5; i++)
		see(&(struct mail_seen) { .policy_domain = "author.example", .from = "author.example", .message = m,
					  .ruf = "mailto:f@one.example" });
	office_wait(10 * USEC_SEC);
	assert_int_equal(letters_to("f@one.example"), 1); /* two in an hour, and the first found nobody */
	text = scene->letters.text[0];
	assert_non_null(strstr(text, "Content-Type: multipart/report; report-type=feedback-report;"));
	assert_non_null(strstr(text, "\r\nFeedback-Type: auth-failure\r\n"));
	assert_non_null(strstr(text, "\r\nAuth-Failure: dmarc\r\n"));
	assert_non_null(strstr(text, "\r\nSource-IP: 192.0.2.7\r\n"));
	assert_non_null(strstr(text, "\r\nIdentity-Alignment: none\r\n"));
	assert_non_null(strstr(text, "\r\nDelivery-Result: reject\r\n"));
	assert_non_null(strstr(text, "\r\nFrom: <a@author.example>\r\n"));
	assert_non_null(strstr(text, "\r\nSubject: caf?\r\n"));
	assert_null(strstr(text, "secret"));
	assert_null(strstr(text, "from x by y"));
	office_wait(USEC_HOUR);
	see(&(struct mail_seen) { .policy_domain = "author.example", .from = "author.example", .message = m, .ruf = "mailto:f@one.example" });
	office_wait(10 * USEC_SEC);
	assert_int_equal(letters_to("f@one.example"), 2);
	content_free(m);
}

static void test_failures_are_told_one_by_one_where_that_is_wanted(void **state)
{
	office_play(prepare, failing, NULL);
}

static void test_fo_says_which_failures(void **state)
{
	struct dkim_result bad = { .word = DKIM_FAIL };
	struct judge_result v = { .n_dkim = 1, .dkim = &bad, .spf = { .word = SPF_PASS },
				  .dmarc = { .word = DMARC_PASS, .spf_aligned = true } };

	assert_false(failure_is_wanted(&v));
	v.dmarc.record.fo = SLICE("0:s");
	assert_false(failure_is_wanted(&v));
	v.dmarc.record.fo = SLICE("1");
	assert_true(failure_is_wanted(&v));
	v.dmarc.record.fo = SLICE("s : d");
	assert_true(failure_is_wanted(&v));
	v.dmarc.record.fo = SLICE("rubbish");
	assert_false(failure_is_wanted(&v));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_a_day_brought_is_reported_once_in_the_night_after, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_who_did_not_ask_for_a_report_gets_none, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_trouble_with_the_dns_is_waited_for_and_holds_up_nobody_else, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_by_hand_todays_part_is_sent_too, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_sent_twice_has_the_same_name, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_restart_forgets_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_the_file_has_a_limit_and_only_what_somebody_wants, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_file_that_cannot_be_used_costs_reports_and_nothing_else, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_connections_are_reported_to_the_domain_and_to_hosts_with_dane, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_failures_are_told_one_by_one_where_that_is_wanted, set_up, tear_down),
		cmocka_unit_test(test_fo_says_which_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
