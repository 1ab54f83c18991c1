#include "deliver/deliver.h"

#include <stdio.h>
#include <stdlib.h>

#include "deliver/deliverer.h"
#include "deliver/dial.h"
#include "deliver/failure.h"
#include "deliver/login.h"
#include "deliver/login_notes.h"
#include "deliver/maildir.h"
#include "deliver/pipe.h"
#include "deliver/smtp_reversed.h"
#include "deliver/smtp_session.h"
#include "deliver/tokens.h"

/* --- settings ---------------------------------------------------------------------------------------- */

static void fill_defaults(struct deliver_config *c)
{
	/* RFC 5321 section 4.5.3.2. */
	const struct deliver_config defaults = {
		.connect_timeout = 30 * USEC_SEC,
		.greeting_timeout = 5 * USEC_MIN,
		.command_timeout = 5 * USEC_MIN,
		.data_timeout = 2 * USEC_MIN,
		.block_timeout = 3 * USEC_MIN,
		.dot_timeout = 10 * USEC_MIN,
		.connection_attempt_delay = 250 * USEC_MS, /* RFC 8305 section 8 */
		.attempt_timeout = USEC_HOUR,
		.minimum_rate = 4096,
		.remembered = 10000,
		.remember_family = USEC_HOUR,
		.remember_chunking = USEC_DAY,
		.idle_timeout = 2 * USEC_SEC,
		.max_addresses = 10,
		.messages_per_connection = 100,
	};

#define FILL(field) c->field = c->field ? c->field : defaults.field
	FILL(connect_timeout);
	FILL(greeting_timeout);
	FILL(command_timeout);
	FILL(data_timeout);
	FILL(block_timeout);
	FILL(dot_timeout);
	FILL(connection_attempt_delay);
	FILL(attempt_timeout);
	FILL(minimum_rate);
	FILL(remembered);
	FILL(remember_family);
	FILL(remember_chunking);
	FILL(idle_timeout);
	FILL(max_addresses);
	FILL(messages_per_connection);
#undef FILL
}

static int load_certificates(struct world *w, const struct deliver_config *config, struct deliver_settings *s, char **ret_why)
{
	s->config.certificates = NULL; /* not needed any more */
	s->config.n_certificates = 0;
	if (config->n_certificates == 0)
		return 0;
	s->shown = calloc(config->n_certificates, sizeof(*s->shown));
	if (!s->shown)
		return -ENOMEM;
	for (unsigned i = 0; i < config->n_certificates; i++) {
		struct shown_certificate *shown = &s->shown[s->n_shown++];
		int r;

		shown->certificate = slice_dup(slice_from(config->certificates[i].certificate));
		shown->key = slice_dup(slice_from(config->certificates[i].key));
		if (!shown->certificate || !shown->key)
			return -ENOMEM;
		r = tls_client_context_new(w, &(struct tls_client_config) { .ca_file = s->ca_file, .certificate = shown->certificate,
									    .key = shown->key }, &shown->tls, ret_why);
		if (r < 0)
			return r;
	}
	return 0;
}

struct tls_context *deliver_settings_tls(const struct deliver_settings *s, const struct relay *relay)
{
	if (!relay || !relay->certificate)
		return s->tls;
	for (unsigned i = 0; i < s->n_shown; i++)
		if (strcmp(s->shown[i].certificate, relay->certificate) == 0 && strcmp(s->shown[i].key, relay->key) == 0)
			return s->shown[i].tls;
	return NULL;
}

static int settings_new(struct world *w, const struct deliver_config *config, struct deliver_settings **ret, char **ret_why)
{
	_cleanup_(deliver_settings_unrefp) struct deliver_settings *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->references = 1;
	s->hostname = slice_dup(slice_from(config->hostname));
	s->ca_file = config->ca_file ? slice_dup(slice_from(config->ca_file)) : NULL;
	if (!s->hostname || (config->ca_file && !s->ca_file))
		return -ENOMEM;
	s->config = *config;
	s->config.hostname = s->hostname;
	s->config.ca_file = s->ca_file;
	fill_defaults(&s->config);
	r = tls_client_context_new(w, &(struct tls_client_config) { .ca_file = s->ca_file }, &s->tls, ret_why);
	if (r >= 0)
		r = load_certificates(w, config, s, ret_why);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

void deliver_settings_unref(struct deliver_settings *s)
{
	if (!s || __atomic_sub_fetch(&s->references, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	if (s->tls)
		tls_context_unref(s->tls);
	for (unsigned i = 0; i < s->n_shown; i++) {
		if (s->shown[i].tls)
			tls_context_unref(s->shown[i].tls);
		free(s->shown[i].certificate);
		free(s->shown[i].key);
	}
	free(s->shown);
	free(s->hostname);
	free(s->ca_file);
	free(s);
}

struct deliver_settings *deliverer_settings(struct deliverer *d)
{
	struct deliver_settings *s;

	pthread_mutex_lock(&d->lock);
	s = d->settings;
	__atomic_add_fetch(&s->references, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&d->lock);
	return s;
}

/* --- hops that end here without anybody to talk to ----------------------------------------------------- */

static void settle(struct delivery *delivery, const struct outcome *outcome)
{
	for (unsigned i = 0; i < delivery->n_recipients; i++)
		delivery->recipients[i].outcome = *outcome;
}

static void run_verdict(struct deliver_settings *settings, struct slot *slot)
{
	const struct hop *hop = slot_info(slot)->hop;
	struct outcome outcome = { .stage = STAGE_LOCAL };
	struct delivery *delivery;

	switch (hop->kind) {
	case HOP_DISCARD:
		outcome.kind = OUTCOME_DELIVERED;
		outcome.reply = (struct reply) { 250, { 2, 0, 0 }, "discarded, as a route says" };
		break;
	case HOP_REJECT:
		outcome.kind = OUTCOME_FAILED;
		outcome.class = CLASS_POLICY;
		outcome.reply = (struct reply) { 550, { 5, 7, 1 }, hop->text ? hop->text : "a route of this server refuses the message" };
		break;
	default: /* HOP_HOLD: the queue keeps such messages; should one come here, it waits */
		outcome.kind = OUTCOME_DEFERRED;
		outcome.class = CLASS_POLICY;
		outcome.reply = (struct reply) { 451, { 4, 3, 2 }, "held, as a route says" };
		break;
	}
	while (slot_next(slot, deadline_after(now(), settings->config.idle_timeout), &delivery) == 0) {
		settle(delivery, &outcome);
		slot_done(slot, delivery);
	}
}

/* --- the courier ---------------------------------------------------------------------------------------- */

static void courier_run(struct courier *c, struct slot *slot)
{
	struct deliverer *d = container_of(c, struct deliverer, courier);
	_cleanup_(deliver_settings_unrefp) struct deliver_settings *settings = deliverer_settings(d);

	switch (slot_info(slot)->hop->kind) {
	case HOP_MX:
	case HOP_HOST:
	case HOP_SRV:
	case HOP_RELAY:
	case HOP_LMTP:
		smtp_session_run(d, settings, slot);
		break;
	case HOP_MAILDIR:
		maildir_run(d, settings, slot);
		break;
	case HOP_PIPE:
		pipe_run(d, settings, slot);
		break;
	case HOP_HOLD:
	case HOP_DISCARD:
	case HOP_REJECT:
		run_verdict(settings, slot);
		break;
	case HOP_ATRN: /* who picks the mail up brings the connection: courier_reversed */
		break;
	}
}

static void courier_reversed(struct courier *c, struct stream *stream, const char *tls, struct slot *(*next)(void *context), void *context)
{
	struct deliverer *d = container_of(c, struct deliverer, courier);
	_cleanup_(deliver_settings_unrefp) struct deliver_settings *settings = deliverer_settings(d);

	smtp_reversed_run(d, settings, stream, tls, next, context);
}

static void courier_blocked(struct courier *c, const char *site, const char *source)
{
	dial_blocked(container_of(c, struct deliverer, courier), site, source);
}

/* --- life --------------------------------------------------------------------------------------------------- */

int deliverer_new(struct world *w, const struct log *log, const struct event_sink *events, const struct deliver_config *config,
		  struct router *router, struct deliverer **ret, char **ret_why)
{
	_cleanup_(deliverer_freep) struct deliverer *d = calloc(1, sizeof(*d));
	int r;

	if (ret_why)
		*ret_why = NULL;
	if (!d)
		return -ENOMEM;
	d->courier.run = courier_run;
	d->courier.blocked = courier_blocked;
	d->courier.reversed = courier_reversed;
	d->world = w;
	d->log = log;
	d->events = events;
	d->router = router;
	pthread_mutex_init(&d->lock, NULL);
	r = login_init(&d->sasl);
	if (r < 0) {
		if (ret_why && asprintf(ret_why, "the SASL library could not be started") < 0)
			*ret_why = NULL;
		return r;
	}
	r = tokens_new(w, log, NULL, &d->tokens);
	if (r >= 0)
		r = login_notes_new(log, &d->login_notes);
	if (r >= 0)
		r = settings_new(w, config, &d->settings, ret_why);
	if (r >= 0)
		r = remembered_new(w, d->settings->config.remembered, &d->remembered);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(d);
	return 0;
}

void deliverer_set_spool(struct deliverer *d, struct spool *s)
{
	d->spool = s;
}

void deliverer_set_tls_sink(struct deliverer *d, const struct tls_sink *sink)
{
	d->tls_sink = *sink;
}

int deliverer_prepare(struct deliverer *d, const struct deliver_config *config, struct deliver_settings **ret, char **ret_why)
{
	if (ret_why)
		*ret_why = NULL;
	return settings_new(d->world, config, ret, ret_why);
}

void deliverer_adopt(struct deliverer *d, struct deliver_settings *settings)
{
	struct deliver_settings *old;

	pthread_mutex_lock(&d->lock);
	old = d->settings;
	d->settings = settings;
	pthread_mutex_unlock(&d->lock);
	deliver_settings_unref(old);
}

struct courier *deliverer_courier(struct deliverer *d)
{
	return &d->courier;
}

void deliverer_free(struct deliverer *d)
{
	if (!d)
		return;
	deliver_settings_unref(d->settings);
	remembered_free(d->remembered);
	login_done(d->sasl);
	login_notes_free(d->login_notes);
	tokens_free(d->tokens);
	pthread_mutex_destroy(&d->lock);
	free(d);
}
