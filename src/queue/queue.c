#include "queue/queue.h"

#include <pthread.h>
#include <stdlib.h>

#include "queue/held.h"
#include "queue/home.h"
#include "queue/note.h"
#include "queue/owner.h"
#include "queue/pickup.h"

#define LAST_WORDS (10 * USEC_SEC) /* for what was cancelled to unwind */

struct retry_schedule queue_schedule(const struct queue_config *c)
{
	return (struct retry_schedule){
		.delays = c->retry, .n_delays = c->n_retry, .expire = c->expire, .warn = c->warn,
		.greylisted = c->greylist, .n_greylisted = c->n_greylist,
	};
}

struct home *queue_home_here(struct queue *q)
{
	const struct loop *here = loop_current();

	for (unsigned i = 0; i < q->n_homes && here; i++)
		if (q->homes[i].loop == here)
			return &q->homes[i];
	return NULL;
}

int64_t queue_wall_offset(struct queue *q)
{
	return world_wall(q->world) - (int64_t) world_now(q->world);
}

/* --- making and ending ------------------------------------------------------------------------ */

static int load_classifier(struct queue *q, const struct queue_config *config, struct classifier **ret)
{
	_cleanup_(freep) char *why = NULL;
	_cleanup_(classifier_freep) struct classifier *c = NULL;
	int r = classifier_new(q->world, config->reply_classes, &c, &why);

	if (r >= 0)
		r = classifier_shape(c, &config->shaping, &why);
	if (r >= 0)
		*ret = TAKE_PTR(c);
	else
		LOG(q->log, LOG_ERROR, "The rules for replies can't be used", F_STR("error", why),
		    F_ERRNO("code", r));
	return r;
}

int queue_new(struct world *w, const struct log *log, const struct event_sink *events,
	      const struct queue_config *config, struct router *router, struct courier *courier,
	      struct loop *const *loops, unsigned n_loops, struct queue **ret)
{
	_cleanup_(queue_freep) struct queue *q = NULL;
	struct classifier *classifier = NULL;
	int r;

	if (n_loops == 0 || n_loops > HOMES_MAX)
		return -EINVAL;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->world = w;
	pthread_mutex_init(&q->calls_lock, NULL);
	list_init(&q->calls);
	q->log = log;
	q->events = events;
	q->router = router;
	q->courier = courier;
	atomic_store(&q->config, config);
	world_random(w, &q->key, sizeof(q->key));
	r = load_classifier(q, config, &classifier);
	if (r < 0)
		return r;
	atomic_store(&q->classifier, classifier);
	r = suppression_new(w, log, &q->suppression);
	if (r >= 0)
		r = held_new(&q->held);
	if (r >= 0)
		r = pickups_new(&q->pickups);
	if (r < 0)
		return r;
	q->homes = calloc(n_loops, sizeof(*q->homes));
	if (!q->homes)
		return -ENOMEM;
	for (unsigned i = 0; i < n_loops; i++) {
		r = home_init(&q->homes[i], q, loops[i], i);
		if (r < 0)
			return r;
		q->n_homes++;
	}
	*ret = TAKE_PTR(q);
	return 0;
}

void queue_free(struct queue *q)
{
	if (!q)
		return;
	calls_free_all(q);
	pthread_mutex_destroy(&q->calls_lock);
	for (unsigned i = 0; i < q->n_homes; i++)
		home_done(&q->homes[i]);
	free(q->homes);
	classifier_free(atomic_load(&q->classifier));
	suppression_free(q->suppression);
	held_free(q->held);
	pickups_free(q->pickups);
	for (struct queue_rules *o = q->old_rules, *next; o; o = next) {
		next = o->next;
		queue_rules_free(o);
	}
	free(q);
}

void queue_rules_free(struct queue_rules *rules)
{
	if (!rules)
		return;
	classifier_free(rules->classifier);
	free(rules);
}

int queue_prepare(struct queue *q, const struct queue_config *config, struct queue_rules **ret, char **ret_why)
{
	_cleanup_(queue_rules_freep) struct queue_rules *rules = calloc(1, sizeof(*rules));
	int r;

	if (!rules)
		return -ENOMEM;
	r = classifier_new(q->world, config->reply_classes, &rules->classifier, ret_why);
	if (r >= 0)
		r = classifier_shape(rules->classifier, &config->shaping, ret_why);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(rules);
	return 0;
}

void queue_adopt(struct queue *q, const struct queue_config *config, struct queue_rules *rules)
{
	atomic_store_explicit(&q->config, config, memory_order_release);
	/* Somebody may be reading the old ones. */
	rules->classifier = atomic_exchange(&q->classifier, rules->classifier);
	rules->next = q->old_rules;
	q->old_rules = rules;
}

struct spool *queue_spool(struct queue *q)
{
	return q->spool;
}

struct suppression *queue_suppression(struct queue *q, const struct suppression_config **ret_config)
{
	*ret_config = &queue_configuration(q)->suppression;
	return q->suppression;
}

msgid_t queue_new_id(struct queue *q)
{
	struct home *h = queue_home_here(q);

	assert(h);
	return id_next(&h->ids, world_wall(q->world));
}

/* --- taking over what recovery found ---------------------------------------------------------- */

/* A spool takes no message above 1 GiB. */
static uint32_t size_of_content(uint64_t size)
{
	return (uint32_t) MIN(size, (uint64_t) UINT32_MAX);
}

/* RFC 4865: not before its time. RFC 2852: not behind it. */
static int take_times(struct home *h, struct message *m, const struct envelope *e)
{
	int64_t offset = queue_wall_offset(h->queue), by = e->deliver_by - offset;

	m->arrived = envelope_begin(e) - offset;
	for (unsigned i = 0; e->hold_until && m->arrived > 0 && i < e->n_recipients; i++)
		m->recipients[i].next = (usec_t) m->arrived;
	/* One that came too late was told about where it became late. */
	if (!e->deliver_by || (e->by_mode == 'N' && e->deliver_by <= e->arrival))
		return 0;
	return promise_make(h, m, by > 0 ? (usec_t) by : 0, e->by_mode);
}

static int take_envelope(struct home *h, struct message *m, const struct envelope *e)
{
	struct hash_key key = h->queue->key;
	int r = take_times(h, m, e);

	if (r < 0)
		return r;
	m->sender = (uint32_t) hash_bytes_nocase(&key, e->reverse_path, strlen(e->reverse_path));
	m->sender_domain = name_of(&h->names, &key, e->reverse_path);
	m->sender_marks = marks_of_address(e->reverse_path);
	if (e->reverse_path[0] == '\0')
		m->flags |= MESSAGE_NULL_SENDER;
	for (unsigned i = 0; i < e->n_recipients; i++) {
		m->recipients[i].domain = name_of(&h->names, &key, e->recipients[i].address);
		m->marks |= marks_of_address(e->recipients[i].address);
		if ((e->recipients[i].notify & NOTIFY_SUCCESS) || e->deliver_by)
			m->flags |= MESSAGE_WANTS_SUCCESS;
	}
	return 0;
}

static int recover_state(struct home *h, const struct spool_found *found, struct message *m)
{
	int r = note_decode(found->note, queue_wall_offset(h->queue), m->recipients, m->n_recipients);

	if (r == -EBADMSG) {
		LOG(h->queue->log, LOG_ERROR,
		    "The state of a message can't be read; all its recipients are tried again",
		    F_ID("id", m->entry.id));
		r = 0;
	}
	for (unsigned i = 0; i < m->n_recipients; i++) {
		struct recipient *rc = &m->recipients[i];

		rc->last = last_reply_share(&h->replies, &h->queue->key, rc->last);
		rc->rung = 0; /* who knows what the routes were then: the round begins again */
		if (rc->state == STATE_DONE)
			m->open--;
	}
	return r;
}

/* When there is something to do for it; at once when that can't be said without its envelope. */
static usec_t first_due(struct home *h, const struct message *m)
{
	usec_t t = world_now(h->queue->world);

	if (route_has_delays(h->queue->router) || message_owes(m) || m->open == 0)
		return 0;
	return home_due_time(h, m, t);
}

static int recover_message(struct home *h, const struct spool_found *found, struct arena *a)
{
	_cleanup_(message_freep) struct message *m = NULL;
	struct envelope e = { .id = found->id };
	bool strange;
	usec_t due;
	int r = envelope_unpack(found->envelope, a, &e);

	if (r == -ENOMEM)
		return r;
	strange = r < 0;
	if (strange)
		e = (struct envelope) { .reverse_path = "", .arrival = id_time(found->id) };
	r = message_new(&h->singles, found->id, e.n_recipients, &m);
	if (r < 0)
		return r;
	m->size = size_of_content(found->body_size);
	r = take_envelope(h, m, &e);
	if (r < 0)
		return r;
	if (strange) {
		LOG(h->queue->log, LOG_ERROR,
		    "A message in the spool has an envelope that can't be read; it stays there untouched",
		    F_ID("id", found->id));
		m->flags |= MESSAGE_STRANGE;
	} else {
		m->flags |= MESSAGE_RECOVERED;
		r = recover_state(h, found, m);
		if (r < 0) {
			promise_forget(h, m);
			return r;
		}
	}
	due = first_due(h, m);
	if (due != DEADLINE_NEVER)
		r = heap_insert(&h->due, &m->due, due);
	if (r < 0) {
		promise_forget(h, m);
		return r;
	}
	home_add(h, TAKE_PTR(m));
	return 0;
}

int queue_recover(struct queue *q, const struct spool_found *found)
{
	struct home *h = &q->homes[found->id % q->n_homes];
	int r = recover_message(h, found, h->scratch);

	arena_reset(h->scratch);
	q->highest = MAX(q->highest, found->id);
	return r;
}

/* Without the orders mail would go that is to stay: better none goes. */
static int load_held(struct queue *q)
{
	const char *file = queue_configuration(q)->held;
	int r = file ? held_load(q->held, q->world, file) : 0;

	if (r < 0)
		LOG(q->log, LOG_ERROR, "The list of held sites can't be read, so no mail may go; mend it (a pattern on each line) or remove it",
		    F_STR("file", file), F_ERRNO("error", r));
	return r;
}

int queue_start(struct queue *q, struct spool *spool)
{
	int r;

	q->spool = spool;
	r = load_held(q);
	if (r >= 0)
		r = memory_load(q);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < q->n_homes; i++) {
		struct home *h = &q->homes[i];

		id_floor(&h->ids, q->highest);
		r = loop_spawn(h->loop, "queue", home_keeper, h);
		if (r < 0)
			return r;
		q->n_started++;
	}
	return 0;
}

/* --- taking a new one ------------------------------------------------------------------------- */

int queue_commit(struct queue *q, struct spool_writer *w, const struct envelope *e, struct message **ret)
{
	_cleanup_(spool_writer_abortp) struct spool_writer *writer = w;
	_cleanup_(message_freep) struct message *m = NULL;
	char room[512];
	_cleanup_buffer_ struct buffer packed = buffer_in(room, sizeof(room));
	struct home *h = queue_home_here(q);
	size_t packed_len;
	char *kept;
	int r;

	if (!h || e->n_recipients == 0)
		return -EINVAL;
	if (h->stopping || !q->spool)
		return -ESHUTDOWN;
	r = envelope_pack(e, &packed);
	if (r >= 0)
		r = buffer_error(&packed);
	if (r >= 0)
		r = packed.len <= UINT32_MAX ? message_new(&h->singles, e->id, e->n_recipients, &m) : -EFBIG;
	if (r < 0)
		return r;
	packed_len = packed.len;
	kept = buffer_take(&packed);
	if (!kept)
		return -ENOMEM;
	message_keep_envelope(m, kept, packed_len);
	m->size = size_of_content(e->size ? e->size : spool_writer_size(writer));
	r = take_envelope(h, m, e);
	if (r < 0)
		return r;
	/* Everything that could fail comes before the commit, because afterwards the message must be taken. */
	h->committing++;
	r = heap_reserve(&h->due, (uint32_t) h->n_messages - h->due.len + h->committing);
	if (r >= 0)
		r = spool_writer_commit(TAKE_PTR(writer), slice_new(m->packed, m->packed_len), SLICE_NULL);
	h->committing--;
	if (r < 0) {
		promise_forget(h, m);
		return r;
	}
	COUNT(h, submitted);
	home_add(h, m);
	*ret = TAKE_PTR(m);
	return 0;
}

int queue_sign(struct queue *q, struct slice message, struct buffer *out)
{
	const struct signer *signer = &queue_configuration(q)->signer;
	_cleanup_buffer_ struct buffer fields = { 0 };
	int r = signer->sign ? signer->sign(signer->context, q->world, message, &fields) : 0;

	if (r < 0)
		return r;
	buffer_append_slice(out, buffer_slice(&fields));
	return buffer_error(out);
}

int queue_submit(struct queue *q, struct spool_writer *w, const struct envelope *e)
{
	_cleanup_buffer_ struct buffer asks = { 0 };
	struct message *m = NULL;
	int r = queue_commit(q, w, e, &m);

	if (r < 0)
		return r;
	if (q->events)
		envelope_asks(e, &asks);
	EVENT(q->events, e->id, EVENT_RECEIVED, F_STR("from", e->reverse_path), F_STR("client", e->client_ip ? e->client_ip : e->helo ? "unix" : NULL),
	      F_STR("client_name", e->client_name), F_STR("helo", e->helo), F_STR("protocol", e->protocol), F_STR("tls", e->tls),
	      F_STR("user", e->user), F_UINT("size", e->size), F_UINT("recipients", e->n_recipients),
	      F_STR("asks", asks.len > 0 && buffer_error(&asks) >= 0 ? asks.data : NULL));
	home_settle(queue_home_here(q), m, e);
	return 0;
}

/* --- stopping --------------------------------------------------------------------------------- */

/* Work for every home, and who waits for its end: a fiber by the completions, a thread without a loop by the latch. */
struct latch {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	unsigned left;
};
struct errand {
	struct home *home;
	int (*fn)(struct home *h, usec_t deadline);
	usec_t deadline;
	struct latch *latch;
	struct completion completion;
	int result;
};

static void latch_release(struct latch *l)
{
	pthread_mutex_lock(&l->lock);
	l->left--;
	pthread_cond_signal(&l->ended);
	pthread_mutex_unlock(&l->lock);
}

static void errand_ended(struct errand *e, int result)
{
	e->result = result;
	if (e->latch)
		latch_release(e->latch);
	else
		completion_done(&e->completion, result);
}

static void errand_run(void *arg)
{
	struct errand *e = arg;

	errand_ended(e, e->fn(e->home, e->deadline));
}

/* Calls fn in a fiber of every home at the same time and waits until all have returned. */
static int everywhere(struct queue *q, int (*fn)(struct home *h, usec_t deadline), usec_t deadline)
{
	struct latch latch = { .lock = PTHREAD_MUTEX_INITIALIZER,
			       .ended = PTHREAD_COND_INITIALIZER,
			       .left = q->n_started };
	struct errand errands[HOMES_MAX] = { 0 };
	bool in_fiber = fiber_self() != NULL;
	int result = 0;

	for (unsigned i = 0; i < q->n_started; i++) {
		struct errand *e = &errands[i];
		int r;

		*e = (struct errand) { .home = &q->homes[i], .fn = fn, .deadline = deadline, .latch = in_fiber ? NULL : &latch };
		if (in_fiber)
			completion_init(&e->completion);
		r = loop_spawn(e->home->loop, "queue-stop", errand_run, e);
		if (r < 0)
			errand_ended(e, r);
	}
	if (!in_fiber) {
		pthread_mutex_lock(&latch.lock);
		while (latch.left > 0)
			pthread_cond_wait(&latch.ended, &latch.lock);
		pthread_mutex_unlock(&latch.lock);
	}
	for (unsigned i = 0; i < q->n_started; i++) {
		int r = in_fiber ? completion_wait(&errands[i].completion) : errands[i].result;

		result = r < 0 ? r : result;
	}
	return result;
}

static bool is_quiet(const struct home *h)
{
	return h->n_slots == 0 && h->resolvers == 0 && h->savers == 0 && h->reporters == 0 && !h->keeper;
}

static void wait_until_quiet(struct home *h, usec_t deadline)
{
	while (!is_quiet(h))
		if (cond_wait(&h->quiet, "the queue's last deliveries", deadline) < 0)
			return;
}

static int stop_home(struct home *h, usec_t deadline)
{
	h->stopping = true;
	owner_stop(h);
	fiber_group_cancel(&h->helpers);
	if (h->keeper)
		fiber_wake(h->keeper);
	wait_until_quiet(h, deadline);
	if (is_quiet(h))
		return 0;
	LOG(h->queue->log, LOG_NOTICE, "Deliveries are cut off, because the server stops",
	    F_UINT("connections", h->n_slots));
	owner_cancel(h);
	wait_until_quiet(h, deadline_after(now(), LAST_WORDS));
	return -ETIMEDOUT;
}

static int note_home(struct home *h, usec_t deadline)
{
	home_write_notes(h);
	return 0;
}

static int collect_learned(struct home *h, usec_t deadline)
{
	memory_collect(h);
	return 0;
}

int queue_stop(struct queue *q, usec_t deadline)
{
	int result;

	if (!fiber_self() && world_is_simulated(q->world))
		return -ENOTSUP; /* nobody would run the loops meanwhile */
	result = everywhere(q, stop_home, deadline);
	/* What the homes have posted to each other until then comes home before this: a job, or a recall, which
	 * goes there and back. */
	for (unsigned i = 0; i < 3; i++)
		everywhere(q, note_home, deadline);
	if (q->n_started == q->n_homes && everywhere(q, collect_learned, deadline) >= 0)
		memory_save_last(q);
	q->n_started = 0;
	return result;
}

void queue_counters(struct queue *q, struct queue_counters *ret)
{
	struct queue_counters sum = { 0 };

	for (unsigned i = 0; i < q->n_homes; i++) {
		const struct queue_counters *c = &q->homes[i].counters;

		sum.submitted += __atomic_load_n(&c->submitted, __ATOMIC_RELAXED);
		sum.delivered += __atomic_load_n(&c->delivered, __ATOMIC_RELAXED);
		sum.deferred += __atomic_load_n(&c->deferred, __ATOMIC_RELAXED);
		sum.failed += __atomic_load_n(&c->failed, __ATOMIC_RELAXED);
		sum.bounced += __atomic_load_n(&c->bounced, __ATOMIC_RELAXED);
	}
	*ret = sum;
}
