#include "queue/suppression.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "route/match.h"
#include "world/fiber.h"

#define BUSY_MS 1000
#define KEEP_USUAL (365 * USEC_DAY)
#define NOTES_MAX 10000u /* that wait to be written; more are lost */
#define RECIPIENT_MAX 400u

struct note {
	struct note *next;
	const char *path; /* of a configuration, which stays until the end */
	int64_t since, forget; /* seconds since 1970; what is older than `forget` goes */
	char tenant[TENANT_MAX], recipient[RECIPIENT_MAX], reason[SUPPRESSION_REASON_MAX];
};
struct suppression {
	struct world *world;
	const struct log *log;
	pthread_mutex_t lock; /* around the following */
	struct note *notes;   /* the newest first */
	unsigned n_notes;
	bool draining;        /* there is a fiber that writes them */
};

int suppression_new(struct world *w, const struct log *log, struct suppression **ret)
{
	struct suppression *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->world = w;
	s->log = log;
	pthread_mutex_init(&s->lock, NULL);
	*ret = s;
	return 0;
}

static void free_notes(struct note *n)
{
	while (n) {
		struct note *next = n->next;

		free(n);
		n = next;
	}
}

void suppression_free(struct suppression *s)
{
	if (!s)
		return;
	free_notes(s->notes);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* --- whose and whom ---------------------------------------------------------------------------------------------- */

/* In lower case, cut. */
static void fold(struct slice s, char *out, size_t size)
{
	size_t n = slice_copy(s, out, size);

	for (size_t i = 0; i < MIN(n, size - 1); i++)
		out[i] = ascii_lower(out[i]);
}

const char *suppression_tenant(const struct suppression_config *c, const char *user, struct slice sender, char out[static TENANT_MAX])
{
	struct address address;
	char domain[TENANT_MAX];

	if (!c->enabled || sender.len == 0 || address_parse(sender, ADDRESS_OF_ENVELOPE, &address) < 0)
		return NULL;
	fold(address.domain, domain, sizeof(domain));
	if (c->n_senders > 0 && !route_patterns_match(c->senders, c->n_senders, &address, domain))
		return NULL;
	fold(user ? slice_from(user) : address.domain, out, TENANT_MAX);
	return out;
}

/* --- the file ------------------------------------------------------------------------------------------------------ */

static void close_dbp(sqlite3 **db) { sqlite3_close(*db); }
static void finalizep(sqlite3_stmt **s) { sqlite3_finalize(*s); }

/* Every question opens it: they are few, and what an administrator changes is seen at once. */
static int open_file(const char *path, bool write, sqlite3 **ret)
{
	int flags = write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
	int r = sqlite3_open_v2(path, ret, flags | SQLITE_OPEN_NOMUTEX, NULL);

	if (r == SQLITE_OK)
		r = sqlite3_busy_timeout(*ret, BUSY_MS);
	if (r == SQLITE_OK && write)
		r = sqlite3_exec(*ret,
				 "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
				 "CREATE TABLE IF NOT EXISTS suppressed (tenant TEXT, recipient TEXT, since INTEGER, reason TEXT,"
				 " PRIMARY KEY (tenant, recipient)) WITHOUT ROWID;",
				 NULL, NULL, NULL);
	return r;
}

/* No file, or one whose table is just being made: nobody was refused yet. */
static bool holds_nothing(sqlite3 *db, int r)
{
	return r == SQLITE_CANTOPEN || (r == SQLITE_ERROR && strstr(sqlite3_errmsg(db), "no such table"));
}

static void bind(sqlite3_stmt *s, int at, const char *text)
{
	(void) sqlite3_bind_text(s, at, text, -1, SQLITE_STATIC);
}

static int insert(sqlite3 *db, const char *tenant, const char *recipient, int64_t since, const char *reason)
{
	_cleanup_(finalizep) sqlite3_stmt *s = NULL;
	int r = sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO suppressed (tenant, recipient, since, reason) VALUES (?1, ?2, ?3, ?4)", -1, &s, NULL);

	if (r != SQLITE_OK)
		return r;
	bind(s, 1, tenant);
	bind(s, 2, recipient);
	(void) sqlite3_bind_int64(s, 3, since);
	bind(s, 4, reason);
	r = sqlite3_step(s);
	return r == SQLITE_DONE ? SQLITE_OK : r;
}

static void read_row(sqlite3_stmt *s, int at, struct suppressed *ret)
{
	const char *reason = (const char *) sqlite3_column_text(s, at + 1);

	ret->since = sqlite3_column_int64(s, at) * (int64_t) USEC_SEC;
	(void) slice_copy(slice_from(reason ? reason : ""), ret->reason, sizeof(ret->reason));
}

/* --- writing, in the background ------------------------------------------------------------------------------------- */

struct batch {
	struct note *notes;
	char error[160];
};

static int forget_old(sqlite3 *db, int64_t before)
{
	char text[100];

	(void) snprintf(text, sizeof(text), "DELETE FROM suppressed WHERE since < %lld", (long long) before);
	return sqlite3_exec(db, text, NULL, NULL, NULL);
}

static int write_batch(void *arg)
{
	struct batch *b = arg;
	_cleanup_(close_dbp) sqlite3 *db = NULL;
	int r = open_file(b->notes->path, true, &db);

	if (r == SQLITE_OK)
		r = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	for (const struct note *n = b->notes; n && r == SQLITE_OK; n = n->next)
		r = insert(db, n->tenant, n->recipient, n->since, n->reason);
	if (r == SQLITE_OK)
		r = forget_old(db, b->notes->forget);
	if (r == SQLITE_OK)
		r = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
	if (r == SQLITE_OK)
		return 0;
	(void) snprintf(b->error, sizeof(b->error), "%s", db ? sqlite3_errmsg(db) : sqlite3_errstr(r));
	return -EIO;
}

static struct note *take_notes(struct suppression *s)
{
	struct note *n;

	pthread_mutex_lock(&s->lock);
	n = TAKE_PTR(s->notes);
	s->n_notes = 0;
	s->draining = n != NULL;
	pthread_mutex_unlock(&s->lock);
	return n;
}

static void drain(void *arg)
{
	struct suppression *s = arg;
	struct batch b = { 0 };

	while ((b.notes = take_notes(s))) {
		if (world_offload(s->world, write_batch, &b) < 0)
			LOG(s->log, LOG_WARNING, "What was refused for good can't be noted", F_STR("file", b.notes->path),
			    F_STR("error", b.error[0] ? b.error : "no memory"));
		free_notes(b.notes);
	}
}

/* True when a fiber is needed that writes it. */
static bool push(struct suppression *s, struct note *n)
{
	bool spawn = false;

	pthread_mutex_lock(&s->lock);
	if (s->n_notes < NOTES_MAX) {
		n->next = s->notes;
		s->notes = TAKE_PTR(n);
		s->n_notes++;
		spawn = !s->draining;
		s->draining = true;
	}
	pthread_mutex_unlock(&s->lock);
	free(n);
	return spawn;
}

void suppression_note(struct suppression *s, const struct suppression_config *c, const char *tenant, const char *recipient, const char *reason)
{
	struct note *n = calloc(1, sizeof(*n));

	if (!n)
		return;
	n->path = c->path;
	n->since = world_wall(s->world) / (int64_t) USEC_SEC;
	n->forget = n->since - (int64_t) ((c->keep ? c->keep : KEEP_USUAL) / USEC_SEC);
	(void) slice_copy(slice_from(tenant), n->tenant, sizeof(n->tenant));
	fold(slice_from(recipient), n->recipient, sizeof(n->recipient));
	(void) slice_copy(slice_from(reason), n->reason, sizeof(n->reason));
	if (!push(s, n) || fiber_spawn("suppression", drain, s, NULL) >= 0)
		return;
	pthread_mutex_lock(&s->lock);
	s->draining = false; /* the next one tries again */
	pthread_mutex_unlock(&s->lock);
}

/* --- asking ----------------------------------------------------------------------------------------------------------- */

struct question {
	const char *path, *tenant;
	char recipient[RECIPIENT_MAX];
	int64_t since;
	struct suppressed found;
};

static int find(void *arg)
{
	struct question *q = arg;
	_cleanup_(close_dbp) sqlite3 *db = NULL;
	_cleanup_(finalizep) sqlite3_stmt *s = NULL;
	int r = open_file(q->path, false, &db);

	if (r == SQLITE_OK)
		r = sqlite3_prepare_v2(db, "SELECT since, reason FROM suppressed WHERE tenant = ?1 AND recipient = ?2 AND since >= ?3", -1, &s, NULL);
	if (holds_nothing(db, r))
		return -ENOENT;
	if (r != SQLITE_OK)
		return -EIO;
	bind(s, 1, q->tenant);
	bind(s, 2, q->recipient);
	(void) sqlite3_bind_int64(s, 3, q->since);
	r = sqlite3_step(s);
	if (r == SQLITE_ROW)
		read_row(s, 0, &q->found);
	return r == SQLITE_ROW ? 0 : r == SQLITE_DONE ? -ENOENT : -EIO;
}

int suppression_find(struct suppression *s, const struct suppression_config *c, const char *tenant, const char *recipient, struct suppressed *ret)
{
	struct question q = { .path = c->path, .tenant = tenant };
	int r;

	fold(slice_from(recipient), q.recipient, sizeof(q.recipient));
	q.since = (world_wall(s->world) - (int64_t) (c->keep ? c->keep : KEEP_USUAL)) / (int64_t) USEC_SEC;
	r = world_offload(s->world, find, &q);
	if (r < 0 && r != -ENOENT)
		LOG(s->log, LOG_WARNING, "What was refused for good can't be looked up; the mail passes", F_STR("file", c->path), F_ERRNO("error", r));
	if (r < 0)
		return -ENOENT;
	*ret = q.found;
	return 0;
}

/* --- for administrators ------------------------------------------------------------------------------------------------- */

static int trouble(sqlite3 *db, int r, const char *path, char **ret_why)
{
	if (asprintf(ret_why, "%s: %s", path, db ? sqlite3_errmsg(db) : sqlite3_errstr(r)) < 0)
		*ret_why = NULL;
	return -EIO;
}

int suppression_list(const char *path, const char *tenant, void (*each)(const char *tenant, const char *recipient, const struct suppressed *s, void *context),
		     void *context, char **ret_why)
{
	_cleanup_(close_dbp) sqlite3 *db = NULL;
	_cleanup_(finalizep) sqlite3_stmt *s = NULL;
	char folded[TENANT_MAX];
	int r = open_file(path, false, &db);

	if (r == SQLITE_OK)
		r = sqlite3_prepare_v2(db, "SELECT tenant, recipient, since, reason FROM suppressed WHERE ?1 IS NULL OR tenant = ?1 ORDER BY since", -1, &s,
				       NULL);
	if (holds_nothing(db, r))
		return 0;
	if (r != SQLITE_OK)
		return trouble(db, r, path, ret_why);
	fold(slice_from(tenant ? tenant : ""), folded, sizeof(folded));
	if (tenant)
		bind(s, 1, folded);
	while ((r = sqlite3_step(s)) == SQLITE_ROW) {
		struct suppressed found;

		read_row(s, 2, &found);
		each((const char *) sqlite3_column_text(s, 0), (const char *) sqlite3_column_text(s, 1), &found, context);
	}
	return r == SQLITE_DONE ? 0 : trouble(db, r, path, ret_why);
}

int suppression_add(const char *path, const char *tenant, const char *recipient, const char *reason, wall_t since, char **ret_why)
{
	_cleanup_(close_dbp) sqlite3 *db = NULL;
	char whose[TENANT_MAX], whom[RECIPIENT_MAX];
	int r = open_file(path, true, &db);

	fold(slice_from(tenant), whose, sizeof(whose));
	fold(slice_from(recipient), whom, sizeof(whom));
	if (r == SQLITE_OK)
		r = insert(db, whose, whom, since / (int64_t) USEC_SEC, reason);
	return r == SQLITE_OK ? 0 : trouble(db, r, path, ret_why);
}

int suppression_remove(const char *path, const char *tenant, const char *recipient, unsigned *ret_removed, char **ret_why)
{
	_cleanup_(close_dbp) sqlite3 *db = NULL;
	_cleanup_(finalizep) sqlite3_stmt *s = NULL;
	char whose[TENANT_MAX], whom[RECIPIENT_MAX];
	int r = open_file(path, true, &db);

	if (r == SQLITE_OK)
		r = sqlite3_prepare_v2(db, "DELETE FROM suppressed WHERE recipient = ?2 AND (?1 IS NULL OR tenant = ?1)", -1, &s, NULL);
	if (r != SQLITE_OK)
		return trouble(db, r, path, ret_why);
	fold(slice_from(tenant ? tenant : ""), whose, sizeof(whose));
	fold(slice_from(recipient), whom, sizeof(whom));
	if (tenant)
		bind(s, 1, whose);
	bind(s, 2, whom);
	r = sqlite3_step(s);
	if (r != SQLITE_DONE)
		return trouble(db, r, path, ret_why);
	*ret_removed = (unsigned) sqlite3_changes(db);
	return 0;
}
