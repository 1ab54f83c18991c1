#include <stdio.h>

#include "base/utf8.h"
#include "report/dmarc_report.h"

/* Text of an element (XML 1.0 sections 2.2 and 2.4). */
static void append_text(struct buffer *out, const char *text)
{
	struct slice rest = slice_from(text);

	while (rest.len) {
		uint32_t c;
		size_t n = utf8_decode(rest, &c);

		if (n == 0 || c < 0x20 || c == 0x7f || (c >= 0xfffe && c <= 0xffff))
			buffer_append_char(out, '?');
		else if (c == '&')
			buffer_append_str(out, "&amp;");
		else if (c == '<')
			buffer_append_str(out, "&lt;");
		else if (c == '>')
			buffer_append_str(out, "&gt;");
		else
			buffer_append(out, rest.data, n);
		rest = slice_skip(rest, n ? n : 1);
	}
}

/* Left out when NULL. */
static void element(struct buffer *out, unsigned depth, const char *name, const char *text)
{
	if (!text)
		return;
	buffer_printf(out, "%*s<%s>", (int) (2 * depth), "", name);
	append_text(out, text);
	buffer_printf(out, "</%s>\n", name);
}

static void number(struct buffer *out, unsigned depth, const char *name, uint64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long) n);
	element(out, depth, name, text);
}

static void write_metadata(const struct dmarc_report *r, struct buffer *out)
{
	buffer_append_str(out, "  <report_metadata>\n");
	element(out, 2, "org_name", r->organization);
	element(out, 2, "email", r->email);
	element(out, 2, "extra_contact_info", r->contact);
	element(out, 2, "report_id", r->id);
	buffer_append_str(out, "    <date_range>\n");
	number(out, 3, "begin", (uint64_t) (r->begin / (wall_t) USEC_SEC));
	number(out, 3, "end", (uint64_t) (r->end / (wall_t) USEC_SEC));
	buffer_append_str(out, "    </date_range>\n");
	element(out, 2, "error", r->error);
	element(out, 2, "generator", r->generator);
	buffer_append_str(out, "  </report_metadata>\n");
}

static void write_policy(const struct dmarc_report *r, struct buffer *out)
{
	buffer_append_str(out, "  <policy_published>\n");
	element(out, 2, "domain", r->domain);
	element(out, 2, "p", r->p);
	element(out, 2, "sp", r->sp);
	element(out, 2, "np", r->np);
	element(out, 2, "adkim", r->adkim);
	element(out, 2, "aspf", r->aspf);
	element(out, 2, "discovery_method", r->discovery);
	element(out, 2, "fo", r->fo);
	element(out, 2, "testing", r->testing);
	buffer_append_str(out, "  </policy_published>\n");
}

static void write_evaluated(const struct dmarc_report_row *row, struct buffer *out)
{
	buffer_append_str(out, "      <policy_evaluated>\n");
	element(out, 4, "disposition", row->disposition);
	element(out, 4, "dkim", row->dkim);
	element(out, 4, "spf", row->spf);
	if (row->override) {
		buffer_append_str(out, "        <reason>\n");
		element(out, 5, "type", row->override);
		element(out, 5, "comment", row->comment);
		buffer_append_str(out, "        </reason>\n");
	}
	buffer_append_str(out, "      </policy_evaluated>\n");
}

static void write_results(const struct dmarc_report_row *row, struct buffer *out)
{
	buffer_append_str(out, "    <auth_results>\n");
	for (unsigned i = 0; i < row->n_signatures && i < DMARC_REPORT_SIGNATURES_MAX; i++) {
		buffer_append_str(out, "      <dkim>\n");
		element(out, 4, "domain", row->signatures[i].domain);
		element(out, 4, "selector", row->signatures[i].selector);
		element(out, 4, "result", row->signatures[i].result);
		buffer_append_str(out, "      </dkim>\n");
	}
	if (row->spf_result) {
		buffer_append_str(out, "      <spf>\n");
		element(out, 4, "domain", row->spf_domain ? row->spf_domain : "");
		element(out, 4, "scope", "mfrom");
		element(out, 4, "result", row->spf_result);
		buffer_append_str(out, "      </spf>\n");
	}
	buffer_append_str(out, "    </auth_results>\n");
}

static void write_row(const struct dmarc_report_row *row, struct buffer *out)
{
	buffer_append_str(out, "  <record>\n    <row>\n");
	element(out, 3, "source_ip", row->source_ip);
	number(out, 3, "count", row->count);
	write_evaluated(row, out);
	buffer_append_str(out, "    </row>\n    <identifiers>\n");
	element(out, 3, "header_from", row->header_from);
	element(out, 3, "envelope_from", row->envelope_from);
	element(out, 3, "envelope_to", row->envelope_to);
	buffer_append_str(out, "    </identifiers>\n");
	write_results(row, out);
	buffer_append_str(out, "  </record>\n");
}

void dmarc_report_write(const struct dmarc_report *report, struct buffer *out)
{
	buffer_append_str(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
			       "<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\">\n");
	element(out, 1, "version", "1.0");
	write_metadata(report, out);
	write_policy(report, out);
	for (unsigned i = 0; i < report->n_rows; i++)
		write_row(&report->rows[i], out);
	buffer_append_str(out, "</feedback>\n");
}
