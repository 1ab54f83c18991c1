#include "receive/receive.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "receive/acceptor.h"
#include "users/attempts.h"

/* The doors as they are, all loops taken together; the endpoint of each listener has the port that the kernel chose
 * for port 0. */
struct places {
	unsigned n;
	struct receive_listener *listeners;
	struct endpoint *endpoints;
};

struct receiver {
	struct receive_shared shared;
	pthread_mutex_t lock; /* around `settings`, for those who look from another thread */
	struct receive_settings *settings;
	unsigned n_acceptors;
	struct acceptor **acceptors;
	struct places places;
	bool started, stopped;
	char *renewal_trouble; /* why the last try to renew the certificates failed; NULL: it did not */
};

static void places_done(struct places *p)
{
	free(p->listeners);
	free(p->endpoints);
	*p = (struct places) { 0 };
}

_printf_(3, 4) static int explain(char **ret_why, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (ret_why && !*ret_why && vasprintf(ret_why, format, args) < 0)
		*ret_why = NULL;
	va_end(args);
	return error;
}

/* --- opening ------------------------------------------------------------------------------------------ */

/* The listeners of one configured address: one for each loop, or a single one where the kernel can't share
 * (a unix socket has one owner). */
struct opened {
	struct listener **listeners; /* [n_loops]; NULL where there is none */
};

static void opened_close(struct opened *o, unsigned n)
{
	for (unsigned i = 0; o->listeners && i < n; i++)
		listener_close(o->listeners[i]);
	free(TAKE_PTR(o->listeners));
}

/* Sharing a port between our loops would also share it with another server of the same user, silently; so it is
 * asked for alone first. 0 or -EADDRINUSE and the like. */
static int is_free(struct world *w, const struct endpoint *at)
{
	struct listener *alone;
	int r = listener_open(w, at, NULL, &alone);

	if (r >= 0)
		listener_close(alone);
	return r < 0 ? r : 0;
}

static int open_address(struct receiver *r, const struct receive_listener *config, struct opened *o, char **ret_why)
{
	struct endpoint at = config->address;
	unsigned n = at.kind == ENDPOINT_UNIX ? 1 : r->n_acceptors;
	char text[ENDPOINT_TEXT];
	int res;

	endpoint_format(&at, text);
	if (config->implicit_tls && !r->settings->tls)
		return explain(ret_why, -EINVAL, "the listener %s has `tls: implicit`, but there is no certificate; set tls.certificate "
						 "and tls.key", text);
	o->listeners = calloc(r->n_acceptors, sizeof(*o->listeners));
	if (!o->listeners)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		res = i == 0 && n > 1 ? is_free(r->shared.world, &at) : 0;
		if (res >= 0)
			res = listener_open(r->shared.world, &at, &(struct listen_options) { .reuse_port = n > 1 }, &o->listeners[i]);
		if (res < 0) {
			char error[128];

			opened_close(o, r->n_acceptors);
			return explain(ret_why, res, "can't listen on %s: %s%s", text, strerror_r(-res, error, sizeof(error)),
				       res == -EADDRINUSE ? "; another program has this port"
				       : res == -EACCES   ? "; ports below 1024 need root or CAP_NET_BIND_SERVICE"
							  : "");
		}
		at = *listener_endpoint(o->listeners[i]); /* port 0 became a real one: the others share it */
	}
	return 0;
}

static int check_config(const struct receive_config *config, char **ret_why)
{
	if (config->n_listeners == 0)
		return 0; /* a server that only sends */
	for (unsigned i = 0; i < config->n_listeners; i++)
		for (unsigned k = 0; k < i; k++)
			if (config->listeners[i].address.port != 0 &&
			    endpoint_equal(&config->listeners[i].address, &config->listeners[k].address)) {
				char text[ENDPOINT_TEXT];

				return explain(ret_why, -EINVAL, "the address %s is listed twice under listen",
					       endpoint_format(&config->listeners[i].address, text));
			}
	return 0;
}

/* The place of the listener in force that has this address; places.n when there is none. */
static unsigned find_listener(const struct receiver *r, const struct endpoint *address)
{
	unsigned i = 0;

	while (i < r->places.n && !endpoint_equal(&r->places.listeners[i].address, address))
		i++;
	return i;
}

/* What is in force from now on. opened[i].listeners is NULL for those that were open before. */
static int make_places(const struct receiver *r, const struct receive_config *config, const struct opened *opened, struct places *ret)
{
	struct places p = {
		.listeners = calloc(config->n_listeners + 1, sizeof(*p.listeners)),
		.endpoints = calloc(config->n_listeners + 1, sizeof(*p.endpoints)),
		.n = config->n_listeners,
	};

	if (!p.listeners || !p.endpoints) {
		places_done(&p);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < p.n; i++) {
		p.listeners[i] = config->listeners[i];
		p.endpoints[i] = opened[i].listeners ? *listener_endpoint(opened[i].listeners[0])
						     : r->places.endpoints[find_listener(r, &config->listeners[i].address)];
	}
	*ret = p;
	return 0;
}

static void opened_free(struct opened *opened, unsigned n_listeners, unsigned n_loops)
{
	for (unsigned i = 0; opened && i < n_listeners; i++)
		opened_close(&opened[i], n_loops);
	free(opened);
}

/* Opens what isn't open yet, and says in *ret_places what will be in force. *ret: an array of config->n_listeners, to be
 * freed. */
static int open_missing(struct receiver *r, const struct receive_config *config, struct opened **ret, struct places *ret_places,
			char **ret_why)
{
	struct opened *opened = calloc(config->n_listeners + 1, sizeof(*opened));
	int res = opened ? 0 : -ENOMEM;

	for (unsigned i = 0; i < config->n_listeners && res >= 0; i++)
		if (find_listener(r, &config->listeners[i].address) == r->places.n)
			res = open_address(r, &config->listeners[i], &opened[i], ret_why);
	if (res >= 0)
		res = make_places(r, config, opened, ret_places);
	if (res < 0) {
		opened_free(opened, config->n_listeners, r->n_acceptors);
		return res;
	}
	*ret = opened;
	return 0;
}

/* --- life ----------------------------------------------------------------------------------------------- */

static int make_acceptors(struct receiver *r, struct loop *const *loops, unsigned n_loops)
{
	r->acceptors = calloc(n_loops, sizeof(*r->acceptors));
	if (!r->acceptors)
		return -ENOMEM;
	for (unsigned i = 0; i < n_loops; i++) {
		int res = acceptor_new(&r->shared, loops[i], r->settings, &r->acceptors[i]);

		if (res < 0)
			return res;
		r->n_acceptors++;
	}
	return 0;
}

static int open_all(struct receiver *r, const struct receive_config *config, char **ret_why)
{
	struct opened *opened;
	int res = open_missing(r, config, &opened, &r->places, ret_why);

	if (res < 0)
		return res;
	for (unsigned i = 0; i < config->n_listeners; i++)
		for (unsigned k = 0; k < r->n_acceptors; k++) {
			struct door *d;

			if (!opened[i].listeners[k] || res < 0)
				continue;
			res = door_new(TAKE_PTR(opened[i].listeners[k]), &config->listeners[i], &d);
			if (res >= 0)
				acceptor_add_door(r->acceptors[k], d);
		}
	opened_free(opened, config->n_listeners, r->n_acceptors);
	return res;
}

int receiver_new(struct world *w, const struct log *log, const struct event_sink *events, const struct receive_config *config,
		 struct router *router, struct resolver *resolver, struct queue *queue, struct loop *const *loops,
		 unsigned n_loops, struct receiver **ret, char **ret_why)
{
	_cleanup_(receiver_freep) struct receiver *r = calloc(1, sizeof(*r));
	int res;

	if (ret_why)
		*ret_why = NULL;
	if (!r)
		return -ENOMEM;
	pthread_mutex_init(&r->lock, NULL);
	r->shared = (struct receive_shared) {
		.world = w,
		.log = log,
		.events = events,
		.router = router,
		.resolver = resolver,
		.queue = queue,
	};
	pressure_init(&r->shared.pressure, w, log);
	pressure_configure(&r->shared.pressure, &config->pressure);
	res = check_config(config, ret_why);
	if (res >= 0)
		res = clients_new(w, log, &r->shared.clients);
	if (res >= 0)
		res = duplicates_new(w, config->duplicate_entries, &r->shared.duplicates);
	if (res >= 0)
		res = attempts_new(w, &r->shared.attempts);
	if (res >= 0)
		res = gate_shared_init(&r->shared.gate, w, log, resolver, router, config->gate);
	if (res >= 0)
		res = receive_settings_new(w, log, config, &r->shared.gate, &r->settings, ret_why);
	if (res >= 0)
		res = make_acceptors(r, loops, n_loops);
	if (res >= 0)
		res = open_all(r, config, ret_why);
	if (res < 0)
		return res;
	*ret = TAKE_PTR(r);
	return 0;
}

void receiver_set_verifier(struct receiver *r, const struct verifier *v)
{
	r->shared.gate.verifier = *v;
}

void receiver_set_dmarc_sink(struct receiver *r, const struct dmarc_sink *sink)
{
	r->shared.dmarc_sink = *sink;
}

static void open_doors_fiber(void *arg)
{
	acceptor_open_doors(arg);
}

int receiver_start(struct receiver *r)
{
	for (unsigned i = 0; i < r->n_acceptors; i++) {
		int res = loop_spawn(r->acceptors[i]->loop, "open listeners", open_doors_fiber, r->acceptors[i]);

		if (res < 0)
			return res;
	}
	r->started = true;
	return 0;
}

void receiver_free(struct receiver *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i < r->n_acceptors; i++)
		acceptor_free(r->acceptors[i]);
	free(r->acceptors);
	places_done(&r->places);
	receive_settings_unref(r->settings);
	pthread_mutex_destroy(&r->lock);
	gate_shared_done(&r->shared.gate);
	clients_free(r->shared.clients);
	duplicates_free(r->shared.duplicates);
	free(r->renewal_trouble);
	attempts_free(r->shared.attempts);
	free(r);
}

/* --- reload (the receiver was started) ----------------------------------------------------------------------------------------------- */

/* What changes on one loop. All of them are made before the first is sent, and sending can't fail: the new configuration
 * is in force everywhere, or nowhere. */
struct change {
	struct post post;
	struct acceptor *acceptor;
	struct receive_settings *settings; /* a reference */
	unsigned n_listeners;
	struct door **doors;               /* for each configured listener the new one, or NULL */
};

static struct door *find_door(const struct acceptor *a, const struct endpoint *address)
{
	for (LIST_EACH(&a->doors, k)) {
		struct door *d = container_of(k, struct door, link);

		if (!d->closing && endpoint_equal(&d->address, address))
			return d;
	}
	return NULL;
}

static bool is_configured(const struct receive_config *config, const struct endpoint *address)
{
	for (unsigned i = 0; i < config->n_listeners; i++)
		if (endpoint_equal(&config->listeners[i].address, address))
			return true;
	return false;
}

static void change_free(struct change *c)
{
	if (!c)
		return;
	for (unsigned i = 0; c->doors && i < c->n_listeners; i++)
		door_free(c->doors[i]);
	free(c->doors);
	receive_settings_unref(c->settings);
	free(c);
}

DEFINE_FREEP(struct change, change_free)

/* On the acceptor's loop. */
static void apply_change(struct change *c)
{
	struct acceptor *a = c->acceptor;
	const struct receive_config *config = c->settings->config;

	receive_settings_unref(a->settings);
	a->settings = receive_settings_ref(c->settings);
	for (LIST_EACH_SAFE(&a->doors, k)) {
		struct door *d = container_of(k, struct door, link);

		if (!is_configured(config, &d->address))
			acceptor_close_door(d);
	}
	for (unsigned i = 0; i < c->n_listeners && !a->stopping; i++) {
		const struct receive_listener *l = &config->listeners[i];
		struct door *d = find_door(a, &l->address);

		if (d) {
			d->config = l;
			d->role = l->role;
			d->implicit_tls = l->implicit_tls;
		} else if (c->doors[i]) {
			acceptor_add_door(a, TAKE_PTR(c->doors[i]));
		}
	}
}

static void change_run(struct post *p)
{
	struct change *c = container_of(p, struct change, post);
	struct acceptor *a = c->acceptor;

	apply_change(c);
	change_free(c);
	if (!a->stopping && fiber_group_spawn(&a->fibers, "open listeners", open_doors_fiber, a) < 0)
		LOG(a->shared->log, LOG_CRITICAL, "no fiber to open the listeners of the new configuration; reload it again");
}

static int make_change(struct receiver *r, unsigned acceptor, struct receive_settings *settings,
		       struct opened *opened, struct change **ret)
{
	const struct receive_config *config = settings->config;
	_cleanup_(change_freep) struct change *c = calloc(1, sizeof(*c));
	int res = 0;

	if (!c)
		return -ENOMEM;
	c->post.run = change_run;
	c->acceptor = r->acceptors[acceptor];
	c->settings = receive_settings_ref(settings);
	c->n_listeners = config->n_listeners;
	c->doors = calloc(c->n_listeners + 1, sizeof(struct door *));
	if (!c->doors)
		return -ENOMEM;
	for (unsigned i = 0; i < c->n_listeners && res >= 0; i++)
		if (opened[i].listeners && opened[i].listeners[acceptor])
			res = door_new(TAKE_PTR(opened[i].listeners[acceptor]), &config->listeners[i], &c->doors[i]);
	if (res < 0)
		return res;
	*ret = TAKE_PTR(c);
	return 0;
}

static int send_changes(struct receiver *r, struct receive_settings *settings, struct opened *opened)
{
	_cleanup_(freep) struct change **changes = calloc(r->n_acceptors + 1, sizeof(*changes));
	int res = changes ? 0 : -ENOMEM;

	for (unsigned i = 0; i < r->n_acceptors && res >= 0; i++)
		res = make_change(r, i, settings, opened, &changes[i]);
	for (unsigned i = 0; changes && i < r->n_acceptors; i++) {
		if (res < 0)
			change_free(changes[i]);
		else
			loop_post(changes[i]->acceptor->loop, &changes[i]->post);
	}
	return res;
}

static void set_settings(struct receiver *r, struct receive_settings *settings)
{
	pthread_mutex_lock(&r->lock);
	r->settings = settings;
	pthread_mutex_unlock(&r->lock);
}

int receiver_reload(struct receiver *r, const struct receive_config *config, char **ret_why)
{
	_cleanup_(receive_settings_unrefp) struct receive_settings *settings = NULL;
	struct receive_settings *before = r->settings;
	struct places places;
	struct opened *opened;
	int res;

	assert(r->started);
	if (ret_why)
		*ret_why = NULL;
	res = check_config(config, ret_why);
	if (res >= 0)
		res = receive_settings_new(r->shared.world, r->shared.log, config, &r->shared.gate, &settings, ret_why);
	if (res < 0)
		return res;
	set_settings(r, settings); /* open_address asks whether there is TLS */
	res = open_missing(r, config, &opened, &places, ret_why);
	if (res >= 0) {
		res = send_changes(r, r->settings, opened);
		opened_free(opened, config->n_listeners, r->n_acceptors);
		if (res < 0)
			places_done(&places);
	}
	if (res < 0) {
		set_settings(r, before);
		return res;
	}
	settings = before; /* which is let go */
	pressure_configure(&r->shared.pressure, &config->pressure);
	places_done(&r->places);
	r->places = places;
	return 0;
}

/* The keys of tickets change with their context: not less often than once a day (RFC 9325 section 3.4). */
static bool tickets_are_old(const struct receiver *r)
{
	const struct receive_config *config = r->settings->config;
	bool any = false;

	for (unsigned i = 0; i < config->n_listeners; i++)
		any = any || config->listeners[i].session_tickets;
	return any && world_now(r->shared.world) >= deadline_after(r->settings->made, USEC_DAY);
}

void receiver_renew_certificates(struct receiver *r)
{
	_cleanup_(freep) char *why = NULL;
	bool changed;
	int res;

	if (!r->settings->tls)
		return;
	changed = file_watch_changed(&r->settings->tls_files, r->shared.world);
	if (!changed && !tickets_are_old(r))
		return;
	res = receiver_reload(r, r->settings->config, &why);
	if (res >= 0) {
		free(TAKE_PTR(r->renewal_trouble));
		if (changed)
			LOG(r->shared.log, LOG_NOTICE, "renewed certificates are in use from now on");
		return;
	}
	/* It is tried again at every look (perhaps the key was not written yet), but said once. */
	if (why && r->renewal_trouble && strcmp(why, r->renewal_trouble) == 0)
		return;
	LOG(r->shared.log, LOG_ERROR, "the renewed certificate can't be used, the old one stays; mend the files, they are read again by "
				      "themselves", F_STR("why", why), F_ERRNO("error", res));
	free(r->renewal_trouble);
	r->renewal_trouble = TAKE_PTR(why);
}

/* --- stop -------------------------------------------------------------------------------------------------- */

/* Waiting for all acceptors: by a completion in a fiber, by a condition variable outside of loops. */
struct stopping {
	pthread_mutex_t lock;
	pthread_cond_t none_left;
	unsigned left;
	bool in_fiber;
	struct completion all_stopped;
};
struct stop_order {
	struct acceptor *acceptor;
	struct stopping *stopping;
	usec_t deadline;
};

static void one_stopped(struct stopping *s)
{
	bool in_fiber = s->in_fiber; /* *s may be gone once the lock is */
	bool last;

	pthread_mutex_lock(&s->lock);
	last = --s->left == 0;
	if (last && !in_fiber)
		pthread_cond_signal(&s->none_left);
	pthread_mutex_unlock(&s->lock);
	if (last && in_fiber)
		completion_done(&s->all_stopped, 0);
}

static void stop_fiber(void *arg)
{
	struct stop_order *o = arg;

	acceptor_stop(o->acceptor, o->deadline);
	one_stopped(o->stopping);
	free(o);
}

static int send_stop(struct acceptor *a, struct stopping *s, usec_t deadline)
{
	struct stop_order *o = malloc(sizeof(*o));
	int r;

	if (!o)
		return -ENOMEM;
	*o = (struct stop_order) { .acceptor = a, .stopping = s, .deadline = deadline };
	r = loop_spawn(a->loop, "stop receiving", stop_fiber, o);
	if (r < 0)
		free(o);
	return r;
}

int receiver_stop(struct receiver *r, usec_t deadline)
{
	struct stopping s = { .left = r->n_acceptors, .in_fiber = fiber_self() != NULL };
	int res = 0;

	if (!r->started || r->stopped || r->n_acceptors == 0)
		return 0;
	r->stopped = true;
	pthread_mutex_init(&s.lock, NULL);
	pthread_cond_init(&s.none_left, NULL);
	if (s.in_fiber)
		completion_init(&s.all_stopped);
	for (unsigned i = 0; i < r->n_acceptors; i++) {
		int sent = send_stop(r->acceptors[i], &s, deadline);

		if (sent < 0) {
			res = sent;
			one_stopped(&s);
		}
	}
	if (s.in_fiber) {
		(void) completion_wait(&s.all_stopped);
	} else {
		pthread_mutex_lock(&s.lock);
		while (s.left > 0)
			pthread_cond_wait(&s.none_left, &s.lock);
		pthread_mutex_unlock(&s.lock);
	}
	pthread_cond_destroy(&s.none_left);
	pthread_mutex_destroy(&s.lock);
	return res;
}

/* --- looking ------------------------------------------------------------------------------------------------ */

const struct endpoint *receiver_endpoint(const struct receiver *r, unsigned listener)
{
	return listener < r->places.n ? &r->places.endpoints[listener] : NULL;
}

static void count_pressures(const struct receiver *r, struct receive_counters *c)
{
	for (unsigned i = 0; i < PRESSURE_KINDS; i++) {
		const struct pressure_gauge *g = &r->shared.pressure.gauges[i];

		c->pressures[i] = (struct receive_pressure) {
			.name = pressure_name(i),
			.level = atomic_load_explicit(&g->level, memory_order_relaxed),
			.value = atomic_load_explicit(&g->value, memory_order_relaxed),
			.mark = atomic_load_explicit(&g->mark, memory_order_relaxed),
			.refused = atomic_load_explicit(&g->refused, memory_order_relaxed),
		};
	}
}

void receiver_counters(struct receiver *r, struct receive_counters *ret)
{
	struct receive_counters c;

	pressure_look(&r->shared.pressure);
	c = (struct receive_counters) {
		.sessions = atomic_load_explicit(&r->shared.sessions, memory_order_relaxed),
		.crowded = atomic_load_explicit(&r->shared.crowded, memory_order_relaxed),
		.refused_crowded = atomic_load_explicit(&r->shared.refused_crowded, memory_order_relaxed),
	};

	clients_count(r->shared.clients, &c.clients);
	duplicates_count(r->shared.duplicates, &c.duplicates);
	count_pressures(r, &c);
	for (unsigned i = 0; i < r->n_acceptors; i++) {
		struct acceptor *a = r->acceptors[i];

		c.connections += atomic_load_explicit(&a->connections, memory_order_relaxed);
		c.accepted += atomic_load_explicit(&a->accepted, memory_order_relaxed);
		c.refused += atomic_load_explicit(&a->refused, memory_order_relaxed);
		c.messages += atomic_load_explicit(&a->messages, memory_order_relaxed);
		c.bytes += atomic_load_explicit(&a->bytes, memory_order_relaxed);
		c.gate_rejected += atomic_load_explicit(&a->gate_rejected, memory_order_relaxed);
		c.gate_deferred += atomic_load_explicit(&a->gate_deferred, memory_order_relaxed);
		c.logins += atomic_load_explicit(&a->logins, memory_order_relaxed);
		c.logins_failed += atomic_load_explicit(&a->logins_failed, memory_order_relaxed);
		c.logins_locked += atomic_load_explicit(&a->logins_locked, memory_order_relaxed);
	}
	*ret = c;
}

void receiver_report(struct receiver *r, void (*say)(void *context, const char *text), void *context)
{
	_cleanup_(receive_settings_unrefp) struct receive_settings *settings = NULL;

	pthread_mutex_lock(&r->lock);
	settings = receive_settings_ref(r->settings);
	pthread_mutex_unlock(&r->lock);
	if (settings->gate->lists)
		lists_report(settings->gate->lists, say, context);
}
