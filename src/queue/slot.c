#include "queue/owner.h"

#include <stdlib.h>

#include "queue/ladder.h"

#define TAKE_BATCH 500u /* jobs that turn out not to go, between two looks at other fibers */

/* --- from a job to a delivery ----------------------------------------------------------------- */

static int fill(struct job *j, struct arena *a, struct active **ret)
{
	const struct message *m = j->message;
	struct active *active = arena_new_type(a, struct active);
	int r;

	if (!active)
		return -ENOMEM;
	r = envelope_unpack(slice_new(m->packed, m->packed_len), a, &active->envelope);
	if (r < 0)
		return r;
	active->envelope.id = m->entry.id;
	active->job = j;
	active->delivery = (struct delivery) {
		.id = m->entry.id,
		.arena = a,
		.envelope = &active->envelope,
		.n_recipients = j->n,
		.recipients = arena_new_array(a, struct delivery_recipient, j->n),
		.attempts = j->attempts,
	};
	if (!active->delivery.recipients)
		return -ENOMEM;
	for (uint32_t i = 0; i < j->n; i++) {
		uint32_t index = j->recipients[i];

		if (index >= active->envelope.n_recipients)
			return -EBADMSG;
		active->delivery.recipients[i] = (struct delivery_recipient) {
			.index = index, .address = active->envelope.recipients[index].address,
		};
	}
	*ret = active;
	return 0;
}

struct delivery *slot_fill(struct site *s, struct job *j)
{
	struct arena *a = home_arena(s->home);
	struct active *active = NULL;
	int r = a ? fill(j, a, &active) : -ENOMEM;

	if (r < 0) {
		if (a)
			home_arena_put(s->home, a);
		if (j->canary)
			s->canary = false;
		job_return(j, JOB_UNFIT, CLASS_OTHER,
			   r == -ENOMEM ? "This server is short of memory" : "The envelope can't be read");
		return NULL;
	}
	j->active = active;
	atomic_store_explicit(&j->taken, true, memory_order_relaxed);
	s->home->n_taken++;
	return &active->delivery;
}

/* A job whose sender is too fast for this receiver goes home. */
static bool goes_later(struct site *s, struct job *j)
{
	usec_t later = j->canary ? 0 : shape_sender_asks(s, j, now());

	if (later == 0)
		return false;
	j->later = later;
	job_return(j, j->escapes & WHEN_THROTTLED ? JOB_ESCAPED : JOB_LATER, CLASS_THROTTLED,
		   "The receiver wants mail of this sender's domain more slowly");
	return true;
}

struct delivery *slot_take(struct site *s)
{
	struct delivery *d;
	struct job *j;

	for (unsigned i = 0; i < TAKE_BATCH && (j = site_take(s)); i++) {
		if (s->shape && goes_later(s, j))
			continue;
		d = slot_fill(s, j);
		if (!d)
			continue;
		if (s->shape)
			shape_took(s);
		return d;
	}
	if (s->line.len > 0)
		site_set_timer(s, now());
	return NULL;
}

/* --- the life of a slot ----------------------------------------------------------------------- */

static void slot_has_asked(struct slot *slot)
{
	if (slot->asked)
		return;
	slot->asked = true;
	slot->site->starting--;
}

void slot_give_back(struct slot *slot)
{
	struct site *s = slot->site;

	if (slot->given && !slot->current)
		slot->current = TAKE_PTR(slot->given);
	if (slot->current) /* the courier ended in the middle: not tried */
		slot_done(slot, slot->current);
	slot_has_asked(slot);
	if (slot->successes > 0)
		s->good--;
	link_remove(&slot->all);
	site_slot_ended(s, slot);
	path_unref(slot->path);
	free(slot);
}

static void slot_run(void *arg)
{
	struct slot *slot = arg;
	struct courier *c = slot->site->home->queue->courier;

	c->run(c, slot);
	slot_give_back(slot);
}

static unsigned per_connection(const struct site *s)
{
	unsigned all = queue_configuration(s->home->queue)->messages_per_connection;

	if (s->shape && s->shape->messages_per_connection > 0)
		return s->shape->messages_per_connection;
	return all > 0 ? all : PER_CONNECTION;
}

static struct slot *slot_new(struct site *s)
{
	struct slot *slot = calloc(1, sizeof(*slot));

	if (!slot)
		return NULL;
	slot->site = s;
	slot->path = path_ref(s->path);
	slot->info = (struct slot_info){
		.site = path_site(slot->path),
		.hop = slot->path->hop,
		.target = &slot->path->target,
		.domain = slot->path->target.domain,
		.messages_per_connection = per_connection(s),
	};
	return slot;
}

static void slot_enter(struct slot *slot)
{
	struct site *s = slot->site;

	if (s->shape)
		shape_slot_started(s, slot);
	list_append(&s->home->slots, &slot->all);
	s->slots++;
	s->starting++;
	s->home->n_slots++;
}

int slot_start(struct site *s)
{
	struct slot *slot = slot_new(s);
	int r;

	if (!slot)
		return -ENOMEM;
	r = fiber_spawn("courier", slot_run, slot, &slot->fiber);
	if (r < 0) {
		path_unref(slot->path);
		free(slot);
		return r;
	}
	slot_enter(slot);
	return 0;
}

struct slot *slot_lend(struct site *s)
{
	struct slot *slot = slot_new(s);

	if (!slot)
		return NULL;
	slot->fiber = fiber_self();
	slot_enter(slot);
	return slot;
}

const struct slot_info *slot_info(const struct slot *s)
{
	return &s->info;
}

static bool is_used_up(const struct slot *slot)
{
	enum hop_kind kind = slot->path->hop->kind;

	if (hop_is_mailbox(kind) || kind == HOP_ATRN)
		return false;
	if (slot->provider && slot->deliveries >= SHAPE_TURN && !list_empty(&slot->provider->starved))
		return true;
	return slot->deliveries >= slot->info.messages_per_connection;
}

/* Work that is there now: 0 with *ret, -ENOLINK when the slot is to end, -EAGAIN when there is none. */
static int take_now(struct slot *slot, struct delivery **ret)
{
	struct site *s = slot->site;

	if (!site_allows(s, slot) || is_used_up(slot) || fiber_cancelled())
		return -ENOLINK;
	if (s->shape && s->line.len > 0 && !shape_admits(s))
		return -EAGAIN;
	*ret = slot_take(s);
	return *ret ? 0 : -EAGAIN;
}

void slot_leave_idle(struct slot *slot)
{
	if (!link_linked(&slot->idle))
		return;
	link_remove(&slot->idle);
	link_remove(&slot->home_idle);
	link_remove(&slot->provider_idle);
	slot->site->n_idle--;
	slot->site->home->n_idle--;
}

void slot_end_idle(struct slot *slot)
{
	slot_leave_idle(slot);
	slot->ending = true;
	fiber_wake(slot->fiber);
}

static int wait_for_work(struct slot *slot, usec_t deadline, struct delivery **ret)
{
	struct site *s = slot->site;
	int r;

	if (deadline <= now())
		return -ETIMEDOUT;
	if (!shape_slot_idle(slot))
		return -ENOLINK;
	list_append(&s->idle, &slot->idle);
	list_append(&s->home->idle, &slot->home_idle);
	s->n_idle++;
	s->home->n_idle++;
	r = fiber_wait("mail for its site", deadline);
	slot_leave_idle(slot);
	if (slot->given) {
		*ret = TAKE_PTR(slot->given);
		return 0;
	}
	return r < 0 ? (r == -ETIMEDOUT ? r : -ENOLINK) : -EAGAIN;
}

int slot_next(struct slot *slot, usec_t deadline, struct delivery **ret)
{
	struct delivery *d = NULL;
	int r;

	assert(!slot->current);
	slot_has_asked(slot);
	do {
		r = take_now(slot, &d);
		if (r == -EAGAIN)
			r = wait_for_work(slot, deadline, &d);
	} while (r == -EAGAIN);
	if (r < 0)
		return r;
	slot->deliveries++;
	slot->current = d;
	*ret = d;
	return 0;
}

/* --- what came of a delivery ------------------------------------------------------------------ */

static void emit_attempt(struct home *h, const struct slot *slot, const struct delivery *d,
			 const struct delivery_recipient *dr, const struct classification *c)
{
	static const char *const kinds[] = {
		[OUTCOME_NONE] = "not tried", [OUTCOME_DELIVERED] = "delivered", [OUTCOME_RELAYED] = "relayed",
		[OUTCOME_DEFERRED] = "deferred", [OUTCOME_FAILED] = "failed",
	};
	const struct outcome *o = &dr->outcome;
	char ip[IP_TEXT];

	EVENT(h->queue->events, d->id, EVENT_ATTEMPT, F_STR("to", dr->address), F_STR("site", slot->info.site),
	      F_STR("host", o->host), F_STR("address", o->ip.family ? ip_format(&o->ip, ip) : NULL),
	      F_STR("source", o->source), F_STR("tls", o->tls), F_STR("tls_wanted", o->tls_wanted),
	      F_STR("tls_reached", o->tls_reached), F_STR("reply", reply_to_line(&o->reply, d->arena)),
	      F_STR("class", reply_class_name(o->class)), F_STR("fault", c->fault != FAULT_NONE ? fault_name(c->fault) : NULL), F_STR("rule", c->rule),
	      F_STR("stage", stage_name(o->stage)),
	      F_STR("outcome", kinds[o->kind]));
}

/* Gives an outcome that is no success its class, and corrects the kind where a rule says so. What has a class already
 * was not said by a server: there is no rule, and nobody's fault. */
static void classify_outcome(struct home *h, struct outcome *o, struct classification *ret)
{
	*ret = (struct classification) { .class = o->class };
	if (o->class != CLASS_NONE)
		return;
	classify(queue_classifier(h->queue), &o->reply, o->stage, o->host, ret);
	o->class = ret->class;
	if (ret->treat == TREAT_TEMPORARY)
		o->kind = OUTCOME_DEFERRED;
	else if (ret->treat == TREAT_PERMANENT)
		o->kind = OUTCOME_FAILED;
}

static void look_at(struct home *h, struct slot *slot, struct delivery *d, struct delivery_recipient *dr,
		    struct verdict *v)
{
	struct outcome *o = &dr->outcome;
	struct classification c;

	switch (o->kind) {
	case OUTCOME_DELIVERED:
	case OUTCOME_RELAYED:
		v->answered = true;
		return;
	case OUTCOME_NONE:
		v->fault |= o->site_fault;
		return;
	default:
		break;
	}
	classify_outcome(h, o, &c);
	if (o->class == CLASS_BLOCKED && o->source && h->queue->courier->blocked)
		h->queue->courier->blocked(h->queue->courier, slot->info.site, o->source);
	if (o->class == CLASS_THROTTLED && c.key != KEY_ADDRESS && c.key != KEY_NETBLOCK) {
		v->answered = true;
		v->slows_sender |= c.key != KEY_RECIPIENT; /* who gets too much is tried again later, and that is all */
		emit_attempt(h, slot, d, dr, &c);
		return;
	}
	v->fault |= o->site_fault;
	/* An answer about this message or recipient means that the site works; so does a mailbox that we
	 * could not write, for the site of all mailboxes. */
	v->answered |= !o->site_fault && (o->from_remote || o->stage == STAGE_LOCAL);
	v->conditions |= ladder_condition(o->class);
	if (!v->text || ladder_condition(o->class)) {
		v->text = o->reply.text;
		v->class = o->class;
		v->host = o->host;
	}
	emit_attempt(h, slot, d, dr, &c);
}

void slot_searches(struct slot *slot, bool searching)
{
	slot->searching = searching;
	if (searching && slot->site->home->stopping)
		fiber_cancel(slot->fiber);
}

void slot_done(struct slot *slot, struct delivery *d)
{
	struct job *j = active_of(d)->job;
	struct site *s = slot->site;
	struct home *h = s->home;
	struct verdict v = { .class = CLASS_NONE };

	assert(slot->current == d);
	slot->current = NULL;
	for (unsigned i = 0; i < d->n_recipients; i++)
		look_at(h, slot, d, &d->recipients[i], &v);
	if (d->envelope->size <= LATENCY_LARGEST)
		v.final_reply = d->final_reply;
	h->n_taken--;
	atomic_store_explicit(&j->taken, false, memory_order_relaxed);
	site_judge(s, slot, j, &v);
	if (j->home == h) {
		j->result = JOB_TRIED;
		home_take_back(h, j);
	} else {
		job_return(j, JOB_TRIED, CLASS_NONE, NULL);
	}
	site_pump(s);
}
