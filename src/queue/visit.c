#include "queue/home.h"

#include <stdlib.h>

#include "base/wildcard.h"

struct visit {
	struct post post;
	struct completion completion;
	struct home *home;
	void (*fn)(struct home *h, void *context);
	void *context;
};

static void visit_run(struct post *p)
{
	struct visit *v = container_of(p, struct visit, post);

	v->fn(v->home, v->context);
	completion_done(&v->completion, 0);
}

void home_visit(struct home *h, void (*fn)(struct home *h, void *context), void *context)
{
	struct visit v = { .post.run = visit_run, .home = h, .fn = fn, .context = context };

	if (loop_current() == h->loop) {
		fn(h, context);
		return;
	}
	completion_init(&v.completion);
	loop_post(h->loop, &v.post);
	completion_wait(&v.completion);
}

struct job *home_job_of(const struct message *m, unsigned recipient)
{
	if (m->recipients[recipient].state != STATE_POSTED)
		return NULL;
	for (struct job *j = m->jobs; j; j = j->next)
		for (uint32_t n = 0; n < j->n; n++)
			if (j->recipients[n] == recipient)
				return j;
	return NULL;
}

/* --- filters ---------------------------------------------------------------------------------- */

static bool has_wildcard(const char *pattern)
{
	return strpbrk(pattern, "*?") != NULL;
}

static bool sender_may_match(const struct home *h, const struct message *m, const char *pattern)
{
	if (!has_wildcard(pattern))
		return (uint32_t) hash_bytes_nocase(&h->queue->key, pattern, strlen(pattern)) == m->sender;
	return marks_may_match(m->sender_marks, m->sender_domain, pattern);
}

static bool states_match(const struct message *m, const struct queue_filter *f)
{
	bool held = !f->held_only, class = f->class == CLASS_NONE, to = !f->recipient;

	for (unsigned i = 0; i < m->n_recipients && !(held && class && to); i++) {
		const struct recipient *r = &m->recipients[i];

		held = held || r->state == STATE_HELD;
		class = class || (r->last && r->last->class == (uint8_t) f->class);
		to = to || marks_may_match(m->marks, r->domain, f->recipient);
	}
	return held && class && to;
}

enum fit { FITS_NOT, FITS_PERHAPS, FITS };

/* Of a recipient whose domain isn't known here the envelope has to tell. */
static enum fit site_fits(const struct message *m, struct slice pattern)
{
	enum fit fit = FITS_NOT;

	for (const struct job *j = m->jobs; j; j = j->next)
		if (j->path && wildcard_match(pattern, slice_from(path_site(j->path))))
			return FITS;
	if (m->lot && wildcard_match(pattern, slice_from(path_site(m->lot->path))))
		return FITS;
	for (unsigned i = 0; i < m->n_recipients; i++) {
		const struct recipient *r = &m->recipients[i];

		if (r->state == STATE_DONE)
			continue;
		if (!r->domain)
			fit = FITS_PERHAPS;
		else if (wildcard_match(pattern, slice_new(r->domain->text, r->domain->len)))
			return FITS;
	}
	return fit;
}

bool home_may_match(const struct home *h, const struct message *m, const struct queue_filter *f, usec_t t)
{
	if (f->id != MSGID_NONE && f->id != m->entry.id)
		return false;
	return message_age(m, t) >= f->older_than && (!f->sender || sender_may_match(h, m, f->sender)) &&
	       states_match(m, f) && (!f->site || site_fits(m, slice_from(f->site)) != FITS_NOT);
}

static bool some_recipient(const struct envelope *e, const char *pattern)
{
	for (unsigned i = 0; i < e->n_recipients; i++)
		if (wildcard_match(slice_from(pattern), slice_from(e->recipients[i].address)))
			return true;
	return false;
}

static bool some_domain(const struct envelope *e, const char *pattern)
{
	for (unsigned i = 0; i < e->n_recipients; i++) {
		const char *at = strrchr(e->recipients[i].address, '@');

		if (at && wildcard_match(slice_from(pattern), slice_from(at + 1)))
			return true;
	}
	return false;
}

bool rested_fits(const struct rested *s, const struct queue_filter *f, const struct envelope *e)
{
	return (!f->sender || wildcard_match(slice_from(f->sender), slice_from(e->reverse_path))) &&
	       (!f->recipient || some_recipient(e, f->recipient)) && (!s->ask_site || some_domain(e, f->site));
}

/* --- envelopes for those who look ------------------------------------------------------------- */

int rested_copy(const struct message *m, const struct queue_filter *f, struct arena *a, struct rested *ret)
{
	char *copy = NULL;

	if (m->packed) {
		copy = arena_alloc(a, MAX(m->packed_len, 1u));
		if (!copy)
			return -ENOMEM;
		memcpy(copy, m->packed, m->packed_len);
	}
	*ret = (struct rested) {
		.id = m->entry.id,
		.packed = slice_new(copy, m->packed_len),
		.ask_site = f->site && site_fits(m, slice_from(f->site)) == FITS_PERHAPS,
	};
	return 0;
}

int rested_envelope(struct queue *q, const struct rested *s, struct arena *a, struct envelope *ret)
{
	_cleanup_(freep) char *packed = NULL;
	size_t len = 0;
	int r;

	if (s->packed.data)
		return envelope_unpack(s->packed, a, ret);
	r = spool_envelope(q->spool, s->id, &packed, &len);
	return r < 0 ? r : envelope_unpack(slice_new(packed, len), a, ret);
}
