/* ETRN (RFC 1985): a customer whose server is not always there asks for what has gathered meanwhile. */
#include <stdio.h>

#include "base/wildcard.h"
#include "receive/commands.h"

static bool may_be_asked_for(const struct receive_config *c, struct slice domain)
{
	for (unsigned i = 0; i < c->n_etrn_domains; i++)
		if (wildcard_match(slice_from(c->etrn_domains[i]), domain))
			return true;
	return false;
}

/* All that waits for this domain is tried now. *total grows. */
static int kick(struct session *s, const char *pattern, unsigned *total)
{
	struct queue_filter f = { .site = pattern };
	unsigned n = 0;
	int r = queue_act(session_shared(s)->queue, QUEUE_RETRY, &f, &n);

	*total += n;
	return r;
}

int cmd_etrn(struct session *s, const struct command *c)
{
	bool below = c->args.len > 0 && c->args.data[0] == '@'; /* RFC 1985 section 5.3: and all of its subdomains */
	struct slice domain = below ? slice_skip(c->args, 1) : c->args;
	char name[DOMAIN_MAX + 1], pattern[DOMAIN_MAX + 3], number[16];
	unsigned n = 0;
	int r;

	if (s->transaction)
		return session_reply_with(s, REPLY_IN_TRANSACTION, c->name, SLICE_NULL);
	if (domain.len > DOMAIN_MAX || !domain_is_valid(domain, false))
		return session_reply(s, REPLY_ETRN_WHAT);
	if (!may_be_asked_for(s->settings->config, domain))
		return session_reply_with(s, REPLY_ETRN_REFUSED, domain, SLICE_NULL);
	slice_copy(domain, name, sizeof(name));
	snprintf(pattern, sizeof(pattern), "*.%s", name);
	r = kick(s, name, &n);
	if (r >= 0 && below)
		r = kick(s, pattern, &n);
	if (r < 0)
		return session_reply(s, REPLY_ETRN_FAILED);
	snprintf(number, sizeof(number), "%u", n);
	return session_reply_with(s, n > 0 ? REPLY_ETRN_STARTED : REPLY_ETRN_NONE, domain, slice_from(number));
}
