/* Steering the queue: what administrators order is done by the home of each message, some at a time. */
#include "queue/home.h"

#include <stdlib.h>

#include "queue/owner.h"

#define EXAMINE_MAX 500u

struct orders {
	enum queue_action action;
	const struct queue_filter *filter;
	struct entry bookmark;
	bool begun, ended;
	unsigned left; /* of the filter's limit */
	unsigned done;
	const struct path *kicked; /* the last one, not to be kicked again and again */
};

/* A site is to be tried now, on its owner's loop. */
struct kick {
	struct post post;
	struct home *owner;
	struct path *path;
};

static void kick_run(struct post *p)
{
	struct kick *k = container_of(p, struct kick, post);

	owner_kick(k->owner, path_site(k->path));
	path_unref(k->path);
	free(k);
}

static void kick(struct home *h, struct path *p)
{
	struct kick *k = calloc(1, sizeof(*k));

	if (!k)
		return; /* then it is tried when its time has come */
	k->post.run = kick_run;
	k->owner = &h->queue->homes[p->owner];
	k->path = path_ref(p);
	loop_post(k->owner->loop, &k->post);
}

static void retry_now(struct home *h, struct message *m, struct orders *o)
{
	m->flags &= ~(uint32_t) MESSAGE_REPORT_LATER;
	for (unsigned i = 0; i < m->n_recipients; i++)
		if (m->recipients[i].state == STATE_WAITING)
			m->recipients[i].next = 0;
	for (const struct job *j = m->jobs; j; j = j->next) {
		if (!j->path || j->path == o->kicked)
			continue;
		o->kicked = j->path;
		kick(h, j->path);
	}
}

static void release(struct home *h, struct message *m)
{
	bool some = false;

	m->flags &= ~(uint32_t) MESSAGE_HOLD;
	for (unsigned i = 0; i < m->n_recipients; i++) {
		struct recipient *r = &m->recipients[i];

		if (r->state != STATE_HELD)
			continue;
		r->flags |= RECIPIENT_RELEASED;
		r->next = 0;
		home_set_state(h, m, i, STATE_WAITING);
		some = true;
	}
	if (!some)
		return;
	m->flags &= ~(uint32_t) MESSAGE_WARNED;
	home_changed(m);
	EVENT(h->queue->events, m->entry.id, EVENT_RELEASED, F_STR("reason", "released by an administrator"));
}

static void act(struct home *h, struct message *m, struct orders *o)
{
	switch (o->action) {
	case QUEUE_RETRY:
		retry_now(h, m, o);
		break;
	case QUEUE_HOLD:
		m->flags |= MESSAGE_HOLD;
		break;
	case QUEUE_RELEASE:
		release(h, m);
		break;
	case QUEUE_BOUNCE:
		m->flags |= MESSAGE_RETURN;
		break;
	case QUEUE_REMOVE:
		m->flags |= MESSAGE_REMOVE;
		m->flags &= ~(uint32_t) MESSAGE_STRANGE;
		break;
	}
	home_settle(h, m, NULL); /* it may be gone now */
}

static void act_on_some(struct home *h, void *context)
{
	struct orders *o = context;
	usec_t t = now();

	if (!o->begun)
		list_prepend(&h->messages, &o->bookmark.link);
	o->begun = true;
	for (unsigned examined = 0; examined < EXAMINE_MAX; examined++) {
		struct link *k = list_next(&h->messages, &o->bookmark.link);
		struct entry *entry;
		struct message *m;

		if (!k || o->left == 0) {
			link_remove(&o->bookmark.link);
			o->ended = true;
			return;
		}
		entry = container_of(k, struct entry, link);
		m = container_of(entry, struct message, entry);
		/* The bookmark goes behind the message before anything happens to it. */
		link_remove(&o->bookmark.link);
		link_insert_between(&o->bookmark.link, k, k->next);
		if (entry->id == MSGID_NONE || !home_matches(h, m, o->filter, t))
			continue;
		o->left--;
		o->done++;
		act(h, m, o);
	}
}

int queue_act(struct queue *q, enum queue_action action, const struct queue_filter *f, unsigned *ret_messages)
{
	unsigned done = 0;

	for (unsigned i = 0; i < q->n_homes; i++) {
		struct orders o = { .action = action, .filter = f, .left = f->limit ? f->limit - done : UINT32_MAX };

		while (!o.ended) {
			home_visit(&q->homes[i], act_on_some, &o);
			fiber_yield();
		}
		done += o.done;
	}
	*ret_messages = done;
	return 0;
}
