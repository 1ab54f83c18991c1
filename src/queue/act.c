/* Steering the queue: what administrators order is done by the home of each message, some at a time. */
#include "queue/home.h"

#include <stdlib.h>

#include "queue/owner.h"

#define EXAMINE_MAX 2000u  /* messages that one visit looks at */
#define CANDIDATES_MAX 64u /* and that it picks out */

/* A message that may be meant. It stays where it is while its envelope is read. */
struct candidate {
	struct message *message;
	struct rested rested;
	char *packed; /* as read from the spool */
	size_t len;
	bool meant;
};

struct orders {
	struct queue *queue;
	enum queue_action action;
	const struct queue_filter *filter;
	struct entry bookmark;
	struct arena *arena;
	struct candidate candidates[CANDIDATES_MAX];
	unsigned n;
	bool begun, ended;
	unsigned left; /* of the filter's limit */
	unsigned done;
	int error;
	struct path *kicked; /* the last one, not to be kicked again and again; a reference, so that no other is at its place */
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

static void kick(struct home *h, struct path *p, struct orders *o)
{
	struct kick *k;

	if (p == o->kicked)
		return;
	path_unref(o->kicked);
	o->kicked = path_ref(p);
	k = calloc(1, sizeof(*k));
	if (!k)
		return; /* then it is tried when its time has come */
	k->post.run = kick_run;
	k->owner = &h->queue->homes[p->owner];
	k->path = path_ref(p);
	loop_post(k->owner->loop, &k->post);
}

/* Its sender wants it to be kept until some time (RFC 4865). */
static bool is_kept(const struct message *m)
{
	return m->arrived > 0 && (usec_t) m->arrived > now();
}

static void retry_now(struct home *h, struct message *m, struct orders *o)
{
	if (is_kept(m))
		return; /* that is no failure to be tried again; `release` lets it go */
	m->flags &= (uint16_t) ~MESSAGE_REPORT_LATER;
	for (unsigned i = 0; i < m->n_recipients; i++)
		if (m->recipients[i].state == STATE_WAITING)
			m->recipients[i].next = 0;
	for (const struct job *j = m->jobs; j; j = j->next)
		if (j->path)
			kick(h, j->path, o);
	if (!m->lot)
		return;
	kick(h, m->lot->path, o);
	lot_leave(m, 0);
}

static void release(struct home *h, struct message *m)
{
	bool kept = is_kept(m), some = false;

	m->flags &= (uint16_t) ~MESSAGE_HOLD;
	if (kept)
		m->arrived = (int64_t) now();
	for (unsigned i = 0; i < m->n_recipients; i++) {
		struct recipient *r = &m->recipients[i];

		if (kept && r->state == STATE_WAITING) {
			r->flags |= RECIPIENT_RELEASED; /* with this the note keeps that its time is now */
			r->next = 0;
			some = true;
		}
		if (r->state != STATE_HELD)
			continue;
		r->flags |= RECIPIENT_RELEASED;
		r->next = 0;
		home_set_state(h, m, i, STATE_WAITING);
		some = true;
	}
	if (!some)
		return;
	m->flags &= (uint16_t) ~MESSAGE_WARNED;
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
		m->flags &= (uint16_t) ~MESSAGE_STRANGE;
		break;
	}
	home_settle(h, m, NULL); /* it may be gone now */
}

/* Once round: picks out who may be meant, from where the bookmark is. */
static void pick_some(struct home *h, void *context)
{
	struct orders *o = context;
	usec_t t = now();
	struct link *k;

	if (!o->begun)
		list_prepend(&h->messages, &o->bookmark.link);
	o->begun = true;
	o->n = 0;
	k = list_next(&h->messages, &o->bookmark.link);
	for (unsigned examined = 0; k && examined < EXAMINE_MAX && o->n < MIN(CANDIDATES_MAX, o->left); examined++) {
		struct entry *entry = container_of(k, struct entry, link);
		struct message *m = container_of(entry, struct message, entry);
		struct candidate *c = &o->candidates[o->n];

		k = list_next(&h->messages, k);
		if (entry->id == MSGID_NONE || m->users == UINT16_MAX || !home_may_match(h, m, o->filter, t))
			continue;
		*c = (struct candidate) { .message = m };
		if (rested_copy(m, o->filter, o->arena, &c->rested) < 0) {
			o->error = -ENOMEM;
			k = NULL;
			break;
		}
		m->users++;
		o->n++;
	}
	o->ended = !k || o->left == 0;
	link_remove(&o->bookmark.link);
	if (!o->ended)
		link_insert_between(&o->bookmark.link, k->prev, k);
}

/* In the fiber of who gave the orders: reads what has to be read. */
static void find_meant(struct orders *o, struct candidate *c)
{
	bool patterns = o->filter->sender || o->filter->recipient || c->rested.ask_site;
	struct slice packed = c->rested.packed;
	struct envelope e;
	int r = 0;

	if (!packed.data)
		r = spool_envelope(o->queue->spool, c->rested.id, &c->packed, &c->len);
	if (c->packed)
		packed = slice_new(c->packed, c->len);
	/* Without a pattern an envelope that can't be read is no reason to keep the message. */
	c->meant = !patterns || (r >= 0 && envelope_unpack(packed, o->arena, &e) >= 0 && rested_fits(&c->rested, o->filter, &e));
}

static void act_on_some(struct home *h, void *context)
{
	struct orders *o = context;

	for (unsigned i = 0; i < o->n; i++) {
		struct candidate *c = &o->candidates[i];
		struct message *m = c->message;

		m->users--;
		if (c->meant && c->packed && !m->packed)
			message_keep_envelope(m, TAKE_PTR(c->packed), c->len);
		free(c->packed);
		if (c->meant) {
			o->left--;
			o->done++;
			act(h, m, o);
		} else if (message_is_over(m))
			home_settle(h, m, NULL); /* we kept it from ending */
		else if (message_rests(m))
			message_forget_envelope(m);
	}
	o->n = 0;
}

int queue_act(struct queue *q, enum queue_action action, const struct queue_filter *f, unsigned *ret_messages)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	struct orders *o = NULL;
	unsigned done = 0;
	int r = arena_new(4096, &a);

	if (r >= 0)
		o = malloc(sizeof(*o));
	if (!o)
		return -ENOMEM;
	for (unsigned i = 0; i < q->n_homes && r >= 0; i++) {
		*o = (struct orders) { .queue = q, .action = action, .filter = f, .arena = a,
				       .left = f->limit ? f->limit - done : UINT32_MAX };
		while (!o->ended) {
			home_visit(&q->homes[i], pick_some, o);
			for (unsigned n = 0; n < o->n; n++)
				find_meant(o, &o->candidates[n]);
			if (o->n > 0)
				home_visit(&q->homes[i], act_on_some, o);
			arena_reset(a);
			fiber_yield();
		}
		path_unref(o->kicked);
		done += o->done;
		r = o->error;
	}
	free(o);
	*ret_messages = done;
	return r;
}
