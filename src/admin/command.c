#include "admin/command.h"

#include "base/utf8.h"

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
	{ "status", command_status },
	{ "trace", command_trace },
	{ "journal.flush", command_journal_flush },
	{ "route", command_route },
	{ "stop", command_stop },
	{ "reload", command_reload },
};

int admin_run(const struct admin_parts *p, const char *name, const json_t *request, struct admin_reply *reply)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, name) == 0) {
			int r = commands[i].run(p, request, reply);

			if (r < 0 && !reply->error)
				reply->error = strerrordesc_np(-r);
			return r;
		}
	reply->error = arena_printf(reply->arena, "there is no command \"%.40s\"", name);
	return -ENOENT;
}

void json_set_text(json_t *o, const char *key, const char *text)
{
	struct slice s = slice_from(text);
	char escaped[512];

	if (!text)
		return;
	if (!utf8_valid(s))
		text = slice_escape(s, escaped, sizeof(escaped));
	json_object_set_new(o, key, json_string(text));
}

void json_set_number(json_t *o, const char *key, uint64_t n)
{
	json_object_set_new(o, key, json_integer((json_int_t) MIN(n, (uint64_t) INT64_MAX)));
}

void json_set_time(json_t *o, const char *key, wall_t t)
{
	char text[32];

	if (t)
		json_object_set_new(o, key, json_string(wall_format_rfc3339(t, text, sizeof(text))));
}
