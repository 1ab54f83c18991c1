/* ATRN (RFC 2645): a customer who has logged in turns the connection around and gets what has gathered for his domains. */
#include "queue/pickup.h"
#include "receive/commands.h"

struct wish {
	struct slice domains[PICKUP_DOMAINS_MAX];
	unsigned n;
};

static bool is_his(const struct session *s, struct slice domain)
{
	const struct receive_config *c = s->settings->config;

	for (unsigned i = 0; i < c->n_customers; i++) {
		if (!slice_ieq_str(slice_from(s->user), c->customers[i].user))
			continue;
		for (unsigned k = 0; k < c->customers[i].n_domains; k++)
			if (slice_ieq_str(domain, c->customers[i].domains[k]))
				return true;
	}
	return false;
}

/* RFC 2645 section 5.2.1: without a name it means all to which he has access. */
static void take_all(const struct session *s, struct wish *w)
{
	const struct receive_config *c = s->settings->config;

	for (unsigned i = 0; i < c->n_customers; i++)
		for (unsigned k = 0; slice_ieq_str(slice_from(s->user), c->customers[i].user) && k < c->customers[i].n_domains; k++)
			if (w->n < PICKUP_DOMAINS_MAX)
				w->domains[w->n++] = slice_from(c->customers[i].domains[k]);
}

/* -EINVAL: these are no names; -EACCES: *ret_refused isn't his, and then he gets nothing at all (section 5.2.1). */
static int take_named(const struct session *s, struct slice names, struct wish *w, struct slice *ret_refused)
{
	bool more = true;

	for (; more; w->n++) {
		struct slice domain;

		more = slice_find(names, ',') >= 0;
		domain = slice_trim(slice_cut(names, ',', &names));
		if (w->n == PICKUP_DOMAINS_MAX || domain.len > DOMAIN_MAX || !domain_is_valid(domain, false))
			return -EINVAL;
		w->domains[w->n] = domain;
		*ret_refused = domain;
		if (!is_his(s, domain))
			return -EACCES;
	}
	return 0;
}

/* The reply has to be with the client before it may greet. */
static int turn_around(struct session *s, struct pickup *p, unsigned messages)
{
	const char *tls = s->tls ? arena_printf(s->arena, "%s %s", s->tls->version, s->tls->cipher) : NULL;
	unsigned answered;
	int r = session_reply(s, REPLY_ATRN_TURNED);

	if (r >= 0)
		r = stream_flush(s->stream, session_deadline(s));
	if (r < 0)
		return r;
	s->over = true;
	s->pickup = p;
	answered = queue_pickup_run(p, TAKE_PTR(s->stream), tls);
	s->pickup = NULL;
	LOG(session_shared(s)->log, LOG_INFO, "a customer has picked up mail", F_STR("user", s->user), F_STR("client", s->client),
	    F_UINT("waited", messages), F_UINT("answered", answered));
	return 0;
}

static int refuse(struct session *s, int error)
{
	if (error == -ECANCELED)
		return session_close(s, REPLY_STOPPING);
	return session_reply(s, error == -EBUSY ? REPLY_ATRN_BUSY : REPLY_ATRN_FAILED);
}

int cmd_atrn(struct session *s, const struct command *c)
{
	_cleanup_(queue_pickup_endp) struct pickup *p = NULL;
	struct slice refused = SLICE("this user");
	struct wish w = { .n = 0 };
	unsigned messages = 0;
	int r = 0;

	if (s->transaction)
		return session_reply_with(s, REPLY_IN_TRANSACTION, c->name, SLICE_NULL);
	if (!s->user)
		return session_reply(s, REPLY_ATRN_LOGIN);
	if (c->args.len > 0)
		r = take_named(s, c->args, &w, &refused);
	else
		take_all(s, &w);
	if (r == -EINVAL)
		return session_reply(s, REPLY_ATRN_WHAT);
	if (r < 0 || w.n == 0)
		return session_reply_with(s, REPLY_ATRN_REFUSED, refused, SLICE_NULL);
	if (session_out_of_turn(s, "the reply to ATRN", false))
		return 0;
	r = queue_pickup_begin(session_shared(s)->queue, w.domains, w.n, &p, &messages);
	if (r < 0)
		return refuse(s, r);
	if (messages == 0)
		return session_reply(s, REPLY_ATRN_NONE);
	return turn_around(s, p, messages);
}
