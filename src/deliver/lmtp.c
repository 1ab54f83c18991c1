#include "deliver/lmtp.h"

int lmtp_read_replies(struct smtp_client *c, const struct remote *remote, struct delivery *d, const bool *pending,
		      unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct outcome *o = &d->recipients[i].outcome;
		struct reply reply;
		int r;

		if (!pending[i])
			continue;
		r = smtp_client_verdict(c, c->settings->config.dot_timeout, d->arena, &reply);
		if (r < 0)
			return r;
		failure_reply(o, STAGE_DOT, remote, &reply);
		if (REPLY_OK(&reply))
			o->kind = OUTCOME_DELIVERED;
		if (reply.code == 421)
			return -ECONNRESET;
	}
	return 0;
}
