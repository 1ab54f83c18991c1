/* Numbers for Prometheus, in its text format (version 0.0.4). */
#include "admin/command.h"

static void metric(struct buffer *out, const char *name, const char *type, const char *help, uint64_t value)
{
	buffer_printf(out, "# HELP yizhan_%s %s\n# TYPE yizhan_%s %s\nyizhan_%s %llu\n", name, help, name, type, name,
		      (unsigned long long) value);
}

static void labelled(struct buffer *out, const char *name, const char *label, const char *value, uint64_t number)
{
	buffer_printf(out, "yizhan_%s{%s=\"%s\"} %llu\n", name, label, value, (unsigned long long) number);
}

static void heading(struct buffer *out, const char *name, const char *type, const char *help)
{
	buffer_printf(out, "# HELP yizhan_%s %s\n# TYPE yizhan_%s %s\n", name, help, name, type);
}

static void pressure_metrics(const struct admin_traffic *t, struct buffer *out)
{
	heading(out, "pressure_level", "gauge", "0: enough, 1: new mail is refused, 2: no connections are accepted");
	for (unsigned i = 0; i < t->n_pressures; i++)
		labelled(out, "pressure_level", "of", t->pressures[i].name, t->pressures[i].level);
	heading(out, "pressure_value", "gauge", "memory: octets in use; disk: octets free; files: inodes free");
	for (unsigned i = 0; i < t->n_pressures; i++)
		labelled(out, "pressure_value", "of", t->pressures[i].name, t->pressures[i].value);
	heading(out, "pressure_mark", "gauge", "the value at which level 1 begins; 0: not looked at");
	for (unsigned i = 0; i < t->n_pressures; i++)
		labelled(out, "pressure_mark", "of", t->pressures[i].name, t->pressures[i].mark);
	heading(out, "pressure_refusals_total", "counter", "sessions and messages refused because of it");
	for (unsigned i = 0; i < t->n_pressures; i++)
		labelled(out, "pressure_refusals_total", "of", t->pressures[i].name, t->pressures[i].refused);
}

static void limit_metrics(const struct admin_traffic *t, struct buffer *out)
{
	heading(out, "connections_limited", "gauge", "1 for all, or how many addresses and networks are at their limit");
	labelled(out, "connections_limited", "by", "all", t->crowded);
	labelled(out, "connections_limited", "by", "address", t->limited_addresses);
	labelled(out, "connections_limited", "by", "network", t->limited_networks);
	heading(out, "connections_refused_total", "counter", "connections refused by a limit");
	labelled(out, "connections_refused_total", "by", "all", t->refused_crowded);
	labelled(out, "connections_refused_total", "by", "address", t->refused_addresses);
	labelled(out, "connections_refused_total", "by", "network", t->refused_networks);
	pressure_metrics(t, out);
}

static void traffic_metrics(const struct admin_parts *p, struct buffer *out)
{
	struct admin_traffic t = { 0 };

	if (p->traffic)
		p->traffic(&t, p->context);
	metric(out, "sessions", "gauge", "SMTP server sessions open now", t.sessions);
	metric(out, "connections_total", "counter", "connections taken", t.connections);
	metric(out, "recipients_accepted_total", "counter", "recipients accepted at RCPT", t.accepted);
	metric(out, "refusals_total", "counter", "commands and messages refused", t.refused);
	metric(out, "messages_received_total", "counter", "messages accepted and made durable", t.messages);
	metric(out, "bytes_received_total", "counter", "octets of these messages", t.bytes);
	metric(out, "messages_repeated_total", "counter", "messages that came once more, their 250 lost, and were not queued again",
	       t.repeated);
	heading(out, "gate_refusals_total", "counter", "refused by a rule or check of the gate");
	labelled(out, "gate_refusals_total", "for", "good", t.gate_rejected);
	labelled(out, "gate_refusals_total", "for", "now", t.gate_deferred);
	heading(out, "logins_total", "counter", "logins by what came of them; locked: too many had failed");
	labelled(out, "logins_total", "result", "ok", t.logins);
	labelled(out, "logins_total", "result", "failed", t.logins_failed);
	labelled(out, "logins_total", "result", "locked", t.logins_locked);
	limit_metrics(&t, out);
}

static void queue_metrics(const struct admin_parts *p, const struct queue_summary *s, wall_t when, struct buffer *out)
{
	struct queue_counters c;

	queue_counters(p->queue, &c);
	metric(out, "deliveries_total", "counter", "recipients delivered", c.delivered);
	metric(out, "deferrals_total", "counter", "attempts that ended with a temporary failure", c.deferred);
	metric(out, "failures_total", "counter", "recipients that failed for good", c.failed);
	metric(out, "bounces_total", "counter", "delivery status notifications made", c.bounced);
	metric(out, "queue_messages", "gauge", "messages in the queue", s->messages);
	metric(out, "queue_recipients", "gauge", "recipients in the queue", s->recipients);
	metric(out, "queue_bytes", "gauge", "octets in the queue", s->bytes);
	metric(out, "queue_active", "gauge", "recipients being delivered", s->active);
	metric(out, "queue_deferred", "gauge", "recipients that wait for their next attempt", s->deferred);
	metric(out, "queue_held", "gauge", "recipients that an administrator or a route holds", s->held);
	metric(out, "queue_sites", "gauge", "destinations with mail or connections", s->sites);
	metric(out, "queue_oldest_seconds", "gauge", "age of the oldest message",
	       s->oldest && when > s->oldest ? (uint64_t) (when - s->oldest) / USEC_SEC : 0);
}

static void spool_metrics(const struct admin_parts *p, struct buffer *out)
{
	struct spool_stats s;

	spool_stats(p->spool, &s);
	metric(out, "spool_bytes_on_disk", "gauge", "size of the spool's files", s.bytes_on_disk);
	metric(out, "spool_bytes_living", "gauge", "octets of living messages in them", s.bytes_living);
	metric(out, "spool_commits_total", "counter", "messages made durable", s.commits);
	metric(out, "spool_syncs_total", "counter", "calls of fdatasync", s.syncs);
	metric(out, "spool_failed_syncs_total", "counter", "of these, failed", s.failed_syncs);
	metric(out, "spool_full", "gauge", "1: mail is refused for lack of space", s.full);
	metric(out, "spool_failed", "gauge", "1: mail is refused after a failure of the disk", s.failed);
}

int metrics_text(const struct admin_parts *p, struct buffer *out)
{
	struct journal_stats j;
	struct queue_summary s;
	int r = queue_summarize(p->queue, &s);

	if (r < 0)
		return r;
	traffic_metrics(p, out);
	queue_metrics(p, &s, world_wall(world_current()), out);
	spool_metrics(p, out);
	journal_stats(p->journal, &j);
	metric(out, "events_total", "counter", "events written to the journal", j.events);
	metric(out, "events_dropped_total", "counter", "events lost because the disk was too slow", j.dropped);
	metric(out, "log_lines_dropped_total", "counter", "log lines lost because standard error was too slow",
	       p->log_dropped ? p->log_dropped(p->context) : 0);
	buffer_printf(out, "# HELP yizhan_build_info The version that runs.\n# TYPE yizhan_build_info gauge\n"
			   "yizhan_build_info{version=\"%s\"} 1\n", p->version);
	metric(out, "uptime_seconds", "gauge", "time since the start", (now() - p->started) / USEC_SEC);
	return buffer_error(out);
}
