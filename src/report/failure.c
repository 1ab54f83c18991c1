#include "report/failure.h"

#include <stdlib.h>

#include "identity/tags.h"
#include "mail/text.h"
#include "report/destination.h"
#include "report/reporter.h"

#define HEADER_MAX (32u * 1024)
#define UNDER_WAY_MAX 20u
#define DNS_TIME (30 * USEC_SEC)

struct failures {
	pthread_mutex_t lock;
	usec_t hour;       /* when the present one began */
	unsigned in_hour;
	unsigned under_way;
};

int failures_new(struct failures **ret)
{
	struct failures *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	pthread_mutex_init(&f->lock, NULL);
	*ret = f;
	return 0;
}

void failures_free(struct failures *f)
{
	if (!f)
		return;
	pthread_mutex_destroy(&f->lock);
	free(f);
}

/* --- whether ------------------------------------------------------------------------------------------------------- */

static bool has_failed_signature(const struct judge_result *v)
{
	for (unsigned i = 0; i < v->n_dkim; i++)
		if (v->dkim[i].word == DKIM_FAIL || v->dkim[i].word == DKIM_PERMERROR)
			return true;
	return false;
}

bool failure_is_wanted(const struct judge_result *v)
{
	struct slice rest = v->dmarc.record.fo.data ? v->dmarc.record.fo : SLICE("0"), word;
	bool one = !v->dmarc.spf_aligned || !v->dmarc.dkim_aligned;

	while (fws_word(&rest, ':', &word)) {
		if (slice_eq_str(word, "0") && v->dmarc.word == DMARC_FAIL)
			return true;
		if (slice_eq_str(word, "1") && one)
			return true;
		if (slice_ieq_str(word, "d") && has_failed_signature(v))
			return true;
		if (slice_ieq_str(word, "s") && (v->spf.word == SPF_FAIL || v->spf.word == SPF_SOFTFAIL || v->spf.word == SPF_PERMERROR))
			return true;
	}
	return false;
}

static bool take_turn(struct failures *f, usec_t at, unsigned per_hour)
{
	bool yes;

	pthread_mutex_lock(&f->lock);
	if (at - f->hour >= USEC_HOUR || f->hour == 0) {
		f->hour = at;
		f->in_hour = 0;
	}
	yes = f->in_hour < per_hour && f->under_way < UNDER_WAY_MAX;
	if (yes) {
		f->in_hour++;
		f->under_way++;
	}
	pthread_mutex_unlock(&f->lock);
	return yes;
}

static void end_turn(struct failures *f)
{
	pthread_mutex_lock(&f->lock);
	f->under_way--;
	pthread_mutex_unlock(&f->lock);
}

/* --- what ---------------------------------------------------------------------------------------------------------- */

/* Bytes from the network, on one line. */
static void field(struct buffer *out, const char *name, const char *value)
{
	if (!value || !value[0])
		return;
	buffer_printf(out, "%s: ", name);
	text_append_clean(out, text_head(slice_from(value), 500));
	buffer_append_str(out, "\r\n");
}

/* The report travels in 7bit, whatever the fields have in them. */
static void append_ascii(struct buffer *out, struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		buffer_append_char(out, (s.data[i] & 0x80) || !s.data[i] ? '?' : s.data[i]);
}

void failure_header(const struct content *m, struct buffer *out)
{
	static const char *const hidden[] = { "To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc", "Delivered-To",
					      "X-Original-To", "Apparently-To", "Envelope-To", "Received" };
	size_t begin = out->len;

	for (unsigned i = 0; i < m->n_fields; i++) {
		const struct header_field *f = &m->fields[i];
		bool hide = false;

		for (size_t k = 0; k < ARRAY_LEN(hidden); k++)
			hide = hide || slice_ieq_str(f->name, hidden[k]);
		if (!hide && out->len - begin + f->raw.len <= HEADER_MAX)
			append_ascii(out, f->raw);
	}
}

static void write_results(const struct dmarc_note *note, const char *hostname, struct buffer *out)
{
	const struct judge_result *v = note->verdict;

	buffer_printf(out, "Authentication-Results: %s; dmarc=%s header.from=", hostname, dmarc_word_text(v->dmarc.word));
	text_append_clean(out, slice_from(v->dmarc.domain));
	buffer_printf(out, ";\r\n spf=%s smtp.%s=", spf_word_text(v->spf.word), v->spf.helo ? "helo" : "mailfrom");
	text_append_clean(out, slice_from(v->spf.domain));
	for (unsigned i = 0; i < v->n_dkim && i < 10; i++) {
		buffer_printf(out, ";\r\n dkim=%s header.d=", dkim_word_text(v->dkim[i].word));
		text_append_clean(out, slice_from(v->dkim[i].domain));
	}
	buffer_append_str(out, "\r\n");
}

static void write_feedback(const struct failure_report *f, struct buffer *out)
{
	static const char *const results[] = { "delivered", "delivered", "policy", "reject" };
	const struct dmarc_note *note = f->note;
	const struct dmarc_result *d = &note->verdict->dmarc;
	char ip[IP_TEXT], date[32];

	buffer_append_str(out, "Feedback-Type: auth-failure\r\nUser-Agent: Yizhan/" YIZHAN_VERSION "\r\nVersion: 1\r\n");
	buffer_append_str(out, "Original-Mail-From: <");
	text_append_clean(out, slice_from(note->mail_from));
	buffer_append_str(out, ">\r\n");
	field(out, "Arrival-Date", wall_format_rfc5322(note->arrival, date, sizeof(date)));
	field(out, "Source-IP", ip_format(note->client, ip));
	field(out, "Reported-Domain", d->domain);
	write_results(note, f->hostname, out);
	buffer_printf(out, "Delivery-Result: %s\r\nAuth-Failure: dmarc\r\n", results[note->disposition]);
	field(out, "Identity-Alignment", d->dkim_aligned && d->spf_aligned ? "dkim, spf" : d->dkim_aligned ? "dkim" : d->spf_aligned ? "spf" : "none");
}

#define BOUNDARY "=_failure_report"

void failure_report_write(const struct failure_report *f, struct buffer *out)
{
	char date[32], ip[IP_TEXT];

	buffer_printf(out, "From: <%s>\r\nTo: <%s>\r\nDate: %s\r\n", f->from, f->to, wall_format_rfc5322(f->date, date, sizeof(date)));
	buffer_append_str(out, "Subject: A message with ");
	text_append_clean(out, slice_from(f->note->verdict->dmarc.domain));
	buffer_printf(out, " in From failed DMARC\r\nMessage-ID: <%s>\r\n", f->id);
	buffer_append_str(out, "TLS-Required: No\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
			       "Content-Type: multipart/report; report-type=feedback-report;\r\n boundary=\"" BOUNDARY "\"\r\n\r\n"
			       "--" BOUNDARY "\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n");
	buffer_printf(out, "%s received a message from [%s]\r\nthat did not pass DMARC. Its domain asks to be told.\r\n", f->hostname,
		      ip_format(f->note->client, ip));
	buffer_append_str(out, "\r\n--" BOUNDARY "\r\nContent-Type: message/feedback-report\r\n\r\n");
	write_feedback(f, out);
	/* The blank line keeps fields that hold our boundary from ending the part: none begins with a hyphen. */
	buffer_append_str(out, "\r\n--" BOUNDARY "\r\nContent-Type: text/rfc822-headers\r\n\r\n");
	buffer_append_slice(out, f->header);
	buffer_append_str(out, "\r\n--" BOUNDARY "--\r\n");
}

/* --- sending ------------------------------------------------------------------------------------------------------- */

/* What a fiber of the reporter's loop needs, in an arena of its own. */
struct errand {
	struct reporter *reporter;
	const struct report_config *config;
	struct arena *arena;
	const char *policy_domain;
	struct slice ruf;
	const char *text; /* the message behind its To, and what stands before it */
	const char *before, *behind;
};

static void deliver(struct errand *e)
{
	struct reporter *r = e->reporter;
	struct destinations to;
	int error = destinations_of_dmarc(r->resolver, e->policy_domain, e->ruf, "ruf", deadline_after(now(), DNS_TIME), e->arena, &to);

	for (unsigned i = 0; error >= 0 && i < to.n; i++) {
		_cleanup_buffer_ struct buffer text = { 0 };

		buffer_append_str(&text, e->before);
		buffer_append_str(&text, to.uri[i].address);
		buffer_append_str(&text, e->behind);
		error = buffer_error(&text);
		if (error >= 0 && (!to.uri[i].size || text.len <= to.uri[i].size))
			error = send_message(r, e->config->from, to.uri[i].address, buffer_slice(&text));
	}
	if (error < 0 && error != -ECANCELED)
		LOG(r->log, LOG_NOTICE, "a failure report could not be sent; it is dropped", F_STR("domain", e->policy_domain),
		    F_ERRNO("error", error));
}

static void run_errand(void *arg)
{
	struct errand *e = arg;

	deliver(e);
	end_turn(e->reporter->failures);
	arena_free(e->arena);
}

/* The address is filled in where it is known: written once, cut at the mark. */
#define MARK "report-to@mark.invalid"

static int write_errand(struct errand *e, const struct dmarc_note *note)
{
	_cleanup_buffer_ struct buffer text = { 0 }, header = { 0 };
	struct reporter *r = e->reporter;
	struct failure_report f = { .from = e->config->from, .to = MARK, .hostname = e->config->hostname, .note = note,
				    .date = world_wall(r->world) };
	char *mark;
	uint64_t unique;

	world_random(r->world, &unique, sizeof(unique));
	f.id = arena_printf(e->arena, "failure.%016llx@%s", (unsigned long long) unique, e->config->hostname);
	failure_header(note->message, &header);
	f.header = buffer_slice(&header);
	if (!f.id || buffer_error(&header) < 0)
		return -ENOMEM;
	failure_report_write(&f, &text);
	if (buffer_error(&text) < 0)
		return -ENOMEM;
	e->text = arena_slice(e->arena, buffer_slice(&text));
	mark = e->text ? strstr((char *) e->text, MARK) : NULL;
	if (!mark)
		return -ENOMEM;
	*mark = '\0';
	e->before = e->text;
	e->behind = mark + strlen(MARK);
	return 0;
}

static int make_errand(struct reporter *r, const struct dmarc_note *note, struct errand **ret)
{
	struct slice ruf = note->verdict->dmarc.record.ruf;
	struct arena *a;
	struct errand *e;
	int error = arena_new(0, &a);

	if (error < 0)
		return error;
	e = arena_new_type(a, struct errand);
	error = e ? 0 : -ENOMEM;
	if (e) {
		char *copy = arena_slice(a, ruf);

		e->reporter = r;
		e->config = reporter_config(r);
		e->arena = a;
		e->policy_domain = arena_strdup(a, note->verdict->dmarc.policy_domain);
		e->ruf = slice_new(copy, ruf.len);
		error = copy && e->policy_domain ? write_errand(e, note) : -ENOMEM;
	}
	if (error < 0) {
		arena_free(a);
		return error;
	}
	*ret = e;
	return 0;
}

/* RFC 9990 section 8.3: no failure reports for public suffixes. A message without content that can be read has none either. */
void failure_note(struct reporter *r, const struct dmarc_note *note)
{
	const struct report_config *c = reporter_config(r);
	const struct dmarc_record *record = &note->verdict->dmarc.record;
	struct errand *e;

	if (!c->failures || !note->message || !record->ruf.len || record->psd == DMARC_PSD_YES || !failure_is_wanted(note->verdict))
		return;
	if (!take_turn(r->failures, world_now(r->world), c->failures_per_hour))
		return;
	if (make_errand(r, note, &e) < 0) {
		end_turn(r->failures);
		return;
	}
	if (loop_spawn(r->loop, "failure report", run_errand, e) < 0) {
		end_turn(r->failures);
		arena_free(e->arena);
	}
}
