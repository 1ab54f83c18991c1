#include "admin/command.h"

static const struct {
	const char *name;
	admin_command_fn *run;
} commands[] = {
	{ "queue.list", command_queue_list },
	{ "queue.show", command_queue_show },
	{ "queue.summary", command_queue_summary },
	{ "queue.retry", command_queue_retry },
	{ "queue.hold", command_queue_hold },
	{ "queue.release", command_queue_release },
	{ "queue.bounce", command_queue_bounce },
	{ "queue.remove", command_queue_remove },
	{ "sites", command_sites },
	{ "sites.hold", command_sites_hold },
	{ "sites.release", command_sites_release },
	{ "status", command_status },
	{ "trace", command_trace },
	{ "journal.flush", command_journal_flush },
	{ "route", command_route },
	{ "stop", command_stop },
	{ "reload", command_reload },
	{ "reports.flush", command_reports_flush },
	{ "reports.send", command_reports_send },
};

static admin_command_fn *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return commands[i].run;
	return NULL;
}

int admin_run(const struct admin_parts *p, const char *name, const json_t *request, struct admin_reply *reply)
{
	admin_command_fn *run = find(name);
	int r = -ENOENT;

	if (run)
		r = run(p, request, reply);
	else
		reply->error = arena_printf(reply->arena, "there is no command \"%.40s\"", name);
	if (r >= 0)
		r = reply->result.error; /* an answer with something left out is none */
	if (r < 0 && !reply->error)
		reply->error = strerrordesc_np(-r);
	return r;
}
