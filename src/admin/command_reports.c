/* Reports to other domains: written down, sent by hand. */
#include "admin/command.h"

int command_reports_flush(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	return p->reporter ? reporter_flush(p->reporter) : 0;
}

static int add_outcome(const struct report_outcome *o, void *context)
{
	struct admin_reply *reply = context;
	struct making making = making_object(), *row = &making;
	json_t *json;
	int r;

	json_set_text(row, "domain", o->domain);
	json_set_time(row, "begin", o->begin);
	json_set_time(row, "end", o->end);
	json_set_number(row, "rows", o->rows);
	json_set_number(row, "count", o->count);
	json_set_number(row, "size", o->size);
	json_set_text(row, "to", o->to);
	json_set_text(row, "result", o->what);
	r = making_take(row, &json);
	return r < 0 ? r : reply->row(reply, json);
}

int command_reports_send(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	const char *kind = json_string_value(json_object_get(request, "kind"));
	const char *domain = json_string_value(json_object_get(request, "domain"));
	bool dry_run = json_is_true(json_object_get(request, "dry_run")), tls = kind && strcmp(kind, "tls") == 0;
	int r;

	if (!kind || (!tls && strcmp(kind, "dmarc") != 0)) {
		reply->error = "reports.send needs a kind: dmarc or tls";
		return -EINVAL;
	}
	if (!p->reporter)
		return -EOPNOTSUPP;
	r = reporter_send(p->reporter, tls ? REPORT_TLS : REPORT_DMARC, domain, dry_run, add_outcome, reply);
	if (r == -EOPNOTSUPP)
		reply->error = tls ? "TLS reports are off; set reports.tls: true" : "DMARC reports are off; set reports.dmarc: true";
	else if (r == -EIO)
		reply->error = "the file of the reports can't be used; the log says why";
	return r;
}
