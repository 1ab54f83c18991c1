#include "queue/held.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/wildcard.h"
#include "queue/owner.h"
#include "world/file.h"

#define FILE_MAX (HELD_MAX * (HELD_PATTERN + 1u))

struct held {
	pthread_mutex_t lock; /* around the patterns */
	bool changing;        /* an order is being carried out */
	atomic_uint n;
	char *patterns[HELD_MAX];
};

int held_new(struct held **ret)
{
	struct held *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	pthread_mutex_init(&h->lock, NULL);
	*ret = h;
	return 0;
}

void held_free(struct held *h)
{
	if (!h)
		return;
	for (unsigned i = 0; i < h->n; i++)
		free(h->patterns[i]);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* --- the patterns ----------------------------------------------------------------------------- */

static bool is_pattern(struct slice s)
{
	if (s.len == 0 || s.len > HELD_PATTERN)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char) s.data[i] <= ' ' || s.data[i] == 0x7f)
			return false;
	return true;
}

static int find(const struct held *h, struct slice pattern)
{
	for (unsigned i = 0; i < h->n; i++)
		if (slice_ieq_str(pattern, h->patterns[i]))
			return (int) i;
	return -ENOENT;
}

static int add(struct held *h, struct slice pattern)
{
	char *copy;

	if (find(h, pattern) >= 0)
		return -EEXIST;
	if (h->n >= HELD_MAX)
		return -ENOSPC;
	copy = slice_dup(pattern);
	if (!copy)
		return -ENOMEM;
	h->patterns[h->n] = copy;
	h->n++;
	return 0;
}

static int take_out(struct held *h, struct slice pattern)
{
	int i = find(h, pattern);

	if (i < 0)
		return i;
	free(h->patterns[i]);
	h->n--;
	h->patterns[i] = h->patterns[h->n];
	return 0;
}

bool held_matches(struct held *h, const char *key, struct slice domain)
{
	bool found = false;

	if (atomic_load_explicit(&h->n, memory_order_relaxed) == 0)
		return false;
	pthread_mutex_lock(&h->lock);
	for (unsigned i = 0; i < h->n && !found; i++) {
		struct slice pattern = slice_from(h->patterns[i]);

		found = (key && wildcard_match(pattern, slice_from(key))) || (domain.len > 0 && wildcard_match(pattern, domain));
	}
	pthread_mutex_unlock(&h->lock);
	return found;
}

/* --- the file --------------------------------------------------------------------------------- */

int held_read(struct held *h, struct slice text)
{
	while (text.len > 0) {
		struct slice line = slice_cut(text, '\n', &text);
		int r;

		if (!is_pattern(line))
			return -EBADMSG;
		r = add(h, line);
		if (r < 0 && r != -EEXIST)
			return r == -ENOSPC ? -EBADMSG : r;
	}
	return 0;
}

int held_load(struct held *h, struct world *w, const char *file)
{
	_cleanup_(freep) char *text = NULL;
	size_t len = 0;
	int r = file_read_all(w, file, FILE_MAX, &text, &len);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return held_read(h, slice_new(text, len));
}

/* without: a pattern that is to go, or -1. */
static int save(struct queue *q, int without)
{
	const char *file = queue_configuration(q)->held;
	_cleanup_buffer_ struct buffer text = { 0 };
	struct held *h = q->held;

	if (!file)
		return 0;
	pthread_mutex_lock(&h->lock);
	for (unsigned i = 0; i < h->n; i++)
		if ((int) i != without)
			buffer_printf(&text, "%s\n", h->patterns[i]);
	pthread_mutex_unlock(&h->lock);
	if (buffer_error(&text) < 0)
		return -ENOMEM;
	return file_write_atomically(q->world, file, buffer_slice(&text), 0600);
}

/* --- orders ----------------------------------------------------------------------------------- */

/* One order after the other: from here to its end the patterns are changed by it alone. The index of the pattern, -ENOENT, or
 * -EBUSY. */
static int begin_order(struct held *h, struct slice pattern)
{
	int r = -EBUSY;

	pthread_mutex_lock(&h->lock);
	if (!h->changing) {
		h->changing = true;
		r = find(h, pattern);
	}
	pthread_mutex_unlock(&h->lock);
	return r;
}

static int end_order(struct held *h, int r)
{
	pthread_mutex_lock(&h->lock);
	h->changing = false;
	pthread_mutex_unlock(&h->lock);
	return r;
}

static void look_at_sites(struct home *h, void *context)
{
	owner_look_at_held(h);
}

static bool has_held_mail(const struct lot *l, struct slice pattern)
{
	if (wildcard_match(pattern, slice_from(path_site(l->path))))
		return true;
	for (LIST_EACH(&l->parked, k)) {
		const struct message *m = container_of(k, struct message, work);

		for (unsigned i = 0; i < m->n_recipients; i++) {
			const struct name *domain = m->recipients[i].domain;

			if (domain && (m->recipients[i].flags & RECIPIENT_PARKED) &&
			    wildcard_match(pattern, slice_new(domain->text, domain->len)))
				return true;
		}
	}
	return false;
}

/* What is still held by another pattern is parked again. */
static void call_released(struct home *h, void *context)
{
	const struct slice *pattern = context;

	for (struct hash_node *n = hash_walk(&h->lots, NULL); n; n = hash_walk(&h->lots, n)) {
		struct lot *l = container_of(n, struct lot, node);

		if (has_held_mail(l, *pattern))
			(void) lot_call(h, l->path, UINT32_MAX);
	}
}

static void everywhere(struct queue *q, void (*fn)(struct home *h, void *context), void *context)
{
	for (unsigned i = 0; i < q->n_homes; i++)
		home_visit(&q->homes[i], fn, context);
}

/* Held until the next restart only would be a trap: so it is refused when the file can't be written. */
static int hold(struct queue *q, struct slice pattern)
{
	struct held *h = q->held;
	int r;

	pthread_mutex_lock(&h->lock);
	r = add(h, pattern);
	pthread_mutex_unlock(&h->lock);
	if (r < 0)
		return r;
	r = save(q, -1);
	if (r >= 0)
		return 0;
	pthread_mutex_lock(&h->lock);
	(void) take_out(h, pattern);
	pthread_mutex_unlock(&h->lock);
	return r;
}

int queue_hold_site(struct queue *q, const char *pattern)
{
	struct slice p = slice_from(pattern);
	int r;

	if (!is_pattern(p))
		return -EINVAL;
	r = begin_order(q->held, p);
	if (r == -EBUSY)
		return r;
	r = end_order(q->held, r >= 0 ? -EEXIST : hold(q, p));
	/* Also when the file could not be written: what was held for a moment goes on. */
	everywhere(q, look_at_sites, NULL);
	if (r < 0) {
		everywhere(q, call_released, &p);
		return r;
	}
	LOG(q->log, LOG_NOTICE, "The mail of a site is held until it is released", F_STR("site", pattern));
	return 0;
}

int queue_release_site(struct queue *q, const char *pattern)
{
	struct slice p = slice_from(pattern);
	int at = begin_order(q->held, p), r = at;

	if (at == -EBUSY)
		return at;
	if (at >= 0)
		r = save(q, at);
	if (r >= 0) {
		pthread_mutex_lock(&q->held->lock);
		r = take_out(q->held, p);
		pthread_mutex_unlock(&q->held->lock);
	}
	r = end_order(q->held, r);
	if (r < 0)
		return r;
	LOG(q->log, LOG_NOTICE, "The mail of a site is released", F_STR("site", pattern));
	everywhere(q, look_at_sites, NULL);
	everywhere(q, call_released, &p);
	return 0;
}

bool queue_site_is_held(struct queue *q, const char *key, struct slice domain)
{
	return held_matches(q->held, key, domain);
}

int queue_held_sites(struct queue *q, struct arena *a, const char *const **ret, unsigned *ret_n)
{
	struct held *h = q->held;
	const char **list;
	unsigned n = 0;

	pthread_mutex_lock(&h->lock);
	list = arena_new_array(a, const char *, MAX(h->n, 1u));
	for (; list && n < h->n && (list[n] = arena_strdup(a, h->patterns[n])); n++)
		;
	if (!list || n < h->n)
		list = NULL;
	pthread_mutex_unlock(&h->lock);
	if (!list)
		return -ENOMEM;
	*ret = list;
	*ret_n = n;
	return 0;
}
