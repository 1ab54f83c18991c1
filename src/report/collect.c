/* The sinks: notes are added up in memory and written down in batches, on a worker. */
#include <stdlib.h>

#include "report/failure.h"
#include "report/reporter.h"
#include "report/rows.h"

#define PENDING_MAX 20000u /* different notes between two flushes; further ones are counted as lost */
#define FLUSH_AFTER (5 * USEC_SEC)
#define DAY ((wall_t) USEC_DAY)
#define NAME_TEXT 256

/* Texts stand behind it. */
struct pending {
	struct hash_node node;
	struct report_note note;
	char texts[];
};

/* --- notes ------------------------------------------------------------------------------------------------------ */

static void woken(struct post *post)
{
	struct reporter *r = container_of(post, struct reporter, post);

	r->flush_at = deadline_after(now(), FLUSH_AFTER);
	cond_signal(&r->wake);
}

static bool is_same(const struct pending *p, enum report_kind kind, wall_t time, const char *domain, struct slice row)
{
	return p->note.kind == kind && p->note.time / DAY == time / DAY && strcmp(p->note.domain, domain) == 0 &&
	       slice_eq_str(row, p->note.row);
}

static struct pending *find(struct reporter *r, uint64_t hash, enum report_kind kind, wall_t time, const char *domain, struct slice row)
{
	for (struct hash_node *n = hash_find(&r->pending, hash); n; n = hash_find_next(n)) {
		struct pending *p = container_of(n, struct pending, node);

		if (is_same(p, kind, time, domain, row))
			return p;
	}
	return NULL;
}

static struct pending *new_pending(enum report_kind kind, wall_t time, const char *domain, const char *policy, struct slice row)
{
	size_t domain_len = strlen(domain) + 1, policy_len = policy ? strlen(policy) + 1 : 0;
	struct pending *p = malloc(sizeof(*p) + domain_len + policy_len + row.len + 1);
	char *at;

	if (!p)
		return NULL;
	*p = (struct pending) { .note = { .kind = kind, .time = time, .count = 1 } };
	at = p->texts;
	p->note.domain = memcpy(at, domain, domain_len);
	at += domain_len;
	if (policy)
		p->note.policy = memcpy(at, policy, policy_len);
	at += policy_len;
	memcpy(at, row.data, row.len);
	at[row.len] = '\0';
	p->note.row = at;
	return p;
}

/* With the lock held. False: it is lost. */
static bool add(struct reporter *r, enum report_kind kind, wall_t time, const char *domain, const char *policy, struct slice row)
{
	uint64_t hash = hash_bytes(&r->key, row.data, row.len);
	struct pending *p = find(r, hash, kind, time, domain, row);

	if (p) {
		p->note.count++;
		return true;
	}
	if (r->n_pending >= PENDING_MAX)
		return false;
	p = new_pending(kind, time, domain, policy, row);
	if (!p)
		return false;
	if (hash_insert(&r->pending, &p->node, hash) < 0) {
		free(p);
		return false;
	}
	r->n_pending++;
	return true;
}

void collect_note(struct reporter *r, enum report_kind kind, wall_t time, const char *domain, const char *policy, struct slice row)
{
	bool post;

	pthread_mutex_lock(&r->lock);
	if (!add(r, kind, time, domain, policy, row))
		r->lost++;
	post = !r->posted;
	r->posted = true;
	pthread_mutex_unlock(&r->lock);
	if (post)
		loop_post(r->loop, &r->post);
}

/* As file and DNS have it. False: no name that anybody could ask for. */
static bool fold_domain(const char *domain, char out[static NAME_TEXT])
{
	size_t n = slice_copy(slice_from(domain), out, NAME_TEXT);

	for (size_t i = 0; i < n; i++)
		out[i] = ascii_lower(out[i]);
	return n > 0 && strlen(domain) == n;
}

static void note_dmarc(const struct dmarc_note *note, void *context)
{
	struct reporter *r = context;
	const struct dmarc_result *dmarc = &note->verdict->dmarc;
	_cleanup_buffer_ struct buffer row = { 0 }, policy = { 0 };
	char domain[NAME_TEXT];

	if (!reporter_config(r)->dmarc || !note->client || !fold_domain(dmarc->policy_domain, domain))
		return;
	failure_note(r, note);
	if (!dmarc->record.rua.len || (dmarc->word != DMARC_PASS && dmarc->word != DMARC_FAIL))
		return;
	dmarc_row_write(note, &row);
	dmarc_policy_write(note, &policy);
	if (buffer_error(&row) < 0 || buffer_error(&policy) < 0)
		return;
	collect_note(r, REPORT_DMARC, note->arrival ? note->arrival : world_wall(r->world), domain, policy.data, buffer_slice(&row));
}

/* For the domain that mail went to. A host whose TLSA records were used has a report of its own, since it is a Policy
 * Domain, too (RFC 8460 section 1.1); it hears nothing of whose mail it was. */
static void note_tls(const struct tls_note *note, void *context)
{
	struct reporter *r = context;
	_cleanup_buffer_ struct buffer row = { 0 };
	const char *whose = note->recipient_domain ? note->recipient_domain : note->domain;
	wall_t time = note->time ? note->time : world_wall(r->world);
	char domain[NAME_TEXT], host[NAME_TEXT];

	if (!reporter_config(r)->tls)
		return;
	tls_row_write(note, &row);
	if (buffer_error(&row) < 0)
		return;
	if (fold_domain(whose, domain))
		collect_note(r, REPORT_TLS, time, domain, NULL, buffer_slice(&row));
	if (note->policy == TLS_REPORT_TLSA && fold_domain(note->domain, host) && strcmp(host, domain) != 0)
		collect_note(r, REPORT_TLS, time, host, NULL, buffer_slice(&row));
}

struct dmarc_sink reporter_dmarc_sink(struct reporter *r)
{
	return (struct dmarc_sink) { .note = note_dmarc, .context = r };
}

struct tls_sink reporter_tls_sink(struct reporter *r)
{
	return (struct tls_sink) { .note = note_tls, .context = r };
}

/* --- to the file ------------------------------------------------------------------------------------------------ */

struct batch {
	const struct report_config *config;
	struct hash pending;
	unsigned n;
	uint64_t dropped;
	char error[STORE_ERROR];
};

static int write_on_worker(void *arg)
{
	struct batch *b = arg;
	_cleanup_(freep) const struct report_note **notes = calloc(b->n, sizeof(*notes));
	unsigned n = 0;

	if (!notes)
		return -ENOMEM;
	for (struct hash_node *k = NULL; (k = hash_walk(&b->pending, k));)
		notes[n++] = &container_of(k, struct pending, node)->note;
	return report_store_add(b->config->path, notes, n, b->config->rows, &b->dropped, b->error);
}

static void free_pending(struct hash *h)
{
	struct hash_node *k = hash_walk(h, NULL);

	while (k) {
		struct hash_node *next = hash_walk(h, k);

		hash_remove(h, k);
		free(container_of(k, struct pending, node));
		k = next;
	}
	hash_done(h);
}

static void complain(struct reporter *r, struct batch *b, uint64_t lost, int result)
{
	if (result < 0 && !r->complained)
		LOG(r->log, LOG_WARNING, "the file of the reports can't be written; what happens meanwhile will not be reported",
		    F_STR("file", b->config->path), F_STR("reason", b->error[0] ? b->error : strerrordesc_np(-result)));
	if (result >= 0 && b->dropped + lost > 0 && !r->complained)
		LOG(r->log, LOG_WARNING, "there is more to report than reports.rows allows; the rest is left out",
		    F_UINT("notes", b->dropped + lost));
	r->complained = result < 0 || b->dropped + lost > 0;
}

int collect_flush(struct reporter *r)
{
	struct batch b = { .config = reporter_config(r) };
	uint64_t lost;
	int result = 0;

	pthread_mutex_lock(&r->lock);
	b.pending = r->pending;
	b.n = r->n_pending;
	lost = r->lost;
	r->pending = (struct hash) { 0 };
	r->n_pending = 0;
	r->lost = 0;
	r->posted = false;
	pthread_mutex_unlock(&r->lock);
	if (b.n)
		result = world_offload(r->world, write_on_worker, &b);
	if (b.n || lost)
		complain(r, &b, lost, result);
	free_pending(&b.pending);
	return result;
}

void collect_forget(struct reporter *r)
{
	free_pending(&r->pending);
}

/* --- its life --------------------------------------------------------------------------------------------------- */

int reporter_new(struct world *w, const struct log *log, const struct report_config *config, struct resolver *resolver,
		 struct queue *queue, struct loop *loop, struct reporter **ret)
{
	struct reporter *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->world = w;
	r->log = log;
	atomic_init(&r->config, config);
	r->resolver = resolver;
	r->queue = queue;
	r->loop = loop;
	r->flush_at = DEADLINE_NEVER;
	r->post.run = woken;
	pthread_mutex_init(&r->lock, NULL);
	cond_init(&r->wake);
	cond_init(&r->sent);
	world_random(w, &r->key, sizeof(r->key));
	if (failures_new(&r->failures) < 0) {
		reporter_free(r);
		return -ENOMEM;
	}
	*ret = r;
	return 0;
}

void reporter_stop(struct reporter *r)
{
	atomic_store(&r->stopping, true);
	collect_flush(r);
}

void reporter_free(struct reporter *r)
{
	if (!r)
		return;
	collect_forget(r);
	failures_free(r->failures);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
