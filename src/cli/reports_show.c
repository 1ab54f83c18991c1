/* Reports as a terminal shows them. Their words come from strangers. */
#include <stdio.h>

#include "cli/reports.h"

static const char *safe(const char *text, char *out, size_t size)
{
	return cli_safe(text ? text : "-", out, size);
}

static void set(json_t *o, const char *key, const char *text)
{
	if (text)
		json_object_set_new(o, key, json_string(text));
}

static void set_number(json_t *o, const char *key, uint64_t n)
{
	json_object_set_new(o, key, json_integer((json_int_t) MIN(n, (uint64_t) INT64_MAX)));
}

static void set_time(json_t *o, const char *key, wall_t t)
{
	char text[25];

	if (t)
		set(o, key, wall_format_seconds(t, text, sizeof(text)));
}

static void print_head(const char *domain, const char *organization, const char *contact, wall_t begin, wall_t end)
{
	char x[300], y[300], z[300], from[25], to[25];

	printf("%s", safe(domain, x, sizeof(x)));
	if (organization)
		printf(", reported by %s (%s)", safe(organization, y, sizeof(y)), safe(contact, z, sizeof(z)));
	printf("\n  %s to %s\n", wall_format_seconds(begin, from, sizeof(from)), wall_format_seconds(end, to, sizeof(to)));
}

/* --- DMARC -------------------------------------------------------------------------------------------------------- */

static void print_row(const struct dmarc_report_row *row)
{
	char ip[60], disposition[20], dkim[10], spf[10], from[300], text[300], more[300];

	printf("  %-24s %8llu  %-10s  %-4s  %-4s  %s", safe(row->source_ip, ip, sizeof(ip)), (unsigned long long) row->count,
	       safe(row->disposition, disposition, sizeof(disposition)), safe(row->dkim, dkim, sizeof(dkim)),
	       safe(row->spf, spf, sizeof(spf)), safe(row->header_from, from, sizeof(from)));
	if (row->override)
		printf(" (%s%s%s)", safe(row->override, text, sizeof(text)), row->comment && row->comment[0] ? ": " : "",
		       row->comment ? safe(row->comment, more, sizeof(more)) : "");
	printf("\n");
	if (row->spf_result)
		printf("  %24s           spf=%s %s\n", "", safe(row->spf_result, text, sizeof(text)), safe(row->spf_domain, more, sizeof(more)));
	for (unsigned i = 0; i < row->n_signatures; i++) {
		const struct dmarc_report_dkim *d = &row->signatures[i];

		printf("  %24s           dkim=%s %s", "", safe(d->result, text, sizeof(text)), safe(d->domain, more, sizeof(more)));
		printf(" (%s)\n", safe(d->selector, text, sizeof(text)));
	}
}

void dmarc_report_print(const struct dmarc_report *r)
{
	char p[40], sp[40], dkim[10], spf[10];

	print_head(r->domain, r->organization, r->email, r->begin, r->end);
	printf("  policy p=%s sp=%s adkim=%s aspf=%s\n", safe(r->p, p, sizeof(p)), safe(r->sp, sp, sizeof(sp)),
	       safe(r->adkim, dkim, sizeof(dkim)), safe(r->aspf, spf, sizeof(spf)));
	printf("  %-24s %8s  %-10s  %-4s  %-4s  %s\n", "client", "messages", "done", "dkim", "spf", "From");
	for (unsigned i = 0; i < r->n_rows; i++)
		print_row(&r->rows[i]);
	printf("\n");
}

static json_t *row_json(const struct dmarc_report_row *row)
{
	json_t *o = json_object(), *list = json_array();

	set(o, "source_ip", row->source_ip);
	set_number(o, "count", row->count);
	set(o, "disposition", row->disposition);
	set(o, "dkim", row->dkim);
	set(o, "spf", row->spf);
	set(o, "override", row->override);
	set(o, "comment", row->comment);
	set(o, "header_from", row->header_from);
	set(o, "envelope_from", row->envelope_from);
	set(o, "envelope_to", row->envelope_to);
	set(o, "spf_domain", row->spf_domain);
	set(o, "spf_result", row->spf_result);
	for (unsigned i = 0; i < row->n_signatures; i++) {
		json_t *d = json_object();

		set(d, "domain", row->signatures[i].domain);
		set(d, "selector", row->signatures[i].selector);
		set(d, "result", row->signatures[i].result);
		json_array_append_new(list, d);
	}
	json_object_set_new(o, "signatures", list);
	return o;
}

json_t *dmarc_report_json(const struct dmarc_report *r)
{
	json_t *o = json_object(), *policy = json_object(), *rows = json_array();

	set(o, "domain", r->domain);
	set(o, "organization", r->organization);
	set(o, "email", r->email);
	set(o, "id", r->id);
	set_time(o, "begin", r->begin);
	set_time(o, "end", r->end);
	set(o, "error", r->error);
	set(o, "generator", r->generator);
	set(policy, "p", r->p);
	set(policy, "sp", r->sp);
	set(policy, "np", r->np);
	set(policy, "adkim", r->adkim);
	set(policy, "aspf", r->aspf);
	set(policy, "fo", r->fo);
	set(policy, "testing", r->testing);
	json_object_set_new(o, "policy", policy);
	for (unsigned i = 0; i < r->n_rows; i++)
		json_array_append_new(rows, row_json(&r->rows[i]));
	json_object_set_new(o, "rows", rows);
	return o;
}

/* --- TLS ------------------------------------------------------------------------------------------------------------ */

static void print_failure(const struct tls_report_failure *f)
{
	char result[60], mx[300], from[60], to[60], reason[300];

	printf("    %8llu  %-28s %s", (unsigned long long) f->count, safe(f->result, result, sizeof(result)), safe(f->mx, mx, sizeof(mx)));
	if (f->receiving_ip)
		printf(" [%s]", safe(f->receiving_ip, to, sizeof(to)));
	if (f->sending_ip)
		printf(" from %s", safe(f->sending_ip, from, sizeof(from)));
	if (f->reason)
		printf(": %s", safe(f->reason, reason, sizeof(reason)));
	printf("\n");
}

void tls_report_print(const struct tls_report *r)
{
	print_head(r->n_policies ? r->policies[0].domain : NULL, r->organization, r->contact, r->begin, r->end);
	for (unsigned i = 0; i < r->n_policies; i++) {
		const struct tls_report_policy_result *p = &r->policies[i];
		char type[40], domain[300], line[300];

		printf("  %s for %s: %llu sessions secured, %llu failed\n", safe(p->type, type, sizeof(type)),
		       safe(p->domain, domain, sizeof(domain)), (unsigned long long) p->successes, (unsigned long long) p->failures);
		for (unsigned k = 0; k < p->n_strings; k++)
			printf("        %s\n", safe(p->strings[k], line, sizeof(line)));
		for (unsigned k = 0; k < p->n_details; k++)
			print_failure(&p->details[k]);
	}
	printf("\n");
}

static json_t *list_json(const char *const *texts, unsigned n)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, json_string(texts[i]));
	return list;
}

static json_t *tls_policy_json(const struct tls_report_policy_result *p)
{
	json_t *o = json_object(), *details = json_array();

	set(o, "type", p->type);
	set(o, "domain", p->domain);
	json_object_set_new(o, "strings", list_json(p->strings, p->n_strings));
	json_object_set_new(o, "mx_hosts", list_json(p->mx, p->n_mx));
	set_number(o, "successes", p->successes);
	set_number(o, "failures", p->failures);
	for (unsigned i = 0; i < p->n_details; i++) {
		const struct tls_report_failure *f = &p->details[i];
		json_t *d = json_object();

		set(d, "result", f->result);
		set_number(d, "count", f->count);
		set(d, "mx", f->mx);
		set(d, "helo", f->helo);
		set(d, "sending_ip", f->sending_ip);
		set(d, "receiving_ip", f->receiving_ip);
		set(d, "reason", f->reason);
		set(d, "information", f->information);
		json_array_append_new(details, d);
	}
	json_object_set_new(o, "details", details);
	return o;
}

json_t *tls_report_json(const struct tls_report *r)
{
	json_t *o = json_object(), *policies = json_array();

	set(o, "organization", r->organization);
	set(o, "contact", r->contact);
	set(o, "id", r->id);
	set_time(o, "begin", r->begin);
	set_time(o, "end", r->end);
	for (unsigned i = 0; i < r->n_policies; i++)
		json_array_append_new(policies, tls_policy_json(&r->policies[i]));
	json_object_set_new(o, "policies", policies);
	return o;
}
