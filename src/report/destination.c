#include "report/destination.h"

#include "identity/dmarc.h"
#include "report/tlsrpt_record.h"

#define NAME_MAX_TEXT 253u /* RFC 1035 section 2.3.4, as text without the final dot */

/* --- DMARC -------------------------------------------------------------------------------------------------------- */

/* 1: both belong to one organization; 0; -errno. */
static int is_ours(struct resolver *r, const char *policy_domain, const char *host, usec_t deadline, struct arena *a)
{
	const char *x, *y;
	int e;

	if (slice_ieq(slice_from(policy_domain), slice_from(host)))
		return 1;
	e = dmarc_organizational_domain(r, policy_domain, deadline, a, &x);
	if (e >= 0)
		e = dmarc_organizational_domain(r, host, deadline, a, &y);
	return e < 0 ? e : slice_ieq(slice_from(x), slice_from(y));
}

/* What else a consent asks for: at the same host, or nothing at all (step 9). */
static int override(const struct report_uri *given, struct slice list, struct arena *a, struct destinations *d)
{
	struct report_uri uris[REPORT_URIS_MAX];
	unsigned n;
	int r = report_uris_parse(a, list, REPORT_MAILTO, uris, &n);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < n; i++)
		if (strcmp(uris[i].host, given->host) != 0)
			return 0;
	for (unsigned i = 0; i < n && d->n < REPORT_URIS_MAX; i++) {
		d->uri[d->n] = uris[i];
		if (!uris[i].size)
			d->uri[d->n].size = given->size;
		d->n++;
	}
	return 0;
}

static struct slice tag_of(const struct dmarc_record *record, const char *tag)
{
	return strcmp(tag, "ruf") == 0 ? record->ruf : record->rua;
}

/* RFC 9990 section 3, from step 2 on. */
static int ask_consent(struct resolver *r, const char *policy_domain, const struct report_uri *uri, const char *tag, usec_t deadline,
		       struct arena *a, struct destinations *d)
{
	const char *name = arena_printf(a, "%s._report._dmarc.%s", policy_domain, uri->host);
	struct slice replacement = SLICE_NULL;
	struct dns_answer answer;
	bool yes = false;
	int e;

	if (!name)
		return -ENOMEM;
	if (strlen(name) > NAME_MAX_TEXT)
		return 0;
	e = dns_query(r, name, DNS_TXT, deadline, a, &answer);
	if (e < 0)
		return e;
	if (DNS_STATUS_TEMPORARY(answer.status))
		return -EAGAIN;
	for (unsigned i = 0; i < answer.n_records; i++) {
		struct dmarc_record record;

		if (!dmarc_record_is(answer.records[i].data))
			continue;
		yes = true;
		dmarc_record_parse(answer.records[i].data, &record);
		if (tag_of(&record, tag).len && !replacement.data)
			replacement = tag_of(&record, tag);
	}
	if (!yes)
		return 0;
	if (replacement.data)
		return override(uri, replacement, a, d);
	if (d->n < REPORT_URIS_MAX)
		d->uri[d->n++] = *uri;
	return 0;
}

int destinations_of_dmarc(struct resolver *r, const char *policy_domain, struct slice list, const char *tag, usec_t deadline,
			  struct arena *a, struct destinations *ret)
{
	struct report_uri uris[REPORT_URIS_MAX];
	struct destinations *d = arena_new_type(a, struct destinations);
	unsigned n;
	int e = d ? report_uris_parse(a, list, REPORT_MAILTO, uris, &n) : -ENOMEM;

	for (unsigned i = 0; e >= 0 && i < n; i++) {
		e = is_ours(r, policy_domain, uris[i].host, deadline, a);
		if (e == 1 && d->n < REPORT_URIS_MAX)
			d->uri[d->n++] = uris[i];
		else if (e == 0)
			e = ask_consent(r, policy_domain, &uris[i], tag, deadline, a, d);
	}
	if (e < 0)
		return e;
	*ret = *d;
	return 0;
}

/* --- TLS ---------------------------------------------------------------------------------------------------------- */

int destinations_of_tls(struct resolver *r, const char *domain, usec_t deadline, struct arena *a, struct destinations *ret)
{
	const char *name = arena_printf(a, "_smtp._tls.%s", domain);
	struct slice text = SLICE_NULL, rua;
	struct dns_answer answer;
	unsigned n = 0;
	int e;

	if (!name)
		return -ENOMEM;
	ret->n = 0;
	if (strlen(name) > NAME_MAX_TEXT)
		return 0;
	e = dns_query(r, name, DNS_TXT, deadline, a, &answer);
	if (e < 0)
		return e;
	if (DNS_STATUS_TEMPORARY(answer.status))
		return -EAGAIN;
	for (unsigned i = 0; i < answer.n_records; i++) {
		if (!tlsrpt_record_is(answer.records[i].data))
			continue;
		text = answer.records[i].data;
		n++;
	}
	if (n != 1 || tlsrpt_record_parse(text, &rua) < 0)
		return 0;
	return report_uris_parse(a, rua, REPORT_MAILTO | REPORT_HTTPS, ret->uri, &ret->n);
}
