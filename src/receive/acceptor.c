#include "receive/acceptor.h"

#include <stdio.h>
#include <stdlib.h>

#include "receive/access.h"
#include "receive/session.h"

#define PAUSE_WITHOUT_DESCRIPTORS (100 * USEC_MS)
#define DOOR_PAUSE USEC_SEC
#define PAUSE_UNDER_PRESSURE (200 * USEC_MS)

int acceptor_new(struct receive_shared *shared, struct loop *loop, struct receive_settings *settings, struct acceptor **ret)
{
	struct acceptor *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->shared = shared;
	a->loop = loop;
	a->settings = receive_settings_ref(settings);
	list_init(&a->doors);
	list_init(&a->sessions);
	fiber_group_init(&a->fibers);
	cond_init(&a->passwords.free);
	*ret = a;
	return 0;
}

void door_free(struct door *d)
{
	if (!d)
		return;
	link_remove(&d->link);
	listener_close(d->listener);
	free(d);
}

void acceptor_free(struct acceptor *a)
{
	if (!a)
		return;
	assert(list_empty(&a->sessions));
	for (LIST_EACH_SAFE(&a->doors, k))
		door_free(container_of(k, struct door, link));
	key_cache_free(a->keys);
	receive_settings_unref(a->settings);
	free(a);
}

int door_new(struct listener *listener, const struct receive_listener *config, struct door **ret)
{
	struct door *d = calloc(1, sizeof(*d));

	if (!d) {
		listener_close(listener);
		return -ENOMEM;
	}
	d->listener = listener;
	d->config = config;
	d->address = config->address;
	d->role = config->role;
	d->implicit_tls = config->implicit_tls;
	*ret = d;
	return 0;
}

void acceptor_add_door(struct acceptor *a, struct door *d)
{
	d->acceptor = a;
	list_append(&a->doors, &d->link);
}

/* --- accepting ------------------------------------------------------------------------------------- */

/* Says why there is no room, as far as that goes without waiting, and hangs up. */
static void turn_away(struct door *d, struct transport *t, enum reply_id why, unsigned limit,
		      const struct endpoint *peer)
{
	struct acceptor *a = d->acceptor;
	_cleanup_(stream_freep) struct stream *stream = NULL;
	_cleanup_buffer_ struct buffer text = { 0 }, wire = { 0 };
	char client[IP_TEXT], number[16];
	struct reply reply = *reply_of(why);

	ip_format(&peer->ip, client);
	atomic_fetch_add_explicit(&a->refused, 1, memory_order_relaxed);
	LOG(a->shared->log, LOG_DEBUG, "connection refused", F_STR("client", client), F_STR("reason", reply.text));
	if (stream_new(t, peer, &stream) < 0)
		return;
	snprintf(number, sizeof(number), "%u", limit);
	reply_fill(settings_reply_text(a->settings, why), slice_from(number), slice_from(client),
		   &(struct reply_subjects) { .client = client, .hostname = a->settings->config->hostname }, &text);
	if (buffer_error(&text) < 0)
		return;
	reply.text = text.data;
	reply_format(&reply, &wire);
	if (d->implicit_tls || buffer_error(&wire) < 0)
		return; /* plain text would not be understood */
	if (stream_put(stream, buffer_slice(&wire), 0) == 0)
		stream_flush_now(stream);
}

/* Takes a place among all sessions. */
static bool enter_crowd(struct receive_shared *shared, const struct receive_limits *limits)
{
	unsigned before = atomic_fetch_add(&shared->sessions, 1);
	bool crowded = atomic_load_explicit(&shared->crowded, memory_order_relaxed);

	if (before >= limits->connections || (crowded && before > client_limit_ends(limits->connections, limits->relief))) {
		if (!atomic_exchange(&shared->crowded, true))
			LOG(shared->log, LOG_WARNING, "limits.connections is reached: more are refused until some are closed",
			    F_UINT("limit", limits->connections));
		atomic_fetch_sub(&shared->sessions, 1);
		atomic_fetch_add_explicit(&shared->refused_crowded, 1, memory_order_relaxed);
		return false;
	}
	if (crowded && atomic_exchange(&shared->crowded, false))
		LOG(shared->log, LOG_NOTICE, "there is room for connections again", F_UINT("sessions", before + 1));
	return true;
}

int acceptor_enter_client(struct acceptor *a, const struct endpoint *peer, struct client_place **ret)
{
	const struct receive_limits *l = &a->settings->limits;
	const struct client_limits limits = {
		.per_address = l->connections_per_ip,
		.per_network = l->connections_per_network,
		.prefix4 = l->network_prefix4,
		.prefix6 = l->network_prefix6,
		.relief = l->relief,
	};

	return clients_enter(a->shared->clients, &peer->ip, &limits, ret);
}

static void turn_away_client(struct door *d, struct transport *t, int why, const struct endpoint *peer)
{
	const struct receive_limits *l = &d->acceptor->settings->limits;

	if (why == -EUSERS)
		turn_away(d, t, REPLY_TOO_MANY_FROM_ADDRESS, l->connections_per_ip, peer);
	else if (why == -EDQUOT)
		turn_away(d, t, REPLY_TOO_MANY_FROM_NETWORK, l->connections_per_network, peer);
	else
		turn_away(d, t, REPLY_OUT_OF_MEMORY, 0, peer);
}

/* Makes a session of a connection, or turns it away. Takes the transport. */
static void welcome(struct door *d, struct transport *t, const struct endpoint *peer)
{
	struct acceptor *a = d->acceptor;
	struct receive_shared *shared = a->shared;
	const struct receive_limits *limits;
	struct client_place *place = NULL;
	bool proxied, trusted;
	int r;

	atomic_fetch_add_explicit(&a->connections, 1, memory_order_relaxed);
	if (pressure_on_session(&shared->pressure) != REPLY_DONE) {
		turn_away(d, t, REPLY_UNDER_PRESSURE, 0, peer);
		return;
	}
	/* That may have waited, and a reload may have brought other settings meanwhile; from here on nothing waits. */
	limits = &a->settings->limits;
	/* A proxy connects for others. */
	proxied = client_is_listed(d->config->proxies, d->config->n_proxies, peer);
	trusted = !proxied && access_is_trusted(a->settings->config, peer);
	if (!enter_crowd(shared, limits)) {
		turn_away(d, t, REPLY_TOO_MANY_CONNECTIONS, limits->connections, peer);
		return;
	}
	r = trusted || proxied ? 0 : acceptor_enter_client(a, peer, &place);
	if (r < 0) {
		atomic_fetch_sub(&shared->sessions, 1);
		turn_away_client(d, t, r, peer);
		return;
	}
	r = session_start(d, t, peer, place, trusted);
	if (r < 0) {
		LOG(shared->log, LOG_WARNING, "a connection was dropped because no session could be started for it",
		    F_ERRNO("error", r));
		clients_leave(shared->clients, place);
		atomic_fetch_sub(&shared->sessions, 1);
		atomic_fetch_add_explicit(&a->refused, 1, memory_order_relaxed);
	}
}

static void door_fiber(void *arg)
{
	struct door *d = arg;
	struct acceptor *a = d->acceptor;
	bool starved = false;

	d->fiber = fiber_self();
	while (!d->closing) {
		struct transport *t;
		struct endpoint peer;
		int r;

		if (pressure_keeps_doors_shut(&a->shared->pressure)) {
			if (fiber_sleep_until(deadline_after(now(), PAUSE_UNDER_PRESSURE)) < 0)
				break;
			continue;
		}
		r = listener_accept(d->listener, DEADLINE_NEVER, &t, &peer);
		if (r == 0) {
			starved = false;
			welcome(d, t, &peer);
			continue;
		}
		if (r == -ECANCELED || fiber_cancelled())
			break;
		/* Descriptors or memory are out, or the connection was gone again. The sessions that run will
		 * give something back; until then the kernel keeps the newcomers. */
		if (!starved && r != -ECONNABORTED) {
			char where[ENDPOINT_TEXT];

			LOG(a->shared->log, LOG_ERROR, "connections can't be accepted; raise the limit of open files if this lasts",
			    F_STR("listener", endpoint_format(&d->address, where)), F_ERRNO("error", r));
			starved = true;
		}
		if (fiber_sleep_until(deadline_after(now(), PAUSE_WITHOUT_DESCRIPTORS)) < 0)
			break;
	}
	door_free(d);
}

static bool start_doors(struct acceptor *a)
{
	bool all = true;

	for (LIST_EACH(&a->doors, k)) {
		struct door *d = container_of(k, struct door, link);
		int r;

		if (d->open || a->stopping)
			continue;
		r = fiber_group_spawn(&a->fibers, "accept", door_fiber, d);
		d->open = r == 0;
		all &= d->open;
		if (r < 0)
			LOG(a->shared->log, LOG_ERROR, "no fiber for a listener; it accepts connections as soon as there is one",
			    F_ERRNO("error", r));
	}
	return all;
}

void acceptor_open_doors(struct acceptor *a)
{
	while (!start_doors(a) && fiber_sleep_until(deadline_after(now(), DOOR_PAUSE)) == 0)
		;
}

void acceptor_close_door(struct door *d)
{
	if (!d->open) {
		door_free(d);
		return;
	}
	d->closing = true;
	if (d->fiber)
		fiber_cancel(d->fiber); /* it frees the door */
}

/* --- stopping -------------------------------------------------------------------------------------- */

void acceptor_stop(struct acceptor *a, usec_t deadline)
{
	a->stopping = true;
	for (LIST_EACH_SAFE(&a->doors, k))
		acceptor_close_door(container_of(k, struct door, link));
	for (LIST_EACH(&a->sessions, k))
		session_stop_if_idle(container_of(k, struct session, link));
	if (fiber_group_wait(&a->fibers, deadline) < 0)
		fiber_group_done(&a->fibers);
}
