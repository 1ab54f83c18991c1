#include "queue/bounce.h"

#include <stdlib.h>

#include "mail/downgrade.h"
#include "queue/home.h"

#define REPORTERS_MAX 8u
#define BOUNCE_SIZE (50u * 1024)

/* --- what is said ----------------------------------------------------------------------------- */

static enum dsn_action action_of(const struct recipient *r)
{
	if (r->flags & RECIPIENT_OWES_FAILURE)
		return DSN_FAILED;
	if (r->flags & RECIPIENT_OWES_DELIVERED)
		return DSN_DELIVERED;
	return r->flags & RECIPIENT_OWES_RELAYED ? DSN_RELAYED : DSN_DELAYED;
}

/* Given up because the time was over that its sender gave it (RFC 2852), and not for its age. */
static bool came_too_late(const struct recipient *r, const struct envelope *e, usec_t expire)
{
	return (r->flags & RECIPIENT_EXPIRED) && envelope_returns(e) && e->deliver_by < envelope_begin(e) + (wall_t) expire;
}

static struct status status_of(const struct recipient *r, const struct envelope *e, usec_t expire, enum dsn_action action)
{
	const struct last_reply *l = r->last;
	struct status s = { 0 };

	if (l && l->enhanced[0] > 0)
		s = (struct status) { l->enhanced[0], l->enhanced[1], l->enhanced[2] };
	/* RFC 3463 section 3.5: X.4.7, delivery time expired. */
	if (action == DSN_FAILED && (r->flags & RECIPIENT_EXPIRED) && s.class != 5)
		s = (struct status) { 4, 4, 7 };
	/* RFC 2852 section 4.1.3. */
	if (action == DSN_FAILED && came_too_late(r, e, expire))
		s = (struct status) { 5, 4, 7 };
	if (action == DSN_DELAYED && e->deliver_by && e->by_mode == 'N')
		s = (struct status) { 4, 4, 7 };
	if (action == DSN_DELAYED && s.class == 5)
		s.class = 4; /* a final reply that we take for a temporary one */
	if ((action == DSN_DELIVERED || action == DSN_RELAYED) && s.class != 2)
		s = (struct status) { 2, 0, 0 };
	return s;
}

static const char *reason_of(const struct recipient *r, const struct envelope *e, enum dsn_action action, usec_t expire,
			     struct arena *a)
{
	const char *own = r->last && !r->last->from_remote && last_text(r->last)[0] ? last_text(r->last) : NULL;
	char duration[48], when[32];

	if (action == DSN_FAILED && came_too_late(r, e, expire))
		return arena_printf(a, "It could not be delivered by %s, as its sender wanted%s%s",
				    wall_format_seconds(e->deliver_by, when, sizeof(when)),
				    own ? "; the last trouble was: " : "", own ? own : "");
	if (action == DSN_FAILED && (r->flags & RECIPIENT_EXPIRED)) {
		duration_for_people(expire, duration, sizeof(duration));
		return arena_printf(a, "It could not be delivered within %s%s%s", duration,
				    own ? "; the last trouble was: " : "", own ? own : "");
	}
	if (own)
		return arena_strdup(a, own);
	if (action == DSN_DELAYED && !r->last)
		return arena_strdup(a, "It has not been its turn yet");
	return NULL;
}

/* What the kind of trouble means for somebody who wants to reach somebody. Where a server gave an enhanced code that says more
 * than "something", mail/status.h has the words, but for what such a code doesn't tell: whose the trouble is. */
static const struct {
	enum reply_class class;
	bool always; /* also when the code has words of its own */
	const char *failed, *delayed;
} meanings[] = {
	{ CLASS_BLOCKED, true,
	  "The other mail system takes no messages from this mail server at present: the server's address is on a list of blocked ones. "
	  "Neither your message nor the recipient's address is the cause. Please tell the people who run this server; they have to clear it up.",
	  "The other mail system takes no messages from this mail server at present: the server's address is on a list of blocked ones. "
	  "Neither your message nor the recipient's address is the cause." },
	{ CLASS_THROTTLED, true,
	  "The other mail system takes only so many messages from this mail server in a given time, and yours did not get its turn. Please "
	  "send it again later.",
	  "The other mail system takes only so many messages from this mail server in a given time; yours has to wait its turn." },
	{ CLASS_GREYLISTED, true,
	  "The other mail system puts off messages from senders that it doesn't know yet, and it did so every time. Please send it again later.",
	  "The other mail system puts off messages from senders that it doesn't know yet. It will probably take yours soon." },
	{ CLASS_MAILBOX_FULL, true,
	  "The recipient's mailbox is full. Please tell the recipient in some other way, and send your message again when there is room.",
	  "The recipient's mailbox is full." },
	{ CLASS_NO_SUCH_USER, false, "The address does not exist there. Please check it for typing errors.",
	  "The other mail system says that the address does not exist." },
	{ CLASS_SPAM_CONTENT, true,
	  "The other mail system took your message for spam, or for something harmful, because of what is in it. Without some of its links or "
	  "attachments it may be accepted.",
	  "The other mail system took your message for spam, or for something harmful, because of what is in it." },
	{ CLASS_TLS, false, "The connection to the other mail system could not be protected as it must be, so your message was not sent over it.",
	  "The connection to the other mail system can't be protected as it must be." },
	{ CLASS_AUTH, true,
	  "This mail server could not log in to the server that carries its mail. Please tell the people who run it.",
	  "This mail server could not log in to the server that carries its mail." },
	{ CLASS_POLICY, false,
	  "The rules of the other mail system do not allow this message. Its answer below may say which; the recipient can ask there, too.",
	  "The rules of the other mail system do not allow this message at present." },
	{ CLASS_TOO_BIG, true,
	  "Your message is larger than the other mail system accepts. Please send less at once, or put large files where the recipient can "
	  "fetch them.",
	  "Your message is larger than the other mail system accepts at present." },
	{ CLASS_UNREACHABLE, false, "No server of the recipient's mail system could be reached.",
	  "No server of the recipient's mail system could be reached so far." },
};

static const char *meaning_of(const struct recipient *r, enum dsn_action action)
{
	const struct last_reply *l = r->last;
	bool vague = !l || l->enhanced[0] == 0 || l->enhanced[2] == 0;

	if (!l || (action != DSN_FAILED && action != DSN_DELAYED))
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(meanings); i++)
		if (meanings[i].class == l->class && l->from_remote >= (vague ? 0 : 1) && (vague || meanings[i].always))
			return action == DSN_FAILED ? meanings[i].failed : meanings[i].delayed;
	return NULL;
}

/* The name of the server that answered, or its address; and the address beside the name. Another attempt may replace them while
 * we write. Nothing for one behind a unix socket. -ENOMEM. */
static int put_remote(const struct last_reply *l, struct arena *a, struct dsn_recipient *d)
{
	char ip[IP_TEXT];

	if (!last_host(l) && l->ip.family == 0)
		return 0;
	if (last_host(l))
		d->remote_mta = arena_strdup(a, last_host(l));
	else
		d->remote_mta = arena_printf(a, "[%s]", ip_format(&l->ip, ip));
	if (last_host(l) && l->ip.family != 0) {
		d->remote_address = arena_strdup(a, ip_format(&l->ip, ip));
		if (!d->remote_address)
			return -ENOMEM;
	}
	return d->remote_mta ? 0 : -ENOMEM;
}

int bounce_recipient(const struct recipient *r, const struct envelope *e, unsigned index, usec_t expire,
		     struct arena *a, struct dsn_recipient *ret)
{
	enum dsn_action action = action_of(r);
	const struct last_reply *l = r->last;
	struct dsn_recipient d = {
		.final = e->recipients[index].address,
		.orcpt = e->recipients[index].orcpt,
		.action = action,
		.status = status_of(r, e, expire, action),
		.last_attempt = l ? (wall_t) (r->last_at * USEC_SEC) : 0,
	};
	char text[LAST_TEXT_MAX + 40];

	if (action == DSN_DELAYED)
		d.retry_until = envelope_begin(e) + (wall_t) expire;
	if (action == DSN_DELAYED && envelope_returns(e))
		d.retry_until = MIN(d.retry_until, e->deliver_by);
	if (l && l->from_remote) {
		d.diagnostic = arena_strdup(a, last_reply_describe(l, text, sizeof(text)));
		if (put_remote(l, a, &d) < 0 || !d.diagnostic)
			return -ENOMEM;
	}
	d.meaning = meaning_of(r, action);
	d.reason = reason_of(r, e, action, expire, a);
	*ret = d;
	return 0;
}

/* --- writing and sending ---------------------------------------------------------------------- */

struct report {
	struct home *home;
	struct message *message;
	struct arena *arena;
	struct envelope original;
	struct spool_reader *reader;
	unsigned n;
	struct dsn_recipient *recipients;
	uint32_t *indexes;
	uint8_t *owed; /* the flags that this report settles, per recipient in it */
};

/* In which time a recipient was to be delivered: its route may have a deadline. */
static usec_t time_of(struct report *rp, unsigned i, usec_t expire)
{
	struct view v = { .home = rp->home, .message = rp->message, .now = now(), .envelope = &rp->original };
	struct address to;
	struct ladder l;

	if (!(rp->message->flags & MESSAGE_TIMED) || home_ladder(&v, i, &l, &to) < 0 || l.deadline == 0)
		return expire;
	arena_reset(rp->home->scratch);
	return MIN(expire, l.deadline);
}

static int collect(struct report *rp)
{
	const struct message *m = rp->message;
	struct retry_schedule s = queue_schedule(queue_configuration(rp->home->queue));
	int r = home_load(rp->home, rp->message);

	if (r >= 0)
		r = envelope_unpack(slice_new(m->packed, m->packed_len), rp->arena, &rp->original);
	if (r < 0)
		return r;
	rp->original.id = m->entry.id;
	rp->recipients = arena_new_array(rp->arena, struct dsn_recipient, m->n_recipients);
	rp->indexes = arena_new_array(rp->arena, uint32_t, m->n_recipients);
	rp->owed = arena_new_array(rp->arena, uint8_t, m->n_recipients);
	if (!rp->recipients || !rp->indexes || !rp->owed)
		return -ENOMEM;
	for (unsigned i = 0; i < m->n_recipients; i++) {
		const struct recipient *rc = &m->recipients[i];

		if (!(rc->flags & RECIPIENT_OWES))
			continue;
		r = bounce_recipient(rc, &rp->original, i, time_of(rp, i, retry_expire(&s)), rp->arena,
				     &rp->recipients[rp->n]);
		if (r < 0)
			return r;
		rp->indexes[rp->n] = i;
		rp->owed[rp->n++] = rc->flags & RECIPIENT_OWES;
	}
	return 0;
}

static ssize_t read_original(void *context, uint64_t offset, void *data, size_t len)
{
	struct report *rp = context;

	return spool_reader_read(rp->reader, offset, data, len);
}

static int write_text(struct report *rp, msgid_t id, struct buffer *out, struct dsn_result *ret)
{
	struct queue *q = rp->home->queue;
	const struct queue_config *c = queue_configuration(q);
	struct dsn_input in = {
		.host = c->hostname,
		.original = &rp->original,
		.recipients = rp->recipients,
		.n_recipients = rp->n,
		.id = id,
		.now = world_wall(q->world),
		.read = rp->reader ? read_original : NULL,
		.context = rp,
		.max_content = c->bounce_size ? c->bounce_size : BOUNCE_SIZE,
		.contact = c->postmaster,
	};
	int r;

	world_random(q->world, &in.random, sizeof(in.random));
	r = dsn_write(&in, out, ret);
	return r < 0 ? r : buffer_error(out);
}

static bool is_ascii(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char) s.data[i] > 127)
			return false;
	return true;
}

/* What is signed can't be encoded on its way any more, for a server that takes no 8-bit content: so it is now (RFC 6376
 * section 5.3). What can't be stays as it is. -ENOMEM. */
static int make_ascii(struct report *rp, struct buffer *text, struct dsn_result *how)
{
	_cleanup_(downgrade_freep) struct downgrade *d = NULL;
	_cleanup_buffer_ struct buffer out = { 0 };
	struct downgrade_plan plan = { 0 };
	int r;

	if (!queue_configuration(rp->home->queue)->signer.sign || how->body == BODY_7BIT || how->smtputf8)
		return 0;
	r = downgrade_begin(rp->arena, SEVEN_BIT, &d);
	if (r >= 0)
		r = downgrade_look(d, buffer_slice(text));
	if (r >= 0)
		r = downgrade_plan(d, &plan);
	if (r >= 0 && !plan.signatures)
		r = downgrade_write(d, buffer_slice(text), &out);
	if (r >= 0 && !plan.signatures)
		r = downgrade_end(d, &out);
	if (r >= 0)
		r = buffer_error(&out);
	if (r < 0 || plan.signatures || !is_ascii(buffer_slice(&out)))
		return r == -ENOMEM ? r : 0;
	buffer_done(text);
	*text = out;
	out = (struct buffer) { 0 };
	how->body = BODY_7BIT;
	return 0;
}

/* A notification that can't be signed goes unsigned: nobody would send it again. */
static void sign(struct report *rp, msgid_t id, struct slice text, struct buffer *out)
{
	struct queue *q = rp->home->queue;
	int r = queue_sign(q, text, out);

	if (r < 0)
		LOG(q->log, LOG_WARNING, "A notification to a sender goes out unsigned", F_ID("id", id), F_ERRNO("error", r));
}

static int submit(struct report *rp, msgid_t id, struct slice text, const struct dsn_result *how)
{
	struct queue *q = rp->home->queue;
	struct envelope_recipient sender = { .address = rp->original.reverse_path, .notify = NOTIFY_NEVER };
	struct envelope e = {
		.id = id,
		.arrival = world_wall(q->world),
		.reverse_path = "", /* RFC 3461 section 6.1 */
		.body = how->body,
		/* RFC 8689 section 5: the notification of a REQUIRETLS message is one itself. */
		.flags = ENVELOPE_BOUNCE | (how->smtputf8 ? ENVELOPE_SMTPUTF8 : 0) |
			 (rp->original.flags & ENVELOPE_REQUIRETLS),
		.size = text.len,
		.priority = rp->original.priority, /* RFC 6710 section 4.6 */
		.n_recipients = 1,
		.recipients = &sender,
	};
	_cleanup_buffer_ struct buffer signatures = { 0 };
	struct spool_writer *w = NULL;
	struct message *m = NULL;
	int r;

	sign(rp, id, text, &signatures);
	e.size += signatures.len;
	r = spool_writer_new(q->spool, id, &w);
	if (r < 0)
		return r;
	r = spool_writer_append(w, buffer_slice(&signatures));
	if (r >= 0)
		r = spool_writer_append(w, text);
	if (r < 0) {
		spool_writer_abort(w);
		return r;
	}
	r = queue_commit(q, w, &e, &m);
	if (r < 0)
		return r;
	EVENT(q->events, id, EVENT_RECEIVED, F_STR("from", ""), F_STR("protocol", "notification"),
	      F_ID("about", rp->message->entry.id), F_UINT("size", e.size), F_UINT("recipients", 1));
	home_settle(rp->home, m, &e);
	return 0;
}

/* The sender has been told: nothing is owed any more. */
static void settle_debts(struct report *rp, msgid_t id)
{
	struct message *m = rp->message;

	COUNT(rp->home, bounced);
	for (unsigned n = 0; n < rp->n; n++) {
		struct recipient *r = &m->recipients[rp->indexes[n]];
		char text[MSGID_TEXT];

		r->flags &= (unsigned) ~rp->owed[n];
		EVENT(rp->home->queue->events, m->entry.id, EVENT_BOUNCED, F_STR("dsn", id_format(id, text)),
		      F_STR("action", dsn_action_name(rp->recipients[n].action)),
		      F_STR("to", rp->recipients[n].final));
	}
	home_changed(m);
}

static int write_and_send(struct report *rp)
{
	_cleanup_buffer_ struct buffer text = { 0 };
	struct dsn_result how = { 0 };
	msgid_t id = queue_new_id(rp->home->queue);
	int r = collect(rp);

	if (r < 0 || rp->n == 0)
		return r;
	r = spool_reader_open(rp->home->queue->spool, rp->message->entry.id, &rp->reader);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		rp->reader = NULL; /* then without the original */
	r = write_text(rp, id, &text, &how);
	spool_reader_close(TAKE_PTR(rp->reader));
	if (r >= 0)
		r = make_ascii(rp, &text, &how);
	if (r < 0)
		return r;
	r = submit(rp, id, buffer_slice(&text), &how);
	if (r >= 0)
		settle_debts(rp, id);
	return r;
}

static void report(struct home *h, struct message *m)
{
	struct report rp = { .home = h, .message = m, .arena = home_arena(h) };
	int r = -ENOMEM;

	m->flags |= MESSAGE_WORKING;
	if (rp.arena) {
		r = write_and_send(&rp);
		home_arena_put(h, rp.arena);
	}
	m->flags &= (uint16_t) ~MESSAGE_WORKING;
	if (r < 0) {
		m->flags |= MESSAGE_REPORT_LATER;
		if (!h->stopping)
			LOG(h->queue->log, LOG_WARNING,
			    "A notification to a sender could not be written; it is tried again",
			    F_ID("id", m->entry.id), F_ERRNO("error", r));
	}
	home_settle(h, m, NULL);
}

static void reporter(void *arg)
{
	struct home *h = arg;
	struct link *k;

	while (!h->stopping && !fiber_cancelled() && (k = list_pop(&h->reports))) {
		struct message *m = container_of(k, struct message, work);

		m->flags &= (uint16_t) ~MESSAGE_REPORTING;
		report(h, m);
	}
	h->reporters--;
	cond_broadcast(&h->quiet);
}

void home_report(struct home *h, struct message *m)
{
	if (h->stopping)
		return; /* what is owed stands in the note */
	lot_leave(m, deadline_after(now(), PARKED_BESIDE));
	m->flags |= MESSAGE_REPORTING;
	list_append(&h->reports, &m->work);
	if (h->reporters >= REPORTERS_MAX)
		return;
	if (fiber_group_spawn(&h->helpers, "reporter", reporter, h) >= 0) {
		h->reporters++;
		return;
	}
	if (h->reporters > 0)
		return;
	link_remove(&m->work);
	m->flags &= (uint16_t) ~MESSAGE_REPORTING;
	m->flags |= MESSAGE_REPORT_LATER;
}
