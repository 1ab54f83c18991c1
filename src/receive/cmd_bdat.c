/* BDAT (RFC 3030): the content in counted chunks. The octets of a chunk follow the command at once, without
 * waiting for a reply; so whatever we think of the command, they are read. */
#include "receive/commands.h"
#include "receive/transaction.h"

/* Reads the octets of a chunk that nobody wants. -errno: the connection is lost. */
static int drop_chunk(struct session *s, uint64_t size)
{
	struct content_check dropped;
	struct content_limits limits;
	bool ended;
	int r;

	transaction_content_limits(s, &limits);
	content_check_init(&dropped);
	r = smtp_copy_chunk(s->stream, size, &dropped, NULL, &limits, &ended);
	if (ended)
		return 0;
	s->over = s->linger = true; /* somewhere inside of the chunk */
	return r == -E2BIG ? 0 : r;
}

static int refuse_chunk(struct session *s, uint64_t size, enum reply_id id)
{
	int r = drop_chunk(s, size);

	return r < 0 ? session_reply_error(s, r) : session_reply_with(s, id, SLICE("BDAT"), SLICE_NULL);
}

/* What stands in the way of a chunk: REPLY_CHUNK_OK when nothing does. */
static enum reply_id obstacle(const struct session *s)
{
	const struct transaction *t = s->transaction;

	if (s->hello == HELLO_NONE)
		return REPLY_HELLO_FIRST;
	if (!(s->offered & EXT_CHUNKING))
		return REPLY_NOT_OFFERED;
	if (!t)
		return REPLY_MAIL_FIRST;
	if (t->accepted == 0)
		return t->refused > 0 ? REPLY_NO_VALID_RECIPIENTS : REPLY_RCPT_FIRST;
	return REPLY_CHUNK_OK;
}

static void fill_facts(const struct transaction *t, int error, struct content_facts *ret)
{
	*ret = (struct content_facts) {
		.error = error == 0 && t->chunks.defects & ~t->tolerated ? -EBADMSG : error,
		.defects = t->chunks.defects,
		.defect_offset = t->chunks.defect_offset,
		.eight_bit = t->chunks.eight_bit,
	};
}

/* RFC 3030 section 2: after a refused chunk the message is lost, later chunks get a 503 (there is no transaction
 * any more) and are read all the same. */
static int refuse_content(struct session *s, int error)
{
	struct content_facts facts;
	int r;

	fill_facts(s->transaction, error, &facts);
	r = transaction_reply_refusal(s, &facts);
	transaction_end(s);
	return r;
}

static int receive_chunk(struct session *s, uint64_t size, bool last)
{
	struct transaction *t = s->transaction;
	struct content_limits limits;
	struct content_facts facts;
	bool ended;
	int r;

	transaction_content_limits(s, &limits);
	r = smtp_copy_chunk(s->stream, size, &t->chunks, &t->sink, &limits, &ended);
	if (!ended)
		s->over = s->linger = true;
	if (last) {
		content_check_finish(&t->chunks);
		fill_facts(t, r, &facts);
		return transaction_finish(s, &facts);
	}
	if (r < 0 || t->chunks.defects & ~t->tolerated)
		return refuse_content(s, r);
	return session_reply_number(s, REPLY_CHUNK_OK, size);
}

int cmd_bdat(struct session *s, const struct command *c)
{
	struct transaction *t = s->transaction;
	enum reply_id why = obstacle(s);
	uint64_t size;
	bool last;
	int r;

	if (bdat_parse(c->args, &size, &last) < 0) {
		s->linger = true;
		return session_close(s, REPLY_BAD_BDAT);
	}
	if (size == 0 && !last)
		s->idle_commands++; /* a chunk of nothing: no work is done */
	if (why != REPLY_CHUNK_OK)
		return refuse_chunk(s, size, why);
	if (!t->chunked) {
		t->chunked = true;
		t->tolerated |= s->settings->config->bdat_bare_lf ? CONTENT_BARE_LF : 0;
		r = transaction_open_content(t);
		if (r < 0) {
			int lost = drop_chunk(s, size);

			return refuse_content(s, lost < 0 ? lost : r);
		}
	}
	return receive_chunk(s, size, last);
}
