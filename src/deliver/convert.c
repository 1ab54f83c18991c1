#include "deliver/convert.h"

static bool offers(const struct next_server *to, unsigned extension)
{
	return to->extensions->bits & extension;
}

static bool takes_binary(const struct next_server *to)
{
	return offers(to, EXT_BINARYMIME) && offers(to, EXT_CHUNKING) && to->may_chunk;
}

bool convert_is_needed(const struct envelope *e, const struct next_server *to)
{
	return (e->body == BODY_8BITMIME && !offers(to, EXT_8BITMIME)) || (e->body == BODY_BINARYMIME && !takes_binary(to));
}

static int refuse(struct refusal *ret, const struct envelope *e, struct arena *a, const char *why)
{
	const char *what = e->body == BODY_BINARYMIME ? "binary content (it does not offer BINARYMIME)"
						      : "8-bit content (it does not offer 8BITMIME)";

	/* RFC 6152 section 3, RFC 3030 section 3. */
	*ret = (struct refusal) { 554, 6, 3, arena_printf(a, "can't take %s, and %s", what, why) };
	return ret->what ? 1 : -ENOMEM;
}

static int look(struct spool_reader *reader, struct downgrade *d, struct downgrade_plan *ret)
{
	uint64_t size = spool_reader_size(reader), offset = 0;
	int r = 0;

	while (r >= 0 && offset < size) {
		struct slice piece;

		r = spool_reader_view(reader, offset, &piece);
		if (r < 0)
			return r == -ENOMEM ? r : -EIO;
		r = downgrade_look(d, piece);
		offset += piece.len;
	}
	return r < 0 ? r : downgrade_plan(d, ret);
}

int convert_plan(struct spool_reader *reader, const struct envelope *e, const struct next_server *to, enum convert_policy policy,
		 struct arena *a, struct downgrade **ret, struct refusal *ret_why)
{
	_cleanup_(downgrade_freep) struct downgrade *d = NULL;
	struct downgrade_plan plan;
	int r;

	if (policy == CONVERT_NEVER)
		return refuse(ret_why, e, a, "converting it is switched off here");
	/* Where a line ends is not clear then. */
	if (e->flags & ENVELOPE_BARE_LF)
		return refuse(ret_why, e, a, "it can't be converted because it has LFs alone");
	r = downgrade_begin(a, offers(to, EXT_8BITMIME) ? EIGHT_BIT : SEVEN_BIT, &d);
	if (r >= 0)
		r = look(reader, d, &plan);
	if (r == -EINVAL || r == -E2BIG)
		return refuse(ret_why, e, a, r == -EINVAL ? "its parts are not what their header fields say" : "it has too many parts");
	if (r < 0)
		return r;
	if (plan.signatures && policy != CONVERT_ALWAYS)
		return refuse(ret_why, e, a, "converting it would break a signature that it bears");
	*ret = TAKE_PTR(d);
	return 0;
}
