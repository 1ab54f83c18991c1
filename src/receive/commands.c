/* The table of commands: what each needs before it is run. */
#include "receive/commands.h"

enum needs {
	NEEDS_HELLO = 1,
	NEEDS_TLS = 2,      /* on a submission port (RFC 8314 section 3.3) */
	TAKES_NOTHING = 4,  /* arguments are an error */
	DOES_NO_WORK = 8,   /* counts against limits.commands */
};

struct entry {
	int (*run)(struct session *s, const struct command *c);
	unsigned needs;
	unsigned extension; /* the extension that brings it: offered in this session's EHLO, or it isn't there */
};

/* RFC 5321 section 4.1.4: NOOP, HELP, VRFY, RSET and QUIT are possible before EHLO. */
static const struct entry table[VERB_COUNT] = {
	[VERB_EHLO] = { cmd_ehlo, DOES_NO_WORK, 0 },
	[VERB_HELO] = { cmd_ehlo, DOES_NO_WORK, 0 },
	[VERB_LHLO] = { cmd_ehlo, DOES_NO_WORK, 0 },
	[VERB_MAIL] = { cmd_mail, NEEDS_HELLO | NEEDS_TLS, 0 },
	[VERB_RCPT] = { cmd_rcpt, NEEDS_HELLO, 0 },
	[VERB_DATA] = { cmd_data, NEEDS_HELLO, 0 },
	[VERB_BDAT] = { cmd_bdat, 0, 0 }, /* checks by itself: its octets follow in any case */
	[VERB_RSET] = { cmd_rset, TAKES_NOTHING | DOES_NO_WORK, 0 },
	[VERB_NOOP] = { cmd_noop, DOES_NO_WORK, 0 },
	[VERB_VRFY] = { cmd_vrfy, DOES_NO_WORK, 0 },
	[VERB_EXPN] = { cmd_expn, DOES_NO_WORK, EXT_EXPN },
	[VERB_ATRN] = { cmd_atrn, NEEDS_HELLO | DOES_NO_WORK, EXT_ATRN },
	[VERB_ETRN] = { cmd_etrn, NEEDS_HELLO | DOES_NO_WORK, EXT_ETRN },
	[VERB_XCLIENT] = { cmd_xclient, DOES_NO_WORK, EXT_XCLIENT },
	[VERB_XFORWARD] = { cmd_xforward, DOES_NO_WORK, EXT_XFORWARD },
	[VERB_HELP] = { cmd_help, DOES_NO_WORK, 0 },
	[VERB_QUIT] = { cmd_quit, TAKES_NOTHING, 0 },
	[VERB_AUTH] = { cmd_auth, NEEDS_HELLO | DOES_NO_WORK, 0 }, /* checks by itself: there are several ways to say no */
	[VERB_STARTTLS] = { cmd_starttls, NEEDS_HELLO | TAKES_NOTHING | DOES_NO_WORK, EXT_STARTTLS },
};

void commands_describe(const struct session *s, struct buffer *out)
{
	bool lmtp = s->role == ROLE_LMTP;

	for (unsigned v = 0; v < VERB_COUNT; v++) {
		bool hello = v == VERB_EHLO || v == VERB_HELO || v == VERB_LHLO;
		/* Two have no entry for their extension: see above. */
		unsigned extension = v == VERB_BDAT ? EXT_CHUNKING : v == VERB_AUTH ? EXT_AUTH : table[v].extension;

		if (!table[v].run || (hello && lmtp != (v == VERB_LHLO)) || (extension & ~s->offered))
			continue;
		buffer_printf(out, "%s%s", out->len > 0 ? " " : "", verb_name((enum verb) v));
	}
}

/* The verb as written, for a reply about it. */
static int refuse(struct session *s, enum reply_id id, const struct command *c)
{
	return session_reply_with(s, id, c->name, SLICE_NULL);
}

static int run_other(struct session *s, const struct command *c)
{
	if (c->verb == VERB_FOREIGN) {
		/* A web browser that was made to talk to us: whatever it says next is somebody else's
		 * attack on us (cross-protocol requests). */
		s->linger = true;
		return session_close(s, REPLY_FOREIGN);
	}
	/* RFC 5321 section 4.2.4: 502 for what is known and isn't implemented, 500 for what isn't known. */
	return refuse(s, c->verb == VERB_UNKNOWN ? REPLY_UNKNOWN_COMMAND : REPLY_NOT_OFFERED, c);
}

int command_run(struct session *s, const struct command *c)
{
	const struct entry *e = &table[c->verb];

	if (!e->run)
		return run_other(s, c);
	if (e->needs & DOES_NO_WORK)
		s->idle_commands++;
	if ((e->needs & NEEDS_HELLO) && s->hello == HELLO_NONE)
		return session_reply(s, REPLY_HELLO_FIRST);
	if (c->verb == VERB_STARTTLS && s->tls)
		return session_reply(s, REPLY_TLS_ALREADY);
	if (e->extension & ~s->offered)
		return refuse(s, REPLY_NOT_OFFERED, c);
	if ((e->needs & NEEDS_TLS) && s->role == ROLE_SUBMISSION && s->settings->tls && !s->tls && !s->trusted && !s->user)
		return session_reply(s, REPLY_TLS_FIRST);
	if ((e->needs & TAKES_NOTHING) && c->args.len > 0)
		return refuse(s, REPLY_NO_ARGUMENTS, c);
	return e->run(s, c);
}
