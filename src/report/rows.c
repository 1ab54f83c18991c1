#include "report/rows.h"

#include "base/json.h"
#include "identity/tags.h"

#define TEXT_MAX 255u        /* octets of names and words; further ones are cut */
#define POLICY_TEXT_MAX 8192u /* of lists of hosts and records */
#define SIGNATURES_MAX 20u   /* of one row: each combination is a row of its own */
#define POLICIES_MAX 1000u   /* of one TLS report */

/* --- writing ---------------------------------------------------------------------------------------------------- */

static void put_slice(struct buffer *out, const char *key, struct slice value, size_t max)
{
	if (!value.data)
		return;
	buffer_printf(out, "%s\"%s\":\"", out->len && out->data[out->len - 1] != '{' ? "," : "", key);
	buffer_append_json(out, slice_head(value, max));
	buffer_append_char(out, '"');
}

static void put(struct buffer *out, const char *key, const char *value)
{
	put_slice(out, key, slice_from(value), TEXT_MAX);
}

static void put_ip(struct buffer *out, const char *key, const struct ip *ip)
{
	char text[IP_TEXT];

	if (ip && ip->family)
		put(out, key, ip_format(ip, text));
}

/* In lower case, so that one domain is counted once. */
static void put_domain(struct buffer *out, const char *key, struct slice domain)
{
	char text[TEXT_MAX + 1];
	size_t n = slice_copy(domain, text, sizeof(text));

	for (size_t i = 0; i < n; i++)
		text[i] = ascii_lower(text[i]);
	put_slice(out, key, slice_new(text, n), TEXT_MAX);
}

static struct slice domain_of(const char *address)
{
	const char *at = strrchr(address, '@');

	return slice_from(at ? at + 1 : "");
}

/* RFC 9990 section 2.1.3: which signatures come first. */
static unsigned rank_of(const struct dkim_result *d, const struct dmarc_result *dmarc)
{
	if (d->word != DKIM_PASS)
		return 3;
	if (slice_ieq(slice_from(d->domain), slice_from(dmarc->domain)))
		return 0;
	return name_is_within(slice_from(d->domain), slice_from(dmarc->policy_domain)) ? 1 : 2;
}

static void put_signatures(struct buffer *out, const struct judge_result *v)
{
	unsigned n = 0;

	buffer_append_str(out, ",\"signatures\":[");
	for (unsigned rank = 0; rank <= 3; rank++) {
		for (unsigned i = 0; i < v->n_dkim && n < SIGNATURES_MAX; i++) {
			const struct dkim_result *d = &v->dkim[i];

			if (rank_of(d, &v->dmarc) != rank || !d->domain[0])
				continue;
			buffer_append_str(out, n++ ? ",{" : "{");
			put_domain(out, "domain", slice_from(d->domain));
			put(out, "selector", d->selector);
			put(out, "result", dkim_word_text(d->word));
			buffer_append_char(out, '}');
		}
	}
	buffer_append_char(out, ']');
}

void dmarc_row_write(const struct dmarc_note *note, struct buffer *row)
{
	static const char *const dispositions[] = { "none", "pass", "quarantine", "reject" };
	static const char *const overrides[] = { NULL, "local_policy", "mailing_list", "other", "policy_test_mode", "trusted_forwarder" };
	const struct judge_result *v = note->verdict;
	/* "pass" is said of domains that ask for something (RFC 9990 appendix A). */
	bool asks = v->dmarc.policy == DMARC_POLICY_QUARANTINE || v->dmarc.policy == DMARC_POLICY_REJECT;
	enum dmarc_disposition done = note->disposition == DMARC_DONE_PASS && !asks ? DMARC_DONE_NONE : note->disposition;

	buffer_append_char(row, '{');
	put_ip(row, "ip", note->client);
	put(row, "disposition", dispositions[done]);
	put(row, "dkim", v->dmarc.dkim_aligned ? "pass" : "fail");
	put(row, "spf", v->dmarc.spf_aligned ? "pass" : "fail");
	put(row, "override", overrides[note->override]);
	if (note->override != DMARC_OVERRIDE_NONE)
		put(row, "comment", note->comment);
	put_domain(row, "from", slice_from(v->dmarc.domain));
	put_domain(row, "mail_from", domain_of(note->mail_from ? note->mail_from : ""));
	put_domain(row, "spf_domain", slice_from(v->spf.domain));
	put(row, "spf_result", spf_word_text(v->spf.word));
	put_signatures(row, v);
	buffer_append_char(row, '}');
}

/* Tags that the domain left out stand with their defaults (RFC 9990 section 2.1.1.3). */
void dmarc_policy_write(const struct dmarc_note *note, struct buffer *policy)
{
	const struct dmarc_record *r = &note->verdict->dmarc.record;
	enum dmarc_policy sp = r->sp != DMARC_POLICY_ABSENT ? r->sp : r->p;

	buffer_append_char(policy, '{');
	put_domain(policy, "domain", slice_from(note->verdict->dmarc.policy_domain));
	put(policy, "p", dmarc_policy_text(r->p));
	put(policy, "sp", dmarc_policy_text(sp));
	put(policy, "np", dmarc_policy_text(r->np != DMARC_POLICY_ABSENT ? r->np : sp));
	put(policy, "adkim", r->strict_dkim ? "s" : "r");
	put(policy, "aspf", r->strict_spf ? "s" : "r");
	put_slice(policy, "fo", r->fo.data ? r->fo : SLICE("0"), TEXT_MAX);
	put(policy, "testing", r->testing ? "y" : "n");
	put_slice(policy, "rua", r->rua, POLICY_TEXT_MAX);
	put_slice(policy, "ruf", r->ruf, POLICY_TEXT_MAX);
	buffer_append_char(policy, '}');
}

static const char *const tls_policies[] = { "no-policy-found", "tlsa", "sts" };
static const char *const tls_results[] = {
	[TLS_REPORT_SUCCESS] = NULL,
	[TLS_REPORT_STARTTLS_NOT_SUPPORTED] = "starttls-not-supported",
	[TLS_REPORT_CERTIFICATE_HOST_MISMATCH] = "certificate-host-mismatch",
	[TLS_REPORT_CERTIFICATE_EXPIRED] = "certificate-expired",
	[TLS_REPORT_CERTIFICATE_NOT_TRUSTED] = "certificate-not-trusted",
	[TLS_REPORT_VALIDATION_FAILURE] = "validation-failure",
	[TLS_REPORT_TLSA_INVALID] = "tlsa-invalid",
	[TLS_REPORT_DNSSEC_INVALID] = "dnssec-invalid",
	[TLS_REPORT_DANE_REQUIRED] = "dane-required",
	[TLS_REPORT_STS_POLICY_FETCH_ERROR] = "sts-policy-fetch-error",
	[TLS_REPORT_STS_POLICY_INVALID] = "sts-policy-invalid",
	[TLS_REPORT_STS_WEBPKI_INVALID] = "sts-webpki-invalid",
};

void tls_row_write(const struct tls_note *note, struct buffer *row)
{
	buffer_append_char(row, '{');
	put(row, "type", tls_policies[note->policy]);
	put_domain(row, "domain", slice_from(note->domain));
	put_slice(row, "strings", slice_from(note->policy_strings), POLICY_TEXT_MAX);
	put_slice(row, "patterns", slice_from(note->mx_patterns), POLICY_TEXT_MAX);
	if (note->result != TLS_REPORT_SUCCESS) {
		put(row, "result", tls_results[note->result]);
		put(row, "reason", note->reason);
		put(row, "mx", note->mx);
		put(row, "helo", note->helo);
		put_ip(row, "local", &note->local);
		put_ip(row, "remote", &note->remote);
	}
	buffer_append_char(row, '}');
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* False: no memory. */
static bool get(const json_t *o, const char *key, struct arena *a, const char **ret)
{
	const char *text = json_string_value(json_object_get(o, key));

	*ret = text ? arena_strdup(a, text) : NULL;
	return !text || *ret;
}

static int parse(const char *text, json_t **ret)
{
	return json_parse(slice_from(text), 0, NULL, ret);
}

static bool read_signatures(const json_t *list, struct arena *a, struct dmarc_report_row *row)
{
	size_t n = json_array_size(list);

	row->signatures = arena_new_array(a, struct dmarc_report_dkim, n + 1);
	for (size_t i = 0; i < n && row->signatures; i++) {
		struct dmarc_report_dkim *d = &row->signatures[row->n_signatures++];
		const json_t *o = json_array_get(list, i);

		if (!get(o, "domain", a, &d->domain) || !get(o, "selector", a, &d->selector) || !get(o, "result", a, &d->result))
			return false;
	}
	return row->signatures;
}

static bool read_row(const json_t *o, struct arena *a, struct dmarc_report_row *row)
{
	return get(o, "ip", a, &row->source_ip) && get(o, "disposition", a, &row->disposition) && get(o, "dkim", a, &row->dkim) &&
	       get(o, "spf", a, &row->spf) && get(o, "override", a, &row->override) && get(o, "comment", a, &row->comment) &&
	       get(o, "from", a, &row->header_from) && get(o, "mail_from", a, &row->envelope_from) &&
	       get(o, "spf_domain", a, &row->spf_domain) && get(o, "spf_result", a, &row->spf_result) &&
	       read_signatures(json_object_get(o, "signatures"), a, row);
}

static bool read_policy(const json_t *o, struct arena *a, struct dmarc_report *r)
{
	r->discovery = "treewalk";
	return get(o, "domain", a, &r->domain) && get(o, "p", a, &r->p) && get(o, "sp", a, &r->sp) && get(o, "np", a, &r->np) &&
	       get(o, "adkim", a, &r->adkim) && get(o, "aspf", a, &r->aspf) && get(o, "fo", a, &r->fo) &&
	       get(o, "testing", a, &r->testing);
}

/* A row that is damaged is left out. */
static int take_dmarc_row(const char *text, uint64_t count, struct arena *a, struct dmarc_report *report)
{
	struct dmarc_report_row *row = &report->rows[report->n_rows];
	json_t *o;
	bool ok;
	int r = parse(text, &o);

	if (r < 0)
		return r == -EBADMSG ? 0 : r;
	row->count = count;
	ok = read_row(o, a, row);
	json_decref(o);
	report->n_rows++;
	return ok ? 0 : -ENOMEM;
}

static int take_policy(const char *text, struct arena *a, struct dmarc_report *report)
{
	json_t *o;
	bool ok;
	int r = text ? parse(text, &o) : -EBADMSG;

	if (r < 0)
		return r == -EBADMSG ? -ENOENT : r;
	ok = read_policy(o, a, report);
	json_decref(o);
	return ok ? 0 : -ENOMEM;
}

int dmarc_report_from(const struct report_data *data, struct arena *a, struct dmarc_report *ret)
{
	struct dmarc_report report = { 0 };
	int r = take_policy(data->policy, a, &report);

	if (r < 0)
		return r;
	report.rows = arena_new_array(a, struct dmarc_report_row, data->n_rows + 1);
	if (!report.rows)
		return -ENOMEM;
	for (unsigned i = 0; i < data->n_rows && r >= 0; i++)
		r = take_dmarc_row(data->rows[i], data->counts[i], a, &report);
	if (r < 0)
		return r;
	if (!report.n_rows || !report.domain)
		return -ENOENT;
	*ret = report;
	return 0;
}

const char *dmarc_policy_tag(const char *policy, const char *tag, struct arena *a)
{
	const char *text = NULL;
	json_t *o;
	bool ok;
	int r = policy ? parse(policy, &o) : -EBADMSG;

	if (r < 0)
		return r == -EBADMSG ? "" : NULL;
	ok = get(o, tag, a, &text);
	json_decref(o);
	return ok ? text ? text : "" : NULL;
}

/* --- TLS: rows of one policy become one entry ------------------------------------------------------------------- */

struct tls_group {
	const char *strings, *patterns;
	unsigned details_room;
};

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* A text with LF between its lines as a list. */
static bool split(const char *text, struct arena *a, const char ***ret, unsigned *ret_n)
{
	struct slice rest = slice_from(text);
	unsigned n = 1;

	for (size_t i = 0; i < rest.len; i++)
		n += rest.data[i] == '\n';
	*ret = arena_new_array(a, const char *, n);
	if (!*ret)
		return false;
	while (rest.data && rest.len) {
		struct slice line = slice_cut(rest, '\n', &rest);

		(*ret)[*ret_n] = arena_slice(a, line);
		if (!(*ret)[(*ret_n)++])
			return false;
	}
	return true;
}

struct tls_making {
	struct arena *arena;
	struct tls_report *report;
	struct tls_group *groups;
	unsigned room;
};

/* The entry of the policy that a row names. -ENOMEM; -ENOENT: it names none; -E2BIG: too many. */
static int find_policy(struct tls_making *m, const json_t *o, unsigned *ret)
{
	struct tls_report_policy_result *p = m->report->policies;
	struct tls_group g = { 0 };
	const char *type, *domain;
	unsigned i;

	if (!get(o, "type", m->arena, &type) || !get(o, "domain", m->arena, &domain) || !get(o, "strings", m->arena, &g.strings) ||
	    !get(o, "patterns", m->arena, &g.patterns))
		return -ENOMEM;
	if (!type || !domain)
		return -ENOENT;
	for (i = 0; i < m->report->n_policies; i++)
		if (same(p[i].type, type) && same(p[i].domain, domain) && same(m->groups[i].strings, g.strings) &&
		    same(m->groups[i].patterns, g.patterns))
			break;
	if (i == m->room)
		return -E2BIG;
	*ret = i;
	if (i < m->report->n_policies)
		return 0;
	m->groups[i] = g;
	p[i] = (struct tls_report_policy_result) { .type = type, .domain = domain };
	if (!split(g.strings, m->arena, &p[i].strings, &p[i].n_strings) || !split(g.patterns, m->arena, &p[i].mx, &p[i].n_mx))
		return -ENOMEM;
	m->report->n_policies++;
	return 0;
}

static int add_detail(struct tls_making *m, struct tls_report_policy_result *p, struct tls_group *g, const json_t *o, uint64_t count)
{
	struct tls_report_failure *d;

	if (p->n_details == g->details_room) {
		unsigned room = g->details_room ? g->details_room * 2 : 8;
		struct tls_report_failure *more = arena_new_array(m->arena, struct tls_report_failure, room);

		if (!more)
			return -ENOMEM;
		if (p->n_details)
			memcpy(more, p->details, p->n_details * sizeof(*more));
		p->details = more;
		g->details_room = room;
	}
	d = &p->details[p->n_details++];
	d->count = count;
	if (get(o, "result", m->arena, &d->result) && get(o, "local", m->arena, &d->sending_ip) && get(o, "mx", m->arena, &d->mx) &&
	    get(o, "helo", m->arena, &d->helo) && get(o, "remote", m->arena, &d->receiving_ip) &&
	    get(o, "reason", m->arena, &d->reason))
		return 0;
	return -ENOMEM;
}

static int add_row(struct tls_making *m, const json_t *o, uint64_t count)
{
	struct tls_report_policy_result *p;
	unsigned i;
	int r = find_policy(m, o, &i);

	if (r < 0)
		return r == -ENOMEM ? r : 0;
	p = &m->report->policies[i];
	if (!json_object_get(o, "result")) {
		p->successes += count;
		return 0;
	}
	p->failures += count;
	return add_detail(m, p, &m->groups[i], o, count);
}

static int take_tls_row(struct tls_making *m, const char *text, uint64_t count)
{
	json_t *o;
	int r = parse(text, &o);

	if (r < 0)
		return r == -EBADMSG ? 0 : r;
	r = add_row(m, o, count);
	json_decref(o);
	return r;
}

int tls_report_from(const struct report_data *data, struct arena *a, struct tls_report *ret)
{
	struct tls_report report = { 0 };
	struct tls_making m = { .arena = a, .report = &report, .room = MIN(data->n_rows, POLICIES_MAX) };
	int r = 0;

	report.policies = arena_new_array(a, struct tls_report_policy_result, m.room + 1);
	m.groups = arena_new_array(a, struct tls_group, m.room + 1);
	if (!report.policies || !m.groups)
		return -ENOMEM;
	for (unsigned i = 0; i < data->n_rows && r >= 0; i++)
		r = take_tls_row(&m, data->rows[i], data->counts[i]);
	if (r < 0)
		return r;
	if (!report.n_policies)
		return -ENOENT;
	*ret = report;
	return 0;
}
