/* What administrators may ask, over whatever way they came: a name, a JSON object with the details, and an
 * answer of members ("result") and, where it is long, rows that go out one by one. command.c has the table,
 * command_*.c one file per subject. Everything runs on a fiber of the admin loop. */
#pragma once

#include "admin/admin.h"
#include "admin/making.h"

struct admin_reply {
	/* Takes one row of a long answer over, also when it fails: -errno ends the command. */
	int (*row)(struct admin_reply *reply, json_t *row);
	struct making result; /* an object; the command adds members */
	const char *error; /* a sentence, when the command returns a negative errno; static or in the arena */
	struct arena *arena;
};

typedef int admin_command_fn(const struct admin_parts *p, const json_t *request, struct admin_reply *reply);

/* 0, or -errno with reply->error set. -ENOENT: there is no such command. */
int admin_run(const struct admin_parts *p, const char *name, const json_t *request, struct admin_reply *reply);

admin_command_fn command_queue_list, command_queue_show, command_queue_summary, command_queue_retry, command_queue_hold,
	command_queue_release, command_queue_bounce, command_queue_remove;
admin_command_fn command_sites, command_sites_hold, command_sites_release, command_status, command_trace, command_journal_flush, command_route, command_stop,
	command_reload, command_reports_flush, command_reports_send;

/* How mail to an address would go, as members of a JSON object: the ladder, per rung the hosts with their addresses and what
 * the queue knows of the site, and why the next message would take this rung and not that. queue: NULL where there is no
 * server to ask. Asks the DNS; from a fiber. address was parsed by address_parse. 0 or -ENOMEM, -ECANCELED. */
int explain_route(struct router *router, struct queue *queue, const struct address *to, const struct route_facts *facts,
		  usec_t deadline, struct arena *a, struct making *ret);

/* The text that Prometheus reads. */
int metrics_text(const struct admin_parts *p, struct buffer *out);
