#include "route/sts_store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>

#define BUSY_MS 5000

struct sts_store {
	pthread_mutex_t lock; /* around all of it: workers write one after the other */
	sqlite3 *db;
};

static int prepare_file(sqlite3 *db)
{
	int r = sqlite3_busy_timeout(db, BUSY_MS);

	if (r == SQLITE_OK)
		r = sqlite3_exec(db,
				 "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
				 "CREATE TABLE IF NOT EXISTS policies (domain TEXT PRIMARY KEY, id TEXT NOT NULL, text BLOB NOT NULL,"
				 " fetched INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;",
				 NULL, NULL, NULL);
	return r;
}

static int read_all(sqlite3 *db, void (*found)(const struct sts_kept *k, void *context), void *context)
{
	sqlite3_stmt *s = NULL;
	int r = sqlite3_prepare_v2(db, "SELECT domain, id, text, fetched, used FROM policies", -1, &s, NULL);

	while (r == SQLITE_OK && (r = sqlite3_step(s)) == SQLITE_ROW) {
		const char *text = sqlite3_column_blob(s, 2);
		struct sts_kept k = {
			.domain = (const char *) sqlite3_column_text(s, 0),
			.id = (const char *) sqlite3_column_text(s, 1),
			.text = slice_new(text, (size_t) sqlite3_column_bytes(s, 2)),
			.fetched = sqlite3_column_int64(s, 3) * (wall_t) USEC_SEC,
			.used = sqlite3_column_int64(s, 4) * (wall_t) USEC_SEC,
		};

		if (k.domain && k.id && text)
			found(&k, context);
		r = SQLITE_OK;
	}
	sqlite3_finalize(s);
	return r == SQLITE_DONE ? SQLITE_OK : r;
}

int sts_store_open(const char *path, void (*found)(const struct sts_kept *k, void *context), void *context, struct sts_store **ret,
		   char **ret_why)
{
	struct sts_store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	r = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (r == SQLITE_OK)
		r = prepare_file(s->db);
	if (r == SQLITE_OK)
		r = read_all(s->db, found, context);
	if (r != SQLITE_OK) {
		*ret_why = strdup(s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(r));
		sts_store_close(s);
		return -EIO;
	}
	*ret = s;
	return 0;
}

void sts_store_close(struct sts_store *s)
{
	if (!s)
		return;
	sqlite3_close(s->db);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* kept NULL: only the domain is bound. */
static int run(struct sts_store *s, const char *text, const char *domain, const struct sts_kept *k)
{
	sqlite3_stmt *statement = NULL;
	int r;

	pthread_mutex_lock(&s->lock);
	r = sqlite3_prepare_v2(s->db, text, -1, &statement, NULL);
	if (r == SQLITE_OK) {
		sqlite3_bind_text(statement, 1, domain, -1, SQLITE_STATIC);
		if (k) {
			sqlite3_bind_text(statement, 2, k->id, -1, SQLITE_STATIC);
			sqlite3_bind_blob(statement, 3, k->text.data, (int) k->text.len, SQLITE_STATIC);
			sqlite3_bind_int64(statement, 4, k->fetched / (wall_t) USEC_SEC);
			sqlite3_bind_int64(statement, 5, k->used / (wall_t) USEC_SEC);
		}
		r = sqlite3_step(statement);
	}
	sqlite3_finalize(statement);
	pthread_mutex_unlock(&s->lock);
	return r == SQLITE_DONE ? 0 : -EIO;
}

int sts_store_put(struct sts_store *s, const struct sts_kept *k)
{
	return run(s, "INSERT OR REPLACE INTO policies (domain, id, text, fetched, used) VALUES (?1, ?2, ?3, ?4, ?5)", k->domain, k);
}

int sts_store_remove(struct sts_store *s, const char *domain)
{
	return run(s, "DELETE FROM policies WHERE domain = ?1", domain, NULL);
}
