#include "queue/home.h"

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

/* What can be said without the envelope. */
static bool recipients_match(const struct message *m, const struct queue_filter *f)
{
	bool held = !f->held_only, class = f->class == CLASS_NONE;

	for (unsigned i = 0; i < m->n_recipients && !(held && class); i++) {
		const struct recipient *r = &m->recipients[i];

		if (r->state == STATE_HELD)
			held = true;
		if (r->last && r->last->class == f->class)
			class = true;
	}
	return held && class;
}

static bool some_recipient(const struct message *m, const struct envelope *e, const char *pattern)
{
	for (unsigned i = 0; i < m->n_recipients; i++)
		if (wildcard_match(slice_from(pattern), slice_from(e->recipients[i].address)))
			return true;
	return false;
}

static bool some_site(const struct message *m, const struct envelope *e, const char *pattern)
{
	for (const struct job *j = m->jobs; j; j = j->next)
		if (j->path && wildcard_match(slice_from(pattern), slice_from(path_site(j->path))))
			return true;
	for (unsigned i = 0; i < m->n_recipients; i++) {
		const char *at = strrchr(e->recipients[i].address, '@');

		if (m->recipients[i].state != STATE_DONE && at &&
		    wildcard_match(slice_from(pattern), slice_from(at + 1)))
			return true;
	}
	return false;
}

bool home_matches(struct home *h, struct message *m, const struct queue_filter *f, usec_t t)
{
	struct view v = { .home = h, .message = m, .now = t };
	const struct envelope *e;
	bool fits;

	if (f->id != MSGID_NONE && f->id != m->entry.id)
		return false;
	if (message_age(m, t) < f->older_than || !recipients_match(m, f))
		return false;
	if (!f->sender && !f->recipient && !f->site)
		return true;
	e = view_envelope(&v);
	fits = e && (!f->sender || wildcard_match(slice_from(f->sender), slice_from(e->reverse_path))) &&
	       (!f->recipient || some_recipient(m, e, f->recipient)) && (!f->site || some_site(m, e, f->site));
	arena_reset(h->scratch);
	return fits;
}
