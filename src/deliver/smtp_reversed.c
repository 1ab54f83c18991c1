#include "deliver/smtp_reversed.h"

#include "deliver/smtp_client.h"
#include "deliver/smtp_transaction.h"

struct reversed {
	struct deliverer *deliverer;
	const struct deliver_settings *settings;
	struct smtp_client *client;
};

/* RFC 8689 section 4.2.1: a message that needs protection on its way goes to a server that promises it, or back. */
static bool may_have(const struct reversed *s, struct delivery *d)
{
	const struct smtp_client *c = s->client;
	struct outcome o;

	if (!(d->envelope->flags & ENVELOPE_REQUIRETLS) || (c->encrypted && (c->extensions.bits & EXT_REQUIRETLS)))
		return true;
	failure_local(&o, STAGE_EHLO, CLASS_POLICY, 550, 7, 30,
		      "the server that picks up the mail does not offer REQUIRETLS, which the message needs");
	outcome_about(&o, &c->remote);
	failure_spread(&o, d);
	return false;
}

/* Moves those that found no room in the transaction to the front. How many there are. */
static unsigned left_over(struct delivery *d)
{
	unsigned n = 0;

	for (unsigned i = 0; i < d->n_recipients; i++) {
		struct delivery_recipient r = d->recipients[i];

		if (r.outcome.kind != OUTCOME_NONE)
			continue;
		d->recipients[i] = d->recipients[n];
		d->recipients[n++] = r;
	}
	return n;
}

/* False: the connection is not good for more. */
static bool carry(struct reversed *s, struct delivery *whole)
{
	const struct deliver_config *c = &s->settings->config;
	struct delivery d = *whole;
	int r = 0;

	if (!may_have(s, &d))
		return true;
	s->client->until =
		deadline_after(deadline_after(now(), c->attempt_timeout), d.envelope->size * USEC_SEC / c->minimum_rate);
	do {
		unsigned before = d.n_recipients;

		r = smtp_transaction(s->client, &d);
		d.n_recipients = r >= 0 ? left_over(&d) : 0;
		if (d.n_recipients == before)
			r = -EPROTO; /* nobody got further: that could go on for ever */
	} while (r >= 0 && d.n_recipients > 0);
	whole->final_reply = d.final_reply;
	return r >= 0;
}

void smtp_reversed_run(struct deliverer *d, const struct deliver_settings *settings, struct stream *stream, const char *tls,
		       struct slot *(*next)(void *context), void *context)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct reversed s = { .deliverer = d, .settings = settings };
	struct smtp_peer peer = { .endpoint = stream->peer, .tls = TLS_NONE, .protected_by = tls, .connected = &stream };
	struct outcome failure;
	struct slot *slot;
	bool good = true;
	int r = arena_new(2048, &arena);

	if (r < 0) {
		stream_free(stream);
		return;
	}
	r = smtp_client_open(d, settings, &peer, arena, &s.client, &failure);
	if (r < 0) {
		LOG(d->log, LOG_NOTICE, "A client that wanted to pick up its mail did not become a server",
		    F_STR("reason", failure.reply.text), F_STR("stage", stage_name(failure.stage)));
		return;
	}
	s.client->remote.host = s.client->greeting;
	while (good && (slot = next(context))) {
		struct delivery *delivery;

		while (good && slot_next(slot, deadline_after(now(), settings->config.idle_timeout), &delivery) == 0) {
			good = carry(&s, delivery);
			slot_done(slot, delivery);
		}
	}
	smtp_client_close(s.client, good);
}
