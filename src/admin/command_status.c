/* What the server is doing: status, trace, stop, reload. */
#include <stdio.h>
#include <stdlib.h>

#include "admin/command.h"

/* "enough", "short" or "critical" for each thing that is looked at. */
static void add_pressure(const struct admin_pressure *p, struct making *limits)
{
	static const char *const levels[] = { "enough", "short", "critical" };
	struct making making = making_object(), *o = &making;

	json_set_text(o, "state", levels[MIN(p->level, 2u)]);
	json_set_number(o, "value", p->value);
	json_set_number(o, "mark", p->mark);
	json_set_number(o, "refused", p->refused);
	json_put(limits, p->name, o);
}

static void add_limits(const struct admin_traffic *t, struct making *receive)
{
	struct making limits = making_object(), *connections = &limits, pressure = making_object();

	json_set_text(connections, "state", t->crowded ? "all taken" : "enough");
	json_set_number(connections, "refused", t->refused_crowded);
	json_set_number(connections, "refused_addresses", t->refused_addresses);
	json_set_number(connections, "refused_networks", t->refused_networks);
	json_set_number(connections, "limited_addresses", t->limited_addresses);
	json_set_number(connections, "limited_networks", t->limited_networks);
	json_put(receive, "limits", connections);
	for (unsigned i = 0; i < t->n_pressures; i++)
		if (t->pressures[i].mark > 0)
			add_pressure(&t->pressures[i], &pressure);
	json_put(receive, "pressure", &pressure);
}

static void add_gate_and_logins(const struct admin_traffic *t, struct making *receive)
{
	struct making gate = making_object(), logins = making_object();

	json_set_number(&gate, "rejected", t->gate_rejected);
	json_set_number(&gate, "deferred", t->gate_deferred);
	json_put(receive, "gate", &gate);
	json_set_number(&logins, "ok", t->logins);
	json_set_number(&logins, "failed", t->logins_failed);
	json_set_number(&logins, "locked", t->logins_locked);
	json_put(receive, "logins", &logins);
}

static void add_traffic(const struct admin_parts *p, struct making *result)
{
	struct admin_traffic t = { 0 };
	struct making making = making_object(), *o = &making;

	if (p->traffic)
		p->traffic(&t, p->context);
	json_set_number(o, "sessions", t.sessions);
	json_set_number(o, "connections", t.connections);
	json_set_number(o, "accepted_recipients", t.accepted);
	json_set_number(o, "refused", t.refused);
	json_set_number(o, "messages", t.messages);
	json_set_number(o, "bytes", t.bytes);
	json_set_number(o, "repeated", t.repeated);
	add_gate_and_logins(&t, o);
	add_limits(&t, o);
	json_put(result, "receive", o);
}

static void add_queue(const struct admin_parts *p, struct making *result)
{
	struct queue_counters c;
	struct making making = making_object(), *o = &making;

	queue_counters(p->queue, &c);
	json_set_number(o, "submitted", c.submitted);
	json_set_number(o, "delivered", c.delivered);
	json_set_number(o, "deferred", c.deferred);
	json_set_number(o, "failed", c.failed);
	json_set_number(o, "bounced", c.bounced);
	json_put(result, "deliver", o);
}

static void add_spool(const struct admin_parts *p, struct making *result)
{
	struct spool_stats s;
	struct making making = making_object(), *o = &making;

	spool_stats(p->spool, &s);
	json_set_text(o, "path", p->spool_path);
	json_set_text(o, "state", s.failed ? "failed: refusing mail" : s.full ? "disk full: refusing mail" : "ok");
	json_set_number(o, "messages", s.messages);
	json_set_number(o, "bytes_living", s.bytes_living);
	json_set_number(o, "bytes_on_disk", s.bytes_on_disk);
	json_set_number(o, "segments", s.segments);
	json_set_number(o, "commits", s.commits);
	json_set_number(o, "syncs", s.syncs);
	json_set_number(o, "failed_syncs", s.failed_syncs);
	json_set_number(o, "compacted_bytes", s.compacted_bytes);
	json_put(result, "spool", o);
}

static void add_journal(const struct admin_parts *p, struct making *result)
{
	struct journal_stats s;
	struct making making = making_object(), *o = &making;

	journal_stats(p->journal, &s);
	json_set_number(o, "events", s.events);
	json_set_number(o, "dropped", s.dropped);
	json_set_number(o, "failed_writes", s.failed_writes);
	json_put(result, "journal", o);
}

static void add_warning(void *to, const char *text)
{
	json_append_text(to, text);
}

int command_status(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	struct making *result = &reply->result, loops = making_list(), warnings = making_list();
	usec_t up = now() - p->started;

	json_set_text(result, "version", p->version);
	json_set_text(result, "hostname", p->hostname);
	json_set_text(result, "configuration", p->config_file);
	json_set_number(result, "uptime_s", up / USEC_SEC);
	for (unsigned i = 0; i < p->n_loops; i++) {
		struct making loop = making_object();

		json_set_number(&loop, "fibers", loop_fiber_count(p->loops[i]));
		json_append(&loops, &loop);
	}
	json_put(result, "loops", &loops);
	if (p->report)
		p->report(add_warning, &warnings, p->context);
	json_put(result, "warnings", &warnings);
	add_traffic(p, result);
	add_queue(p, result);
	add_spool(p, result);
	add_journal(p, result);
	json_set_number(result, "log_lines_dropped", p->log_dropped ? p->log_dropped(p->context) : 0);
	return command_queue_summary(p, request, reply);
}

/* --- trace ----------------------------------------------------------------------------------------------------- */

struct tracing {
	struct admin_reply *reply;
	uint64_t count, unreadable;
};

static int trace_line(struct slice line, void *context)
{
	struct tracing *t = context;
	json_t *event = NULL;
	int r = json_read(line, &event);

	/* Damage in one line is no reason to keep silent about the others. */
	if (r == -EBADMSG)
		t->unreadable++;
	if (r < 0)
		return r == -EBADMSG ? 0 : r;
	t->count++;
	return t->reply->row(t->reply, event);
}

int command_trace(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	const char *text = json_string_value(json_object_get(request, "id"));
	_cleanup_(freep) char *directory = NULL;
	struct tracing t = { .reply = reply };
	msgid_t id;
	int r;

	if (!text || id_parse(slice_from(text), &id) < 0) {
		reply->error = "trace needs the id of a message (13 letters and digits)";
		return -EINVAL;
	}
	journal_flush(p->journal, deadline_after(now(), 2 * USEC_SEC));
	if (asprintf(&directory, "%s/journal", p->spool_path) < 0)
		return -ENOMEM;
	r = journal_search(world_current(), directory, id, trace_line, &t);
	if (r < 0)
		return r;
	if (!t.count && !t.unreadable) {
		reply->error = "the journal knows no such message";
		return -ENOENT;
	}
	if (t.unreadable)
		json_set_number(&reply->result, "unreadable_lines", t.unreadable);
	return 0;
}

int command_journal_flush(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	return journal_flush(p->journal, deadline_after(now(), 5 * USEC_SEC));
}

/* --- stop and reload ------------------------------------------------------------------------------------------- */

static int ask_for(const struct admin_parts *p, enum admin_request what, struct admin_reply *reply)
{
	_cleanup_(freep) char *why = NULL;
	int r = p->request ? p->request(what, &why, p->context) : -EOPNOTSUPP;

	if (r < 0 && why)
		reply->error = arena_strdup(reply->arena, why);
	return r;
}

int command_stop(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	return ask_for(p, ADMIN_STOP, reply);
}

int command_reload(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	return ask_for(p, ADMIN_RELOAD, reply);
}
