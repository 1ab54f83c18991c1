#include "queue/destination.h"

#include <stdlib.h>

#include "queue/home.h"
#include "queue/owner.h"

#define RESOLVERS_MAX 500u                     /* fibers of one home that wait for the DNS */
#define HOLDS_MAX (60 * USEC_SEC)              /* then the router's caches are asked again */
#define HOLDS_MIN (2 * USEC_SEC)
#define TROUBLE_HOLDS (10 * USEC_SEC)
#define RESOLVE_TIMEOUT (60 * USEC_SEC)
#define KEY_MAX (DOMAIN_MAX + ENDPOINT_PATH + 64)

struct key {
	char data[KEY_MAX];
	size_t len, domain_len;
};

static void key_put(struct key *k, const void *data, size_t len)
{
	len = MIN(len, sizeof(k->data) - k->len);
	memcpy(k->data + k->len, data, len);
	k->len += len;
}

static void key_put_host(struct key *k, const struct host_port *h)
{
	key_put(k, &h->name, sizeof(h->name)); /* names of a configuration stay where they are */
	key_put(k, &h->port, sizeof(h->port));
	key_put(k, &h->ip.family, sizeof(h->ip.family));
	key_put(k, h->ip.bytes, sizeof(h->ip.bytes));
}

/* Only where the way depends on the domain is it a part of the key. */
static void make_key(struct key *k, const struct hop *hop, struct slice domain)
{
	uint8_t head[2] = { (uint8_t) hop->kind, (uint8_t) hop->tls };

	*k = (struct key) { .len = 0 };
	if (hop->kind == HOP_MX || hop->kind == HOP_MAILDIR || hop->kind == HOP_ATRN) {
		domain = slice_head(domain, DOMAIN_MAX);
		for (size_t i = 0; i < domain.len; i++)
			k->data[i] = ascii_lower(domain.data[i]);
		k->len = k->domain_len = domain.len;
	}
	key_put(k, head, sizeof(head));
	key_put(k, &hop->source, sizeof(hop->source));
	switch (hop->kind) {
	case HOP_RELAY:
		key_put(k, &hop->relay, sizeof(hop->relay));
		break;
	case HOP_HOST:
		key_put_host(k, &hop->host);
		break;
	case HOP_LMTP:
		key_put(k, &hop->lmtp.kind, sizeof(hop->lmtp.kind));
		key_put(k, hop->lmtp.path, strnlen(hop->lmtp.path, sizeof(hop->lmtp.path)));
		key_put(k, &hop->lmtp.ip.family, sizeof(hop->lmtp.ip.family));
		key_put(k, hop->lmtp.ip.bytes, sizeof(hop->lmtp.ip.bytes));
		key_put(k, &hop->lmtp.port, sizeof(hop->lmtp.port));
		key_put_host(k, &hop->lmtp_host);
		break;
	case HOP_SRV:
		key_put(k, &hop->srv, sizeof(hop->srv));
		break;
	case HOP_PIPE:
		key_put(k, &hop->pipe, sizeof(hop->pipe));
		break;
	case HOP_MAILDIR:
		key_put(k, &hop->maildir, sizeof(hop->maildir));
		break;
	default:
		break;
	}
}

static void forget(struct destination *d)
{
	path_unref(d->path);
	d->path = NULL;
	free(d->why);
	d->why = NULL;
	d->until = 0;
}

static void destination_free(struct destination *d)
{
	forget(d);
	link_remove(&d->turn);
	hash_remove(&d->home->destinations, &d->node);
	free(d);
}

static usec_t holds(uint32_t ttl)
{
	return MIN(MAX((usec_t) ttl * USEC_SEC, HOLDS_MIN), HOLDS_MAX);
}

static void learn(struct destination *d, struct path *p, const struct target *t, usec_t at)
{
	forget(d);
	d->resolving = false;
	d->status = t->status;
	d->until = deadline_after(at, t->status == TARGET_TEMPORARY ? TROUBLE_HOLDS : holds(t->ttl));
	if (t->status == TARGET_OK)
		d->path = p;
	else if (t->why)
		d->why = strdup(t->why);
}

/* Asks the router, from its caches alone or with waiting. 1: learned; 0: the DNS must be asked; -errno. */
static int ask(struct destination *d, bool cached)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	struct queue *q = d->home->queue;
	struct path *p = NULL;
	struct target t;
	int r;

	r = arena_new(1024, &a);
	if (r < 0)
		return r;
	if (cached)
		r = route_target_cached(q->router, d->hop, destination_domain(d), a, &t);
	else
		r = route_target(q->router, d->hop, destination_domain(d), deadline_after(now(), RESOLVE_TIMEOUT), a, &t);
	if (r < 0 || (cached && r == 0))
		return r;
	if (t.status == TARGET_OK) {
		p = path_new(d->hop, &t);
		if (!p)
			return -ENOMEM;
		p->made = now();
		p->hash = hash_bytes(&q->key, path_site(p), strlen(path_site(p)));
		shape_path(q, p);
	}
	learn(d, p, &t, now());
	return 1;
}

void destination_outcome(enum target_status status, const char *why, struct outcome *ret)
{
	static const struct {
		enum outcome_kind kind;
		enum reply_class class;
		struct reply reply;
	} told[] = {
		[TARGET_OK] = { OUTCOME_DEFERRED, CLASS_OTHER, { 451, { 4, 3, 0 }, "Local trouble" } },
		[TARGET_NO_DOMAIN] = { OUTCOME_FAILED, CLASS_NO_SUCH_USER, { 550, { 5, 1, 2 }, "The domain does not exist" } },
		/* RFC 7505 section 4.1 */
		[TARGET_NULL_MX] = { OUTCOME_FAILED, CLASS_NO_SUCH_USER, { 556, { 5, 1, 10 }, "The domain takes no mail" } },
		[TARGET_NO_HOST] = { OUTCOME_FAILED, CLASS_NO_SUCH_USER, { 550, { 5, 4, 4 }, "The domain has no mail host" } },
		[TARGET_LOOP] = { OUTCOME_FAILED, CLASS_OTHER, { 554, { 5, 4, 6 }, "The mail loops back to this host" } },
		[TARGET_TEMPORARY] = { OUTCOME_DEFERRED, CLASS_UNREACHABLE, { 451, { 4, 4, 3 }, "The DNS has trouble" } },
	};

	*ret = (struct outcome) {
		.kind = told[status].kind, .stage = STAGE_DNS, .class = told[status].class, .reply = told[status].reply,
	};
	if (why)
		ret->reply.text = why;
}

/* The jobs of a destination that is known now go on; those of one that has no path come home untried, to be
 * told why by home_schedule. */
static void send_waiting(struct destination *d, struct list *waiting)
{
	struct link *k;

	while ((k = list_pop(waiting))) {
		struct job *j = container_of(k, struct job, line.link);

		j->destination = NULL;
		/* More recipients than one transaction may have there: it is made anew, now that this is known. */
		if (d->path && j->n <= shape_recipients(d->home->queue, d->path)) {
			j->path = path_ref(d->path);
			home_tell_routed(d->home, j);
			owner_send(d->home, j);
		} else {
			j->result = JOB_RECALLED;
			home_take_back(d->home, j);
		}
	}
}

static void resolved(struct destination *d, int r)
{
	struct list waiting;

	if (r < 0) {
		struct target t = { .status = TARGET_TEMPORARY,
				    .why = r == -ENOMEM ? "this server is short of memory" : NULL };

		learn(d, NULL, &t, now());
	}
	list_init(&waiting);
	list_splice(&waiting, &d->waiting);
	send_waiting(d, &waiting);
}

/* Resolves one destination after the other while there are any. */
static void resolver(void *arg)
{
	struct home *h = arg;
	struct link *k;

	while (!h->stopping && (k = list_pop(&h->unresolved))) {
		struct destination *d = container_of(k, struct destination, turn);

		resolved(d, ask(d, false));
	}
	h->resolvers--;
	cond_broadcast(&h->quiet);
}

static int begin_resolving(struct destination *d)
{
	struct home *h = d->home;
	int r;

	d->resolving = true;
	list_append(&h->unresolved, &d->turn);
	if (h->resolvers >= RESOLVERS_MAX)
		return 0;
	r = fiber_group_spawn(&h->helpers, "resolver", resolver, h);
	if (r >= 0)
		h->resolvers++;
	else if (h->resolvers == 0) {
		link_remove(&d->turn);
		d->resolving = false;
		return r;
	}
	return 0;
}

static int destination_new(struct home *h, const struct hop *hop, const struct key *k, uint64_t hash,
			   struct destination **ret)
{
	struct destination *d = calloc(1, sizeof(*d) + hop_room(hop) + k->len);
	int r;

	if (!d)
		return -ENOMEM;
	d->home = h;
	d->hop = hop_keep(hop, d + 1);
	d->key = (char *) (d + 1) + hop_room(hop);
	list_init(&d->waiting);
	d->key_len = k->len;
	d->domain_len = k->domain_len;
	memcpy(d->key, k->data, k->len);
	r = hash_insert(&h->destinations, &d->node, hash);
	if (r < 0) {
		free(d);
		return r;
	}
	*ret = d;
	return 0;
}

int destination_find(struct home *h, const struct hop *hop, struct slice domain, struct destination **ret)
{
	struct destination *d = NULL;
	struct key k;
	uint64_t hash;
	int r;

	make_key(&k, hop, domain);
	hash = hash_bytes(&h->queue->key, k.data, k.len);
	for (struct hash_node *n = hash_find(&h->destinations, hash); n && !d; n = hash_find_next(n)) {
		struct destination *found = container_of(n, struct destination, node);

		if (found->key_len == k.len && memcmp(found->key, k.data, k.len) == 0)
			d = found;
	}
	if (!d) {
		r = destination_new(h, hop, &k, hash, &d);
		if (r < 0)
			return r;
	}
	if (!d->resolving && d->until <= now()) {
		r = ask(d, true);
		if (r == 0)
			r = begin_resolving(d);
		if (r < 0)
			return r;
	}
	*ret = d;
	return 0;
}

void destination_wait(struct destination *d, struct job *j)
{
	list_append(&d->waiting, &j->line.link);
}

void destination_sweep(struct home *h, usec_t t)
{
	struct hash_node *n = hash_walk(&h->destinations, NULL);

	while (n) {
		struct destination *d = container_of(n, struct destination, node);

		n = hash_walk(&h->destinations, n);
		if (!d->resolving && d->until <= t && list_empty(&d->waiting))
			destination_free(d);
	}
}

void destination_free_all(struct home *h)
{
	struct hash_node *n;

	while ((n = hash_walk(&h->destinations, NULL)))
		destination_free(container_of(n, struct destination, node));
	hash_done(&h->destinations);
}
