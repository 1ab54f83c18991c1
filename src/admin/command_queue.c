/* The queue, seen and steered. */
#include "admin/command.h"

static const char *const status_names[] = {
	[RECIPIENT_WAITING] = "waiting",
	[RECIPIENT_ACTIVE] = "active",
	[RECIPIENT_HELD] = "held",
	[RECIPIENT_DONE] = "done",
};

/* --- filters ----------------------------------------------------------------------------------------------- */

static const char *get_text(const json_t *request, const char *key)
{
	return json_string_value(json_object_get(request, key));
}

static int read_filter(const json_t *request, struct admin_reply *reply, struct queue_filter *ret)
{
	const char *id = get_text(request, "id"), *class = get_text(request, "class");
	struct queue_filter f = {
		.sender = get_text(request, "sender"),
		.recipient = get_text(request, "recipient"),
		.site = get_text(request, "site"),
		.held_only = json_is_true(json_object_get(request, "held")),
	};
	json_int_t older = json_integer_value(json_object_get(request, "older_than_s"));
	json_int_t limit = json_integer_value(json_object_get(request, "limit"));

	if (id && id_parse(slice_from(id), &f.id) < 0) {
		reply->error = arena_printf(reply->arena, "\"%.40s\" is not a message id (13 letters and digits)", id);
		return -EINVAL;
	}
	if (class && reply_class_from_name(slice_from(class), &f.class) < 0) {
		reply->error = arena_printf(reply->arena, "there is no class \"%.40s\" of replies", class);
		return -EINVAL;
	}
	if (older > 0 && (uint64_t) older < UINT64_MAX / USEC_SEC)
		f.older_than = (usec_t) older * USEC_SEC;
	if (limit > 0 && limit < UINT32_MAX)
		f.limit = (unsigned) limit;
	*ret = f;
	return 0;
}

static bool is_everything(const struct queue_filter *f)
{
	return !f->sender && !f->recipient && !f->site && !f->id && !f->older_than && f->class == CLASS_NONE && !f->held_only;
}

/* --- rows ---------------------------------------------------------------------------------------------------- */

static struct making recipient_to_json(const struct queue_row_recipient *r)
{
	struct making making = making_object(), *o = &making;

	json_set_text(o, "address", r->address);
	json_set_text(o, "status", (size_t) r->status < ARRAY_LEN(status_names) ? status_names[r->status] : "?");
	json_set_text(o, "site", r->site);
	json_set_text(o, "hop", r->hop);
	json_set_number(o, "rung", r->rung);
	json_set_number(o, "attempts", r->attempts);
	if (r->class != CLASS_NONE)
		json_set_text(o, "class", reply_class_name(r->class));
	json_set_text(o, "last_reply", r->last_reply);
	json_set_text(o, "waits_for", r->waits_for);
	json_set_time(o, "next", r->next);
	return making;
}

static int row_to_json(const struct queue_row *row, wall_t when, json_t **ret)
{
	struct making making = making_object(), recipients = making_list(), *o = &making;
	char id[MSGID_TEXT];

	json_set_text(o, "id", id_format(row->id, id));
	json_set_time(o, "arrival", row->arrival);
	json_set_number(o, "age_s", when > row->arrival ? (uint64_t) (when - row->arrival) / USEC_SEC : 0);
	json_set_time(o, "release", row->release);
	json_set_text(o, "asks", row->asks);
	json_set_number(o, "size", row->size);
	json_set_text(o, "sender", row->sender);
	for (unsigned i = 0; i < row->n_recipients; i++) {
		struct making recipient = recipient_to_json(&row->recipients[i]);

		json_append(&recipients, &recipient);
	}
	json_put(o, "recipients", &recipients);
	return making_take(o, ret);
}

struct listing {
	struct admin_reply *reply;
	wall_t when;
	uint64_t count;
};

static int list_row(const struct queue_row *row, void *context)
{
	struct listing *l = context;
	json_t *o;
	int r = row_to_json(row, l->when, &o);

	l->count++;
	return r < 0 ? r : l->reply->row(l->reply, o);
}

int command_queue_list(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	struct listing l = { .reply = reply, .when = world_wall(world_current()) };
	struct queue_filter f;
	int r;

	r = read_filter(request, reply, &f);
	if (r < 0)
		return r;
	r = queue_list(p->queue, &f, list_row, &l);
	if (r < 0)
		return r;
	json_set_number(&reply->result, "messages", l.count);
	return 0;
}

int command_queue_show(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	struct listing l = { .reply = reply, .when = world_wall(world_current()) };
	struct queue_filter f;
	int r;

	r = read_filter(request, reply, &f);
	if (r < 0)
		return r;
	if (!f.id) {
		reply->error = "queue show needs the id of a message";
		return -EINVAL;
	}
	r = queue_list(p->queue, &f, list_row, &l);
	if (r < 0)
		return r;
	if (!l.count) {
		reply->error = "no such message is in the queue; yizhan trace may know what became of it";
		return -ENOENT;
	}
	return 0;
}

int command_queue_summary(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	struct queue_summary s;
	wall_t when = world_wall(world_current());
	int r = queue_summarize(p->queue, &s);

	if (r < 0)
		return r;
	json_set_number(&reply->result, "messages", s.messages);
	json_set_number(&reply->result, "recipients", s.recipients);
	json_set_number(&reply->result, "bytes", s.bytes);
	json_set_number(&reply->result, "oldest_s", s.oldest && when > s.oldest ? (uint64_t) (when - s.oldest) / USEC_SEC : 0);
	json_set_number(&reply->result, "active", s.active);
	json_set_number(&reply->result, "deferred", s.deferred);
	json_set_number(&reply->result, "held", s.held);
	json_set_number(&reply->result, "sites", s.sites);
	return 0;
}

/* --- steering ------------------------------------------------------------------------------------------------ */

static int act(const struct admin_parts *p, const json_t *request, struct admin_reply *reply, enum queue_action action)
{
	struct queue_filter f;
	unsigned n = 0;
	int r;

	r = read_filter(request, reply, &f);
	if (r < 0)
		return r;
	if (is_everything(&f) && !json_is_true(json_object_get(request, "all"))) {
		reply->error = "say which messages: ids, --sender, --recipient, --site, --older, --class, --held, or --all";
		return -EINVAL;
	}
	r = queue_act(p->queue, action, &f, &n);
	if (r < 0)
		return r;
	json_set_number(&reply->result, "messages", n);
	return 0;
}

int command_queue_retry(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	return act(p, request, reply, QUEUE_RETRY);
}

int command_queue_hold(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	return act(p, request, reply, QUEUE_HOLD);
}

int command_queue_release(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	return act(p, request, reply, QUEUE_RELEASE);
}

int command_queue_bounce(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	return act(p, request, reply, QUEUE_BOUNCE);
}

int command_queue_remove(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	return act(p, request, reply, QUEUE_REMOVE);
}

/* --- sites --------------------------------------------------------------------------------------------------- */

static int site_row(const struct site_row *s, void *context)
{
	struct listing *l = context;
	struct making making = making_object(), *o = &making;
	json_t *row;
	int r;

	json_set_text(o, "site", s->key);
	json_set_text(o, "state", s->state);
	json_set_number(o, "window", s->window);
	json_set_number(o, "window_most", s->window_most);
	json_set_text(o, "provider", s->provider);
	if (s->rate.count > 0) {
		json_set_number(o, "rate", s->rate.count);
		json_set_number(o, "rate_per", s->rate.per / USEC_MS);
	}
	if (s->interval > 0)
		json_set_number(o, "interval", s->interval / USEC_MS);
	if (s->usual > 0)
		json_set_number(o, "usual_reply", s->usual / USEC_MS);
	json_set_number(o, "connections", s->connections);
	json_set_number(o, "waiting", s->waiting);
	json_set_text(o, "last_error", s->last_error);
	json_set_time(o, "next", s->next);
	l->count++;
	r = making_take(o, &row);
	return r < 0 ? r : l->reply->row(l->reply, row);
}

static int add_held(const struct admin_parts *p, struct admin_reply *reply)
{
	struct making list = making_list();
	const char *const *held;
	unsigned n;
	int r = queue_held_sites(p->queue, reply->arena, &held, &n);

	for (unsigned i = 0; r >= 0 && i < n; i++)
		json_append_text(&list, held[i]);
	json_put(&reply->result, "held", &list);
	return r;
}

int command_sites(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	struct listing l = { .reply = reply };
	int r = queue_sites(p->queue, site_row, &l);

	if (r < 0)
		return r;
	json_set_number(&reply->result, "sites", l.count);
	return add_held(p, reply);
}

static int order_site(const struct admin_parts *p, const json_t *request, struct admin_reply *reply, bool hold)
{
	const char *site = get_text(request, "site");
	int r;

	if (!site) {
		reply->error = "say which site: its key as `yizhan sites` shows it, or the domain of the recipients, with * and ?";
		return -EINVAL;
	}
	r = hold ? queue_hold_site(p->queue, site) : queue_release_site(p->queue, site);
	if (r == -EINVAL)
		reply->error = "that is no pattern of sites: it is empty, too long, or has spaces";
	else if (r == -EEXIST)
		reply->error = arena_printf(reply->arena, "\"%.200s\" is held already", site);
	else if (r == -ENOENT)
		reply->error = arena_printf(reply->arena, "\"%.200s\" is not held; `yizhan sites` shows what is", site);
	else if (r == -EBUSY)
		reply->error = "another order about sites is being carried out; try again";
	else if (r == -ENOSPC)
		reply->error = "too many sites are held one by one, or the disk is full; use a pattern";
	return r;
}

int command_sites_hold(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	return order_site(p, request, reply, true);
}

int command_sites_release(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	return order_site(p, request, reply, false);
}
