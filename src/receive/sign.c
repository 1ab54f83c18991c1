#include "receive/sign.h"

#include "receive/transaction.h"
#include "smtp/client_attributes.h"
#include "users/users.h"

/* A filter hands back a message of somebody else, or of one of ours. */
static bool is_of_a_stranger(const struct session *s)
{
	const struct receive_config *c = s->settings->config;
	const struct client_attributes *f = s->forwarded;
	struct endpoint client = { .kind = ENDPOINT_IP };

	if (!f || !(f->given & ATTRIBUTE_ADDR) || f->addr.family == 0)
		return false;
	client.ip = f->addr;
	return !client_is_listed(c->trusted, c->n_trusted, &client);
}

/* Whoever has logged in speaks for the addresses that are his (docs/AUTH.md), in From as in MAIL. */
static bool may_be_author(void *context, const char *address)
{
	const struct session *s = context;

	return users_may_send_as(users_config(s->settings->users), s->user, s->addresses, slice_from(address));
}

int transaction_begin_signing(struct transaction *t)
{
	struct session *s = t->session;
	const struct signing_config *c = s->settings->config->signing;
	int r;

	if (!signing_is_configured(c) || !(s->trusted || s->user) || s->role == ROLE_LMTP || is_of_a_stranger(s))
		return 0;
	r = signing_begin(c, t->envelope.reverse_path, t->envelope.arrival, t->arena, &t->signing);
	if (r >= 0 && s->user && s->settings->users)
		signing_restrict(t->signing, may_be_author, s);
	return r;
}

static void note_unsigned(const struct transaction *t, const char *why, const char *domain)
{
	LOG(session_shared(t->session)->log, LOG_WARNING, "a message goes out unsigned", F_ID("id", t->envelope.id),
	    F_STR("client", t->session->client), F_STR("from", t->envelope.reverse_path), F_STR("reason", why), F_STR("domain", domain));
}

int transaction_sign(struct transaction *t, struct buffer *front)
{
	_cleanup_buffer_ struct buffer fields = { 0 };
	struct receive_shared *shared = session_shared(t->session);
	const char *why = "";
	int r = signing_finish(t->signing, shared->world, buffer_slice(front), &fields, &t->signatures, &why);

	if (r == -EINVAL) {
		note_unsigned(t, why, "");
		return 0;
	}
	if (r < 0) {
		LOG(shared->log, LOG_ERROR, "a message could not be signed, and was not taken", F_ID("id", t->envelope.id),
		    F_STR("client", t->session->client), F_ERRNO("error", r));
		return ERROR_SIGNING;
	}
	if (signing_without_key(t->signing))
		note_unsigned(t, "none of its domain's keys signs at this time", signing_without_key(t->signing)->domain);
	if (t->signatures == 0)
		return 0;
	buffer_append_slice(&fields, buffer_slice(front));
	if (buffer_error(&fields) < 0)
		return -ENOMEM;
	buffer_done(front);
	*front = fields;
	fields = (struct buffer) { 0 };
	return 0;
}

void transaction_note_signed(const struct transaction *t)
{
	_cleanup_buffer_ struct buffer who = { 0 };

	if (t->signatures == 0)
		return;
	signing_describe(t->signing, &who);
	if (buffer_error(&who) >= 0)
		EVENT(session_shared(t->session)->events, t->envelope.id, EVENT_SIGNED, F_STR("by", who.data));
}
