/* Looking at the queue from outside: the list, the sums, the sites. Nobody stops for it: a home is visited for a
 * few messages at a time, with a bookmark in its list. */
#include "queue/home.h"

#include <stdlib.h>

#include "queue/held.h"
#include "queue/ladder.h"
#include "queue/owner.h"

#define EXAMINE_MAX 2000u /* messages that one visit looks at */
#define ROWS_MAX 100u     /* and that it brings back */

/* One message as its home showed it: what stands in memory there. The asker's fiber adds what the envelope says. */
struct sight {
	struct queue_row row;
	struct queue_row_recipient *recipients;
	struct rested rested;
	bool strange;
	bool fits; /* it is to be shown */
};

/* The place in one home's list. */
struct cursor {
	struct queue *queue;
	struct home *home;
	const struct queue_filter *filter;
	struct entry bookmark;
	struct arena *arena; /* of the rows */
	struct sight sights[ROWS_MAX];
	unsigned n, next;
	bool begun, ended;
	int error;
};

/* --- what the home shows ---------------------------------------------------------------------- */

static bool is_held(struct cursor *c, const struct message *m, const struct recipient *r)
{
	return held_matches(c->queue->held, m->lot ? path_site(m->lot->path) : NULL,
			    r->domain ? slice_new(r->domain->text, r->domain->len) : SLICE_NULL);
}

static const char *waits_for(struct cursor *c, const struct message *m, const struct recipient *r, const struct job *j,
			     const struct path *p)
{
	char when[32];

	switch (r->state) {
	case STATE_HELD:
		return "somebody to release it";
	case STATE_POSTED:
		if (!p)
			return "the DNS";
		/* In a line: its owner knows more. */
		return atomic_load_explicit(&j->taken, memory_order_relaxed) ? "the end of its delivery" : NULL;
	case STATE_WAITING:
		if (r->flags & RECIPIENT_PARKED)
			return is_held(c, m, r) ? "somebody to release its site" : NULL; /* likewise */
		if (r->next <= now())
			return "the scheduler";
		wall_format_rfc3339((wall_t) r->next + queue_wall_offset(c->queue), when, sizeof(when));
		return arena_printf(c->arena, m->arrived > (int64_t) now() ? "its release at %s, as its sender wants"
									   : "its next try at %s", when);
	default:
		return NULL;
	}
}

static void fill_recipient(struct cursor *c, const struct message *m, unsigned i, struct queue_row_recipient *ret)
{
	const struct recipient *r = &m->recipients[i];
	const struct job *j = home_job_of(m, i);
	bool parked = r->flags & RECIPIENT_PARKED && m->lot;
	const struct path *p = j ? j->path : parked ? m->lot->path : NULL;
	char text[LAST_TEXT_MAX + 40];

	*ret = (struct queue_row_recipient) {
		.address = "?",
		.site = p ? arena_strdup(c->arena, path_site(p)) : NULL,
		.hop = p ? arena_strdup(c->arena, hop_describe(p->hop, text, sizeof(text))) : NULL,
		.waits_for = waits_for(c, m, r, j, p),
		.class = r->last ? r->last->class : CLASS_NONE,
		.attempts = r->attempts,
		.rung = r->rung,
	};
	if (r->last)
		ret->last_reply = arena_strdup(c->arena, last_reply_describe(r->last, text, sizeof(text)));
	switch (r->state) {
	case STATE_WAITING:
		ret->status = RECIPIENT_WAITING;
		ret->next = r->next > now() && !parked ? (wall_t) r->next + queue_wall_offset(c->queue) : 0;
		break;
	case STATE_POSTED:
		ret->status = j && atomic_load_explicit(&j->taken, memory_order_relaxed) ? RECIPIENT_ACTIVE
											 : RECIPIENT_WAITING;
		break;
	case STATE_HELD:
		ret->status = RECIPIENT_HELD;
		break;
	default:
		ret->status = RECIPIENT_DONE;
	}
}

static int look_at(struct cursor *c, const struct message *m, struct sight *ret)
{
	struct queue_row_recipient *recipients =
		arena_new_array(c->arena, struct queue_row_recipient, MAX(m->n_recipients, 1u));

	if (!recipients)
		return -ENOMEM;
	*ret = (struct sight) {
		.row = {
			.id = m->entry.id,
			.arrival = (wall_t) m->arrived + queue_wall_offset(c->queue),
			.size = m->size,
			.sender = "?",
			.n_recipients = m->n_recipients,
			.recipients = recipients,
		},
		.recipients = recipients,
		.strange = m->flags & MESSAGE_STRANGE,
	};
	for (unsigned i = 0; i < m->n_recipients; i++)
		fill_recipient(c, m, i, &recipients[i]);
	return rested_copy(m, c->filter, c->arena, &ret->rested);
}

/* --- visits ----------------------------------------------------------------------------------- */

static void refill(struct home *h, void *context)
{
	struct cursor *c = context;
	usec_t t = now();
	struct link *k;

	if (!c->begun)
		list_prepend(&h->messages, &c->bookmark.link);
	c->begun = true;
	c->n = c->next = 0;
	k = list_next(&h->messages, &c->bookmark.link);
	for (unsigned examined = 0; k && examined < EXAMINE_MAX && c->n < ROWS_MAX && c->error >= 0; examined++) {
		struct entry *entry = container_of(k, struct entry, link);
		struct message *m = container_of(entry, struct message, entry);

		if (entry->id != MSGID_NONE && home_may_match(h, m, c->filter, t)) {
			c->error = look_at(c, m, &c->sights[c->n]);
			c->n += c->error >= 0;
		}
		k = list_next(&h->messages, k);
	}
	c->ended = !k;
	link_remove(&c->bookmark.link);
	if (k)
		link_insert_between(&c->bookmark.link, k->prev, k);
}

static void put_away(struct home *h, void *context)
{
	struct cursor *c = context;

	link_remove(&c->bookmark.link);
}

/* --- what the envelope adds ------------------------------------------------------------------- */

/* The hop that a recipient would take by the routes, when it is on none. */
static const char *hop_by_route(struct cursor *c, const struct envelope *e, const struct queue_row_recipient *r)
{
	struct route_facts facts;
	struct address from, to;
	char text[LAST_TEXT_MAX];
	struct ladder l;

	if (address_parse(slice_from(r->address), ADDRESS_OF_ENVELOPE, &to) < 0)
		return NULL;
	route_facts_of(e, &from, &facts);
	if (route_find(c->queue->router, &to, &facts, c->arena, &l) < 0 || l.n_hops == 0)
		return NULL;
	return arena_strdup(c->arena, hop_describe(&l.hops[MIN(r->rung, l.n_hops - 1)], text, sizeof(text)));
}

static int tell_wishes(struct cursor *c, const struct envelope *e, const char **ret)
{
	_cleanup_buffer_ struct buffer text = { 0 };

	envelope_asks(e, &text);
	if (buffer_error(&text) < 0)
		return -ENOMEM;
	if (text.len > 0 && !(*ret = arena_slice(c->arena, buffer_slice(&text))))
		return -ENOMEM;
	return 0;
}

/* 0, or -ENOMEM. One that has gone meanwhile, or doesn't fit after all, isn't shown. */
static int complete(struct cursor *c, struct sight *s)
{
	struct envelope *e = arena_new_type(c->arena, struct envelope);
	int r;

	if (!e)
		return -ENOMEM;
	if (s->strange) {
		s->fits = !c->filter->sender && !c->filter->recipient;
		return 0;
	}
	r = rested_envelope(c->queue, &s->rested, c->arena, e);
	if (r < 0 || e->n_recipients != s->row.n_recipients)
		return r == -ENOMEM ? r : 0;
	s->fits = rested_fits(&s->rested, c->filter, e);
	s->row.sender = e->reverse_path;
	s->row.release = envelope_begin(e) > e->arrival && s->row.arrival > world_wall(c->queue->world) ? e->hold_until : 0;
	s->row.arrival = e->arrival;
	r = tell_wishes(c, e, &s->row.asks);
	if (r < 0)
		return r;
	for (unsigned i = 0; s->fits && i < s->row.n_recipients; i++) {
		struct queue_row_recipient *rc = &s->recipients[i];

		rc->address = e->recipients[i].address;
		if (!rc->hop && rc->status != RECIPIENT_DONE)
			rc->hop = hop_by_route(c, e, rc);
	}
	return 0;
}

/* What a recipient in a line waits for is known where the line is. */
static void explain_lines(struct home *h, void *context)
{
	struct cursor *c = context;
	usec_t t = now();

	for (unsigned i = 0; i < c->n; i++) {
		for (unsigned n = 0; n < c->sights[i].row.n_recipients; n++) {
			struct queue_row_recipient *r = &c->sights[i].recipients[n];
			const struct site *s;
			char when[32] = "";

			if (!r->site || r->waits_for || r->status != RECIPIENT_WAITING)
				continue;
			s = owner_find(h, r->site);
			if (!s)
				continue;
			if (s->mode == SITE_BACKOFF) {
				r->next = (wall_t) s->until + queue_wall_offset(c->queue);
				wall_format_rfc3339(r->next, when, sizeof(when));
			}
			r->waits_for = arena_printf(
				c->arena,
				"its turn at the site, which is %s%s%s%s%s (%u wait, %u of %u connections)",
				site_state(s, t), when[0] ? " until " : "", when, s->error ? ": " : "",
				s->error ? s->error : "", s->line.len, s->slots, s->window.size);
		}
	}
}

static void skip_unfit(struct cursor *c)
{
	while (c->next < c->n && !c->sights[c->next].fits)
		c->next++;
}

static int cursor_fill(struct cursor *c)
{
	while (c->next == c->n && !c->ended && c->error >= 0) {
		arena_reset(c->arena);
		home_visit(c->home, refill, c);
		for (unsigned i = 0; i < c->n && c->error >= 0; i++)
			c->error = complete(c, &c->sights[i]);
		skip_unfit(c);
		for (unsigned i = 0; c->next < c->n && i < c->queue->n_homes; i++)
			home_visit(&c->queue->homes[i], explain_lines, c);
	}
	return c->error;
}

/* The cursor with the oldest message in front. */
static struct cursor *oldest(struct cursor *cursors, unsigned n)
{
	struct cursor *best = NULL;

	for (unsigned i = 0; i < n; i++) {
		struct cursor *c = &cursors[i];

		if (c->next < c->n && (!best || c->sights[c->next].row.id < best->sights[best->next].row.id))
			best = c;
	}
	return best;
}

static int walk(struct cursor *cursors, unsigned n, unsigned limit,
		int (*each)(const struct queue_row *row, void *context), void *context)
{
	for (unsigned given = 0; limit == 0 || given < limit; given++) {
		struct cursor *c;
		int r;

		for (unsigned i = 0; i < n; i++) {
			r = cursor_fill(&cursors[i]);
			if (r < 0)
				return r;
		}
		c = oldest(cursors, n);
		if (!c)
			break;
		r = each(&c->sights[c->next++].row, context);
		skip_unfit(c);
		if (r != 0)
			return r;
	}
	return 0;
}

int queue_list(struct queue *q, const struct queue_filter *f,
	       int (*each)(const struct queue_row *row, void *context), void *context)
{
	struct cursor *cursors = calloc(q->n_homes, sizeof(*cursors));
	int r = cursors ? 0 : -ENOMEM;
	unsigned n = 0;

	for (; r >= 0 && n < q->n_homes; n++) {
		cursors[n].queue = q;
		cursors[n].home = &q->homes[n];
		cursors[n].filter = f;
		r = arena_new(0, &cursors[n].arena);
	}
	if (r >= 0)
		r = walk(cursors, n, f->limit, each, context);
	for (unsigned i = 0; i < n; i++) {
		if (cursors[i].begun && !cursors[i].ended)
			home_visit(cursors[i].home, put_away, &cursors[i]);
		arena_free(cursors[i].arena);
	}
	free(cursors);
	return r;
}

/* --- sums ------------------------------------------------------------------------------------- */

static void add_sums(struct home *h, void *context)
{
	struct queue_summary *s = context;

	s->messages += h->n_messages;
	s->recipients += h->n_recipients;
	s->bytes += h->bytes;
	s->active += h->n_taken;
	s->held += h->held;
	s->deferred += h->deferred;
	s->sites += h->n_sites;
	for (LIST_EACH(&h->messages, k)) {
		const struct entry *e = container_of(k, struct entry, link);
		wall_t arrival;

		if (e->id == MSGID_NONE)
			continue;
		arrival = (wall_t) container_of(e, struct message, entry)->arrived + queue_wall_offset(h->queue);
		if (arrival > world_wall(h->queue->world))
			continue; /* held for a later time */
		if (s->oldest == 0 || arrival < s->oldest)
			s->oldest = arrival;
		break; /* the list is in the order of arrival */
	}
}

int queue_summarize(struct queue *q, struct queue_summary *ret)
{
	struct queue_summary s = { 0 };

	for (unsigned i = 0; i < q->n_homes; i++)
		home_visit(&q->homes[i], add_sums, &s);
	*ret = s;
	return 0;
}

/* --- sites ------------------------------------------------------------------------------------ */

struct site_list {
	struct arena *arena;
	struct site_row *rows;
	uint64_t *hashes; /* of the keys */
	unsigned n;
	int error;
};

static void list_sites(struct home *h, void *context)
{
	struct site_list *l = context;
	usec_t t = now();

	l->n = 0;
	l->rows = arena_new_array(l->arena, struct site_row, MAX(h->n_sites, 1u));
	l->hashes = arena_new_array(l->arena, uint64_t, MAX(h->n_sites, 1u));
	if (!l->rows || !l->hashes) {
		l->error = -ENOMEM;
		return;
	}
	for (struct hash_node *n = hash_walk(&h->sites, NULL); n && l->n < h->n_sites; n = hash_walk(&h->sites, n)) {
		const struct site *s = container_of(n, struct site, node);

		l->hashes[l->n] = n->hash;
		l->rows[l->n++] = (struct site_row) {
			.key = arena_strdup(l->arena, path_site(s->path)),
			.state = site_state(s, t),
			.last_error = s->error ? arena_strdup(l->arena, s->error) : NULL,
			.window = s->window.size,
			.connections = s->slots,
			.waiting = s->line.len,
			.window_most = s->window.max,
			.provider = s->path->provider ? s->path->provider->name : NULL,
			.rate = shape_rate(s),
			.interval = s->shape ? s->shape->learned.pace.interval : 0,
			.usual = s->latency.n >= LATENCY_KNOWN ? latency_usual(&s->latency) : 0,
			.next = s->mode == SITE_BACKOFF ? (wall_t) s->until + queue_wall_offset(h->queue) : 0,
		};
		if (!l->rows[l->n - 1].key)
			l->error = -ENOMEM;
	}
}

/* What is parked at home waits for the site, too. */
static void count_parked(struct home *h, void *context)
{
	struct site_list *l = context;

	for (unsigned i = 0; i < l->n; i++)
		l->rows[i].waiting += lot_size(h, l->hashes[i], l->rows[i].key);
}

int queue_sites(struct queue *q, int (*each)(const struct site_row *row, void *context), void *context)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	int r = arena_new(4096, &a);

	for (unsigned i = 0; r == 0 && i < q->n_homes; i++) {
		struct site_list l = { .arena = a };

		home_visit(&q->homes[i], list_sites, &l);
		r = l.error;
		for (unsigned k = 0; r == 0 && k < q->n_homes; k++)
			home_visit(&q->homes[k], count_parked, &l);
		for (unsigned n = 0; r == 0 && n < l.n; n++)
			r = each(&l.rows[n], context);
		arena_reset(a);
	}
	return r;
}
