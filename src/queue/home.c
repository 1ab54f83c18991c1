#include "queue/home.h"

#include <stdlib.h>

#include "queue/deadline.h"
#include "queue/ladder.h"
#include "queue/note.h"
#include "queue/owner.h"

#define DUE_BATCH 64u                     /* messages between two looks at the other fibers */
#define LARGE_MESSAGE 32u                 /* recipients: its notes are gathered */
#define NOTE_DELAY (100 * USEC_MS)
#define SWEEP_INTERVAL (60 * USEC_SEC)
#define REPORT_LATER USEC_MIN
#define SHORT_OF_MEMORY (10 * USEC_SEC)

int home_init(struct home *h, struct queue *q, struct loop *loop, unsigned index)
{
	*h = (struct home) { .queue = q, .loop = loop, .index = index, .ids = { .maker = index }, .note_at = DEADLINE_NEVER };
	list_init(&h->messages);
	pool_init(&h->singles, MESSAGE_SINGLE);
	list_init(&h->reports);
	list_init(&h->unnoted);
	list_init(&h->unresolved);
	list_init(&h->starved);
	list_init(&h->turns);
	list_init(&h->providers);
	list_init(&h->idle);
	list_init(&h->memories_by_use);
	h->save_at = DEADLINE_NEVER;
	list_init(&h->slots);
	list_init(&h->called);
	cond_init(&h->quiet);
	fiber_group_init(&h->helpers);
	return arena_new(4096, &h->scratch);
}

static void free_jobs(struct message *m)
{
	for (struct job *j = m->jobs, *next; j; j = next) {
		next = j->next;
		job_free(j);
	}
	m->jobs = NULL;
}

void home_done(struct home *h)
{
	struct link *k;

	destination_free_all(h);
	owner_free_all(h);
	heap_done(&h->due);
	while ((k = list_pop(&h->messages))) {
		struct message *m = container_of(k, struct message, entry.link);

		free_jobs(m);
		promise_forget(h, m);
		message_free(m);
	}
	pool_done(&h->singles);
	lots_free_all(h);
	hash_done(&h->names);
	hash_done(&h->replies);
	while (h->n_spare > 0)
		arena_free(h->spare[--h->n_spare]);
	arena_free(h->scratch);
}

struct arena *home_arena(struct home *h)
{
	struct arena *a = NULL;

	if (h->n_spare > 0)
		return h->spare[--h->n_spare];
	return arena_new(2048, &a) < 0 ? NULL : a;
}

void home_arena_put(struct home *h, struct arena *a)
{
	if (h->n_spare == SPARE_ARENAS) {
		arena_free(a);
		return;
	}
	arena_reset(a);
	h->spare[h->n_spare++] = a;
}

void home_due(struct home *h, usec_t at)
{
	if (at >= h->keeper_until)
		return; /* it wakes up earlier, or is awake and will look */
	h->keeper_until = 0;
	if (h->keeper)
		fiber_wake(h->keeper);
}

/* --- the books -------------------------------------------------------------------------------- */

void home_set_state(struct home *h, struct message *m, unsigned recipient, enum recipient_state state)
{
	struct recipient *r = &m->recipients[recipient];

	if (r->state == (unsigned) state)
		return;
	r->flags &= RECIPIENT_FLAGS; /* not parked any more */
	if (r->state == STATE_HELD)
		h->held--;
	else if (r->state == STATE_WAITING && r->attempts > 0)
		h->deferred--;
	if (state == STATE_HELD)
		h->held++;
	else if (state == STATE_WAITING && r->attempts > 0)
		h->deferred++;
	if (state == STATE_DONE) {
		m->open--;
		h->n_recipients--;
	}
	r->state = (unsigned) state;
}

void home_set_last(struct home *h, struct recipient *r, const struct outcome *o)
{
	struct last_reply *l = last_reply_share(&h->replies, &h->queue->key, last_reply_new(o));

	recipient_set_last(r, l, world_wall(h->queue->world));
}

void home_add(struct home *h, struct message *m)
{
	list_append(&h->messages, &m->entry.link);
	h->n_messages++;
	h->n_recipients += m->open;
	h->bytes += m->size;
	for (unsigned i = 0; i < m->n_recipients; i++) {
		const struct recipient *r = &m->recipients[i];

		h->held += r->state == STATE_HELD;
		h->deferred += r->state == STATE_WAITING && r->attempts > 0;
	}
}

/* False: not even that can be remembered. */
static bool settle_again(struct home *h, struct message *m, usec_t at)
{
	if (heap_node_linked(&m->due))
		heap_update(&h->due, &m->due, at);
	else if (heap_insert(&h->due, &m->due, at) < 0)
		return false;
	home_due(h, at);
	return true;
}

static void remove_message(struct home *h, struct message *m)
{
	int r = spool_remove(h->queue->spool, m->entry.id);

	if (r == -ENOMEM && !h->stopping && settle_again(h, m, deadline_after(now(), SHORT_OF_MEMORY)))
		return; /* it is finished all the same, and taken out then */
	if (r < 0)
		LOG(h->queue->log, LOG_ERROR,
		    "A finished message could not be taken out of the spool; after a restart it is sent again",
		    F_ID("id", m->entry.id), F_ERRNO("error", r));
	EVENT(h->queue->events, m->entry.id, EVENT_DONE);
	heap_remove(&h->due, &m->due);
	link_remove(&m->entry.link);
	lot_leave(m, 0);
	link_remove(&m->work);
	h->n_messages--;
	h->bytes -= m->size;
	promise_forget(h, m);
	message_free(m);
}

/* --- notes ------------------------------------------------------------------------------------ */

static void write_note(struct home *h, struct message *m)
{
	char room[128];
	_cleanup_buffer_ struct buffer note = buffer_in(room, sizeof(room));
	int r;

	m->flags &= (uint16_t) ~MESSAGE_DIRTY;
	note_encode(m->recipients, m->n_recipients, queue_wall_offset(h->queue), &note);
	r = buffer_error(&note);
	if (r >= 0)
		r = spool_note(h->queue->spool, m->entry.id, buffer_slice(&note));
	if (r == -ENOMEM && !h->stopping)
		m->flags |= MESSAGE_DIRTY; /* home_settle tries again */
	else if (r < 0)
		LOG(h->queue->log, LOG_ERROR,
		    "The state of a message could not be noted; after a restart it may be sent again",
		    F_ID("id", m->entry.id), F_ERRNO("error", r));
}

/* The note of a message with many recipients is long, and changes with each of them: it waits for more. Not so
 * when a notification is to be written, because nothing may depend on what is not noted. */
static void note(struct home *h, struct message *m, bool at_once)
{
	if (!(m->flags & MESSAGE_DIRTY))
		return;
	if (at_once || m->n_recipients < LARGE_MESSAGE || (m->flags & MESSAGE_REPORTING)) {
		if (m->flags & MESSAGE_UNNOTED)
			link_remove(&m->work);
		m->flags &= (uint16_t) ~MESSAGE_UNNOTED;
		write_note(h, m);
		return;
	}
	if (m->flags & MESSAGE_UNNOTED)
		return;
	if (list_empty(&h->unnoted)) {
		h->note_at = deadline_after(now(), NOTE_DELAY);
		home_due(h, h->note_at);
	}
	lot_leave(m, deadline_after(now(), PARKED_BESIDE));
	m->flags |= MESSAGE_UNNOTED;
	list_append(&h->unnoted, &m->work);
}

void home_write_notes(struct home *h)
{
	struct link *k;

	h->note_at = DEADLINE_NEVER;
	while ((k = list_pop(&h->unnoted))) {
		struct message *m = container_of(k, struct message, work);

		m->flags &= (uint16_t) ~MESSAGE_UNNOTED;
		write_note(h, m);
		if (m->flags & MESSAGE_DIRTY)
			(void) settle_again(h, m, deadline_after(now(), SHORT_OF_MEMORY));
	}
}

/* --- envelopes -------------------------------------------------------------------------------- */

int home_load(struct home *h, struct message *m)
{
	char *packed = NULL;
	size_t len = 0;
	int r;

	if (m->packed)
		return 0;
	m->users++;
	r = spool_envelope(h->queue->spool, m->entry.id, &packed, &len);
	m->users--;
	if (r < 0)
		return r;
	if (m->packed)
		free(packed); /* somebody else was faster */
	else
		message_keep_envelope(m, packed, len);
	return 0;
}

const struct envelope *view_envelope(struct view *v)
{
	const struct message *m = v->message;

	if (v->envelope)
		return v->envelope;
	if (!m->packed)
		return NULL;
	if (envelope_unpack(slice_new(m->packed, m->packed_len), v->home->scratch, &v->unpacked) < 0 ||
	    v->unpacked.n_recipients != m->n_recipients)
		return NULL;
	v->envelope = &v->unpacked;
	return v->envelope;
}

/* --- settling --------------------------------------------------------------------------------- */

static bool wants_delay_report(struct view *v, unsigned i)
{
	const struct envelope *e;

	if (v->message->flags & MESSAGE_NULL_SENDER)
		return false;
	e = view_envelope(v);
	return e && home_may_tell(v->home, e, e->recipients[i].notify, NOTIFY_DELAY);
}

/* The sender is told once that it takes long (RFC 5321 section 4.5.4.1 leaves that to us, RFC 3461 section 4.1 to
 * the sender). Returns whether a posted recipient has to be called back first, to know what it waits for. */
static bool warn(struct view *v)
{
	struct message *m = v->message;
	bool posted = false, left = false;

	if (!(m->flags & MESSAGE_NULL_SENDER) && !view_envelope(v))
		return false; /* no memory to see who wants to be told: again in a moment */
	for (unsigned i = 0; i < m->n_recipients; i++) {
		struct recipient *r = &m->recipients[i];

		if (r->state == STATE_DONE || r->state == STATE_HELD || (r->flags & RECIPIENT_WARNED))
			continue;
		if (r->state == STATE_POSTED && !r->last && wants_delay_report(v, i)) {
			posted = left = true;
			continue;
		}
		if ((r->flags & RECIPIENT_PARKED) && !r->last && r->untried == 0 && wants_delay_report(v, i)) {
			r->flags &= RECIPIENT_FLAGS;
			r->untried = 1;
			r->next = 0; /* it asks its site, once, and comes back with the answer */
			left = true;
			continue;
		}
		r->flags |= RECIPIENT_WARNED;
		if (wants_delay_report(v, i))
			r->flags |= RECIPIENT_OWES_DELAY;
		home_changed(m);
	}
	if (!left)
		m->flags |= MESSAGE_WARNED;
	return posted;
}

static bool expire(struct view *v)
{
	struct message *m = v->message;
	bool posted = false;

	for (unsigned i = 0; i < m->n_recipients; i++) {
		struct recipient *r = &m->recipients[i];

		if (r->state == STATE_POSTED)
			posted = true;
		if (r->state != STATE_WAITING)
			continue;
		r->flags |= RECIPIENT_EXPIRED;
		(void) home_give_up(v, i, "it could not be delivered in time");
	}
	return posted;
}

static bool obey_orders(struct view *v)
{
	struct message *m = v->message;
	bool posted = false, left = false;

	for (unsigned i = 0; i < m->n_recipients; i++) {
		struct recipient *r = &m->recipients[i];

		if (r->state == STATE_POSTED)
			posted = true;
		if (r->state == STATE_DONE && (m->flags & MESSAGE_REMOVE))
			r->flags &= (unsigned) ~RECIPIENT_OWES;
		if (r->state == STATE_POSTED || r->state == STATE_DONE)
			continue;
		if (m->flags & MESSAGE_REMOVE) {
			home_drop(v, i, "removed by an administrator");
		} else if (m->flags & MESSAGE_RETURN) {
			struct outcome o = {
				.kind = OUTCOME_FAILED,
				.stage = STAGE_LOCAL,
				.class = CLASS_OTHER,
				.reply = { 550, { 5, 0, 0 }, "The message was returned by an administrator" }
			};

			home_set_last(v->home, r, &o);
			left |= !home_give_up(v, i, "returned by an administrator");
		} else if (r->state == STATE_WAITING) {
			home_hold(v, i, "held by an administrator");
		}
	}
	if (!posted && !left)
		m->flags &= (uint16_t) ~(MESSAGE_HOLD | MESSAGE_RETURN | MESSAGE_REMOVE);
	return posted;
}

/* The time is over by which it was to be delivered (RFC 2852 section 4.1.3). */
static bool deadline_has_passed(struct view *v, char mode)
{
	bool posted;

	if (mode == 'R')
		return expire(v);
	posted = warn(v);
	if (v->message->flags & MESSAGE_WARNED)
		promise_forget(v->home, v->message);
	return posted;
}

/* Who said by when he wants to be told (RFC 2852) is told then, and not by our own schedule. */
static bool warns_by_age(const struct message *m, const struct promise *p)
{
	return !(m->flags & MESSAGE_WARNED) && !(p && p->mode == 'N');
}

/* A time is over by which some recipients should have been further up their ladders: whoever is late begins there now. */
static void look_at_deadlines(struct view *v, struct promise *p)
{
	struct message *m = v->message;

	p->look = DEADLINE_NEVER;
	for (unsigned i = 0; i < m->n_recipients; i++) {
		struct recipient *r = &m->recipients[i];
		struct address to;
		struct ladder l;
		usec_t deadline, share;

		if ((r->state != STATE_WAITING && r->state != STATE_POSTED) || home_ladder(v, i, &l, &to) < 0)
			continue;
		deadline = home_deadline(v, &l);
		share = deadline_share(&l, deadline, r->rung);
		if (deadline > 0 && message_age(m, v->now) < share)
			p->look = MIN(p->look, message_time(m, share));
		else if (deadline > 0 && r->state == STATE_WAITING)
			r->next = 0;
	}
}

/* What the message's age and the administrator's orders ask for. */
static void settle_age(struct view *v)
{
	const struct queue_config *c = queue_configuration(v->home->queue);
	struct retry_schedule s = queue_schedule(c);
	struct message *m = v->message;
	usec_t age = message_age(m, v->now);
	struct promise *p = promise_of(v->home, m);
	bool recall = false;

	if (m->flags & (MESSAGE_HOLD | MESSAGE_RETURN | MESSAGE_REMOVE))
		recall = obey_orders(v);
	if (age >= retry_expire(&s))
		recall |= expire(v);
	else if (p && v->now >= p->by)
		recall |= deadline_has_passed(v, p->mode);
	else if (warns_by_age(m, p) && age >= retry_warn(&s))
		recall |= warn(v);
	p = promise_of(v->home, m);
	if (p && v->now >= p->look) {
		look_at_deadlines(v, p);
		recall = true;
	}
	if (m->delayed_ms > 0 && age >= m->delayed_ms * USEC_MS) {
		m->delayed_ms = 0; /* whoever comes back, or waits, begins at the rung that has opened */
		recall = true;
		for (unsigned i = 0; i < m->n_recipients; i++) {
			struct address to;
			struct ladder l;
			unsigned start;

			if (m->recipients[i].state != STATE_WAITING || home_ladder(v, i, &l, &to) < 0)
				continue;
			start = ladder_start(&l, age);
			if (start > m->recipients[i].rung)
				m->recipients[i].next = 0;
		}
	}
	if (recall)
		home_recall(v->home, m);
}

usec_t home_due_time(const struct home *h, const struct message *m, usec_t t)
{
	struct retry_schedule s = queue_schedule(queue_configuration(h->queue));
	const struct promise *p = promise_of(h, m);
	usec_t due = DEADLINE_NEVER;
	bool moving = false;

	for (unsigned i = 0; i < m->n_recipients; i++) {
		const struct recipient *r = &m->recipients[i];

		if (r->state == STATE_WAITING)
			due = MIN(due, MAX(r->next, t));
		moving |= r->state == STATE_WAITING || r->state == STATE_POSTED;
	}
	if (moving) {
		due = MIN(due, message_time(m, retry_expire(&s)));
		if (p)
			due = MIN(due, MIN(p->by, p->look));
		if (warns_by_age(m, p))
			due = MIN(due, message_time(m, retry_warn(&s)));
		if (m->delayed_ms > 0)
			due = MIN(due, message_time(m, m->delayed_ms * USEC_MS));
	}
	if (m->flags & MESSAGE_REPORT_LATER)
		due = MIN(due, deadline_after(t, REPORT_LATER));
	if ((m->flags & MESSAGE_DIRTY) && !(m->flags & MESSAGE_UNNOTED))
		due = MIN(due, deadline_after(t, SHORT_OF_MEMORY));
	return due;
}

static void remember_due(struct home *h, struct message *m, usec_t due)
{
	if (!settle_again(h, m, due))
		LOG(h->queue->log, LOG_ERROR, "No memory to remember when a message is due; it waits for a restart",
		    F_ID("id", m->entry.id));
}

static void set_due(struct home *h, struct message *m, usec_t t)
{
	usec_t due = home_due_time(h, m, t);

	if (due == DEADLINE_NEVER)
		heap_remove(&h->due, &m->due);
	else /* what is overdue and was just settled waits for a job to come back, or for memory */
		remember_due(h, m, due <= t ? deadline_after(t, SHORT_OF_MEMORY) : due);
}

static void settle(struct home *h, struct message *m, const struct envelope *envelope)
{
	struct view v = { .home = h, .message = m, .now = now(), .envelope = envelope };
	bool owes;

	if (m->flags & MESSAGE_STRANGE)
		return;
	if (m->open > 0 || (m->flags & MESSAGE_REMOVE)) {
		settle_age(&v);
		if (!h->stopping)
			home_schedule(&v);
	}
	arena_reset(h->scratch);
	if (message_is_over(m)) {
		remove_message(h, m);
		return;
	}
	owes = message_owes(m);
	note(h, m, owes);
	if (owes && !(m->flags & (MESSAGE_WORKING | MESSAGE_REPORTING | MESSAGE_REPORT_LATER | MESSAGE_DIRTY)))
		home_report(h, m);
	lot_look_after(m);
	if (message_rests(m))
		message_forget_envelope(m);
	set_due(h, m, v.now);
}

void home_settle(struct home *h, struct message *m, const struct envelope *envelope)
{
	if (m->open > 0 && !m->packed && !envelope)
		home_settle_soon(h, m);
	else
		settle(h, m, envelope);
}

void home_settle_soon(struct home *h, struct message *m)
{
	remember_due(h, m, 0);
}

void home_load_and_settle(struct home *h, struct message *m)
{
	int r = m->open > 0 ? home_load(h, m) : 0;

	/* What is thrown away needs no envelope; the rest waits until it can be read. */
	if (r >= 0 || (m->flags & MESSAGE_REMOVE)) {
		settle(h, m, NULL);
		return;
	}
	LOG(h->queue->log, LOG_ERROR, "The envelope of a message can't be read back from the spool; tried again soon",
	    F_ID("id", m->entry.id), F_ERRNO("error", r));
	remember_due(h, m, deadline_after(now(), REPORT_LATER));
}

/* --- the keeper ------------------------------------------------------------------------------- */

static void settle_due(struct home *h, usec_t t)
{
	struct heap_node *n;

	for (unsigned i = 0; i < DUE_BATCH && (n = heap_first(&h->due)) && n->key <= t; i++) {
		struct message *m = container_of(n, struct message, due);

		heap_remove(&h->due, n);
		m->flags &= (uint16_t) ~MESSAGE_REPORT_LATER;
		home_load_and_settle(h, m);
	}
}

static usec_t next_due(const struct home *h)
{
	const struct heap_node *message = heap_first(&h->due);
	const struct heap_node *site = heap_first(&h->site_timers);
	usec_t next = MIN(MIN(h->note_at, h->sweep_at), h->save_at);

	if (!list_empty(&h->called))
		return 0;
	if (message)
		next = MIN(next, message->key);
	if (!list_empty(&h->turns))
		next = MIN(next, owner_probe_time(h));
	return site ? MIN(next, site->key) : next;
}

void home_keeper(void *home)
{
	struct home *h = home;
	int r = 0;

	h->keeper = fiber_self();
	h->started = true;
	h->sweep_at = deadline_after(now(), SWEEP_INTERVAL);
	if (h->index == 0)
		h->save_at = deadline_after(now(), MEMORY_INTERVAL);
	while (!h->stopping && r != -ECANCELED) {
		usec_t t = now(), next;

		settle_due(h, t);
		lots_tick(h);
		owner_tick(h, t);
		if (t >= h->note_at)
			home_write_notes(h);
		if (t >= h->save_at)
			memory_save_soon(h);
		if (t >= h->sweep_at) {
			destination_sweep(h, t);
			h->sweep_at = deadline_after(t, SWEEP_INTERVAL);
		}
		next = next_due(h);
		if (next <= now()) {
			r = fiber_yield();
			continue;
		}
		h->keeper_until = next;
		r = fiber_wait("the next message or site to be due", next);
		h->keeper_until = 0;
	}
	home_write_notes(h);
	h->keeper = NULL;
	cond_broadcast(&h->quiet);
}
