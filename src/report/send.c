/* Sending: what has ended, one report after the other. */
#include <stdio.h>

#include "base/crc32c.h"
#include "report/destination.h"
#include "report/post.h"
#include "report/reporter.h"
#include "report/rows.h"

#define DNS_TIME (30 * USEC_SEC)
#define RETRY_FIRST (15 * USEC_MIN)
#define RETRY_DOUBLINGS 4u
#define GIVE_UP ((wall_t) USEC_DAY) /* RFC 8460 section 5.5 */

/* One report. */
struct letter {
	struct sending *s;
	struct report_item *item;
	struct arena *arena;
	struct report_data data;
	struct destinations to;
	struct buffer packed; /* gzip */
	const char *submitter, *id, *filename;
	char error[STORE_ERROR];
	unsigned had, sent, failed; /* destinations: before, now, not now */
	const char *why;            /* of the last failure */
};

/* --- writing it: on a worker -------------------------------------------------------------------------------------- */

static const char *domain_of(const char *address)
{
	const char *at = strrchr(address, '@');

	return at ? at + 1 : address;
}

/* As a full day is written: to its last second. */
static wall_t last_second(const struct report_item *item)
{
	return item->end - (wall_t) USEC_SEC;
}

/* The same each time it is tried, and another one at each of several servers of one organization: RFC 9990 section 2.5.2,
 * RFC 8460 section 5.1. */
static int name_letter(struct letter *l)
{
	const struct report_config *c = l->s->config;
	bool tls = l->item->kind == REPORT_TLS;
	long long begin = l->item->begin / (wall_t) USEC_SEC, end = last_second(l->item) / (wall_t) USEC_SEC;
	uint32_t unique = crc32c(0, c->hostname, strlen(c->hostname));

	/* RFC 8460 section 5.3: that of contact-info. */
	l->submitter = domain_of(tls ? c->contact : c->from);
	l->id = arena_printf(l->arena, "%s.%lld.%lld.%s@%s", tls ? "tls" : "dmarc", begin, end, l->item->domain, c->hostname);
	l->filename = arena_printf(l->arena, "%s!%s!%lld!%lld!%08x.%s.gz", l->submitter, l->item->domain, begin, end, unique,
				   tls ? "json" : "xml");
	return l->submitter && l->id && l->filename ? 0 : -ENOMEM;
}

static int write_dmarc(struct letter *l, struct buffer *text)
{
	const struct report_config *c = l->s->config;
	struct dmarc_report report;
	int r = dmarc_report_from(&l->data, l->arena, &report);

	if (r < 0)
		return r;
	report.organization = c->organization;
	report.email = c->contact;
	report.contact = c->contact_url;
	report.id = l->id;
	report.begin = l->item->begin;
	report.end = last_second(l->item);
	report.generator = "Yizhan " YIZHAN_VERSION;
	dmarc_report_write(&report, text);
	return buffer_error(text);
}

static int write_tls(struct letter *l, struct buffer *text)
{
	const struct report_config *c = l->s->config;
	struct tls_report report;
	int r = tls_report_from(&l->data, l->arena, &report);

	if (r < 0)
		return r;
	report.organization = c->organization;
	report.contact = c->contact;
	report.id = l->id;
	report.begin = l->item->begin;
	report.end = last_second(l->item);
	return tls_report_write(&report, text);
}

static int write_on_worker(void *arg)
{
	struct letter *l = arg;
	_cleanup_buffer_ struct buffer text = { 0 };
	int r = name_letter(l);

	if (r >= 0)
		r = l->item->kind == REPORT_TLS ? write_tls(l, &text) : write_dmarc(l, &text);
	return r < 0 ? r : report_gzip(buffer_slice(&text), &l->packed);
}

static int load_on_worker(void *arg)
{
	struct letter *l = arg;

	return report_store_load(l->s->config->path, l->item, l->arena, &l->data, l->error);
}

/* --- handing it over ---------------------------------------------------------------------------------------------- */

int send_message(struct reporter *r, const char *from, const char *to, struct slice text)
{
	struct envelope_recipient recipient = { .address = to, .notify = NOTIFY_NEVER };
	struct envelope e = {
		.id = queue_new_id(r->queue),
		.arrival = world_wall(r->world),
		.reverse_path = from,
		.protocol = "report",
		.flags = ENVELOPE_TLS_OPTIONAL, /* as its header says */
		.size = text.len,
		.n_recipients = 1,
		.recipients = &recipient,
	};
	_cleanup_buffer_ struct buffer signatures = { 0 };
	struct spool *spool = queue_spool(r->queue);
	struct spool_writer *w = NULL;
	int e2 = queue_sign(r->queue, text, &signatures); /* RFC 8460 section 3: it must be; RFC 9990 section 2.5.2 wants it to pass DMARC */

	e.size += signatures.len;
	if (e2 >= 0)
		e2 = spool ? spool_writer_new(spool, e.id, &w) : -ESHUTDOWN;
	if (e2 < 0)
		return e2;
	e2 = spool_writer_append(w, buffer_slice(&signatures));
	if (e2 >= 0)
		e2 = spool_writer_append(w, text);
	if (e2 < 0) {
		spool_writer_abort(w);
		return e2;
	}
	return queue_submit(r->queue, w, &e);
}

static int mail(struct letter *l, const struct report_uri *uri)
{
	const struct report_config *c = l->s->config;
	struct reporter *r = l->s->reporter;
	_cleanup_buffer_ struct buffer text = { 0 };
	struct report_mail m = {
		.kind = l->item->kind, .from = c->from, .to = uri->address, .domain = l->item->domain, .submitter = l->submitter,
		.id = l->id, .filename = l->filename, .date = world_wall(r->world), .begin = l->item->begin,
		.end = last_second(l->item), .report = buffer_slice(&l->packed),
	};
	int e;

	report_mail_write(&m, &text);
	e = buffer_error(&text);
	if (e >= 0)
		e = send_message(r, c->from, uri->address, buffer_slice(&text));
	if (e < 0)
		l->why = arena_printf(l->arena, "it can't be signed and queued: %s", strerrordesc_np(-e));
	return e;
}

static int post(struct letter *l, const struct report_uri *uri)
{
	const struct report_config *c = l->s->config;
	struct reporter *r = l->s->reporter;
	struct report_post p = { .uri = uri, .report = buffer_slice(&l->packed), .ca_file = c->ca_file, .private_hosts = c->private_hosts,
				 .stopping = &r->stopping };
	char why[POST_WHY];
	int e = report_post(r->resolver, &p, deadline_after(now(), DNS_TIME), l->arena, why);

	if (e < 0)
		l->why = arena_strdup(l->arena, why[0] ? why : strerrordesc_np(-e));
	return e;
}

static int tell(struct letter *l, const char *to, const char *what)
{
	struct report_outcome o = {
		.domain = l->item->domain, .begin = l->item->begin, .end = last_second(l->item), .rows = l->item->rows,
		.count = l->item->count, .size = l->packed.len, .to = to, .what = what,
	};

	return l->s->outcome ? l->s->outcome(&o, l->s->context) : 0;
}

/* A list with LF behind each. */
static bool has_line(const char *list, const char *line)
{
	struct slice rest = slice_from(list);

	while (rest.len)
		if (slice_eq_str(slice_cut(rest, '\n', &rest), line))
			return true;
	return false;
}

static bool is_too_large(const struct letter *l, const struct report_uri *uri)
{
	return l->packed.len > l->s->config->size || (uri->size && l->packed.len > uri->size);
}

/* 0 whatever became of it; -ENOMEM, -ECANCELED. */
static int hand_over(struct letter *l, const struct report_uri *uri)
{
	int e;

	if (has_line(l->item->done, uri->text)) {
		l->had++;
		return 0;
	}
	if (is_too_large(l, uri)) {
		if (!l->s->dry_run)
			LOG(l->s->reporter->log, LOG_NOTICE, "a report is larger than its receiver or reports.size allows; it is dropped",
			    F_STR("domain", l->item->domain), F_STR("to", uri->text), F_UINT("octets", l->packed.len));
		return tell(l, uri->text, "dropped: too large");
	}
	if (l->s->dry_run)
		return tell(l, uri->text, "would be sent");
	e = uri->scheme == REPORT_MAILTO ? mail(l, uri) : post(l, uri);
	if (e == -ECANCELED || e == -ENOMEM)
		return e;
	if (e == -EPERM)
		return tell(l, uri->text, l->why);
	if (e < 0) {
		l->failed++;
		return tell(l, uri->text, l->why ? l->why : "failed");
	}
	l->sent++;
	l->item->done = arena_printf(l->s->arena, "%s%s\n", l->item->done, uri->text);
	if (!l->item->done)
		return -ENOMEM;
	LOG(l->s->reporter->log, LOG_INFO, l->item->kind == REPORT_TLS ? "a report on TLS was handed over" : "a report of DMARC was handed over",
	    F_STR("domain", l->item->domain), F_STR("to", uri->text), F_UINT("messages", l->item->count));
	return tell(l, uri->text, "sent");
}

/* --- afterwards --------------------------------------------------------------------------------------------------- */

static int remove_on_worker(void *arg)
{
	struct letter *l = arg;

	return report_store_remove(l->s->config->path, l->item, l->error);
}

static int later_on_worker(void *arg)
{
	struct letter *l = arg;

	return report_store_later(l->s->config->path, l->item, l->error);
}

static int on_worker(struct letter *l, int (*fn)(void *arg))
{
	return world_offload(l->s->reporter->world, fn, l);
}

/* Tried again a while later, and not for ever. */
static int postpone(struct letter *l, const char *why)
{
	struct report_item *item = l->item;
	wall_t at = world_wall(l->s->reporter->world);
	usec_t wait = RETRY_FIRST << MIN(item->attempts, RETRY_DOUBLINGS);

	if (!item->first)
		item->first = at;
	if (at - item->first >= GIVE_UP) {
		LOG(l->s->reporter->log, LOG_WARNING, "a report could not be handed over for a day; it is dropped",
		    F_STR("domain", item->domain), F_STR("reason", why));
		return on_worker(l, remove_on_worker);
	}
	if (item->attempts++ == 0)
		LOG(l->s->reporter->log, LOG_NOTICE, "a report can't be handed over now; it is tried again for a day",
		    F_STR("domain", item->domain), F_STR("reason", why));
	item->next = at + (wall_t) wait;
	if (!l->s->next || item->next < l->s->next)
		l->s->next = item->next;
	return on_worker(l, later_on_worker);
}

/* RFC 8460 section 3: one of its destinations has it, then all is well. DMARC: each is to have it (RFC 9990 section 2.5). */
static int finish(struct letter *l)
{
	bool tls = l->item->kind == REPORT_TLS;

	if (l->s->dry_run)
		return 0;
	if (l->failed && !(tls && l->sent + l->had > 0))
		return postpone(l, l->why);
	return on_worker(l, remove_on_worker);
}

static int find_destinations(struct letter *l)
{
	struct reporter *r = l->s->reporter;
	usec_t deadline = deadline_after(now(), DNS_TIME);
	const char *rua;

	if (l->item->kind == REPORT_TLS)
		return destinations_of_tls(r->resolver, l->item->domain, deadline, l->arena, &l->to);
	rua = dmarc_policy_tag(l->data.policy, "rua", l->arena);
	if (!rua)
		return -ENOMEM;
	return destinations_of_dmarc(r->resolver, l->item->domain, slice_from(rua), "rua", deadline, l->arena, &l->to);
}

static int send_letter(struct letter *l)
{
	int r = on_worker(l, load_on_worker);

	if (r >= 0)
		r = find_destinations(l);
	if (r == -EAGAIN) {
		r = tell(l, "", "the DNS can't say now who wants it");
		return r < 0 || l->s->dry_run ? r : postpone(l, "the DNS can't say who wants it");
	}
	if (r >= 0 && l->to.n == 0) {
		r = tell(l, "", "nobody wants it");
		return r < 0 || l->s->dry_run ? r : on_worker(l, remove_on_worker);
	}
	if (r >= 0)
		r = on_worker(l, write_on_worker);
	if (r == -ENOENT)
		return l->s->dry_run ? 0 : on_worker(l, remove_on_worker);
	for (unsigned i = 0; i < l->to.n && r >= 0; i++)
		r = hand_over(l, &l->to.uri[i]);
	return r < 0 ? r : finish(l);
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

struct listing {
	struct sending *s;
	wall_t ended_by;
	struct report_items items;
	char error[STORE_ERROR];
};

static int list_on_worker(void *arg)
{
	struct listing *l = arg;

	return report_store_list(l->s->config->path, l->s->kind, l->ended_by, l->s->domain, l->s->arena, &l->items, l->error);
}

static int cut_on_worker(void *arg)
{
	struct listing *l = arg;

	return report_store_cut(l->s->config->path, l->s->kind, l->ended_by, l->error);
}

/* What nobody could take for so long is forgotten. */
static int forget_on_worker(void *arg)
{
	struct listing *l = arg;
	wall_t keep = (wall_t) l->s->config->keep;
	uint64_t rows;

	return report_store_forget(l->s->config->path, l->ended_by - keep, &rows, l->error);
}

/* By hand, the present day is a period that ends now; else only what has ended, and not before its hour. */
static int make_list(struct listing *l)
{
	struct sending *s = l->s;
	wall_t at = world_wall(s->reporter->world);
	int r = 0;

	l->ended_by = at;
	if (s->by_hand && !s->dry_run)
		r = world_offload(s->reporter->world, cut_on_worker, l);
	else if (s->by_hand)
		l->ended_by = 0;
	else
		r = world_offload(s->reporter->world, forget_on_worker, l);
	if (!s->by_hand)
		l->ended_by = at - (wall_t) s->config->at;
	return r < 0 ? r : world_offload(s->reporter->world, list_on_worker, l);
}

static int send_item(struct sending *s, struct report_item *item)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct letter l = { .s = s, .item = item };
	int r = arena_new(0, &arena);

	l.arena = arena;
	if (r >= 0)
		r = send_letter(&l);
	buffer_done(&l.packed);
	if (r == -EIO)
		LOG(s->reporter->log, LOG_WARNING, "the file of the reports can't be used", F_STR("file", s->config->path),
		    F_STR("reason", l.error));
	/* What there was no memory for now is tried again like all the rest. */
	if (r == -ENOMEM && !s->dry_run)
		postpone(&l, "out of memory");
	return r;
}

int send_reports(struct sending *s)
{
	struct listing l = { .s = s };
	wall_t at = world_wall(s->reporter->world);
	int r = make_list(&l);

	if (r == -EIO)
		LOG(s->reporter->log, LOG_WARNING, "the file of the reports can't be used", F_STR("file", s->config->path),
		    F_STR("reason", l.error));
	for (unsigned i = 0; i < l.items.n && r != -EIO && r != -ECANCELED; i++) {
		struct report_item *item = &l.items.items[i];
		int e = 0;

		if (fiber_cancelled() || atomic_load(&s->reporter->stopping))
			return -ECANCELED;
		if (s->by_hand || item->next <= at)
			e = send_item(s, item);
		else if (!s->next || item->next < s->next)
			s->next = item->next;
		if (e < 0)
			r = e;
	}
	return r;
}
