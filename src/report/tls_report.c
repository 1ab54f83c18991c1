#include "report/tls_report.h"

#include "base/json.h"

#define POLICIES_MAX 1000u
#define DETAILS_MAX 100000u /* of one policy */
#define STRINGS_MAX 1000u

/* --- writing ---------------------------------------------------------------------------------------------------- */

/* Left out when NULL; what isn't UTF-8 can't be said in JSON. */
static int set_text(json_t *o, const char *key, const char *text)
{
	json_t *s;

	if (!text)
		return 0;
	s = json_string(text);
	if (!s)
		s = json_string("?");
	return json_object_set_new(o, key, s);
}

static int set_number(json_t *o, const char *key, uint64_t n)
{
	return json_object_set_new(o, key, json_integer((json_int_t) MIN(n, (uint64_t) INT64_MAX)));
}

static int set_list(json_t *o, const char *key, const char *const *texts, unsigned n)
{
	json_t *list = json_array();
	int bad = list ? 0 : -1;

	for (unsigned i = 0; i < n && !bad; i++) {
		json_t *s = json_string(texts[i]);

		bad |= json_array_append_new(list, s ? s : json_string("?"));
	}
	return json_object_set_new(o, key, list) | bad;
}

static json_t *make_failure(const struct tls_report_failure *f)
{
	json_t *o = json_object();
	int bad = 0;

	bad |= set_text(o, "result-type", f->result);
	bad |= set_text(o, "sending-mta-ip", f->sending_ip);
	bad |= set_text(o, "receiving-mx-hostname", f->mx);
	bad |= set_text(o, "receiving-mx-helo", f->helo);
	bad |= set_text(o, "receiving-ip", f->receiving_ip);
	bad |= set_number(o, "failed-session-count", f->count);
	bad |= set_text(o, "additional-information", f->information);
	bad |= set_text(o, "failure-reason-code", f->reason);
	if (!bad)
		return o;
	json_decref(o);
	return NULL;
}

static int set_details(json_t *o, const struct tls_report_policy_result *p)
{
	json_t *list = json_array();
	int bad = list ? 0 : -1;

	for (unsigned i = 0; i < p->n_details && !bad; i++)
		bad |= json_array_append_new(list, make_failure(&p->details[i]));
	return json_object_set_new(o, "failure-details", list) | bad;
}

static json_t *make_policy(const struct tls_report_policy_result *p)
{
	json_t *o = json_object(), *policy = json_object(), *summary = json_object();
	int bad = 0;

	bad |= set_text(policy, "policy-type", p->type);
	if (p->n_strings)
		bad |= set_list(policy, "policy-string", p->strings, p->n_strings);
	bad |= set_text(policy, "policy-domain", p->domain);
	if (p->n_mx)
		bad |= set_list(policy, "mx-host", p->mx, p->n_mx);
	bad |= set_number(summary, "total-successful-session-count", p->successes);
	bad |= set_number(summary, "total-failure-session-count", p->failures);
	bad |= json_object_set_new(o, "policy", policy);
	bad |= json_object_set_new(o, "summary", summary);
	if (p->n_details)
		bad |= set_details(o, p);
	if (!bad)
		return o;
	json_decref(o);
	return NULL;
}

static json_t *make_report(const struct tls_report *r)
{
	json_t *o = json_object(), *range = json_object(), *policies = json_array();
	char begin[25], end[25];
	int bad = policies ? 0 : -1;

	bad |= set_text(o, "organization-name", r->organization);
	bad |= set_text(range, "start-datetime", wall_format_seconds(r->begin, begin, sizeof(begin)));
	bad |= set_text(range, "end-datetime", wall_format_seconds(r->end, end, sizeof(end)));
	bad |= json_object_set_new(o, "date-range", range);
	bad |= set_text(o, "contact-info", r->contact);
	bad |= set_text(o, "report-id", r->id);
	for (unsigned i = 0; i < r->n_policies && !bad; i++)
		bad |= json_array_append_new(policies, make_policy(&r->policies[i]));
	bad |= json_object_set_new(o, "policies", policies);
	if (!bad)
		return o;
	json_decref(o);
	return NULL;
}

static int write_piece(const char *data, size_t len, void *out)
{
	buffer_append(out, data, len);
	return 0;
}

/* Not by json_dumps: of jansson 2.14 it leaves a key out when there is no memory for it. The buffer remembers that. */
int tls_report_write(const struct tls_report *report, struct buffer *out)
{
	json_t *o = make_report(report);
	int r = o ? json_dump_callback(o, write_piece, out, JSON_COMPACT) : -1;

	json_decref(o);
	return r < 0 ? -ENOMEM : buffer_error(out);
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* NULL when it isn't there, or is no text. False: no memory. */
static bool get_text(const json_t *o, const char *key, struct arena *a, const char **ret)
{
	const char *text = json_string_value(json_object_get(o, key));

	*ret = text ? arena_strdup(a, text) : NULL;
	return !text || *ret;
}

static uint64_t get_number(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (uint64_t) n : 0;
}

/* A list of texts, or one text as some write it. */
static bool get_list(const json_t *o, const char *key, struct arena *a, const char ***ret, unsigned *ret_n)
{
	const json_t *list = json_object_get(o, key);
	size_t n = json_is_array(list) ? MIN(json_array_size(list), (size_t) STRINGS_MAX) : 0;

	*ret_n = 0;
	*ret = arena_new_array(a, const char *, n + 1);
	if (!*ret)
		return false;
	if (json_is_string(list)) {
		(*ret)[(*ret_n)++] = arena_strdup(a, json_string_value(list));
		return (*ret)[0] != NULL;
	}
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (!text)
			continue;
		(*ret)[*ret_n] = arena_strdup(a, text);
		if (!(*ret)[(*ret_n)++])
			return false;
	}
	return true;
}

static bool read_failure(const json_t *o, struct arena *a, struct tls_report_failure *ret)
{
	ret->count = get_number(o, "failed-session-count");
	return get_text(o, "result-type", a, &ret->result) && get_text(o, "sending-mta-ip", a, &ret->sending_ip) &&
	       get_text(o, "receiving-mx-hostname", a, &ret->mx) && get_text(o, "receiving-mx-helo", a, &ret->helo) &&
	       get_text(o, "receiving-ip", a, &ret->receiving_ip) &&
	       get_text(o, "additional-information", a, &ret->information) &&
	       get_text(o, "failure-reason-code", a, &ret->reason);
}

static bool read_policy(const json_t *o, struct arena *a, struct tls_report_policy_result *ret)
{
	const json_t *policy = json_object_get(o, "policy"), *summary = json_object_get(o, "summary");
	const json_t *details = json_object_get(o, "failure-details");
	size_t n = MIN(json_array_size(details), (size_t) DETAILS_MAX);

	if (!get_text(policy, "policy-type", a, &ret->type) || !get_text(policy, "policy-domain", a, &ret->domain) ||
	    !get_list(policy, "policy-string", a, &ret->strings, &ret->n_strings) ||
	    !get_list(policy, "mx-host", a, &ret->mx, &ret->n_mx))
		return false;
	ret->successes = get_number(summary, "total-successful-session-count");
	ret->failures = get_number(summary, "total-failure-session-count");
	ret->details = arena_new_array(a, struct tls_report_failure, n + 1);
	for (size_t i = 0; i < n && ret->details; i++)
		if (!read_failure(json_array_get(details, i), a, &ret->details[ret->n_details++]))
			return false;
	return ret->details;
}

static void read_range(const json_t *range, struct tls_report *ret)
{
	const char *begin = json_string_value(json_object_get(range, "start-datetime"));
	const char *end = json_string_value(json_object_get(range, "end-datetime"));

	if (begin)
		(void) wall_parse_rfc3339(slice_from(begin), &ret->begin);
	if (end)
		(void) wall_parse_rfc3339(slice_from(end), &ret->end);
}

static int read_report(const json_t *o, struct arena *a, struct tls_report *ret, const char **ret_why)
{
	const json_t *policies = json_object_get(o, "policies");
	size_t n = MIN(json_array_size(policies), (size_t) POLICIES_MAX);

	if (!json_is_object(o) || !json_is_array(policies) || n == 0) {
		*ret_why = "it has no list of policies";
		return -EBADMSG;
	}
	read_range(json_object_get(o, "date-range"), ret);
	ret->policies = arena_new_array(a, struct tls_report_policy_result, n);
	if (!ret->policies || !get_text(o, "organization-name", a, &ret->organization) ||
	    !get_text(o, "contact-info", a, &ret->contact) || !get_text(o, "report-id", a, &ret->id))
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (!read_policy(json_array_get(policies, i), a, &ret->policies[ret->n_policies++]))
			return -ENOMEM;
	return 0;
}

int tls_report_read(struct slice json, struct arena *a, struct tls_report *ret, const char **ret_why)
{
	struct tls_report report = { 0 };
	json_error_t error = { 0 };
	json_t *o;
	int r = json_parse(json, JSON_REJECT_DUPLICATES, &error, &o);

	*ret_why = NULL;
	if (r == -EBADMSG) {
		*ret_why = arena_printf(a, "it is no JSON: line %d: %s", error.line, error.text);
		return *ret_why ? r : -ENOMEM;
	}
	if (r < 0)
		return r;
	r = read_report(o, a, &report, ret_why);
	json_decref(o);
	if (r < 0)
		return r;
	*ret = report;
	return 0;
}
