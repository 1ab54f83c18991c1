#include "queue/shape.h"

#include <limits.h>
#include <stdlib.h>

#include "queue/owner.h"

/* --- limits ----------------------------------------------------------------------------------- */

static unsigned owner_of(struct queue *q, const struct provider *p, uint64_t hash)
{
	if (p)
		hash = hash_bytes(&q->key, p->name, strlen(p->name));
	return (unsigned) (hash % q->n_homes);
}

void shape_path(struct queue *q, struct path *p)
{
	const struct target *t = &p->target;
	const struct shaping_config *c = &queue_configuration(q)->shaping;

	if (p->hop->kind != HOP_LMTP && p->hop->kind != HOP_MAILDIR && t->n_hosts > 0)
		p->provider = classifier_provider_of(queue_classifier(q), t->hosts[0].name);
	for (unsigned i = 0; c->n_sites > 0 && i < MAX(t->n_hosts, 1u) && !p->rule; i++) {
		const char *host = t->n_hosts > 0 ? t->hosts[i].name : NULL;

		p->rule = shaping_rule_of(c, path_site(p), &host, 1);
	}
	p->owner = owner_of(q, p->provider, p->hash);
}

unsigned shape_owner_by_key(struct queue *q, struct slice key, uint64_t hash)
{
	const struct provider *p = NULL;
	char host[DOMAIN_TEXT];
	size_t n = 0;

	/* "mx:" and the most preferred hosts first (route/target.c). */
	for (size_t i = 3; i < key.len && n + 1 < sizeof(host) && !strchr(",>; ", key.data[i]); i++)
		host[n++] = key.data[i];
	host[n] = '\0';
	if (n > 0 && memcmp(key.data, "mx:", 3) == 0)
		p = classifier_provider_of(queue_classifier(q), host);
	return owner_of(q, p, hash);
}

static void limits_of(const struct path *p, struct shaping_limits *ret)
{
	*ret = p->rule ? p->rule->limits : (struct shaping_limits) { 0 };
	if (p->provider)
		shaping_limits_fill(ret, &p->provider->limits);
}

unsigned shape_recipients(struct queue *q, const struct path *p)
{
	unsigned all = queue_configuration(q)->recipients_per_transaction;
	struct shaping_limits l = { 0 };

	if (p)
		limits_of(p, &l);
	if (l.recipients_per_transaction > 0)
		return l.recipients_per_transaction;
	return all > 0 ? all : PER_TRANSACTION;
}

unsigned shape_connections(const struct path *p)
{
	struct shaping_limits l;

	limits_of(p, &l);
	return l.connections;
}

struct rate shape_rate(const struct site *s)
{
	struct shaping_limits l;

	limits_of(s->path, &l);
	return l.rate;
}

/* --- providers -------------------------------------------------------------------------------- */

static struct provider_state *provider_at(struct home *h, const struct provider *p)
{
	struct provider_state *new;

	for (LIST_EACH(&h->providers, k)) {
		struct provider_state *s = container_of(k, struct provider_state, link);

		if (strcmp(s->provider->name, p->name) != 0)
			continue;
		s->provider = p;
		pace_limit(&s->pace, &p->limits.all_rate);
		return s;
	}
	new = calloc(1, sizeof(*new));
	if (!new)
		return NULL;
	new->provider = p;
	list_init(&new->starved);
	list_init(&new->waiting);
	list_init(&new->idle);
	pace_limit(&new->pace, &p->limits.all_rate);
	list_append(&h->providers, &new->link);
	return new;
}

void shape_free_providers(struct home *h)
{
	struct link *k;

	while ((k = list_pop(&h->providers))) {
		struct provider_state *p = container_of(k, struct provider_state, link);

		slow_done(&p->slow);
		free(p);
	}
}

/* --- a site's shape --------------------------------------------------------------------------- */

static struct shape *shape_of(struct site *s)
{
	if (!s->shape)
		s->shape = calloc(1, sizeof(*s->shape));
	if (s->shape)
		s->shape->site = s;
	return s->shape;
}

int shape_site(struct site *s)
{
	const struct path *p = s->path;
	struct provider_state *provider = NULL;
	struct shaping_limits l;
	struct shape *sh;

	if (!p->provider && !p->rule && !s->shape)
		return 0;
	limits_of(p, &l);
	sh = shape_of(s);
	if (!sh)
		return -ENOMEM;
	if (p->provider) {
		provider = provider_at(s->home, p->provider);
		if (!provider)
			return -ENOMEM;
	}
	if (sh->provider != provider)
		shape_leave(s);
	sh->provider = provider;
	sh->messages_per_connection = l.messages_per_connection;
	pace_limit(&sh->pace, &l.rate);
	return 0;
}

void shape_free(struct site *s)
{
	if (!s->shape)
		return;
	shape_leave(s);
	slow_done(&s->shape->slow);
	free(s->shape);
	s->shape = NULL;
}

usec_t shape_until(const struct site *s)
{
	return MAX(s->shape->pace.interval > 0 ? s->shape->pace.at : 0, s->shape->learned.changed);
}

/* --- messages --------------------------------------------------------------------------------- */

/* The first of those that wait for the provider's rate looks again when it is time. */
static void arm(struct provider_state *p)
{
	struct link *first = list_first(&p->waiting);

	if (first)
		site_set_timer(container_of(first, struct shape, waiting)->site, MAX(pace_next(&p->pace), now()));
}

static void leave_waiting(struct shape *sh)
{
	bool was_first;

	if (!link_linked(&sh->waiting))
		return;
	was_first = list_first(&sh->provider->waiting) == &sh->waiting;
	link_remove(&sh->waiting);
	if (was_first)
		arm(sh->provider);
}

static bool is_rated(const struct shape *sh)
{
	return sh->pace.interval > 0 || sh->learned.pace.interval > 0 ||
	       (sh->provider && sh->provider->pace.interval > 0);
}

bool shape_admits(struct site *s)
{
	struct shape *sh = s->shape;
	struct provider_state *p = sh->provider;
	usec_t t = now(), at;
	struct link *first;

	if (s->mode == SITE_PROBING || !is_rated(sh))
		return true;
	if (s->starting > 0)
		return false; /* that one asks first */
	at = MAX(pace_next(&sh->pace), pace_next(&sh->learned.pace));
	if (at > t) {
		leave_waiting(sh);
		site_set_timer(s, at);
		return false;
	}
	if (!p || p->pace.interval == 0)
		return true;
	first = list_first(&p->waiting);
	if (pace_next(&p->pace) <= t && (!first || first == &sh->waiting))
		return true;
	if (!link_linked(&sh->waiting))
		list_append(&p->waiting, &sh->waiting);
	arm(p);
	return false;
}

void shape_took(struct site *s)
{
	struct shape *sh = s->shape;
	usec_t t = now();

	if (!is_rated(sh))
		return;
	pace_take(&sh->pace, t);
	pace_take(&sh->learned.pace, t);
	if (sh->provider) {
		pace_take(&sh->provider->pace, t);
		leave_waiting(sh);
	}
	if (s->line.len > 0)
		(void) shape_admits(s); /* the next one knows its time */
}

void shape_cannot(struct site *s)
{
	leave_waiting(s->shape);
}

void shape_leave(struct site *s)
{
	struct shape *sh = s->shape;

	leave_waiting(sh);
	link_remove(&sh->starved);
}

/* --- connections ------------------------------------------------------------------------------ */

static unsigned most_slots(const struct provider_state *p)
{
	return p->provider->limits.all_connections > 0 ? p->provider->limits.all_connections : UINT_MAX;
}

/* A connection that waits for work of its own site is in the way of another. */
static void end_an_idle_slot(struct provider_state *p)
{
	struct link *k = list_first(&p->idle);

	if (k)
		slot_end_idle(container_of(k, struct slot, provider_idle));
}

bool shape_has_room(struct site *s)
{
	struct shape *sh = s->shape;
	struct provider_state *p = sh->provider;

	if (!p)
		return true;
	if (p->slots < most_slots(p) && (list_empty(&p->starved) || p->turn == sh)) {
		link_remove(&sh->starved);
		return true;
	}
	if (!link_linked(&sh->starved))
		list_append(&p->starved, &sh->starved);
	end_an_idle_slot(p);
	return false;
}

void shape_slot_started(struct site *s, struct slot *slot)
{
	slot->provider = s->shape->provider;
	if (slot->provider)
		slot->provider->slots++;
}

bool shape_slot_idle(struct slot *slot)
{
	if (!slot->provider)
		return true;
	if (!list_empty(&slot->provider->starved))
		return false;
	list_append(&slot->provider->idle, &slot->provider_idle);
	return true;
}

void shape_slot_ended(struct slot *slot)
{
	struct provider_state *p = slot->provider;
	struct link *k;

	if (!p)
		return;
	link_remove(&slot->provider_idle);
	p->slots--;
	while (p->slots < most_slots(p) && (k = list_pop(&p->starved))) {
		p->turn = container_of(k, struct shape, starved);
		site_pump(p->turn->site);
		p->turn = NULL;
	}
}

/* --- what is learned -------------------------------------------------------------------------- */

void shape_throttled(struct site *s, usec_t t)
{
	struct shape *sh = shape_of(s);

	if (sh)
		learned_slow_down(&sh->learned, meter_interval(&s->meter, t), t);
}

void shape_recall(struct site *s, usec_t interval, usec_t age)
{
	struct shape *sh = interval > 0 ? shape_of(s) : NULL;

	if (sh)
		learned_recall(&sh->learned, interval, age, now());
}

/* --- senders ---------------------------------------------------------------------------------- */

/* Its domain, or the sender itself when that isn't known. The message changes neither while a job of it is out. */
static uint64_t sender_key(const struct job *j)
{
	const struct message *m = j->message;

	return m->sender_domain ? m->sender_domain->node.hash : m->sender;
}

static struct slow_keys *slow_of(const struct site *s)
{
	return s->shape->provider ? &s->shape->provider->slow : &s->shape->slow;
}

void shape_sender_throttled(struct site *s, const struct job *j, usec_t t)
{
	if (shape_of(s))
		slow_down(slow_of(s), sender_key(j), meter_interval(&s->meter, t), t);
}

usec_t shape_sender_asks(struct site *s, const struct job *j, usec_t t)
{
	struct slow_keys *slow = slow_of(s);

	return slow->keys.len > 0 ? slow_ask(slow, sender_key(j), t) : 0;
}

void shape_sender_taken(struct site *s, const struct job *j, usec_t t)
{
	struct slow_keys *slow = slow_of(s);

	if (slow->keys.len > 0)
		slow_taken(slow, sender_key(j), t);
}
