/* Reports, each of whose allocations fails once: what comes is the right thing or -ENOMEM, never a report in which something
 * is missing, and nothing is left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "faults/faults.h"
#include "report/rows.h"
#include "report/unpack.h"
#include "report/uri.h"

static const char *rows[] = {
	"{\"ip\":\"192.0.2.1\",\"disposition\":\"none\",\"dkim\":\"fail\",\"spf\":\"pass\",\"from\":\"a.example\",\"mail_from\":\"a.example\","
	"\"spf_domain\":\"a.example\",\"spf_result\":\"pass\",\"signatures\":[{\"domain\":\"d.example\",\"selector\":\"s\",\"result\":\"fail\"}]}",
	"{\"ip\":\"192.0.2.2\",\"disposition\":\"none\",\"dkim\":\"fail\",\"spf\":\"fail\",\"override\":\"other\",\"comment\":\"c\",\"from\":\"a.example\","
	"\"mail_from\":\"\",\"spf_domain\":\"h.example\",\"spf_result\":\"none\",\"signatures\":[]}",
	"damaged",
};
static const char *tls_rows[] = {
	"{\"type\":\"sts\",\"domain\":\"a.example\",\"strings\":\"version: STSv1\\nmode: enforce\",\"patterns\":\"*.a.example\"}",
	"{\"type\":\"sts\",\"domain\":\"a.example\",\"strings\":\"version: STSv1\\nmode: enforce\",\"patterns\":\"*.a.example\","
	"\"result\":\"certificate-expired\",\"mx\":\"m.a.example\",\"local\":\"192.0.2.9\"}",
	"{\"type\":\"no-policy-found\",\"domain\":\"a.example\"}",
};
static uint64_t counts[] = { 7, 2, 1 };
static const char policy[] = "{\"domain\":\"a.example\",\"p\":\"none\",\"sp\":\"none\",\"np\":\"none\",\"adkim\":\"r\",\"aspf\":\"r\",\"fo\":\"0\","
			     "\"testing\":\"n\",\"rua\":\"mailto:d@a.example\"}";

/* Each allocation with all that follow. One alone, inside of jansson 2.14, may spoil the heap (src/base/json.h). */
static void walk(const char *name, void (*scenario)(void *context), void *context, uint64_t least)
{
	assert_true(faults_enough(faults_walk(&(struct faults_walk) { .name = name, .scenario = scenario, .context = context }), least));
}

/* --- writing ------------------------------------------------------------------------------------------------------- */

static int make_dmarc(struct arena *a, struct buffer *out)
{
	struct report_data data = { .policy = policy, .n_rows = 3, .rows = rows, .counts = counts };
	struct dmarc_report report;
	int r = dmarc_report_from(&data, a, &report);

	if (r < 0)
		return r;
	faults_check(report.n_rows == 2 && report.rows[0].count == 7 && report.rows[0].n_signatures == 1);
	faults_check(strcmp(report.rows[1].override, "other") == 0 && strcmp(report.rows[1].spf_domain, "h.example") == 0);
	faults_check(strcmp(report.domain, "a.example") == 0 && strcmp(report.testing, "n") == 0);
	report.organization = report.email = report.id = "x";
	dmarc_report_write(&report, out);
	return buffer_error(out);
}

static int make_tls(struct arena *a, struct buffer *out)
{
	struct report_data data = { .n_rows = 3, .rows = tls_rows, .counts = counts };
	struct tls_report report;
	int r = tls_report_from(&data, a, &report);

	if (r < 0)
		return r;
	faults_check(report.n_policies == 2 && report.policies[0].successes == 7 && report.policies[0].n_details == 1);
	faults_check(strcmp(report.policies[0].details[0].mx, "m.a.example") == 0 && report.policies[0].n_strings == 2);
	report.organization = report.contact = report.id = "x";
	return tls_report_write(&report, out);
}

static void writing(void *context)
{
	int (*make)(struct arena *a, struct buffer *out) = (int (*)(struct arena *, struct buffer *)) context;
	struct buffer out = { 0 }, packed = { 0 }, message = { 0 };
	struct arena *a = NULL;
	int r;

	faults_begin(NULL, NULL);
	r = arena_new(0, &a);
	if (r >= 0)
		r = make(a, &out);
	if (r >= 0)
		r = report_gzip(buffer_slice(&out), &packed);
	if (r >= 0) {
		report_mail_write(&(struct report_mail) { .from = "f", .to = "t", .domain = "d", .submitter = "s", .id = "i", .filename = "n",
							  .report = buffer_slice(&packed) }, &message);
		r = buffer_error(&message);
	}
	faults_end();
	faults_check(r == 0 || (r == -ENOMEM && faults_fired()));
	if (r == 0)
		faults_check(message.len > packed.len && strstr(message.data, "--\r\n"));
	buffer_done(&out);
	buffer_done(&packed);
	buffer_done(&message);
	arena_free(a);
}

static void test_a_report_is_written_whole_or_not(void **state)
{
	walk("an aggregate report", writing, (void *) make_dmarc, 10);
	walk("a TLS report", writing, (void *) make_tls, 10);
}

/* --- reading ------------------------------------------------------------------------------------------------------- */

static int read_document(enum document_kind kind, struct slice text, void *context)
{
	struct arena *a = NULL;
	struct dmarc_report report;
	const char *why;
	int r = arena_new(0, &a);

	if (r >= 0)
		r = dmarc_report_read(text, NULL, a, &report, &why);
	if (r >= 0) {
		faults_check(report.n_rows == 2 && strcmp(report.rows[0].source_ip, "192.0.2.1") == 0 && report.rows[0].n_signatures == 1);
		++*(unsigned *) context;
	}
	arena_free(a);
	return r;
}

static void reading(void *context)
{
	unsigned n = 0;
	struct unpack_found found = { .document = read_document, .context = &n };
	int r;

	faults_begin(NULL, NULL);
	r = report_unpack(buffer_slice(context), NULL, &found);
	faults_end();
	faults_check(r == -ENOMEM ? faults_fired() : r == 0 && n == 1);
}

static void test_a_report_is_read_whole_or_not(void **state)
{
	_cleanup_buffer_ struct buffer out = { 0 }, packed = { 0 }, message = { 0 };
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	assert_int_equal(make_dmarc(a, &out), 0);
	assert_int_equal(report_gzip(buffer_slice(&out), &packed), 0);
	report_mail_write(&(struct report_mail) { .from = "f", .to = "t", .domain = "d", .submitter = "s", .id = "i", .filename = "n",
						  .report = buffer_slice(&packed) }, &message);
	arena_free(a);
	assert_true(faults_enough(faults_walk_both("a message with a report", reading, &message, 0), 5));
}

static void reading_tls(void *context)
{
	struct arena *a = NULL;
	struct tls_report report;
	const char *why;
	int r;

	faults_begin(NULL, NULL);
	r = arena_new(0, &a);
	if (r >= 0)
		r = tls_report_read(buffer_slice(context), a, &report, &why);
	faults_end();
	faults_check(r == -ENOMEM ? faults_fired() : r == 0 && report.n_policies == 2 && report.policies[0].n_strings == 2);
	arena_free(a);
}

static void test_a_tls_report_is_read_whole_or_not(void **state)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	assert_int_equal(make_tls(a, &out), 0);
	arena_free(a);
	walk("a TLS report", reading_tls, &out, 3);
}

static void parsing(void *context)
{
	struct report_uri uris[REPORT_URIS_MAX];
	struct arena *a = NULL;
	unsigned n = 0;
	int r;

	faults_begin(NULL, NULL);
	r = arena_new(64, &a);
	if (r >= 0)
		r = report_uris_parse(a, SLICE("mailto:a@b.example,https://c.example/,mailto:d%2be@f.example"), REPORT_MAILTO | REPORT_HTTPS, uris, &n);
	faults_end();
	faults_check(r == -ENOMEM ? faults_fired() : r == 0 && n == 3 && strcmp(uris[2].address, "d+e@f.example") == 0);
	arena_free(a);
}

static void test_destinations_are_all_there_or_none(void **state)
{
	assert_true(faults_enough(faults_walk_both("a list of URIs", parsing, NULL, 0), 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_a_report_is_written_whole_or_not, faults_teardown),
		cmocka_unit_test_teardown(test_a_report_is_read_whole_or_not, faults_teardown),
		cmocka_unit_test_teardown(test_a_tls_report_is_read_whole_or_not, faults_teardown),
		cmocka_unit_test_teardown(test_destinations_are_all_there_or_none, faults_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
