/* STARTTLS (RFC 3207), and TLS on ports where it comes first (RFC 8314 section 3.3). */
#include "receive/auth.h"
#include "receive/commands.h"

int session_start_tls(struct session *s)
{
	struct receive_shared *shared = session_shared(s);
	const char *why = NULL;
	struct tls_info *info;
	int r;

	if (!s->tls_rules)
		return -EOPNOTSUPP;
	info = arena_new_type(s->arena, struct tls_info);
	if (!info)
		return -ENOMEM;
	r = tls_accept(s->tls_rules, s->stream, session_deadline(s), s->arena, info, &why);
	if (r < 0) {
		LOG(shared->log, LOG_INFO, "TLS handshake with a client failed", F_STR("client", s->client), F_STR("helo", s->helo),
		    F_STR("reason", why), F_ERRNO("error", r));
		return r;
	}
	s->tls = info;
	s->spoken_for = false;
	session_init_lines(s);
	return 0;
}

int cmd_starttls(struct session *s, const struct command *c)
{
	int r;

	if (s->transaction)
		return session_reply_with(s, REPLY_IN_TRANSACTION, c->name, SLICE_NULL);
	/* RFC 3207 section 4: STARTTLS is the last command of a group. What stands behind it came in the clear, from
	 * anybody, and must not be taken for a command under TLS. */
	if (session_out_of_turn(s, "the reply to STARTTLS", true))
		return 0;
	r = session_reply(s, REPLY_START_TLS);
	if (r < 0)
		return r;
	r = stream_flush(s->stream, session_deadline(s));
	if (r < 0)
		return r;
	/* RFC 3207 section 4.2: what was said before the handshake is forgotten. */
	s->waiting = true;
	r = session_start_tls(s);
	s->waiting = false;
	if (r >= 0) {
		session_forget(s);
		auth_forget(s);
	}
	return r;
}
