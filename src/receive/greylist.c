#include "receive/greylist.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "world/fiber.h"

#define BUSY_MS 1000
#define WAITING_MAX 1000u            /* questions under way; more than that pass unasked */
#define OPEN_AGAIN USEC_MIN          /* after a failure */
#define CLEAN_EVERY 2000u            /* questions */
#define REMEMBERED 4096u             /* networks, a power of two */
#define REMEMBER_FOR (10 * USEC_MIN)

/* A network that was let through; overwritten by the next one that falls on its place. */
struct remembered {
	struct ip network;
	usec_t until;
};

enum statement { FIND, INSERT, TOUCH, FIND_NETWORK, COUNT_NETWORK, TOUCH_NETWORK, FIND_SIGNER, NOTE_SIGNER, STATEMENTS };
static const char *const texts[STATEMENTS] = {
	[FIND] = "SELECT first, passed, last FROM triplets WHERE network = ?1 AND sender = ?2 AND recipient = ?3",
	[INSERT] = "INSERT OR REPLACE INTO triplets (network, sender, recipient, first, last, passed) VALUES (?1, ?2, ?3, ?4, ?4, 0)",
	[TOUCH] = "UPDATE triplets SET last = ?4, passed = 1 WHERE network = ?1 AND sender = ?2 AND recipient = ?3",
	[FIND_NETWORK] = "SELECT passes FROM networks WHERE network = ?1 AND last >= ?2",
	[COUNT_NETWORK] = "INSERT INTO networks (network, passes, last) VALUES (?1, 1, ?2) "
			  "ON CONFLICT (network) DO UPDATE SET passes = passes + 1, last = ?2",
	[TOUCH_NETWORK] = "UPDATE networks SET last = ?2 WHERE network = ?1",
	[FIND_SIGNER] = "SELECT last FROM signers WHERE network = ?1 AND domain = ?2 AND last >= ?3",
	[NOTE_SIGNER] = "INSERT OR REPLACE INTO signers (network, domain, last) VALUES (?1, ?2, ?3)",
};

struct greylist {
	struct world *world;
	const struct log *log;
	struct hash_key key;
	atomic_uint waiting;
	atomic_ullong retry_at; /* the file failed: not before this time again */
	pthread_mutex_t lock;   /* around the following */
	struct list queue;      /* questions that wait for the next batch */
	bool draining;          /* there is a fiber that takes them to a worker */
	struct remembered *known;
	/* of the one worker that has a batch */
	sqlite3 *db;
	const char *path;       /* of a configuration, which stays until the end */
	sqlite3_stmt *statements[STATEMENTS];
	unsigned questions;
};

int greylist_new(struct world *w, const struct log *log, struct greylist **ret)
{
	struct greylist *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->world = w;
	g->log = log;
	pthread_mutex_init(&g->lock, NULL);
	list_init(&g->queue);
	world_random(w, &g->key, sizeof(g->key));
	*ret = g;
	return 0;
}

static void close_file(struct greylist *g)
{
	for (unsigned i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(TAKE_PTR(g->statements[i]));
	sqlite3_close(TAKE_PTR(g->db));
}

void greylist_free(struct greylist *g)
{
	if (!g)
		return;
	close_file(g);
	free(g->known);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

/* --- networks that need not be asked for ------------------------------------------------------------- */

static struct ip network_of(const struct ip *client)
{
	return ip_network(client, client->family == 6 ? 64 : 24);
}

static struct remembered *place_of(struct greylist *g, const struct ip *network)
{
	return &g->known[hash_bytes(&g->key, network, sizeof(*network)) & (REMEMBERED - 1)];
}

static bool is_remembered(struct greylist *g, const struct ip *network, usec_t at)
{
	bool yes;

	pthread_mutex_lock(&g->lock);
	yes = g->known && ip_equal(&place_of(g, network)->network, network) && place_of(g, network)->until > at;
	pthread_mutex_unlock(&g->lock);
	return yes;
}

static void remember(struct greylist *g, const struct ip *network, usec_t at)
{
	pthread_mutex_lock(&g->lock);
	if (!g->known)
		g->known = calloc(REMEMBERED, sizeof(*g->known));
	if (g->known)
		*place_of(g, network) = (struct remembered) { .network = *network, .until = deadline_after(at, REMEMBER_FOR) };
	pthread_mutex_unlock(&g->lock);
}

/* --- on a worker ------------------------------------------------------------------------------------------ */

struct question {
	struct link link;
	struct completion done;
	int result;
	struct greylist *greylist;
	const struct greylist_config *config;
	struct ip network;
	char sender[400], recipient[400]; /* folded and cut: what is longer is compared by its beginning */
	const char *domain; /* of the sender, behind its @ */
	bool notes_signer;  /* nothing is asked: the domain signs */
	int64_t at; /* seconds since 1970 */
	bool look_only;
	enum greylist_answer answer;
	int64_t wait;
	char error[160]; /* what SQLite said */
};

static int open_file(struct question *q)
{
	struct greylist *g = q->greylist;
	int r;

	if (g->db && strcmp(g->path, q->config->path) != 0)
		close_file(g); /* a reload named another one */
	if (g->db)
		return 0;
	g->path = q->config->path;
	if (q->look_only)
		r = sqlite3_open_v2(q->config->path, &g->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
	else
		r = sqlite3_open_v2(q->config->path, &g->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (r == SQLITE_OK)
		r = sqlite3_busy_timeout(g->db, BUSY_MS);
	/* What a power cut takes away is a first visit or two: they come again. */
	if (r == SQLITE_OK && !q->look_only)
		r = sqlite3_exec(g->db,
				 "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
				 "CREATE TABLE IF NOT EXISTS triplets (network BLOB, sender TEXT, recipient TEXT, first INTEGER, last INTEGER,"
				 " passed INTEGER, PRIMARY KEY (network, sender, recipient)) WITHOUT ROWID;"
				 "CREATE INDEX IF NOT EXISTS triplets_last ON triplets (last);"
				 "CREATE TABLE IF NOT EXISTS networks (network BLOB PRIMARY KEY, passes INTEGER, last INTEGER) WITHOUT ROWID;"
				 "CREATE TABLE IF NOT EXISTS signers (network BLOB, domain TEXT, last INTEGER,"
				 " PRIMARY KEY (network, domain)) WITHOUT ROWID;",
				 NULL, NULL, NULL);
	for (unsigned i = 0; i < STATEMENTS && r == SQLITE_OK; i++)
		r = sqlite3_prepare_v3(g->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &g->statements[i], NULL);
	return r;
}

/* Runs a statement with network, and further bindings that fit it. *ret_row: whether there is a row, which is then in
 * the statement until it is reset. */
static int run(struct question *q, enum statement which, const int64_t *numbers, unsigned n_numbers, bool texts_too, bool *ret_row)
{
	sqlite3_stmt *s = q->greylist->statements[which];
	unsigned at = 1;
	int r;

	sqlite3_reset(s);
	sqlite3_bind_blob(s, (int) at++, &q->network, sizeof(q->network), SQLITE_STATIC);
	if (texts_too) {
		sqlite3_bind_text(s, (int) at++, q->sender, -1, SQLITE_STATIC);
		sqlite3_bind_text(s, (int) at++, q->recipient, -1, SQLITE_STATIC);
	}
	for (unsigned i = 0; i < n_numbers; i++)
		sqlite3_bind_int64(s, (int) at++, numbers[i]);
	r = sqlite3_step(s);
	if (ret_row)
		*ret_row = r == SQLITE_ROW;
	if (r != SQLITE_ROW)
		sqlite3_reset(s);
	return r == SQLITE_ROW || r == SQLITE_DONE ? SQLITE_OK : r;
}

static int64_t seconds(usec_t d)
{
	return (int64_t) (d / USEC_SEC);
}

/* The same for the statements about signers: network, domain, a time. */
static int run_signer(struct question *q, enum statement which, int64_t time, bool *ret_row)
{
	sqlite3_stmt *s = q->greylist->statements[which];
	int r;

	sqlite3_reset(s);
	sqlite3_bind_blob(s, 1, &q->network, sizeof(q->network), SQLITE_STATIC);
	sqlite3_bind_text(s, 2, q->domain, -1, SQLITE_STATIC);
	sqlite3_bind_int64(s, 3, time);
	r = sqlite3_step(s);
	*ret_row = r == SQLITE_ROW;
	sqlite3_reset(s);
	return r == SQLITE_ROW || r == SQLITE_DONE ? SQLITE_OK : r;
}

static int network_is_known(struct question *q, bool *ret)
{
	sqlite3_stmt *s = q->greylist->statements[FIND_NETWORK];
	const int64_t since = q->at - seconds(q->config->keep);
	bool row;
	int r = run(q, FIND_NETWORK, &since, 1, false, &row);

	if (r != SQLITE_OK)
		return r;
	*ret = row && q->config->passes && sqlite3_column_int64(s, 0) >= q->config->passes;
	sqlite3_reset(s);
	if (*ret && !q->look_only)
		r = run(q, TOUCH_NETWORK, &q->at, 1, false, NULL);
	return r;
}

static int judge(struct question *q)
{
	sqlite3_stmt *s = q->greylist->statements[FIND];
	int64_t first = 0, last = 0;
	bool row, passed = false, known;
	int r;

	if (q->notes_signer)
		return run_signer(q, NOTE_SIGNER, q->at, &row);
	r = network_is_known(q, &known);
	if (r != SQLITE_OK || known) {
		q->answer = GREYLIST_KNOWN;
		return r;
	}
	r = run_signer(q, FIND_SIGNER, q->at - seconds(q->config->keep), &known);
	if (r != SQLITE_OK || known) {
		q->answer = GREYLIST_SIGNER;
		return r;
	}
	r = run(q, FIND, NULL, 0, true, &row);
	if (r != SQLITE_OK)
		return r;
	if (row) {
		first = sqlite3_column_int64(s, 0);
		passed = sqlite3_column_int64(s, 1);
		last = sqlite3_column_int64(s, 2);
		sqlite3_reset(s);
	}
	/* A clock that was set back must not keep anybody waiting for ever. */
	if (!row || first > q->at + 60 || (passed ? q->at - last > seconds(q->config->keep) : q->at - first > seconds(q->config->window))) {
		q->answer = GREYLIST_NEW;
		q->wait = seconds(q->config->delay);
		return q->look_only ? SQLITE_OK : run(q, INSERT, &q->at, 1, true, NULL);
	}
	if (!passed && q->at - first < seconds(q->config->delay)) {
		q->answer = GREYLIST_EARLY;
		q->wait = seconds(q->config->delay) - (q->at - first);
		return SQLITE_OK;
	}
	q->answer = GREYLIST_PASS;
	if (q->look_only)
		return SQLITE_OK;
	r = run(q, TOUCH, &q->at, 1, true, NULL);
	if (r == SQLITE_OK && !passed)
		r = run(q, COUNT_NETWORK, &q->at, 1, false, NULL);
	return r;
}

/* What nobody will ask for any more. */
static int clean(struct question *q)
{
	char text[400];

	if (q->look_only || q->greylist->questions++ % CLEAN_EVERY)
		return SQLITE_OK;
	snprintf(text, sizeof(text),
		 "DELETE FROM triplets WHERE last < %lld AND (passed = 0 OR last < %lld); DELETE FROM networks WHERE last < %lld;"
		 "DELETE FROM signers WHERE last < %lld",
		 (long long) (q->at - seconds(q->config->window)), (long long) (q->at - seconds(q->config->keep)),
		 (long long) (q->at - seconds(q->config->keep)), (long long) (q->at - seconds(q->config->keep)));
	return sqlite3_exec(q->greylist->db, text, NULL, NULL, NULL);
}

/* What came together is answered in one transaction, by one worker: the others of the pool have mail to deliver. */
struct batch {
	struct greylist *greylist;
	struct list questions; /* struct question; of one kind: all look only, or none */
};

static int answer_all(struct batch *b)
{
	struct question *first = container_of(list_first(&b->questions), struct question, link);
	bool writes = !first->look_only;
	int r = open_file(first);

	if (r == SQLITE_OK && writes)
		r = sqlite3_exec(b->greylist->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	if (r != SQLITE_OK)
		return r;
	for (LIST_EACH(&b->questions, k))
		if (r == SQLITE_OK)
			r = judge(container_of(k, struct question, link));
	if (r == SQLITE_OK)
		r = clean(first);
	if (writes) {
		int end = sqlite3_exec(b->greylist->db, r == SQLITE_OK ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL);

		if (r == SQLITE_OK)
			r = end;
	}
	return r;
}

/* Nobody came yet: who only looks finds no file. */
static void answer_without_file(struct batch *b)
{
	for (LIST_EACH(&b->questions, k)) {
		struct question *q = container_of(k, struct question, link);

		q->answer = GREYLIST_NEW;
		q->wait = seconds(q->config->delay);
	}
}

static int answer_on_worker(void *arg)
{
	struct batch *b = arg;
	struct greylist *g = b->greylist;
	bool looks = container_of(list_first(&b->questions), struct question, link)->look_only;
	int r = answer_all(b);

	if (r == SQLITE_CANTOPEN && looks) {
		answer_without_file(b);
		close_file(g);
		r = SQLITE_OK;
	}
	for (LIST_EACH(&b->questions, k)) {
		struct question *q = container_of(k, struct question, link);

		q->result = r == SQLITE_OK ? 0 : -EIO;
		if (r != SQLITE_OK)
			snprintf(q->error, sizeof(q->error), "%s", g->db ? sqlite3_errmsg(g->db) : sqlite3_errstr(r));
	}
	if (r != SQLITE_OK)
		close_file(g);
	return 0;
}

/* Batch after batch, as long as somebody waits. Behind the last answer the greylist may be gone. */
static void drain(void *arg)
{
	struct greylist *g = arg;
	bool last = false;

	while (!last) {
		struct batch b = { .greylist = g };
		int r;

		list_init(&b.questions);
		pthread_mutex_lock(&g->lock);
		list_splice(&b.questions, &g->queue);
		pthread_mutex_unlock(&g->lock);
		r = world_offload(g->world, answer_on_worker, &b);
		pthread_mutex_lock(&g->lock);
		last = list_empty(&g->queue);
		g->draining = !last;
		pthread_mutex_unlock(&g->lock);
		for (struct link *k; (k = list_pop(&b.questions));) {
			struct question *q = container_of(k, struct question, link);

			completion_done(&q->done, r < 0 ? r : q->result);
		}
	}
}

/* --- asking ------------------------------------------------------------------------------------------------- */

static void copy_folded(struct slice from, char *out, size_t size)
{
	size_t n = slice_copy(from, out, size);

	for (size_t i = 0; i < n; i++)
		out[i] = out[i] ? ascii_lower(out[i]) : '?';
}

static int ask_file(struct greylist *g, struct question *q)
{
	bool start;

	completion_init(&q->done);
	pthread_mutex_lock(&g->lock);
	list_append(&g->queue, &q->link);
	start = !g->draining;
	g->draining = true;
	pthread_mutex_unlock(&g->lock);
	/* Without a fiber of its own the first one carries the others' questions, too. */
	if (start && fiber_spawn("greylist", drain, g, NULL) < 0)
		drain(g);
	return completion_wait(&q->done);
}

static int ask_bounded(struct greylist *g, struct question *q)
{
	int r;

	if (atomic_fetch_add(&g->waiting, 1) >= WAITING_MAX) {
		atomic_fetch_sub(&g->waiting, 1);
		return -EBUSY;
	}
	r = ask_file(g, q);
	atomic_fetch_sub(&g->waiting, 1);
	return r;
}

static void note_trouble(struct greylist *g, const struct question *q, usec_t at)
{
	atomic_store(&g->retry_at, deadline_after(at, OPEN_AGAIN));
	LOG(g->log, LOG_WARNING, "the greylist can't be used; mail passes without it until it can",
	    F_STR("file", q->config->path), F_STR("reason", q->error));
}

/* A network and a domain in the place of the former: the address of the client and the name together are the key. */
static struct ip signer_of(const struct greylist *g, const struct ip *network, const char *domain)
{
	struct ip key = *network;
	uint64_t h = hash_bytes(&g->key, domain, strlen(domain));

	key.family = 255; /* no network is like this */
	for (unsigned i = 0; i < sizeof(h); i++)
		key.bytes[15 - i] ^= (uint8_t) (h >> 8 * i);
	return key;
}

void greylist_note_signer(struct greylist *g, const struct greylist_config *config, const struct ip *client, const char *domain)
{
	usec_t at = world_now(g->world);
	struct question q = {
		.greylist = g,
		.config = config,
		.network = network_of(client),
		.domain = domain,
		.notes_signer = true,
		.at = world_wall(g->world) / (wall_t) USEC_SEC,
	};
	struct ip key = signer_of(g, &q.network, domain);
	int r;

	if (is_remembered(g, &key, at) || at < atomic_load(&g->retry_at))
		return;
	r = ask_bounded(g, &q);
	if (r == -EIO)
		note_trouble(g, &q, at);
	else if (r >= 0)
		remember(g, &key, at);
}

int greylist_ask(struct greylist *g, const struct greylist_config *config, const struct ip *client, struct slice sender,
		 struct slice recipient, bool look_only, enum greylist_answer *ret, usec_t *ret_wait)
{
	usec_t at = world_now(g->world);
	struct question q = {
		.greylist = g,
		.config = config,
		.network = network_of(client),
		.at = world_wall(g->world) / (wall_t) USEC_SEC,
		.look_only = look_only,
	};
	int r;

	*ret = GREYLIST_KNOWN;
	if (is_remembered(g, &q.network, at))
		return 0;
	*ret = GREYLIST_BROKEN;
	if (at < atomic_load(&g->retry_at))
		return 0;
	copy_folded(sender, q.sender, sizeof(q.sender));
	copy_folded(recipient, q.recipient, sizeof(q.recipient));
	q.domain = strrchr(q.sender, '@') ? strrchr(q.sender, '@') + 1 : q.sender;
	r = ask_bounded(g, &q);
	if (r == -ENOMEM)
		return r;
	if (r == -EIO)
		note_trouble(g, &q, at);
	if (r < 0)
		return 0;
	*ret = q.answer;
	*ret_wait = (usec_t) MAX(q.wait, (int64_t) 1) * USEC_SEC;
	if (q.answer == GREYLIST_KNOWN && !look_only)
		remember(g, &q.network, at);
	return 0;
}
