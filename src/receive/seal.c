#include "receive/seal.h"

#include <stdio.h>

#include "receive/sign.h"
#include "receive/transaction.h"

static bool leads_on(const struct hop *h)
{
	return h->kind != HOP_MAILDIR && h->kind != HOP_HOLD && h->kind != HOP_DISCARD && h->kind != HOP_REJECT;
}

/* Does a rung of this recipient's ladder lead to another server? Where the content will decide it may. */
static int goes_on(const struct session *s, const char *recipient)
{
	struct transaction *t = s->transaction;
	const struct route_facts facts = { .from = &t->sender, .user = s->user, .content_unknown = true };
	struct ladder ladder;
	struct address to;
	int r;

	if (address_parse(slice_from(recipient), ADDRESS_OF_ENVELOPE, &to) < 0)
		return 0;
	r = route_find(session_shared(s)->router, &to, &facts, t->arena, &ladder);
	if (r >= 0 && ladder.n_hops == 0)
		return 1;
	for (unsigned i = 0; r >= 0 && i < ladder.n_hops; i++)
		if (leads_on(&ladder.hops[i]))
			return 1;
	return r;
}

int seal_is_wanted(const struct session *s)
{
	const struct signing_config *c = s->settings->config->signing;
	const struct envelope *e = &s->transaction->envelope;
	int r = 0;

	for (unsigned i = 0; c && c->seal && i < e->n_recipients && r == 0; i++)
		r = goes_on(s, e->recipients[i].address);
	return r;
}

struct work {
	const struct seal_input *in;
	struct dkim_key key;
	struct arc_sealing how;
	struct arena *arena;
	struct buffer *out;
};

static int seal(void *arg)
{
	const struct work *w = arg;

	return arc_seal(w->in->message, w->in->chain, &w->key, &w->how, w->arena, w->out);
}

static void note_sealed(const struct session *s, const struct signing_seal *seal, unsigned instance)
{
	char by[DOMAIN_MAX + 200];

	snprintf(by, sizeof(by), "%s (%s), as ARC set %u", seal->domain, seal->key.selector, instance);
	EVENT(session_shared(s)->events, s->transaction->envelope.id, EVENT_SIGNED, F_STR("by", by));
}

int seal_message(const struct session *s, const struct seal_input *in, struct buffer *out)
{
	const struct signing_seal *c = s->settings->config->signing->seal;
	struct receive_shared *shared = session_shared(s);
	struct work work = {
		.in = in,
		.key = { .key = c->key.key, .domain = c->domain, .selector = c->key.selector },
		.how = { .results = in->results, .time = world_wall(shared->world) },
		.arena = s->mail_arena,
		.out = out,
	};
	int r = world_offload(shared->world, seal, &work);

	if (r >= 0)
		note_sealed(s, c, in->message->n_sets + 1);
	if (r >= 0 || r == -EALREADY || r == -EINVAL)
		return 0;
	LOG(shared->log, LOG_ERROR, "a message could not be sealed, and was not taken", F_ID("id", s->transaction->envelope.id),
	    F_STR("client", s->client), F_ERRNO("error", r));
	return ERROR_SIGNING;
}
