#include "deliver/smtp_transaction.h"

#include <stdlib.h>

#include "deliver/convert.h"
#include "deliver/lmtp.h"
#include "deliver/services.h"
#include "mail/xtext.h"
#include "smtp/stuff.h"

#define LAST_WORDS (5 * USEC_SEC) /* for the reply of a server that hung up while we were sending */

struct transaction {
	struct smtp_client *client;
	struct delivery *d;
	struct next_server to;
	struct remote remote;  /* the client's, with strings in the delivery's arena: the outcomes live longer */
	struct spool_reader *reader;
	struct downgrade *conversion; /* of the content, or NULL */
	unsigned n;            /* recipients that take part; the rest is not tried */
	bool *pending;         /* [n]: accepted, waits for the reply to the content */
	unsigned accepted;
	bool pipelining, chunking, utf8, dsn;
	bool sender_accepted, data_sent, go_ahead;
	struct reply data_reply;
	enum stage stage;      /* for what is lost */
};

/* --- what the server must be able to do --------------------------------------------------------------------- */

static int cannot(struct transaction *t, int code, int subject, int detail, enum reply_class class, const char *what)
{
	struct outcome o;

	failure_local(&o, STAGE_MAIL, class, code, subject, detail,
		      arena_printf(t->d->arena, "%s %s", remote_name(&t->remote, t->d->arena), what));
	outcome_about(&o, &t->remote);
	failure_spread(&o, t->d);
	return 1;
}

/* 1: it can't, and the outcomes say so. */
static int check_abilities(struct transaction *t)
{
	const struct envelope *e = t->d->envelope;
	const struct extensions *x = &t->client->extensions;
	struct refusal why;

	if (services_are_missing(e, &t->to, t->d->arena, &why))
		return cannot(t, why.code, why.subject, why.detail, CLASS_POLICY, why.what);
	/* RFC 6531 section 3.2. */
	if ((e->flags & ENVELOPE_SMTPUTF8) && !(x->bits & EXT_SMTPUTF8))
		return cannot(t, 553, 6, 7, CLASS_POLICY, "can't take internationalized mail (it does not offer SMTPUTF8)");
	/* RFC 1870 section 5. */
	if ((x->bits & EXT_SIZE) && x->size > 0 && e->size > x->size)
		return cannot(t, 552, 3, 4, CLASS_TOO_BIG,
			      arena_printf(t->d->arena, "takes messages of at most %llu octets, and this one has %llu",
					   (unsigned long long) x->size, (unsigned long long) e->size));
	return 0;
}

/* 1: it can't be sent there, and the outcomes say so; -errno of the spool. */
static int prepare_conversion(struct transaction *t)
{
	struct refusal why;
	int r;

	if (!convert_is_needed(t->d->envelope, &t->to))
		return 0;
	r = convert_plan(t->reader, t->d->envelope, &t->to, t->client->settings->config.convert, t->d->arena, &t->conversion, &why);
	if (r > 0)
		return cannot(t, why.code, why.subject, why.detail, CLASS_POLICY, why.what);
	t->chunking = false; /* how long it becomes is not known in front */
	return r;
}

/* What the content is when it goes out. */
static enum body_type body_of(const struct transaction *t)
{
	if (!t->conversion)
		return t->d->envelope->body;
	return t->to.extensions->bits & EXT_8BITMIME ? BODY_8BITMIME : BODY_7BIT;
}

/* --- commands ------------------------------------------------------------------------------------------------- */

static void write_mail(const struct transaction *t, struct buffer *out)
{
	const struct envelope *e = t->d->envelope;
	unsigned offered = t->client->extensions.bits;

	buffer_append_str(out, "MAIL FROM:<");
	buffer_append_str(out, e->reverse_path);
	buffer_append_char(out, '>');
	if ((offered & EXT_SIZE) && !t->conversion)
		buffer_printf(out, " SIZE=%llu", (unsigned long long) spool_reader_size(t->reader));
	if (body_of(t) != BODY_7BIT)
		buffer_append_str(out, body_of(t) == BODY_BINARYMIME ? " BODY=BINARYMIME" : " BODY=8BITMIME");
	if (t->utf8)
		buffer_append_str(out, " SMTPUTF8");
	/* RFC 3461 section 5.2.1. */
	if (t->dsn && e->ret != DSN_RET_DEFAULT)
		buffer_append_str(out, e->ret == DSN_RET_FULL ? " RET=FULL" : " RET=HDRS");
	if (t->dsn && e->envid) {
		buffer_append_str(out, " ENVID=");
		xtext_encode(slice_from(e->envid), out);
	}
	services_write_mail(e, &t->to, out);
	buffer_append_str(out, "\r\n");
}

static void write_notify(unsigned notify, struct buffer *out)
{
	static const struct {
		unsigned bit;
		const char *word;
	} words[] = {
		{ NOTIFY_NEVER, "NEVER" },
		{ NOTIFY_SUCCESS, "SUCCESS" },
		{ NOTIFY_FAILURE, "FAILURE" },
		{ NOTIFY_DELAY, "DELAY" },
	};
	const char *before = " NOTIFY=";

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (!(notify & words[i].bit))
			continue;
		buffer_append_str(out, before);
		buffer_append_str(out, words[i].word);
		before = ",";
	}
}

static void write_rcpt(const struct transaction *t, unsigned i, struct buffer *out)
{
	const struct delivery_recipient *recipient = &t->d->recipients[i];
	const struct envelope_recipient *e = &t->d->envelope->recipients[recipient->index];

	buffer_append_str(out, "RCPT TO:<");
	buffer_append_str(out, recipient->address);
	buffer_append_char(out, '>');
	if (t->dsn) {
		write_notify(services_notify(t->d->envelope, e, &t->to), out);
		if (e->orcpt) {
			size_t before = out->len;

			buffer_append_str(out, " ORCPT=");
			if (orcpt_encode(e->orcpt, t->utf8, out) < 0 && out->data) {
				out->len = before; /* better without than malformed */
				out->data[before] = '\0';
			}
		}
	}
	services_write_rcpt(e, &t->to, out);
	buffer_append_str(out, "\r\n");
}

static int put(struct transaction *t, struct buffer *b)
{
	int r = buffer_error(b);

	if (r >= 0 && stream_peek(t->client->stream).len > 0)
		r = -EALREADY;
	if (r >= 0)
		r = stream_put(t->client->stream, buffer_slice(b),
			       smtp_client_deadline(t->client, t->client->settings->config.command_timeout));
	buffer_clear(b);
	return r;
}

/* --- replies ---------------------------------------------------------------------------------------------------- */

/* 421: the server is closing, whatever it was asked (RFC 5321 section 3.8). */
static int read_reply(struct transaction *t, enum stage stage, usec_t timeout, struct reply *ret)
{
	t->stage = stage;
	return smtp_client_reply(t->client, timeout, t->d->arena, ret);
}

/* Nobody gets further: all that have no outcome yet get this one. Recipients that are pending count as such. */
static int give_up(struct transaction *t, const struct outcome *o, int error)
{
	failure_spread(o, t->d);
	return error;
}

static int lost(struct transaction *t, int error)
{
	bool stale = t->stage <= STAGE_MAIL && t->client->proven;
	struct outcome o;

	failure_connection(&o, t->stage, &t->remote, smtp_client_error(t->client, error), t->d->arena);
	return give_up(t, &o, stale && error != -ECANCELED && error != -ETIMEDOUT ? -ESTALE : error);
}

static int closing(struct transaction *t, const struct reply *reply)
{
	bool stale = t->stage <= STAGE_MAIL && t->client->proven;
	struct outcome o;

	failure_reply(&o, t->stage, &t->remote, reply);
	o.site_fault = t->stage <= STAGE_MAIL;
	return give_up(t, &o, stale ? -ESTALE : -ECONNRESET);
}

/* Nothing has been asked, so nothing may have been answered: with a reply too many in the line, the one to the last RCPT
 * would be taken for the one to the content. But a server may say that it is closing, or behind 354, where the replies
 * are known to be in step, that it doesn't want the content after all. */
static int check_silence(struct transaction *t)
{
	struct outcome o;
	struct reply reply;

	if (!stream_has_input(t->client->stream))
		return 0;
	if (smtp_client_reply(t->client, LAST_WORDS, t->d->arena, &reply) < 0)
		return lost(t, -EALREADY);
	if (reply.code == 421)
		return closing(t, &reply);
	if (!t->go_ahead || reply.code < 400)
		return lost(t, -EALREADY);
	failure_reply(&o, STAGE_DATA, &t->remote, &reply);
	return give_up(t, &o, -ECONNRESET);
}

static int take_rset(struct transaction *t)
{
	struct reply reply;
	int r = read_reply(t, STAGE_MAIL, t->client->settings->config.command_timeout, &reply);

	if (r < 0)
		return lost(t, r);
	if (reply.code == 421)
		return closing(t, &reply);
	t->client->needs_rset = false;
	return 0;
}

static int take_mail(struct transaction *t)
{
	struct reply reply;
	struct outcome o;
	int r = read_reply(t, STAGE_MAIL, t->client->settings->config.command_timeout, &reply);

	if (r < 0)
		return lost(t, r);
	if (reply.code == 421)
		return closing(t, &reply);
	t->sender_accepted = REPLY_OK(&reply);
	if (!t->sender_accepted) {
		failure_reply(&o, STAGE_MAIL, &t->remote, &reply);
		failure_spread(&o, t->d);
	}
	return 0;
}

static int take_rcpt(struct transaction *t, unsigned i)
{
	struct outcome *o = &t->d->recipients[i].outcome;
	struct reply reply;
	int r = read_reply(t, STAGE_RCPT, t->client->settings->config.command_timeout, &reply);

	if (r < 0)
		return lost(t, r);
	if (reply.code == 421)
		return closing(t, &reply);
	if (!t->sender_accepted)
		return 0; /* its fate is sealed by the reply to MAIL */
	if (REPLY_OK(&reply)) {
		t->pending[i] = true;
		t->accepted++;
	} else {
		failure_reply(o, STAGE_RCPT, &t->remote, &reply);
	}
	return 0;
}

static int take_data(struct transaction *t)
{
	int r = read_reply(t, STAGE_DATA, t->client->settings->config.data_timeout, &t->data_reply);

	if (r < 0)
		return lost(t, r);
	if (t->data_reply.code == 421)
		return closing(t, &t->data_reply);
	t->go_ahead = t->data_reply.code == 354;
	return 0;
}

/* --- the envelope ------------------------------------------------------------------------------------------------ */

/* Everything in one go, then the replies in their order (RFC 2920 section 3.1). DATA ends the group. */
static int envelope_pipelined(struct transaction *t, struct buffer *b)
{
	bool rset = t->client->needs_rset;
	int r;

	if (rset)
		buffer_append_str(b, "RSET\r\n");
	write_mail(t, b);
	for (unsigned i = 0; i < t->n; i++)
		write_rcpt(t, i, b);
	t->data_sent = !t->chunking;
	if (t->data_sent)
		buffer_append_str(b, "DATA\r\n");
	r = put(t, b);
	if (r < 0)
		return lost(t, r);
	r = rset ? take_rset(t) : 0;
	if (r >= 0)
		r = take_mail(t);
	for (unsigned i = 0; i < t->n && r >= 0; i++)
		r = take_rcpt(t, i);
	if (r >= 0 && t->data_sent)
		r = take_data(t);
	return r;
}

static int envelope_in_steps(struct transaction *t, struct buffer *b)
{
	int r = 0;

	if (t->client->needs_rset) {
		buffer_append_str(b, "RSET\r\n");
		r = put(t, b);
		r = r < 0 ? lost(t, r) : take_rset(t);
		if (r < 0)
			return r;
	}
	write_mail(t, b);
	r = put(t, b);
	r = r < 0 ? lost(t, r) : take_mail(t);
	for (unsigned i = 0; i < t->n && r >= 0 && t->sender_accepted; i++) {
		write_rcpt(t, i, b);
		r = put(t, b);
		r = r < 0 ? lost(t, r) : take_rcpt(t, i);
	}
	if (r < 0 || t->accepted == 0 || t->chunking)
		return r;
	t->data_sent = true;
	buffer_append_str(b, "DATA\r\n");
	r = put(t, b);
	return r < 0 ? lost(t, r) : take_data(t);
}

/* --- the content ---------------------------------------------------------------------------------------------------- */

/* BDAT says its length in front: the content, and a CRLF behind it when it has none, because some servers wait
 * for ever for the end of the last line. */
static int put_bdat_command(struct transaction *t, bool *ret_add_crlf)
{
	uint64_t size = spool_reader_size(t->reader);
	_cleanup_buffer_ struct buffer b = { 0 };
	char end[2] = { 0 };

	if (size >= 2) {
		ssize_t n = spool_reader_read(t->reader, size - 2, end, 2);

		if (n < 0)
			return (int) n;
	}
	*ret_add_crlf = (end[0] != '\r' || end[1] != '\n') && t->d->envelope->body != BODY_BINARYMIME;
	buffer_printf(&b, "BDAT %llu LAST\r\n", (unsigned long long) (size + (*ret_add_crlf ? 2 : 0)));
	return put(t, &b);
}

/* A piece as it lies in the spool, or as what the conversion makes of it: of the last one, end is true and chunk empty. */
static int put_piece(struct transaction *t, struct stuffer *stuffer, struct slice chunk, bool end, struct buffer *converted,
		     int *ret_spool_error)
{
	struct slice piece = chunk;
	int r;

	if (t->conversion) {
		r = end ? downgrade_end(t->conversion, converted) : downgrade_write(t->conversion, chunk, converted);
		if (r < 0) {
			*ret_spool_error = r;
			return r;
		}
		piece = buffer_slice(converted);
	}
	r = stuffer_put(stuffer, t->client->stream, piece, smtp_client_deadline(t->client, t->client->settings->config.block_timeout));
	buffer_clear(converted);
	return r;
}

static int copy_content(struct transaction *t, struct stuffer *stuffer, int *ret_spool_error)
{
	_cleanup_buffer_ struct buffer converted = { 0 };
	uint64_t size = spool_reader_size(t->reader), offset = 0;
	struct slice chunk;
	int r = 0;

	*ret_spool_error = 0;
	while (r >= 0 && offset < size) {
		r = spool_reader_view(t->reader, offset, &chunk);
		if (r < 0) {
			*ret_spool_error = r;
			return r;
		}
		r = put_piece(t, stuffer, chunk, false, &converted, ret_spool_error);
		offset += chunk.len;
	}
	return r >= 0 && t->conversion ? put_piece(t, stuffer, SLICE_NULL, true, &converted, ret_spool_error) : r;
}

/* Our own disk failed us in the middle: the connection is dropped before the end, so that the server throws away
 * what it has. */
static int unreadable(struct transaction *t, int error)
{
	struct outcome o;

	LOG(t->client->deliverer->log, LOG_ERROR, "the content of a message can't be read from the spool", F_ID("id", t->d->id),
	    F_ERRNO("error", error));
	failure_local(&o, STAGE_LOCAL, CLASS_OTHER, 451, 3, 0, "the message can't be read from the spool");
	return give_up(t, &o, -EIO);
}

/* Some servers and firewalls offer CHUNKING and then refuse BDAT as a command, hang up or fall silent. Where it has
 * worked before, or nothing else would do (RFC 3030 section 3: BINARYMIME needs BDAT), that is no explanation. */
static bool bdat_is_suspect(const struct transaction *t)
{
	return t->chunking && t->client->bdat != BDAT_WORKS && t->d->envelope->body != BODY_BINARYMIME;
}

static bool refuses_bdat(const struct reply *reply)
{
	return reply->code == 500 || reply->code == 502 || reply->code == 503 || reply->code == 504;
}

/* The connection is out of step, or gone: what we sent as content may be taken for commands. */
static int without_bdat(struct transaction *t, const struct outcome *failure)
{
	struct outcome o = *failure;

	o.kind = OUTCOME_DEFERRED;
	o.site_fault = false;
	smtp_client_learn_bdat(t->client, BDAT_FAILS);
	LOG(t->client->deliverer->log, LOG_INFO, "A server offers CHUNKING, but BDAT fails there; it gets DATA for a while",
	    F_STR("host", t->remote.host), F_STR("because", o.reply.text));
	return give_up(t, &o, -EPROTONOSUPPORT);
}

static int lost_content(struct transaction *t, int error)
{
	struct outcome o;

	if (!bdat_is_suspect(t) || (error != -ENODATA && error != -ECONNRESET && error != -EPIPE && error != -ETIMEDOUT))
		return lost(t, error);
	failure_connection(&o, t->stage, &t->remote, smtp_client_error(t->client, error), t->d->arena);
	return without_bdat(t, &o);
}

/* The server hung up, or seems to have, while we were sending: perhaps it said why before. */
static int hung_up(struct transaction *t, int error)
{
	struct outcome o;
	struct reply reply;

	t->stage = STAGE_DATA;
	if ((error == -EPIPE || error == -ECONNRESET || error == -ETIMEDOUT) &&
	    smtp_client_reply(t->client, LAST_WORDS, t->d->arena, &reply) >= 0 && reply.code >= 400) {
		failure_reply(&o, STAGE_DATA, &t->remote, &reply);
		if (bdat_is_suspect(t) && refuses_bdat(&reply))
			return without_bdat(t, &o);
		return give_up(t, &o, -ECONNRESET);
	}
	return lost_content(t, error);
}

static int send_content(struct transaction *t)
{
	struct stream *stream = t->client->stream;
	usec_t timeout = t->client->settings->config.block_timeout;
	bool add_crlf = false;
	struct stuffer stuffer;
	int r = 0, spool_error = 0;

	stuffer_init(&stuffer, !t->chunking				   ? STUFF_DATA
			       : t->d->envelope->body == BODY_BINARYMIME ? STUFF_BINARY
									 : STUFF_BDAT);
	stuffer.bare_lf = t->d->envelope->flags & ENVELOPE_BARE_LF;
	if (t->chunking)
		r = put_bdat_command(t, &add_crlf);
	if (r >= 0)
		r = copy_content(t, &stuffer, &spool_error);
	if (spool_error < 0)
		return unreadable(t, spool_error);
	if (r >= 0)
		r = stuffer_end(&stuffer, stream, smtp_client_deadline(t->client, timeout));
	if (r >= 0 && add_crlf)
		r = stream_put_str(stream, "\r\n", smtp_client_deadline(t->client, timeout));
	if (r >= 0)
		r = stream_flush(stream, smtp_client_deadline(t->client, timeout));
	if (stuffer.replaced > 0)
		LOG(t->client->deliverer->log, LOG_INFO, stuffer.bare_lf ? "LFs alone in a message went out as line ends" : "stray CRs or LFs in a message went out as spaces", F_ID("id", t->d->id),
		    F_UINT("replaced", stuffer.replaced));
	return r < 0 ? hung_up(t, r) : 0;
}

/* RFC 5321 section 4.5.3.1.10: the server takes no more recipients in one transaction, but it has taken this one. The
 * others are as good as not tried: they go next, at once. */
static void spare_surplus(struct transaction *t)
{
	bool taken = false;

	for (unsigned i = 0; i < t->n; i++)
		taken |= t->d->recipients[i].outcome.kind == OUTCOME_RELAYED || t->d->recipients[i].outcome.kind == OUTCOME_DELIVERED;
	if (!taken)
		return;
	for (unsigned i = 0; i < t->n; i++) {
		struct outcome *o = &t->d->recipients[i].outcome;

		if (o->stage == STAGE_RCPT && o->from_remote && reply_may_mean_surplus(&o->reply))
			*o = (struct outcome) { .kind = OUTCOME_NONE };
	}
}

static int take_final(struct transaction *t)
{
	struct smtp_client *c = t->client;
	usec_t sent = now();
	struct reply reply;
	struct outcome o;
	int r;

	t->stage = STAGE_DOT;
	if (c->peer.lmtp) {
		r = lmtp_read_replies(c, &t->remote, t->d, t->pending, t->n);
		if (r >= 0)
			spare_surplus(t);
		return r < 0 ? lost(t, r) : 0;
	}
	r = smtp_client_verdict(c, c->settings->config.dot_timeout, t->d->arena, &reply);
	if (r < 0)
		return lost_content(t, r);
	t->d->final_reply = now() - sent;
	failure_reply(&o, STAGE_DOT, &t->remote, &reply);
	if (bdat_is_suspect(t) && refuses_bdat(&reply))
		return without_bdat(t, &o);
	if (t->chunking && REPLY_OK(&reply))
		smtp_client_learn_bdat(c, BDAT_WORKS);
	if (REPLY_OK(&reply))
		o.kind = t->dsn ? OUTCOME_DELIVERED : OUTCOME_RELAYED;
	o.time_kept = t->to.extensions->bits & EXT_DELIVERBY;
	for (unsigned i = 0; i < t->n; i++)
		if (t->pending[i])
			t->d->recipients[i].outcome = o;
	spare_surplus(t);
	/* Not now: then those that did not fit into this transaction need not ask. */
	if (REPLY_TEMPORARY(&reply))
		failure_spread(&o, t->d);
	/* After a refused BDAT it is unclear whether the server still thinks of a transaction. */
	c->needs_rset = t->chunking && !REPLY_OK(&reply);
	return reply.code == 421 ? -ECONNRESET : 0;
}

/* --- all of it --------------------------------------------------------------------------------------------------------- */

/* DATA was pipelined and the server says 354 although it refused everybody: it gets an empty message, which it will
 * refuse as well (RFC 2920 section 3.1). */
static int send_nothing(struct transaction *t)
{
	struct reply reply;
	int r;

	t->stage = STAGE_DOT;
	r = smtp_client_ask(t->client, ".", t->client->settings->config.dot_timeout, t->d->arena, &reply);
	return r < 0 ? r : 0;
}

static int run(struct transaction *t)
{
	char room[512];
	_cleanup_buffer_ struct buffer commands = buffer_in(room, sizeof(room));
	struct smtp_client *c = t->client;
	struct outcome o;
	int r;

	t->stage = STAGE_MAIL;
	c->mails++;
	r = check_silence(t);
	if (r >= 0)
		r = t->pipelining ? envelope_pipelined(t, &commands) : envelope_in_steps(t, &commands);
	if (r < 0)
		return r;
	if (t->accepted == 0) {
		if (t->go_ahead)
			return send_nothing(t);
		c->needs_rset = t->sender_accepted;
		return 0;
	}
	if (!t->chunking && !t->go_ahead) {
		failure_reply(&o, STAGE_DATA, &t->remote, &t->data_reply);
		failure_spread(&o, t->d);
		c->needs_rset = true;
		return 0;
	}
	r = check_silence(t);
	if (r < 0)
		return r;
	c->messages++;
	r = send_content(t);
	return r < 0 ? r : take_final(t);
}

/* RFC 7293 section 5.1.1: recipients whose wish the server doesn't know fail, unless they may do without. They go to the
 * end; returns how many are left. */
static unsigned settle_rrvs(struct transaction *t)
{
	struct delivery *d = t->d;
	unsigned n = d->n_recipients;

	for (unsigned i = 0; i < n;) {
		struct delivery_recipient r = d->recipients[i];

		if (services_allow_recipient(&d->envelope->recipients[r.index], &t->to)) {
			i++;
			continue;
		}
		failure_local(&r.outcome, STAGE_RCPT, CLASS_POLICY, 550, 7, 19,
			      arena_printf(d->arena, "%s can't tell whether the mailbox still has the same owner (it does not offer RRVS)",
					   remote_name(&t->remote, d->arena)));
		outcome_about(&r.outcome, &t->remote);
		d->recipients[i] = d->recipients[--n];
		d->recipients[n] = r;
	}
	return n;
}

static struct slice domain_of(const struct delivery_recipient *r)
{
	const char *at = strrchr(r->address, '@');

	return slice_from(at ? at + 1 : "");
}

static int compare_domains(const void *a, const void *b)
{
	const struct delivery_recipient *x = a, *y = b;
	int order = strcasecmp(domain_of(x).data, domain_of(y).data);

	return order ? order : (x->index > y->index) - (x->index < y->index);
}

/* How many of the recipients fit the server's limits (RFC 9422 section 4): the first n, and of them those before one with
 * a domain too many. In the order of the domains, so that few transactions do for all. */
static unsigned fit_limits(struct delivery *d, unsigned n, const struct extensions *x)
{
	unsigned most = x->rcpt_max > 0 ? MIN(n, x->rcpt_max) : n, domains = 0;

	if (x->rcpt_domain_max == 0)
		return most;
	qsort(d->recipients, n, sizeof(d->recipients[0]), compare_domains);
	for (unsigned i = 0; i < most; i++) {
		domains += i == 0 || strcasecmp(domain_of(&d->recipients[i - 1]).data, domain_of(&d->recipients[i]).data) != 0;
		if (domains > x->rcpt_domain_max)
			return i;
	}
	return most;
}

int smtp_transaction(struct smtp_client *c, struct delivery *d)
{
	const struct deliver_config *config = &c->settings->config;
	unsigned offered = c->extensions.bits;
	_cleanup_(spool_reader_closep) struct spool_reader *reader = NULL;
	struct transaction t = {
		.client = c,
		.d = d,
		.remote = {
			.host = arena_strdup(d->arena, c->remote.host),
			.ip = c->remote.ip,
			.tls = arena_strdup(d->arena, c->remote.tls),
			.tls_wanted = arena_strdup(d->arena, c->remote.tls_wanted),
			.tls_reached = arena_strdup(d->arena, c->remote.tls_reached),
			.source = arena_strdup(d->arena, c->remote.source),
		},
		.to = {
			.extensions = &c->extensions,
			.lmtp = c->peer.lmtp,
			.may_chunk = !config->no_chunking,
			.now = world_wall(c->deliverer->world),
		},
		.pipelining = (offered & EXT_PIPELINING) && !config->no_pipelining,
		.chunking = (offered & EXT_CHUNKING) && !config->no_chunking &&
			    (c->bdat != BDAT_FAILS || d->envelope->body == BODY_BINARYMIME),
		.utf8 = d->envelope->flags & ENVELOPE_SMTPUTF8,
		.dsn = (offered & EXT_DSN) && !c->peer.lmtp,
		.stage = STAGE_LOCAL,
	};
	int r;

	if (check_abilities(&t) > 0)
		return 0;
	r = spool_reader_open(c->deliverer->spool, d->id, &reader);
	t.reader = reader;
	if (r >= 0)
		r = prepare_conversion(&t);
	if (r == 0) {
		t.n = fit_limits(d, settle_rrvs(&t), &c->extensions);
		t.pending = arena_new_array(d->arena, bool, MAX(t.n, 1u));
		if (!t.pending)
			r = -ENOMEM;
	}
	if (r < 0)
		(void) unreadable(&t, r);
	if (r == 0 && t.n > 0) {
		r = run(&t);
		c->proven |= r >= 0;
	} else {
		r = 0;
	}
	downgrade_done(t.conversion);
	return r;
}
