#include "queue/home.h"

#include <stdio.h>

#include "queue/deadline.h"
#include "queue/ladder.h"
#include "queue/owner.h"

#define PASSES_MAX 32u  /* rungs that fail at once, before anything was tried */
#define SHORT_WAIT (30 * USEC_SEC)

static const struct hop direct_hop = { .kind = HOP_MX };

/* The jobs that are being filled in one settling. */
struct batch {
	struct view *view;
	struct job *jobs; /* by next */
	uint64_t number;
	bool again;       /* some recipient failed at once and has another rung */
};

int home_ladder(struct view *v, unsigned recipient, struct ladder *ret, struct address *ret_to)
{
	const struct envelope *e = view_envelope(v);
	struct route_facts facts;
	struct address from, to;
	struct ladder l;
	int r;

	if (!e)
		return -ENOMEM;
	if (address_parse(slice_from(e->recipients[recipient].address), ADDRESS_OF_ENVELOPE, &to) < 0)
		return -EINVAL;
	route_facts_of(e, &from, &facts);
	r = route_find(v->home->queue->router, &to, &facts, v->home->scratch, &l);
	if (r < 0)
		return r;
	if (e->reverse_path[0] == '\0')
		l.deadline = 0; /* what tells a sender of the end of another message is of use later, too */
	*ret = l;
	*ret_to = to;
	return 0;
}

usec_t home_deadline(const struct view *v, const struct ladder *l)
{
	const struct message *m = v->message;
	const struct promise *p = promise_of(v->home, m);
	usec_t deadline = l->deadline > 0 ? l->deadline : DEADLINE_NEVER;

	if (p && p->mode == 'R' && (int64_t) p->by > m->arrived)
		deadline = MIN(deadline, (usec_t) ((int64_t) p->by - m->arrived));
	return deadline < DEADLINE_NEVER ? deadline : 0;
}

/* Whoever is late for a route's deadline goes back to its sender. True: done. */
static bool too_late(struct view *v, unsigned i, const struct ladder *l)
{
	struct recipient *r = &v->message->recipients[i];

	if (l->deadline == 0 || message_age(v->message, v->now) < l->deadline)
		return false;
	r->flags |= RECIPIENT_EXPIRED;
	(void) home_give_up(v, i, "its route's deadline has passed");
	return true;
}

/* Who has a deadline is looked at when the share of its rung is over. Without memory it only begins again later. */
static void remember_deadline(struct view *v, const struct ladder *l, unsigned rung)
{
	usec_t deadline = home_deadline(v, l);

	if (deadline > 0)
		(void) promise_look(v->home, v->message, message_time(v->message, deadline_share(l, deadline, rung)));
}

/* Only forward, and never into a rung that the configuration doesn't have any more. */
static unsigned rung_by_deadline(const struct view *v, const struct ladder *l, usec_t age)
{
	usec_t deadline = home_deadline(v, l);

	return deadline > 0 ? deadline_rung(l, deadline, age) : 0;
}

/* The rung for a round that goes on, or begins. */
static unsigned pick_rung(const struct view *v, const struct recipient *r, const struct ladder *l)
{
	usec_t age = message_age(v->message, v->now);
	unsigned rung = MAX((unsigned) r->rung, ladder_start(l, age));

	rung = MAX(rung, rung_by_deadline(v, l, age));

	return rung < l->n_hops ? rung : 0; /* the configuration may have changed */
}

/* What an administrator released goes on behind the hold, and where there is nothing behind it, as if the route
 * had said nothing. */
static const struct hop *hop_behind_hold(const struct ladder *l, unsigned *rung)
{
	while (*rung < l->n_hops && l->hops[*rung].kind == HOP_HOLD)
		(*rung)++;
	return *rung < l->n_hops ? &l->hops[*rung] : &direct_hop;
}

static void tell_routed(struct view *v, unsigned i, const struct ladder *l, unsigned rung, const struct path *p)
{
	const struct event_sink *sink = v->home->queue->events;
	char ladder[400] = "", hop[200], when[100];
	size_t used = 0;

	if (!sink || v->message->recipients[i].attempts > 0 || v->message->recipients[i].untried > 0)
		return;
	for (unsigned n = 0; n < l->n_hops && used < sizeof(ladder); n++) {
		bool conditional = l->hops[n].when != 0;
		int len = snprintf(ladder + used, sizeof(ladder) - used, "%s%s%s%s%s", n > 0 ? ", " : "",
				   hop_describe(&l->hops[n], hop, sizeof(hop)), conditional ? " when [" : "",
				   conditional ? hop_when_describe(&l->hops[n], when, sizeof(when)) : "",
				   conditional ? "]" : "");

		if (len < 0)
			break;
		used += (size_t) len;
	}
	EVENT(sink, v->message->entry.id, EVENT_ROUTED, F_STR("to", v->envelope->recipients[i].address),
	      F_STR("rule", l->rule), F_STR("ladder", ladder), F_UINT("rung", rung),
	      F_STR("hop", rung < l->n_hops ? hop_describe(&l->hops[rung], hop, sizeof(hop)) : "mx"),
	      F_STR("site", path_site(p)));
}

void home_tell_routed(struct home *h, struct job *j)
{
	struct view v = { .home = h, .message = j->message, .now = now() };
	struct address to;
	struct ladder l;

	for (uint32_t n = 0; n < j->n && h->queue->events; n++)
		if (home_ladder(&v, j->recipients[n], &l, &to) >= 0)
			tell_routed(&v, j->recipients[n], &l, j->message->recipients[j->recipients[n]].rung, j->path);
	arena_reset(h->scratch);
}

/* --- filling jobs ----------------------------------------------------------------------------- */

/* The job of this batch for this destination, or one that goes to the same site. NULL: none has room. */
static struct job *find_open(const struct batch *b, const struct destination *d, unsigned escapes)
{
	unsigned looked = 0;

	/* A job escapes as a whole, so all of its recipients must be able to. */
	if (d->batch == b->number && d->open->n < d->open->capacity && d->open->escapes == escapes)
		return d->open;
	if (!d->path)
		return NULL;
	for (struct job *j = b->jobs; j && looked < 32; j = j->next, looked++)
		if (j->path && j->n < j->capacity && j->escapes == escapes && j->path->hash == d->path->hash &&
		    strcmp(path_site(j->path), path_site(d->path)) == 0)
			return j;
	return NULL;
}

/* Who goes first (RFC 6710 section 4; deadline.h). */
static int priority_of(const struct view *v, const struct ladder *l, const struct envelope *e)
{
	usec_t deadline = home_deadline(v, l), age = message_age(v->message, v->now);
	const struct promise *p = promise_of(v->home, v->message);

	if (deadline > 0 && age < deadline && deadline - age <= DEADLINE_URGENT)
		return DEADLINE_PRIORITY;
	if (p && v->now < p->by && p->by - v->now <= DEADLINE_URGENT)
		return DEADLINE_PRIORITY;
	return e ? e->priority : 0;
}

static const char *tenant_of(const struct envelope *e, const char *header)
{
	for (unsigned i = 0; e && header && i < e->n_headers; i++)
		if (slice_ieq_str(slice_from(e->headers[i].name), header))
			return e->headers[i].value;
	return NULL;
}

/* Whose turn it is when this job goes (queue.turns). */
static uint32_t turn_of(const struct view *v, const struct envelope *e)
{
	struct queue *q = v->home->queue;
	const struct queue_config *c = queue_configuration(q);
	const struct message *m = v->message;
	const char *tenant;

	switch ((enum queue_turns) c->turns) {
	case TURNS_HEADER:
		tenant = tenant_of(e, c->tenant_header);
		return tenant ? (uint32_t) hash_bytes(&q->key, tenant, strlen(tenant)) : m->sender;
	case TURNS_SENDER_DOMAIN:
		return m->sender_domain ? (uint32_t) m->sender_domain->node.hash : m->sender;
	case TURNS_USER:
		return e && e->user ? (uint32_t) hash_bytes(&q->key, e->user, strlen(e->user)) : m->sender;
	default:
		return m->sender;
	}
}

static int add_to_job(struct batch *b, struct destination *d, unsigned i, const struct ladder *l, unsigned escapes)
{
	struct view *v = b->view;
	struct recipient *r = &v->message->recipients[i];
	const struct envelope *envelope = view_envelope(v);
	struct job *j = find_open(b, d, escapes);

	if (!j) {
		assert(v->message->packed);
		j = job_new(v->home, v->message, MIN(shape_recipients(v->home->queue, d->path), v->message->n_recipients));
		if (!j)
			return -ENOMEM;
		if (d->path)
			j->path = path_ref(d->path);
		else
			j->destination = d;
		j->escapes = (uint8_t) escapes;
		j->turn = turn_of(v, envelope);
		j->priority = INT8_MIN;
		j->next = b->jobs;
		b->jobs = j;
	}
	j->priority = (int8_t) MAX((int) j->priority, priority_of(v, l, envelope));
	d->open = j;
	d->batch = b->number;
	if (r->attempts > j->attempts)
		j->attempts = (uint16_t) r->attempts;
	j->recipients[j->n++] = i;
	home_set_state(v->home, v->message, i, STATE_POSTED);
	return 0;
}

/* The hop leads somewhere: finds the destination and puts the recipient into a job, or fails it. */
static int go(struct batch *b, unsigned i, const struct ladder *l, unsigned rung, const struct hop *hop,
	      const struct address *to)
{
	struct view *v = b->view;
	struct destination *d = NULL;
	struct outcome o;
	int r;

	r = destination_find(v->home, hop, to->domain, &d);
	if (r < 0)
		return r;
	if (d->path || d->resolving) {
		r = add_to_job(b, d, i, l, ladder_escapes(l, rung));
		if (r >= 0 && d->path)
			tell_routed(v, i, l, rung, d->path);
		return r;
	}
	destination_outcome(d->status, d->why, &o);
	home_set_state(v->home, v->message, i, STATE_POSTED);
	home_apply(v, i, &o, hop);
	if (v->message->recipients[i].state == STATE_WAITING && v->message->recipients[i].next <= v->now)
		b->again = true;
	return 0;
}

static void reject_recipient(struct view *v, unsigned i, const struct hop *hop)
{
	struct outcome o = { .kind = OUTCOME_FAILED,
			     .stage = STAGE_LOCAL,
			     .class = CLASS_POLICY,
			     .reply = { 550,
					{ 5, 7, 1 },
					hop->text ? hop->text
						  : "A route of this server refuses mail to this address" } };

	home_set_state(v->home, v->message, i, STATE_POSTED);
	home_apply(v, i, &o, hop);
}

static void bad_address(struct view *v, unsigned i)
{
	struct outcome o = { .kind = OUTCOME_FAILED, .stage = STAGE_LOCAL, .class = CLASS_OTHER,
			     .reply = { 550, { 5, 1, 3 }, "This is not a mail address" } };

	home_set_state(v->home, v->message, i, STATE_POSTED);
	home_apply(v, i, &o, NULL);
}

/* Remembers when the next rung opens by delay alone. */
static void note_delay(struct message *m, const struct ladder *l, unsigned rung)
{
	usec_t ms = ladder_delay(l, rung) / USEC_MS;

	if (ms == 0 && ladder_delay(l, rung) > 0)
		ms = 1;
	if (ms > 0 && ms <= UINT32_MAX && (m->delayed_ms == 0 || ms < m->delayed_ms))
		m->delayed_ms = (uint32_t) ms;
}

static int route_recipient(struct batch *b, unsigned i)
{
	struct view *v = b->view;
	struct recipient *rc = &v->message->recipients[i];
	const struct hop *hop;
	struct address to;
	struct ladder l;
	unsigned rung;
	int r = home_ladder(v, i, &l, &to);

	if (r == -EINVAL) {
		bad_address(v, i);
		return 0;
	}
	if (r < 0)
		return r;
	if (too_late(v, i, &l))
		return 0;
	rung = pick_rung(v, rc, &l);
	if (rung > rc->rung && rung == rung_by_deadline(v, &l, message_age(v->message, v->now)))
		home_tell_stepped(v, i, &l, rung, "deadline", "this rung's share of the time is over");
	hop = &l.hops[rung];
	if (hop->kind == HOP_HOLD && (rc->flags & RECIPIENT_RELEASED))
		hop = hop_behind_hold(&l, &rung);
	rc->rung = MIN(rung, 255u);
	note_delay(v->message, &l, rung);
	remember_deadline(v, &l, rung);
	if ((view_envelope(v)->flags & ENVELOPE_HOLD) && !(rc->flags & RECIPIENT_RELEASED)) {
		home_hold(v, i, "a rule of the gate");
		return 0;
	}
	switch (hop->kind) {
	case HOP_HOLD:
		home_hold(v, i, l.rule);
		return 0;
	case HOP_DISCARD:
		home_drop(v, i, l.rule);
		return 0;
	case HOP_REJECT:
		reject_recipient(v, i, hop);
		return 0;
	default:
		return go(b, i, &l, rung, hop, &to);
	}
}

/* --- sending them off ------------------------------------------------------------------------- */

static void send_off(struct batch *b)
{
	struct view *v = b->view;

	while (b->jobs) {
		struct job *j = b->jobs;

		b->jobs = j->next;
		j = job_shrink(j);
		j->next = v->message->jobs;
		v->message->jobs = j;
		if (j->path)
			owner_send(v->home, j);
		else
			destination_wait(j->destination, j);
	}
}

/* After a restart those that wait for a later time are not routed now, but a rung of theirs may open before. */
static void note_delays(struct view *v)
{
	struct message *m = v->message;

	m->flags &= (uint16_t) ~MESSAGE_RECOVERED;
	if (!route_has_delays(v->home->queue->router))
		return;
	for (unsigned i = 0; i < m->n_recipients; i++) {
		struct address to;
		struct ladder l;

		if (m->recipients[i].state != STATE_WAITING || m->recipients[i].next <= v->now ||
		    home_ladder(v, i, &l, &to) < 0)
			continue;
		note_delay(m, &l, ladder_start(&l, message_age(m, v->now)));
		remember_deadline(v, &l, pick_rung(v, &m->recipients[i], &l));
	}
}

void home_schedule(struct view *v)
{
	struct message *m = v->message;
	struct batch b = { .view = v, .number = ++v->home->batch };
	unsigned passes = 0;

	if (m->flags & MESSAGE_RECOVERED)
		note_delays(v);
	do {
		b.again = false;
		for (unsigned i = 0; i < m->n_recipients; i++) {
			struct recipient *r = &m->recipients[i];

			if (r->state != STATE_WAITING || r->next > v->now)
				continue;
			if (route_recipient(&b, i) < 0 && r->state == STATE_WAITING)
				r->next = deadline_after(v->now, SHORT_WAIT);
		}
	} while (b.again && ++passes < PASSES_MAX);
	send_off(&b);
}

void home_recall(struct home *h, struct message *m)
{
	if (h->stopping)
		return;
	for (struct job *j = m->jobs, *next; j; j = next) {
		next = j->next;
		if (j->path) {
			owner_recall(j);
			continue;
		}
		/* It waits for a destination here. */
		if (j->recalling || !link_linked(&j->line.link))
			continue;
		link_remove(&j->line.link);
		job_return(j, JOB_RECALLED, CLASS_NONE, "The DNS has not answered yet");
	}
}
