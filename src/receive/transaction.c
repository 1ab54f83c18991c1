#include "receive/transaction.h"

#include <stdio.h>

#include "base/hash.h"
#include "mail/received.h"
#include "receive/access.h"
#include "receive/gate_session.h"
#include "receive/judging.h"
#include "receive/sign.h"
#include "receive/submission.h"
#include "smtp/client_attributes.h"

#define FIRST_RECIPIENTS 4

#define LINE_OCTETS 998u             /* RFC 5321 section 4.5.3.1.6 */

/* The sink's own errors, beside those of the spool. */
#define ERROR_LOOP (-ELOOP)
#define ERROR_SOLICITING (-EPERM)

/* --- begin and end ----------------------------------------------------------------------------------- */

int transaction_store(struct transaction *t, struct slice data)
{
	int r = t->signing ? signing_feed(t->signing, data) : 0;

	return r < 0 ? r : spool_writer_append(t->writer, data);
}

/* Our Received field stands in front of the content. Text would continue that field, or be taken for a part of the
 * header: a blank line keeps it apart. The separator of a mailbox file would end the header: it becomes a field. */
static int write_beginning(struct transaction *t, enum header_start start, struct slice data)
{
	struct slice prefix = start == HEADER_START_TEXT      ? SLICE("\r\n")
			      : start == HEADER_START_MAILBOX ? SLICE("X-Mailbox-Line: ")
							      : SLICE_NULL;
	int r = transaction_store(t, prefix);

	if (r >= 0)
		r = transaction_store(t, slice_new(t->held, t->n_held));
	if (r >= 0)
		r = transaction_store(t, data);
	t->begun = true;
	return r;
}

static int look_at_beginning(struct transaction *t, struct slice data)
{
	enum header_start start = t->n_held == 0 ? header_start(data) : HEADER_START_UNKNOWN;
	size_t n;

	if (start != HEADER_START_UNKNOWN)
		return write_beginning(t, start, data);
	n = MIN(data.len, sizeof(t->held) - t->n_held);
	if (n > 0)
		memcpy(t->held + t->n_held, data.data, n);
	t->n_held += (unsigned) n;
	start = header_start(slice_new(t->held, t->n_held));
	return start == HEADER_START_UNKNOWN ? 0 : write_beginning(t, start, slice_skip(data, n));
}

/* Binary content that is lines of text after all can go where only those are taken. */
static void watch_lines(struct transaction *t, struct slice data)
{
	while (data.len > 0 && !t->long_lines) {
		ssize_t lf = slice_find(data, '\n');
		size_t n = lf < 0 ? data.len : (size_t) lf + 1;

		t->line += n;
		t->long_lines = t->line > LINE_OCTETS + 2;
		if (lf >= 0)
			t->line = 0;
		data = slice_skip(data, n);
	}
}

/* RFC 3865 section 2.3: what was announced to be refused is not delivered either when only the header says it. */
static int check_solicitation(struct transaction *t)
{
	struct slice head = buffer_slice(&t->head), class;
	struct header_field f;

	while (header_next(&head, &f)) {
		const char *value;

		if (!slice_ieq_str(f.name, "Solicitation"))
			continue;
		value = header_unfold(t->arena, f.value);
		if (!value)
			return -ENOMEM;
		class = solicit_match(slice_from(value), slice_from(t->session->listener->no_soliciting));
		if (!class.data)
			continue;
		t->solicit = class;
		return ERROR_SOLICITING;
	}
	return 0;
}

/* Routes choose by fields of those who may send through us alone: a stranger's message shall not pick its way. */
static bool may_choose_routes(const struct session *s)
{
	return s->role == ROLE_SUBMISSION || s->trusted || s->user;
}

static const struct route_config *route_configuration(const struct session *s)
{
	return router_config(session_shared(s)->router);
}

static int keep_header(struct transaction *t, const char *name, struct slice head)
{
	struct envelope *e = &t->envelope;
	struct header_field f;
	char *value;

	if (e->n_headers >= ENVELOPE_HEADERS || !header_find(head, name, &f))
		return 0;
	/* What is longer is cut, and compared so: no route needs more. */
	value = header_unfold(t->arena, slice_head(f.value, 4 * (size_t) ENVELOPE_HEADER_VALUE));
	if (!value)
		return -ENOMEM;
	value[strnlen(value, ENVELOPE_HEADER_VALUE)] = '\0';
	e->headers[e->n_headers++] = (struct envelope_header) { .name = name, .value = value };
	return 0;
}

/* The fields that some route looks at. Their names stay with the configuration, and are copied when the envelope is. */
static int keep_route_headers(struct transaction *t)
{
	const struct route_config *c = route_configuration(t->session);
	unsigned most = MIN(c->n_headers, ENVELOPE_HEADERS);
	int r = 0;

	if (most == 0 || !may_choose_routes(t->session))
		return 0;
	t->envelope.headers = arena_new_array(t->arena, struct envelope_header, most);
	if (!t->envelope.headers)
		return -ENOMEM;
	for (unsigned i = 0; i < most && r >= 0; i++)
		r = keep_header(t, c->headers[i], buffer_slice(&t->head));
	return r;
}

static int look_into_head(struct transaction *t)
{
	int r = t->session->listener->no_soliciting ? check_solicitation(t) : 0;

	return r < 0 ? r : keep_route_headers(t);
}

static int gather_head(struct transaction *t, struct slice data)
{
	if (!t->gathers_head)
		return 0;
	buffer_append_slice(&t->head, data); /* no more than limits.header_size and a piece */
	if (buffer_error(&t->head) < 0)
		return -ENOMEM;
	return t->header.done ? look_into_head(t) : 0;
}

/* The header is complete, or there is no more of it: what is to stand in its place is written. */
static int write_header(struct transaction *t)
{
	const struct receive_config *config = t->session->settings->config;
	_cleanup_buffer_ struct buffer out = { 0 }, own = { 0 };
	char id[MSGID_TEXT];
	const struct submission_facts facts = {
		.sender = t->envelope.reverse_path,
		.id = id_format(t->envelope.id, id),
		.hostname = config->hostname,
		.when = t->envelope.arrival,
	};
	int r;

	if (t->judging)
		judging_remove_forged(t->judging, buffer_slice(&t->held_header), &own);
	r = buffer_error(&own);
	if (r >= 0)
		r = submission_rewrite(&config->submission, &facts, buffer_slice(t->judging ? &own : &t->held_header), &out);
	t->begun = true;
	buffer_done(&t->held_header);
	return r < 0 ? r : transaction_store(t, buffer_slice(&out));
}

static int hold_header(struct transaction *t, struct slice data)
{
	buffer_append(&t->held_header, data.data, data.len);
	if (buffer_error(&t->held_header) < 0)
		return -ENOMEM;
	return t->header.done ? write_header(t) : 0;
}

static int take_content(struct transaction *t, struct slice data)
{
	const struct receive_limits *l = session_limits(t->session);
	int r;

	if (t->binary)
		watch_lines(t, data);
	if (!t->header.done) {
		header_scanner_feed(&t->header, data);
		/* RFC 5321 section 6.3: counting Received fields is how loops are found. */
		if (t->header.received > l->received_hops)
			return ERROR_LOOP;
		if (t->header.octets > l->header_size)
			return ERROR_HEADER_TOO_LARGE;
		r = gather_head(t, data);
		if (r < 0)
			return r;
	}
	r = t->judging ? judging_watch(t->judging, data) : 0;
	if (r < 0)
		return r;
	if (t->begun)
		return transaction_store(t, data);
	if (t->judging && !t->rewriting)
		return judging_hold(t->judging, data, &t->begun);
	return t->rewriting ? hold_header(t, data) : look_at_beginning(t, data);
}

static int content_write(void *context, struct slice data)
{
	struct transaction *t = context;
	struct slice run;
	int r = 0;

	if (t->digested)
		digest_feed(&t->digest, data);
	if (!t->normalizing)
		return take_content(t, data);
	while (r >= 0 && normalizer_next(&t->normalizer, &data, &run))
		r = take_content(t, run);
	return r;
}

static void choose_line_ends(struct transaction *t)
{
	const struct session *s = t->session;

	t->normalizing = access_normalizes(s);
	if (t->normalizing)
		t->tolerated = CONTENT_BARE_CR | CONTENT_BARE_LF;
}

void transaction_is_binary(struct transaction *t)
{
	t->binary = true;
	t->normalizing = false;
	t->tolerated = CONTENT_BARE_CR | CONTENT_BARE_LF | CONTENT_NUL;
}

int transaction_begin(struct session *s, const struct address *sender)
{
	struct receive_shared *shared = session_shared(s);
	struct transaction *t;
	int r;

	assert(!s->transaction);
	if (!s->mail_arena) {
		r = arena_new(2048, &s->mail_arena);
		if (r < 0)
			return r;
	}
	t = arena_new_type(s->mail_arena, struct transaction);
	if (!t)
		return -ENOMEM;
	t->session = s;
	t->arena = s->mail_arena;
	t->sink = (struct content_sink) { .write = content_write, .context = t };
	t->envelope.reverse_path = arena_slice(t->arena, sender->text);
	if (!t->envelope.reverse_path)
		return -ENOMEM;
	/* The same text gives the same parts. */
	r = address_parse(slice_from(t->envelope.reverse_path), ADDRESS_OF_ENVELOPE, &t->sender);
	if (r < 0)
		return r;
	t->envelope.id = queue_new_id(shared->queue);
	header_scanner_init(&t->header);
	t->rewriting = s->role == ROLE_SUBMISSION && submission_changes_headers(&s->settings->config->submission);
	t->gathers_head = s->listener->no_soliciting || (may_choose_routes(s) && route_configuration(s)->n_headers > 0);
	content_check_init(&t->chunks);
	choose_line_ends(t);
	t->digested = s->settings->config->duplicate_window > 0;
	if (t->digested)
		duplicates_begin(shared->duplicates, &t->digest);
	r = spool_writer_new(queue_spool(shared->queue), t->envelope.id, &t->writer);
	if (r < 0)
		return r;
	s->transaction = t;
	return 0;
}

void transaction_end(struct session *s)
{
	if (s->transaction) {
		judging_done(TAKE_PTR(s->transaction->judging));
		spool_writer_abort(TAKE_PTR(s->transaction->writer));
		signing_free(TAKE_PTR(s->transaction->signing));
		buffer_done(&s->transaction->held_header);
		buffer_done(&s->transaction->head);
	}
	s->transaction = NULL;
	s->forwarded = NULL;
	s->subject = SLICE_NULL;
	session_gate_end_message(s);
	if (s->mail_arena)
		arena_reset(s->mail_arena);
}

/* --- recipients ---------------------------------------------------------------------------------------- */

static int grow(struct transaction *t)
{
	struct envelope *e = &t->envelope;
	unsigned capacity = t->capacity ? 2 * t->capacity : FIRST_RECIPIENTS;
	struct envelope_recipient *recipients = arena_new_array(t->arena, struct envelope_recipient, capacity);
	uint32_t *fingerprints = arena_new_array(t->arena, uint32_t, capacity);

	if (!recipients || !fingerprints)
		return -ENOMEM;
	if (e->n_recipients > 0) {
		memcpy(recipients, e->recipients, e->n_recipients * sizeof(*recipients));
		memcpy(fingerprints, t->fingerprints, e->n_recipients * sizeof(*fingerprints));
	}
	e->recipients = recipients;
	t->fingerprints = fingerprints;
	t->capacity = capacity;
	return 0;
}

/* The same octets but for the case of the domain: then nobody wants it twice. */
static bool is_there(const struct transaction *t, const struct address *address, uint32_t fingerprint)
{
	for (unsigned i = 0; i < t->envelope.n_recipients; i++) {
		struct slice other;

		if (t->fingerprints[i] != fingerprint)
			continue;
		other = slice_from(t->envelope.recipients[i].address);
		if (slice_ieq(other, address->text) && slice_eq(slice_head(other, address->local.len), address->local))
			return true;
	}
	return false;
}

int transaction_add_recipient(struct transaction *t, const struct address *address, const struct rcpt_parameters *p)
{
	static const struct hash_key fixed = { { 0, 0 } }; /* a collision costs one comparison */
	uint32_t fingerprint = (uint32_t) (hash_bytes(&fixed, address->local.data, address->local.len) + address->text.len);
	struct envelope *e = &t->envelope;
	const char *copy;
	int r;

	if (is_there(t, address, fingerprint)) {
		t->accepted++;
		return 0;
	}
	if (e->n_recipients == t->capacity) {
		r = grow(t);
		if (r < 0)
			return r;
	}
	copy = arena_slice(t->arena, address->text);
	if (!copy)
		return -ENOMEM;
	t->fingerprints[e->n_recipients] = fingerprint;
	e->recipients[e->n_recipients++] = (struct envelope_recipient) {
		.address = copy,
		.orcpt = p->orcpt,
		.notify = p->notify,
		.rrvs = !p->has_rrvs ? RRVS_NONE : p->rrvs_continue ? RRVS_CONTINUE : RRVS_REJECT,
		.valid_since = p->rrvs,
	};
	t->accepted++;
	return 0;
}

int transaction_count_domain(struct transaction *t, const struct address *address)
{
	const struct receive_limits *l = session_limits(t->session);
	unsigned most = MIN(l->recipient_domains, l->recipients);
	const char *copy;

	if (most == 0)
		return 0;
	for (unsigned i = 0; i < t->n_domains; i++)
		if (slice_ieq(t->domains[i], address->domain))
			return 0;
	if (t->n_domains == most)
		return -E2BIG;
	if (!t->domains)
		t->domains = arena_new_array(t->arena, struct slice, most);
	copy = arena_slice(t->arena, address->domain);
	if (!t->domains || !copy)
		return -ENOMEM;
	t->domains[t->n_domains++] = slice_from(copy);
	return 0;
}

/* --- content --------------------------------------------------------------------------------------------- */

static const char *protocol(const struct session *s)
{
	return transmission_name((s->hello == HELLO_EHLO ? TRANSMISSION_EXTENDED : 0) | (s->tls ? TRANSMISSION_TLS : 0) |
				 (s->user ? TRANSMISSION_AUTH : 0) |
				 (s->role == ROLE_LMTP ? TRANSMISSION_LMTP : 0) |
				 (s->transaction->smtputf8 ? TRANSMISSION_UTF8 : 0));
}

static const char *client_subject(const struct tls_info *tls)
{
	return tls->peer_subject ? tls->peer_subject : "";
}

/* What was negotiated, for the event and the queue's memory of the message. */
static const char *tls_text(const struct tls_info *tls, struct arena *a)
{
	const char *text = arena_printf(a, "%s %s%s%s%s%s", tls->version, tls->cipher, tls->group[0] ? " " : "", tls->group,
					tls->sni[0] ? " for " : "", tls->sni);

	if (!text || !tls->peer_certificate)
		return text;
	return arena_printf(a, "%s, client certificate %s%s %s (%s)", text, client_subject(tls), tls->peer_fingerprint ? " sha256" : "",
			    tls->peer_fingerprint ? tls->peer_fingerprint : "", tls->peer_verified ? "verified" : "not verified");
}

int transaction_open_content(struct transaction *t)
{
	char room[512];
	_cleanup_buffer_ struct buffer field = buffer_in(room, sizeof(room));
	struct session *s = t->session;
	struct envelope *e = &t->envelope;
	struct receive_shared *shared = session_shared(s);
	bool hidden = s->role == ROLE_SUBMISSION && s->settings->config->submission.hide_client;
	char id[MSGID_TEXT];

	e->arrival = world_wall(shared->world);
	if (t->hold_for)
		e->hold_until = e->arrival + t->hold_for;
	e->protocol = protocol(s);
	received_format(
		&(struct received) {
			.helo = hidden ? NULL : s->helo,
			.client_name = hidden ? NULL : s->client_name,
			.client = hidden || s->stream->peer.kind != ENDPOINT_IP ? NULL : &s->stream->peer.ip,
			.host = s->settings->config->hostname,
			.protocol = e->protocol,
			.id = id_format(e->id, id),
			.tls_version = s->tls ? s->tls->version : NULL,
			.tls_cipher = s->tls ? s->tls->cipher : NULL,
			.tls_bits = s->tls ? s->tls->bits : 0,
			.tls_group = s->tls ? s->tls->group : NULL,
			.tls_client = s->tls && s->tls->peer_certificate ? client_subject(s->tls) : NULL,
			.tls_client_verified = s->tls && s->tls->peer_verified,
			.recipient = e->n_recipients == 1 ? e->recipients[0].address : NULL,
			.solicit = e->solicit,
			.priority = t->has_priority ? &e->priority : NULL,
			.when = e->arrival,
		},
		&field);
	t->late_headers = session_gate_headers(s, &field);
	if (buffer_error(&field) < 0 || transaction_begin_signing(t) < 0)
		return -ENOMEM;
	if (judging_wanted(s)) {
		int r = judging_begin(s, t->rewriting ? SLICE_NULL : buffer_slice(&field), &t->judging);

		if (r < 0 || !t->rewriting)
			return r;
	}
	return transaction_store(t, buffer_slice(&field));
}

void transaction_content_limits(const struct session *s, struct content_limits *ret)
{
	const struct receive_limits *l = session_limits(s);

	*ret = (struct content_limits) {
		.max_octets = session_message_size_max(s),
		.idle_timeout = l->data_timeout,
		.tolerated = s->transaction ? s->transaction->tolerated : 0,
		.deadline = deadline_after(s->progress, l->session_timeout),
	};
}

/* --- the end ---------------------------------------------------------------------------------------------- */

int transaction_reply_refusal(struct session *s, const struct content_facts *facts)
{
	const struct receive_limits *l = session_limits(s);

	switch (facts->error) {
	case -EBADMSG: {
		char offset[24];
		int n = snprintf(offset, sizeof(offset), "%llu", (unsigned long long) facts->defect_offset);

		/* Whoever sends such content may be trying to smuggle a message past somebody: the
		 * conversation ends here. */
		s->linger = true;
		LOG(session_shared(s)->log, LOG_INFO, "message refused: it holds stray control characters",
		    F_ID("id", s->transaction->envelope.id), F_STR("client", s->client),
		    F_STR("defect", content_defect_name(facts->defects)), F_UINT("offset", facts->defect_offset));
		return session_close_with(s, REPLY_CONTENT_DEFECT, slice_from(content_defect_name(facts->defects)),
					  slice_new(offset, (size_t) n));
	}
	case -E2BIG:
		return session_reply_number(s, REPLY_TOO_LARGE, session_message_size_max(s));
	case ERROR_HEADER_TOO_LARGE:
		return session_reply_number(s, REPLY_HEADER_TOO_LARGE, l->header_size);
	case SUBMISSION_NO_FROM:
		return session_reply(s, REPLY_NO_FROM);
	case SUBMISSION_TWO_FROM:
		return session_reply(s, REPLY_TWO_FROM);
	case SUBMISSION_BAD_FROM:
		return session_reply(s, REPLY_BAD_FROM);
	case ERROR_LOOP:
		return session_reply_number(s, REPLY_LOOP, l->received_hops);
	case ERROR_SIGNING:
		return session_reply(s, REPLY_SIGNING_FAILED);
	case ERROR_SOLICITING:
		return session_reply_with(s, REPLY_SOLICITING, s->transaction->solicit, SLICE_NULL);
	default:
		return session_reply_error(s, facts->error);
	}
}

/* RFC 2033 section 4.2: LMTP replies once for each recipient that was accepted. */
static int reply_to_each(struct session *s, unsigned n, int (*reply)(struct session *s, const void *arg), const void *arg)
{
	int r;

	if (s->role != ROLE_LMTP)
		n = 1;
	do
		r = reply(s, arg);
	while (--n > 0 && r >= 0);
	return r;
}

static int reply_refused(struct session *s, const void *arg)
{
	return transaction_reply_refusal(s, arg);
}

static int reply_accepted(struct session *s, const void *arg)
{
	return session_put(s, buffer_slice(arg));
}

/* What a filter said by XFORWARD takes the place of what we see of the filter itself. */
static void fill_client(struct session *s, struct envelope *e)
{
	const struct client_attributes *f = s->forwarded;
	unsigned given = f ? f->given : 0;

	e->client_ip = s->stream->peer.kind == ENDPOINT_IP ? s->client : NULL;
	e->client_name = given & ATTRIBUTE_NAME ? f->name : s->client_name;
	e->helo = given & ATTRIBUTE_HELO ? f->helo : s->helo;
	e->user = s->user;
	if (given & ATTRIBUTE_ADDR) {
		char *text = f->addr.family ? arena_alloc(s->mail_arena, IP_TEXT) : NULL;

		e->client_ip = text ? ip_format(&f->addr, text) : NULL;
	}
	if ((given & ATTRIBUTE_PROTO) && f->proto)
		e->protocol = f->proto;
}

static void fill_envelope(struct session *s, const struct content_facts *facts)
{
	struct transaction *t = s->transaction;
	struct envelope *e = &t->envelope;
	bool utf8 = t->sender.utf8, lines = !t->long_lines && !facts->defects;

	for (unsigned i = 0; i < e->n_recipients && !utf8; i++)
		for (const char *p = e->recipients[i].address; *p && !utf8; p++)
			utf8 = (unsigned char) *p > 127;
	/* What counts for the next hop is the content, not what was announced: it can take a message without
	 * 8BITMIME that has no 8-bit octets, and one without SMTPUTF8 that is ASCII throughout. */
	e->body = t->binary && !lines ? BODY_BINARYMIME : facts->eight_bit || utf8 ? BODY_8BITMIME : BODY_7BIT;
	/* RFC 8689 section 4.1: REQUIRETLS weighs more than the field. */
	if ((t->header.seen & HEADER_TLS_REQUIRED_NO) && !(e->flags & ENVELOPE_REQUIRETLS))
		e->flags |= ENVELOPE_TLS_OPTIONAL;
	e->flags |= t->header.seen & HEADER_RRVS ? ENVELOPE_RRVS_FIELD : 0;
	/* RFC 6758: a mail program without the extension says it in the header. The parameter weighs more. */
	if (t->header.has_priority && !t->has_priority && (s->trusted || s->user))
		e->priority = MIN(t->header.priority, (int) session_limits(s)->trusted_priority);
	e->flags |= t->smtputf8 && (facts->eight_bit || utf8) ? ENVELOPE_SMTPUTF8 : 0;
	e->flags |= s->trusted || s->user ? ENVELOPE_TRUSTED : 0;
	e->flags |= session_gate_holds(s) ? ENVELOPE_HOLD : 0;
	e->flags |= s->tls ? ENVELOPE_RECEIVED_TLS : 0;
	e->flags |= !t->normalizing && !t->binary && t->chunks.defects & CONTENT_BARE_LF ? ENVELOPE_BARE_LF : 0;
	fill_client(s, e);
	if (s->tls)
		e->tls = tls_text(s->tls, t->arena);
	e->size = spool_writer_size(t->writer);
}

/* What rules throw away gets its 250 all the same. */
static bool is_discarded(struct session *s)
{
	const struct transaction *t = s->transaction;

	return session_gate_discards(s) || t->envelope.n_recipients == 0;
}

static void discard(struct session *s)
{
	struct transaction *t = s->transaction;

	LOG(session_shared(s)->log, LOG_INFO, "message discarded by a rule of the gate", F_ID("id", t->envelope.id), F_STR("client", s->client));
	EVENT(session_shared(s)->events, t->envelope.id, EVENT_REMOVED, F_STR("from", t->envelope.reverse_path), F_STR("client", s->client),
	      F_STR("reason", "a rule of the gate discarded it"));
	spool_writer_abort(TAKE_PTR(t->writer));
	s->messages++;
	s->errors = s->put_off = s->idle_commands = 0;
	s->progress = now();
}

static int reply_gate(struct session *s, const void *arg)
{
	return session_refuse(s, arg);
}

static void note_accepted(struct session *s)
{
	const struct envelope *e = &s->transaction->envelope;
	struct acceptor *a = s->acceptor;

	s->messages++;
	s->errors = s->put_off = s->idle_commands = 0;
	s->progress = now();
	atomic_fetch_add_explicit(&a->accepted, e->n_recipients, memory_order_relaxed);
	atomic_fetch_add_explicit(&a->messages, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&a->bytes, e->size, memory_order_relaxed);
	if (session_gate_holds(s))
		EVENT(session_shared(s)->events, e->id, EVENT_HELD, F_STR("rule", session_gate_holds(s)));
	if (s->transaction->judging)
		judging_remember(s->transaction->judging);
}

/* RFC 1047: we have this message, and its client does not know. It is told so again. */
static int acknowledge_again(struct session *s, msgid_t first)
{
	_cleanup_buffer_ struct buffer accepted = { 0 };
	struct receive_shared *shared = session_shared(s);
	char id[MSGID_TEXT];
	int r;

	LOG(shared->log, LOG_INFO, "a message came once more, because its 250 was lost; it is not queued again", F_ID("id", first),
	    F_STR("client", s->client));
	EVENT(shared->events, first, EVENT_REPEATED, F_STR("client", s->client), F_STR("helo", s->helo));
	s->latest.id = first;
	s->latest.bytes_in = s->stream->bytes_in;
	s->messages++;
	s->errors = s->put_off = s->idle_commands = 0;
	s->progress = now();
	r = session_format_reply(s, REPLY_ACCEPTED, slice_from(id_format(first, id)), SLICE_NULL, &accepted);
	return r < 0 ? r : reply_to_each(s, s->transaction->accepted, reply_accepted, &accepted);
}

static bool is_repeated(struct session *s, msgid_t *ret_first)
{
	struct transaction *t = s->transaction;

	if (!t->digested)
		return false;
	duplicates_key(session_shared(s)->duplicates, s->user ? s->user : s->client, &t->envelope, &t->digest, &s->latest.key);
	return duplicates_find(session_shared(s)->duplicates, &s->latest.key, ret_first);
}

/* The reply to the final dot is the moment of responsibility: before it the client owns the message, after it we
 * do (RFC 5321 section 4.2.5). */
static int finish_normalizing(struct transaction *t)
{
	struct slice end = normalizer_finish(&t->normalizer);

	if (t->normalizer.changed > 0)
		LOG(session_shared(t->session)->log, LOG_INFO, "line ends of a message were made CRLF", F_ID("id", t->envelope.id),
		    F_STR("client", t->session->client), F_UINT("changed", t->normalizer.changed));
	return end.len > 0 ? take_content(t, end) : 0;
}

/* What is held or undecided because more could have come. */
static int finish_content(struct transaction *t)
{
	int r = t->normalizing ? finish_normalizing(t) : 0;

	if (r >= 0 && !t->header.done) {
		header_scanner_end(&t->header);
		r = t->head.len > 0 ? look_into_head(t) : 0;
	}
	if (r < 0 || t->begun)
		return r;
	if (t->rewriting)
		return write_header(t);
	if (t->judging)
		return judging_release(t->judging);
	return t->n_held > 0 ? write_beginning(t, HEADER_START_TEXT, SLICE_NULL) : 0; /* all of it is a part of a line */
}

/* The rules at the end of the content, then DMARC. 1; 0: refused, *ret says how; -errno. */
static int pass_gate(struct session *s, struct gate_answer *ret)
{
	struct transaction *t = s->transaction;
	int passed = session_gate_data(s, spool_writer_size(t->writer), ret);

	if (!t->judging || passed < 0)
		return passed;
	if (passed > 0)
		return judging_decide(t->judging, ret);
	judging_refused(t->judging);
	return 0;
}

/* What is known only now, and stands above everything else. */
static int put_in_front(struct transaction *t)
{
	char room[1024];
	_cleanup_buffer_ struct buffer front = buffer_in(room, sizeof(room));
	int r = t->judging ? judging_front(t->judging, &front) : 0;

	if (r < 0)
		return r;
	session_gate_late_headers(t->session, t->late_headers, &front);
	r = t->judging ? judging_seal(t->judging, &front) : 0;
	if (r < 0)
		return r;
	if (t->judging)
		judging_append_waiting(t->judging, &front);
	r = buffer_error(&front);
	if (r >= 0 && t->signing)
		r = transaction_sign(t, &front);
	return r < 0 || front.len == 0 ? r : spool_writer_front(t->writer, buffer_slice(&front));
}

static int commit(struct session *s, const struct content_facts *facts)
{
	struct transaction *t = s->transaction;
	char room[256];
	_cleanup_buffer_ struct buffer accepted = buffer_in(room, sizeof(room));
	struct content_facts failed = { 0 };
	struct gate_answer answer;
	char id[MSGID_TEXT];
	msgid_t first;
	int passed;

	s->latest.id = MSGID_NONE;
	if (is_repeated(s, &first))
		return acknowledge_again(s, first);
	failed.error = finish_content(t);
	if (failed.error >= 0 && t->judging)
		failed.error = judging_end(t->judging);
	/* Made now, because it must not fail when the message has been taken: the client would send it again. */
	if (failed.error >= 0)
		failed.error = session_format_reply(s, REPLY_ACCEPTED, slice_from(id_format(t->envelope.id, id)), SLICE_NULL, &accepted);
	if (failed.error < 0)
		return reply_to_each(s, t->accepted, reply_refused, &failed);
	passed = pass_gate(s, &answer);
	if (passed == 0)
		return reply_to_each(s, t->accepted, reply_gate, &answer);
	if (passed < 0) {
		failed.error = passed;
		return reply_to_each(s, t->accepted, reply_refused, &failed);
	}
	if (is_discarded(s)) {
		discard(s);
		return reply_to_each(s, t->accepted, reply_accepted, &accepted);
	}
	failed.error = put_in_front(t);
	if (failed.error >= 0) {
		fill_envelope(s, facts);
		failed.error = queue_submit(session_shared(s)->queue, TAKE_PTR(t->writer), &t->envelope);
	}
	if (failed.error < 0)
		return reply_to_each(s, t->accepted, reply_refused, &failed);
	transaction_note_signed(t);
	note_accepted(s);
	if (t->digested)
		s->latest.id = t->envelope.id;
	s->latest.bytes_in = s->stream->bytes_in;
	return reply_to_each(s, t->accepted, reply_accepted, &accepted);
}

int transaction_finish(struct session *s, const struct content_facts *facts)
{
	int r;

	if (facts->error < 0) {
		atomic_fetch_add_explicit(&s->acceptor->refused, 1, memory_order_relaxed);
		r = reply_to_each(s, s->transaction->accepted, reply_refused, facts);
	} else {
		r = commit(s, facts);
	}
	transaction_end(s);
	return r;
}
