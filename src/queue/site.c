#include "queue/owner.h"

#include <stdlib.h>

#include "queue/held.h"
#include "queue/ladder.h"
#include "queue/pickup.h"

#define BACKOFF_CAP (30 * USEC_MIN)
#define BACKOFF_CAP_LOCAL (2 * USEC_MIN)  /* a mailbox server comes back soon, and is near */
#define COOL_BLOCKED USEC_HOUR            /* doubled with each canary that dies, up to COOL_CAP */
#define COOL_TLS (10 * USEC_MIN)
#define COOL_THROTTLED (5 * USEC_MIN)
#define COOL_CAP (6 * USEC_HOUR)
#define IDLE_KEPT (10 * USEC_MIN)         /* what an unused site has learned is kept for so long */
#define FAULTS_MAX 10u                    /* in a row: then it backs off even when some connection works */
#define BARREN_MAX 3u
#define SWEEP_BATCH 500u
#define SITE_INITIAL 5u
#define LOCAL_INITIAL 8u
#define SITE_WIDEST 20u
#define SLOTS_MAX 2000u

static bool is_local(const struct site *s)
{
	return hop_is_mailbox(s->path->hop->kind);
}

static void window_limits(const struct site *s, unsigned *ret_initial, unsigned *ret_max)
{
	const struct queue_config *c = queue_configuration(s->home->queue);

	*ret_max = shape_connections(s->path);
	if (*ret_max == 0)
		*ret_max = c->site_connections ? c->site_connections : SITE_WIDEST;
	*ret_initial = c->site_initial ? c->site_initial : SITE_INITIAL;
	if (is_local(s))
		*ret_initial = MAX(*ret_initial, LOCAL_INITIAL);
}

/* Everybody together may have so many connections of this home. */
static unsigned home_slots(const struct home *h)
{
	unsigned all = queue_configuration(h->queue)->connections;

	return MAX((all ? all : SLOTS_MAX) / h->queue->n_homes, 1u);
}

void site_set_timer(struct site *s, usec_t at)
{
	if (heap_node_linked(&s->timer))
		heap_update(&s->home->site_timers, &s->timer, at);
	else if (heap_insert(&s->home->site_timers, &s->timer, at) < 0)
		return; /* heap_reserve in site_new makes this impossible */
	home_due(s->home, at);
}

/* --- jobs come and go ------------------------------------------------------------------------- */

static void come_home(struct post *p)
{
	struct job *j = container_of(p, struct job, post);

	home_take_back(j->home, j);
}

void job_return(struct job *j, enum job_result result, enum reply_class class, const char *why)
{
	j->result = (uint8_t) result;
	j->why_class = (uint8_t) class;
	free(j->why);
	j->why = why ? strdup(why) : NULL;
	j->site = NULL;
	j->canary = false;
	j->post.run = come_home;
	loop_post(j->home->loop, &j->post);
}

static void put_into_line(struct site *s, struct job *j)
{
	j->site = s;
	if (j->escapes)
		s->escapable++;
	fair_push(&s->line, &j->line, j->turn, j->priority);
}

static void left_line(struct site *s, struct job *j)
{
	j->site = NULL;
	if (j->escapes)
		s->escapable--;
}

struct job *site_take(struct site *s)
{
	struct fair_item *item = fair_pop(&s->line);
	struct job *j;

	if (!item)
		return NULL;
	j = container_of(item, struct job, line);
	left_line(s, j);
	return j;
}

/* What jobs escape from while the site backs off or is being probed. */
static unsigned backoff_condition(const struct site *s)
{
	unsigned condition = ladder_condition(s->trouble);

	if (s->mode == SITE_OPEN)
		return 0;
	return condition ? condition : WHEN_UNREACHABLE;
}

/* Is one of the jobs under way that tell whether the trouble is over? */
bool site_is_being_tried(const struct site *s)
{
	return s->slots > s->n_idle || s->line.len > 0;
}

unsigned site_escapes(const struct site *s, usec_t t)
{
	unsigned escapes = s->mode == SITE_BACKOFF || site_is_being_tried(s) ? backoff_condition(s) : 0;

	return escapes | (t < s->cool_until || s->canary ? s->cool : 0);
}

/* A job that could go elsewhere: does it have to wait here? */
static bool escapes_now(struct site *s, struct job *j, usec_t t)
{
	if (j->escapes & backoff_condition(s))
		return s->mode == SITE_BACKOFF || site_is_being_tried(s);
	if (!(j->escapes & s->cool))
		return false;
	if (t < s->cool_until || s->canary)
		return true;
	j->canary = s->canary = true;
	return false;
}

static enum reply_class trouble_of(const struct site *s, const struct job *j)
{
	if ((j->escapes & backoff_condition(s)) || !(j->escapes & s->cool))
		return s->trouble != CLASS_NONE && ladder_condition(s->trouble) ? s->trouble : CLASS_UNREACHABLE;
	if (j->escapes & s->cool & WHEN_BLOCKED)
		return CLASS_BLOCKED;
	return j->escapes & s->cool & WHEN_TLS ? CLASS_TLS : CLASS_THROTTLED;
}

/* May it be parked? One that could go elsewhere when the trouble changes has to stay where the trouble is known. */
static bool can_park(const struct site *s, const struct job *j)
{
	bool is_probe = s->mode == SITE_PROBING && !site_is_being_tried(s);

	return s->mode != SITE_OPEN && j->escapes == 0 && !j->canary && !is_probe;
}

static void park(struct site *s, struct job *j)
{
	s->parked = true;
	job_return(j, JOB_PARKED, s->error ? s->trouble : CLASS_NONE, s->error);
}

/* Is its mail held? The key of the site says so, or its own domain. */
static bool is_held(const struct site *s, const struct job *j)
{
	return s->held || held_matches(s->home->queue->held, NULL, slice_from(j->path->target.domain));
}

static void park_held(struct site *s, struct job *j)
{
	if (j->canary)
		s->canary = false;
	job_return(j, JOB_PARKED, CLASS_OTHER, HELD_REASON);
}

/* Sends home what need not wait here for the end of the trouble, some at a time: there may be 100,000. */
static void sweep(struct site *s)
{
	unsigned condition = backoff_condition(s) | s->cool;
	unsigned left = s->line.len;
	unsigned sent = 0;

	s->sweeping = false;
	if (condition == 0 && !s->sorting)
		return;
	while (left-- > 0 && (s->escapable > 0 || s->mode == SITE_BACKOFF || s->sorting)) {
		struct job *j;

		if (sent >= SWEEP_BATCH) {
			s->sweeping = true;
			site_set_timer(s, now());
			return;
		}
		j = site_take(s);
		if (s->sorting && is_held(s, j)) {
			park_held(s, j);
			sent++;
		} else if (j->escapes & condition && !j->canary) {
			job_return(j, JOB_ESCAPED, trouble_of(s, j), s->error);
			sent++;
		} else if (can_park(s, j)) {
			park(s, j);
			sent++;
		} else {
			put_into_line(s, j);
		}
	}
	s->sorting = false;
	if (s->mode == SITE_BACKOFF)
		fair_trim(&s->line);
}

/* --- the mode of the site --------------------------------------------------------------------- */

static void end_idle_slots(struct site *s)
{
	struct link *k;

	while ((k = list_first(&s->idle)))
		slot_end_idle(container_of(k, struct slot, idle));
}

static void note_error(struct site *s, const struct verdict *v)
{
	char *text = v->text ? strdup(v->text) : NULL;

	s->trouble = v->class;
	if (text) {
		free(s->error);
		s->error = text;
	}
}

static void forget_error(struct site *s)
{
	s->trouble = CLASS_NONE;
	free(s->error);
	s->error = NULL;
}

static void back_off(struct site *s, const struct verdict *v)
{
	struct home *h = s->home;
	struct retry_schedule schedule = queue_schedule(queue_configuration(h->queue));
	usec_t cap = is_local(s) ? BACKOFF_CAP_LOCAL : BACKOFF_CAP, delay;
	uint64_t random = 0;

	world_random(h->queue->world, &random, sizeof(random));
	s->failures++;
	/* Never longer than any message would have waited. */
	delay = retry_backoff(s->failures, MIN(cap, retry_longest(&schedule)), random);
	s->mode = SITE_BACKOFF;
	link_remove(&s->turn);
	if (s->shape)
		shape_leave(s);
	s->until = deadline_after(now(), delay);
	LOG(h->queue->log, s->failures == 1 ? LOG_NOTICE : LOG_INFO, "A site does not work; its mail waits",
	    F_STR("site", path_site(s->path)), F_STR("because", s->error),
	    F_STR("class", reply_class_name(v->class)), F_USEC("retry_in", delay), F_UINT("waiting", s->line.len),
	    F_UINT("failures", s->failures));
	site_set_timer(s, s->until);
	end_idle_slots(s);
	sweep(s);
}

static void open_again(struct site *s)
{
	if (s->mode != SITE_OPEN)
		LOG(s->home->queue->log, LOG_NOTICE, "A site works again", F_STR("site", path_site(s->path)),
		    F_UINT("waiting", s->line.len));
	if (s->mode == SITE_PROBING)
		owner_give_back_turn(s->home);
	s->mode = SITE_OPEN;
	link_remove(&s->turn);
	s->failures = s->faults = 0;
	s->until = 0;
	forget_error(s);
	window_restart(&s->window);
	if (s->parked)
		s->parked = !site_call_all(s);
}

/* Those that were under way when it began say nothing new: only when it is over, or its canary has died, does the next one
 * last longer. */
static bool is_cool_already(const struct site *s, const struct verdict *v)
{
	return now() < s->cool_until && (v->conditions & ~s->cool) == 0;
}

static void cool_down(struct site *s, const struct verdict *v)
{
	usec_t time = v->conditions & WHEN_BLOCKED ? COOL_BLOCKED
		      : v->conditions & WHEN_TLS   ? COOL_TLS
						   : COOL_THROTTLED;

	for (unsigned i = 0; i < s->cool_times && time < COOL_CAP; i++)
		time *= 2;
	s->cool_times++;
	s->cool |= v->conditions;
	s->cool_until = deadline_after(now(), MIN(time, COOL_CAP));
	note_error(s, v);
	sweep(s);
}

static void judge_fault(struct site *s, const struct slot *slot, const struct verdict *v)
{
	bool others_work = s->good > (slot->successes > 0 ? 1u : 0u), narrow = s->window.size == 1;

	note_error(s, v);
	s->faults++;
	/* The rest of a row of connections that failed together says nothing new. */
	if (s->mode == SITE_BACKOFF)
		return;
	window_failure(&s->window);
	/* A server that takes nobody's mail, as one that is being restarted, says nothing of a pace: the back-off is enough. */
	if ((v->conditions & WHEN_THROTTLED) && narrow && meter_interval(&s->meter, s->used) > 0)
		shape_throttled(s, s->used);
	if (s->mode == SITE_PROBING || (slot->successes == 0 && !others_work) || s->faults >= FAULTS_MAX)
		back_off(s, v);
}

void site_judge(struct site *s, struct slot *slot, struct job *j, const struct verdict *v)
{
	bool was_canary = j->canary;

	s->used = now();
	if (was_canary) {
		j->canary = false;
		s->canary = false;
	}
	if (v->fault && s->path->hop->kind != HOP_MAILDIR) {
		judge_fault(s, slot, v);
		return;
	}
	if (v->answered) {
		s->proven = true;
		if (s->mode != SITE_OPEN)
			open_again(s);
		s->failures = s->faults = 0;
		if (slot->successes++ == 0)
			s->good++;
	}
	if (v->slows_sender) {
		shape_sender_throttled(s, j, s->used);
		return;
	}
	/* Greylisting and the like are no trouble of the site; these are. */
	if (v->conditions & (WHEN_BLOCKED | WHEN_TLS | WHEN_THROTTLED)) {
		bool narrow = s->window.size == 1;

		if (v->conditions & WHEN_THROTTLED)
			window_throttled(&s->window);
		if ((v->conditions & WHEN_THROTTLED) && narrow)
			shape_throttled(s, s->used);
		if (was_canary || !is_cool_already(s, v))
			cool_down(s, v);
		else
			note_error(s, v);
		if ((v->conditions & WHEN_THROTTLED) && narrow && s->mode == SITE_OPEN)
			back_off(s, v);
		return;
	}
	if (!v->answered)
		return;
	if (s->cool && (was_canary || now() >= s->cool_until)) {
		LOG(s->home->queue->log, LOG_NOTICE, "A site takes our mail again",
		    F_STR("site", path_site(s->path)));
		s->cool = s->cool_times = 0;
	}
	if (s->error && s->cool == 0)
		forget_error(s);
	meter_count(&s->meter, s->used);
	if (s->shape) {
		learned_taken(&s->shape->learned, s->used);
		shape_sender_taken(s, j, s->used);
	}
	if (v->final_reply > 0)
		latency_note(&s->latency, v->final_reply);
	if (latency_is_slow(&s->latency))
		window_slow(&s->window);
	else
		window_success(&s->window, s->slots - s->n_idle);
}

bool site_allows(const struct site *s, const struct slot *slot)
{
	unsigned busy = s->slots - s->n_idle;

	if (s->home->stopping || slot->ending || s->mode == SITE_BACKOFF || s->held)
		return false;
	return busy <= (s->mode == SITE_PROBING ? 1 : s->window.size);
}

/* --- slots ------------------------------------------------------------------------------------ */

static void starve(struct site *s)
{
	struct link *idle = list_first(&s->home->idle);

	if (!link_linked(&s->starved))
		list_append(&s->home->starved, &s->starved);
	/* A connection that waits for more mail of its own site is in the way. */
	if (idle)
		slot_end_idle(container_of(idle, struct slot, home_idle));
}

static bool wake_idle(struct site *s)
{
	struct link *k = list_first(&s->idle);
	struct slot *slot;

	if (!k)
		return false;
	slot = container_of(k, struct slot, idle);
	slot_leave_idle(slot);
	slot->given = slot_take(s);
	fiber_wake(slot->fiber); /* with or without work it looks for itself */
	return true;
}

/* When half of all connections are in use, a site that never answered gets one: it may be down, and each of its
 * connections is in the way of others until it times out. */
static unsigned allowed_slots(const struct site *s)
{
	if (s->mode == SITE_PROBING || (!s->proven && s->home->n_slots - s->home->n_idle >= home_slots(s->home) / 2))
		return 1;
	return s->window.size;
}

/* One more delivery is begun, or prepared. False: not now; what the site waits for is noted. */
static bool begin_one(struct site *s)
{
	unsigned allowed = allowed_slots(s);

	if (wake_idle(s))
		return true;
	if (s->slots >= allowed || (s->shape && !shape_has_room(s)))
		return false;
	if (s->home->n_slots >= home_slots(s->home)) {
		starve(s);
		return false;
	}
	if (slot_start(s) < 0) {
		site_set_timer(s, deadline_after(now(), USEC_SEC));
		return false;
	}
	return true;
}

void site_pump(struct site *s)
{
	if (s->pickup) {
		if (s->line.len > 0 && s->mode != SITE_BACKOFF && !s->held)
			(void) wake_idle(s);
		return;
	}
	while (s->line.len > 0 && s->mode != SITE_BACKOFF && !s->held && !s->home->stopping) {
		bool busy = s->slots - s->n_idle >= allowed_slots(s);

		if (!busy && s->starting >= s->line.len)
			return;
		if (!busy && s->shape && !shape_admits(s))
			return;
		if (busy || !begin_one(s))
			break;
	}
	/* Whoever can't send at its turn must not keep the others of its provider waiting. */
	if (s->shape)
		shape_cannot(s);
}

/* Until one takes the place: who has no mail left, or has to wait for a rate, would keep it from those behind. */
static void feed_the_starved(struct home *h)
{
	struct link *k;

	while (!h->stopping && h->n_slots < home_slots(h) && (k = list_pop(&h->starved)))
		site_pump(container_of(k, struct site, starved));
}

void site_slot_ended(struct site *s, struct slot *slot)
{
	bool barren = slot->deliveries == 0;
	struct home *h = s->home;

	s->slots--;
	h->n_slots--;
	s->barren = barren ? s->barren + 1 : 0;
	/* Couriers that end without looking at their work would be started for ever. */
	if (s->barren >= BARREN_MAX && s->line.len > 0 && s->mode != SITE_BACKOFF) {
		s->barren = 0;
		s->mode = SITE_BACKOFF;
		if (s->shape)
			shape_leave(s);
		s->until = deadline_after(now(), USEC_SEC);
		site_set_timer(s, s->until);
	}
	if (s->slots == 0 && s->mode != SITE_BACKOFF && !s->sweeping)
		site_set_timer(s, deadline_after(now(), IDLE_KEPT));
	if (s->slots == 0 && s->line.len == 0 && s->mode == SITE_PROBING)
		site_probe(s); /* what was to be tried has gone another way */
	shape_slot_ended(slot);
	site_pump(s);
	feed_the_starved(h);
	if (h->stopping)
		cond_broadcast(&h->quiet);
}

/* --- the owner's book ------------------------------------------------------------------------- */

static struct site *site_new(struct home *h, struct path *p)
{
	struct site *s = calloc(1, sizeof(*s));
	unsigned initial, max;

	if (!s)
		return NULL;
	s->home = h;
	s->path = p;
	if (heap_reserve(&h->site_timers, h->n_sites + 1 - h->site_timers.len) < 0 ||
	    hash_insert(&h->sites, &s->node, p->hash) < 0) {
		free(s);
		return NULL;
	}
	if (shape_site(s) < 0) {
		hash_remove(&h->sites, &s->node);
		shape_free(s);
		free(s);
		return NULL;
	}
	path_ref(p);
	fair_init(&s->line);
	list_init(&s->idle);
	heap_node_init(&s->timer);
	window_limits(s, &initial, &max);
	window_init(&s->window, initial, max);
	memory_recall(s);
	s->held = held_matches(h->queue->held, path_site(p), SLICE_NULL);
	h->n_sites++;
	return s;
}

static void site_free(struct site *s)
{
	struct home *h = s->home;

	memory_keep(s);
	heap_remove(&h->site_timers, &s->timer);
	hash_remove(&h->sites, &s->node);
	link_remove(&s->starved);
	link_remove(&s->turn);
	fair_done(&s->line);
	shape_free(s);
	path_unref(s->path);
	free(s->error);
	free(s);
	h->n_sites--;
}

static void accept_job(struct home *h, struct job *j)
{
	struct site *s = owner_find_for_path(h, j->path);
	usec_t t = now();

	/* Whoever picked it up has gone meanwhile. */
	if (j->path->hop->kind == HOP_ATRN && !(s && s->pickup)) {
		job_return(j, JOB_PARKED, CLASS_OTHER, PICKUP_REASON);
		return;
	}
	if (!s)
		s = site_new(h, j->path);
	if (!s) {
		job_return(j, JOB_UNFIT, CLASS_OTHER, "This server is short of memory");
		return;
	}
	if (s->path != j->path && j->path->made > s->path->made) {
		unsigned initial, max;

		path_unref(s->path);
		s->path = path_ref(j->path);
		window_limits(s, &initial, &max);
		window_limit(&s->window, initial, max);
		(void) shape_site(s); /* without memory it keeps the limits that it had */
	}
	s->used = t;
	if (is_held(s, j)) {
		park_held(s, j);
		return;
	}
	if (j->escapes && escapes_now(s, j, t)) {
		job_return(j, JOB_ESCAPED, trouble_of(s, j), s->error);
		return;
	}
	if (can_park(s, j)) {
		park(s, j);
		return;
	}
	put_into_line(s, j);
	site_pump(s);
}

static void arrive(struct post *p)
{
	struct job *j = container_of(p, struct job, post);

	accept_job(&j->home->queue->homes[j->owner], j);
}

void owner_send(struct home *from, struct job *j)
{
	struct home *owner;
	int at = (int) j->path->owner;

	if (j->path->hop->kind == HOP_ATRN) {
		at = pickups_owner(from->queue->pickups, path_site(j->path));
		at = at < 0 ? (int) from->index : at; /* nobody picks it up: it will be parked */
	}
	j->owner = (uint8_t) at;
	owner = &from->queue->homes[at];
	if (owner == from) {
		accept_job(owner, j);
		return;
	}
	j->post.run = arrive;
	loop_post(owner->loop, &j->post);
}

static void recall_ended(struct post *p)
{
	struct job *j = container_of(p, struct job, recall);

	j->recalling = false;
	if (j->back)
		home_take_back(j->home, j);
}

static void recall_at_owner(struct post *p)
{
	struct job *j = container_of(p, struct job, recall);
	struct site *s = j->site;

	if (s) {
		fair_remove(&s->line, &j->line);
		left_line(s, j);
		if (j->canary)
			s->canary = false;
		job_return(j, JOB_RECALLED, s->error ? s->trouble : CLASS_NONE, s->error);
	}
	j->recall.run = recall_ended;
	loop_post(j->home->loop, &j->recall);
}

void owner_recall(struct job *j)
{
	if (j->recalling)
		return;
	j->recalling = true;
	j->recall.run = recall_at_owner;
	loop_post(j->home->queue->homes[j->owner].loop, &j->recall);
}

struct site *owner_open_pickup(struct home *h, struct path *path, struct pickup *p)
{
	struct site *s = site_new(h, path);

	if (s)
		s->pickup = p;
	return s;
}

void owner_close_pickup(struct site *s)
{
	struct job *j;

	s->pickup = NULL;
	while ((j = site_take(s)))
		job_return(j, JOB_PARKED, CLASS_OTHER, PICKUP_REASON);
	site_free(s);
}

static usec_t site_needed_until(const struct site *s)
{
	usec_t until = MAX(s->used, MAX(s->until, s->cool ? s->cool_until : 0));

	return s->shape ? MAX(until, shape_until(s)) : until;
}

static void site_tick(struct site *s, usec_t t)
{
	if (s->sweeping) {
		sweep(s);
		if (s->sweeping)
			return;
		if (s->mode == SITE_BACKOFF && s->until > t) {
			site_set_timer(s, s->until);
			return;
		}
	}
	if (s->held) {
		link_remove(&s->turn);
		if (s->mode == SITE_PROBING)
			s->mode = SITE_BACKOFF;
	} else if (s->mode == SITE_BACKOFF && t >= s->until && site_take_turn(s, t))
		site_probe(s);
	else if (s->mode == SITE_PROBING && s->parked && !site_is_being_tried(s) && t >= s->call_again)
		site_probe(s);
	site_pump(s);
	if (s->shape && s->line.len == 0)
		shape_leave(s);
	if (heap_node_linked(&s->timer) || s->slots > 0 || s->mode == SITE_BACKOFF || s->pickup)
		return;
	if (s->line.len == 0 && t >= deadline_after(site_needed_until(s), IDLE_KEPT))
		site_free(s);
	else
		site_set_timer(s, deadline_after(t, IDLE_KEPT));
}

void owner_tick(struct home *h, usec_t t)
{
	struct heap_node *n;

	for (unsigned i = 0; i < 64 && (n = heap_first(&h->site_timers)) && n->key <= t; i++) {
		heap_remove(&h->site_timers, n);
		site_tick(container_of(n, struct site, timer), t);
	}
	for (unsigned i = 0; i < 64 && !list_empty(&h->turns) && owner_probe_time(h) <= t; i++)
		site_tick(container_of(list_first(&h->turns), struct site, turn), t);
}

void owner_kick(struct home *h, const char *key)
{
	struct site *s = owner_find(h, key);

	if (!s || s->held)
		return;
	s->cool_until = now();
	if (s->mode == SITE_BACKOFF)
		site_probe(s);
	site_pump(s);
}

void owner_stop(struct home *h)
{
	for (struct hash_node *n = hash_walk(&h->sites, NULL); n; n = hash_walk(&h->sites, n))
		end_idle_slots(container_of(n, struct site, node));
	for (LIST_EACH(&h->slots, k)) {
		struct slot *slot = container_of(k, struct slot, all);

		if (slot->fiber && slot->searching)
			fiber_cancel(slot->fiber);
	}
}

void owner_free_all(struct home *h)
{
	struct hash_node *n;

	while ((n = hash_walk(&h->sites, NULL)))
		site_free(container_of(n, struct site, node));
	shape_free_providers(h);
	memory_free_all(h);
	hash_done(&h->sites);
	heap_done(&h->site_timers);
}

void owner_look_at_held(struct home *h)
{
	for (struct hash_node *n = hash_walk(&h->sites, NULL); n; n = hash_walk(&h->sites, n)) {
		struct site *s = container_of(n, struct site, node);

		s->held = held_matches(h->queue->held, path_site(s->path), SLICE_NULL);
		s->sorting = s->line.len > 0;
		if (s->sorting)
			sweep(s);
		if (s->held)
			end_idle_slots(s);
		site_set_timer(s, now());
	}
}
