/* VRFY and EXPN (RFC 5321 section 3.5). Unless the listener offers them, no address is confirmed or denied (RFC 5321
 * section 3.5.3, RFC 5321 section 7.3). */
#include "receive/commands.h"

/* "bob@example.org" or "<bob@example.org>", perhaps with SMTPUTF8 behind it (RFC 6531 section 3.7.4.2). */
static int parse_address(struct slice args, struct address *ret)
{
	struct slice rest, word = slice_cut(args, ' ', &rest);

	if (rest.len > 0 && !slice_ieq_str(slice_trim(rest), "SMTPUTF8"))
		return -EINVAL;
	if (word.len > 2 && word.data[0] == '<' && word.data[word.len - 1] == '>')
		word = slice_new(word.data + 1, word.len - 2);
	return address_parse(word, ADDRESS_ALLOW_UTF8, ret);
}

/* Addresses elsewhere are not known, and words that are no address could be anybody. */
static enum locality look_up(struct session *s, struct slice args, struct address *ret)
{
	if (parse_address(args, ret) < 0)
		return LOCALITY_REMOTE;
	return route_locality(session_shared(s)->router, ret);
}

static int answer(struct session *s, const struct command *c, enum reply_id found)
{
	struct address address;

	if (c->args.len == 0)
		return session_reply(s, REPLY_VRFY_WHAT);
	switch (look_up(s, c->args, &address)) {
	case LOCALITY_HERE:
		return session_reply_with(s, found, address.text, SLICE_NULL);
	case LOCALITY_NO_SUCH_USER:
		return session_reply_with(s, REPLY_NO_SUCH_USER, address.text, SLICE_NULL);
	case LOCALITY_REMOTE:
		break;
	}
	return session_reply(s, REPLY_VRFY);
}

int cmd_vrfy(struct session *s, const struct command *c)
{
	if (s->offered & EXT_VRFY)
		return answer(s, c, REPLY_VERIFIED);
	return session_reply(s, c->args.len > 0 ? REPLY_VRFY : REPLY_VRFY_WHAT);
}

/* There are no lists here, so nothing can be expanded. */
int cmd_expn(struct session *s, const struct command *c)
{
	return answer(s, c, REPLY_NOT_A_LIST);
}
