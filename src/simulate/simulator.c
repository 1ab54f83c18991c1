#include "simulate/simulator.h"

#include <stdio.h>
#include <stdlib.h>

#include "simulate/session.h"
#include "tls/self_made.h"
#include "world/file.h"

/* --- chance ------------------------------------------------------------------------------------------------------- */

/* splitmix64: the same seed, the same game, as long as the clients do the same in the same order. */
bool simulator_chance(struct simulator *s, unsigned percent)
{
	uint64_t z = (s->random += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % 100 < percent;
}

/* --- clients ------------------------------------------------------------------------------------------------------ */

static struct simulated_client *find_client(struct simulator *s, const struct ip *ip)
{
	uint64_t hash = hash_bytes(&s->memory.key, ip, sizeof(*ip));
	struct simulated_client *c;

	for (struct hash_node *n = hash_find(&s->clients, hash); n; n = hash_find_next(n)) {
		c = container_of(n, struct simulated_client, node);
		if (ip_equal(&c->ip, ip))
			return c;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->ip = *ip;
	if (hash_insert(&s->clients, &c->node, hash) < 0) {
		free(c);
		return NULL;
	}
	c->next = s->first_client;
	s->first_client = c;
	s->n_clients++;
	return c;
}

struct simulated_client *simulator_client_came(struct simulator *s, const struct ip *ip)
{
	const struct ip nobody = { 0 };
	struct simulated_client *c = find_client(s, s->n_clients < SIMULATOR_CLIENTS_MAX ? ip : &nobody);

	if (!c)
		return NULL;
	c->connections++;
	c->open++;
	c->widest = MAX(c->widest, c->open);
	return c;
}

void simulator_client_went(struct simulator *s, struct simulated_client *c)
{
	if (c)
		c->open--;
}

/* --- connections ---------------------------------------------------------------------------------------------------- */

struct accepting {
	struct simulator *simulator;
	struct listener *listener;
};

static void take_connection(struct simulator *s, struct transport *t, const struct endpoint *peer)
{
	struct simulated_session *x = calloc(1, sizeof(*x));

	s->seen.connections++;
	if (!x) {
		transport_close(t);
		return;
	}
	x->simulator = s;
	x->provider = s->provider;
	s->open++;
	if (stream_new(t, peer, &x->stream) >= 0 && fiber_spawn("simulated session", simulated_session, x, NULL) >= 0)
		return;
	s->open--;
	stream_free(x->stream);
	free(x);
}

static void accept_connections(void *arg)
{
	struct accepting a = *(struct accepting *) arg;

	free(arg);
	for (;;) {
		struct endpoint peer;
		struct transport *t;
		int r = listener_accept(a.listener, DEADLINE_NEVER, &t, &peer);

		if (r == -ECANCELED)
			return;
		if (r >= 0)
			take_connection(a.simulator, t, &peer);
		else
			(void) fiber_sleep_until(deadline_after(now(), 10 * USEC_MS));
	}
}

int simulator_listen(struct simulator *s, const struct endpoint *at)
{
	struct listener *l;
	int r;

	if (s->n_listeners == SIMULATOR_LISTENERS_MAX)
		return -ENOBUFS;
	r = listener_open(s->world, at, NULL, &l);
	if (r < 0)
		return r;
	s->listeners[s->n_listeners++] = l;
	return 0;
}

int simulator_run(struct simulator *s, struct loop *loop)
{
	for (unsigned i = 0; i < s->n_listeners; i++) {
		struct accepting *a = malloc(sizeof(*a));
		int r;

		if (!a)
			return -ENOMEM;
		*a = (struct accepting) { s, s->listeners[i] };
		r = loop_spawn(loop, "accept", accept_connections, a);
		if (r < 0) {
			free(a);
			return r;
		}
	}
	return 0;
}

/* --- beginning and end ------------------------------------------------------------------------------------------------ */

static bool has_tls(const struct provider *p)
{
	for (unsigned i = 0; i < p->n_extensions; i++)
		if (slice_ieq_str(slice_from(p->extensions[i]), "STARTTLS"))
			return true;
	return false;
}

/* The files are gone again before this returns. */
static int make_certificate(struct simulator *s, char **ret_why)
{
	char certificate[64], key[64];
	struct tls_server_config config = { .certificate = certificate, .key = key };
	uint64_t random;
	int r;

	world_random(s->world, &random, sizeof(random));
	(void) snprintf(certificate, sizeof(certificate), "/tmp/yizhan-simulate-%016llx.crt", (unsigned long long) random);
	(void) snprintf(key, sizeof(key), "/tmp/yizhan-simulate-%016llx.key", (unsigned long long) random);
	r = tls_self_made(s->world, s->provider->host, certificate, key);
	if (r >= 0)
		r = tls_server_context_new(s->world, &config, &s->tls, ret_why);
	(void) path_unlink(s->world, certificate);
	(void) path_unlink(s->world, key);
	return r;
}

static int open_tls(struct simulator *s, char **ret_why)
{
	const struct tls_server_config config = { .certificate = s->options.certificate, .key = s->options.key };

	if (!has_tls(s->provider))
		return 0;
	return config.certificate ? tls_server_context_new(s->world, &config, &s->tls, ret_why) : make_certificate(s, ret_why);
}

static int make_maildir(struct simulator *s, char **ret_why)
{
	static const char *const parts[] = { "tmp", "new", "cur" };
	int r = 0;

	for (size_t i = 0; s->options.maildir && i < ARRAY_LEN(parts) && r >= 0; i++) {
		_cleanup_(freep) char *path = NULL;

		if (asprintf(&path, "%s/%s", s->options.maildir, parts[i]) < 0) {
			path = NULL;
			return -ENOMEM;
		}
		r = path_make_directories(s->world, path, 0700);
		if (r < 0 && asprintf(ret_why, "%s: %s", path, strerrordesc_np(-r)) < 0)
			*ret_why = NULL;
	}
	return r;
}

int simulator_new(struct world *w, const struct provider *p, const struct simulator_options *o, struct simulator **ret, char **ret_why)
{
	_cleanup_(simulator_freep) struct simulator *s = calloc(1, sizeof(*s));
	struct hash_key key;
	int r;

	if (!s)
		return -ENOMEM;
	s->world = w;
	s->provider = p;
	s->options = *o;
	s->random = o->seed;
	world_random(w, &key, sizeof(key));
	world_random(w, &s->next_id, sizeof(s->next_id));
	memory_init(&s->memory, &key);
	s->seen.rules = calloc(p->n_rules + 1, sizeof(*s->seen.rules));
	if (!s->seen.rules)
		return -ENOMEM;
	r = make_maildir(s, ret_why);
	if (r >= 0)
		r = open_tls(s, ret_why);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

void simulator_free(struct simulator *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->n_listeners; i++)
		listener_close(s->listeners[i]);
	for (struct simulated_client *c = s->first_client, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	hash_done(&s->clients);
	memory_done(&s->memory);
	tls_context_unref(s->tls);
	free(s->seen.rules);
	free(s);
}
