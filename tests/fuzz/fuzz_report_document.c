/* Reports as documents: XML of DMARC, JSON of TLSRPT. What was read can be written, and is read again as it was. */
#include <stdlib.h>

#include "report/dmarc_report.h"
#include "report/tls_report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at_xml(struct slice text, struct arena *a)
{
	struct dmarc_report_limits limits = { .rows = 1000 };
	struct buffer again = { 0 };
	struct dmarc_report r, s;
	const char *why;
	int e = dmarc_report_read(text, &limits, a, &r, &why);

	assert(e == 0 || e == -ENOMEM || why);
	if (e < 0)
		return;
	assert(r.domain && r.n_rows && r.n_rows <= 1000);
	dmarc_report_write(&r, &again);
	assert(buffer_error(&again) == 0);
	assert(dmarc_report_read(buffer_slice(&again), &limits, a, &s, &why) == 0);
	assert(s.n_rows == r.n_rows && s.begin == r.begin && s.rows[0].count == r.rows[0].count);
	buffer_done(&again);
}

static void look_at_json(struct slice text, struct arena *a)
{
	struct buffer again = { 0 };
	struct tls_report r, s;
	const char *why;
	int e = tls_report_read(text, a, &r, &why);

	assert(e == 0 || e == -ENOMEM || why);
	if (e < 0)
		return;
	assert(tls_report_write(&r, &again) == 0);
	assert(tls_report_read(buffer_slice(&again), a, &s, &why) == 0);
	assert(s.n_policies == r.n_policies && s.policies[0].successes == r.policies[0].successes);
	buffer_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_new((const char *) data, size);
	struct arena *a;

	if (arena_new(0, &a) < 0)
		return 0;
	look_at_xml(text, a);
	look_at_json(text, a);
	arena_free(a);
	return 0;
}
