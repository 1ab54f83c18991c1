#include "report/store.h"

#include <sqlite3.h>
#include <stdio.h>

#define BUSY_MS 5000
#define DAY 86400

/* Where a period ends that began at `begin`: with the day, or at a cut before. */
#define PERIOD_END                                                                                                     \
	"coalesce((SELECT min(at) FROM cuts WHERE cuts.kind = rows.kind AND at > begin AND at < (begin / 86400 + 1) * 86400)," \
	" (begin / 86400 + 1) * 86400)"

static const char schema[] =
	"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
	"CREATE TABLE IF NOT EXISTS rows (kind INTEGER, begin INTEGER, domain TEXT, row TEXT, count INTEGER,"
	" PRIMARY KEY (kind, begin, domain, row)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS policies (kind INTEGER, begin INTEGER, domain TEXT, policy TEXT,"
	" PRIMARY KEY (kind, begin, domain)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS cuts (kind INTEGER, at INTEGER, PRIMARY KEY (kind, at)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS sends (kind INTEGER, begin INTEGER, domain TEXT, attempts INTEGER, first INTEGER,"
	" next INTEGER, done TEXT, PRIMARY KEY (kind, begin, domain)) WITHOUT ROWID;";

static void close_db(sqlite3 **db)
{
	sqlite3_close(*db);
}

static void finalize(sqlite3_stmt **s)
{
	sqlite3_finalize(*s);
}

static int failed(sqlite3 *db, int r, char error[static STORE_ERROR])
{
	snprintf(error, STORE_ERROR, "%s", db ? sqlite3_errmsg(db) : sqlite3_errstr(r));
	return r == SQLITE_NOMEM ? -ENOMEM : -EIO;
}

static int open_db(const char *path, sqlite3 **ret, char error[static STORE_ERROR])
{
	int r = sqlite3_open_v2(path, ret, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

	if (r == SQLITE_OK)
		r = sqlite3_busy_timeout(*ret, BUSY_MS);
	if (r == SQLITE_OK)
		r = sqlite3_exec(*ret, schema, NULL, NULL, NULL);
	return r == SQLITE_OK ? 0 : failed(*ret, r, error);
}

/* Nobody has collected anything as long as there is no file: -ENOENT. Looking needs no right to write. */
static int open_existing(const char *path, int flags, sqlite3 **ret, char error[static STORE_ERROR])
{
	int r = sqlite3_open_v2(path, ret, flags | SQLITE_OPEN_NOMUTEX, NULL);

	if (r == SQLITE_CANTOPEN && sqlite3_system_errno(*ret) == ENOENT)
		return -ENOENT;
	if (r == SQLITE_OK)
		r = sqlite3_busy_timeout(*ret, BUSY_MS);
	return r == SQLITE_OK ? 0 : failed(*ret, r, error);
}

static int open_to_look(const char *path, sqlite3 **ret, char error[static STORE_ERROR])
{
	return open_existing(path, SQLITE_OPEN_READONLY, ret, error);
}

static int64_t seconds(wall_t t)
{
	return t / (wall_t) USEC_SEC;
}

static wall_t from_seconds(int64_t s)
{
	return s * (wall_t) USEC_SEC;
}

/* kind, begin and domain as the first three parameters. */
static void bind_item(sqlite3_stmt *s, enum report_kind kind, int64_t begin, const char *domain)
{
	sqlite3_bind_int(s, 1, (int) kind);
	sqlite3_bind_int64(s, 2, begin);
	sqlite3_bind_text(s, 3, domain, -1, SQLITE_STATIC);
}

/* Runs what gives no rows, and makes it ready for the next time. */
static int run(sqlite3_stmt *s)
{
	int r = sqlite3_step(s);

	sqlite3_reset(s);
	return r == SQLITE_DONE ? SQLITE_OK : r == SQLITE_ROW ? SQLITE_ERROR : r;
}

/* --- adding ----------------------------------------------------------------------------------------------------- */

struct adding {
	sqlite3 *db;
	sqlite3_stmt *begin, *update, *insert, *policy, *size;
	uint64_t rows, rows_max, dropped;
};

static int prepare(sqlite3 *db, const char *text, sqlite3_stmt **ret)
{
	return sqlite3_prepare_v2(db, text, -1, ret, NULL);
}

static int count_rows(struct adding *a)
{
	int r = sqlite3_step(a->size);

	a->rows = r == SQLITE_ROW ? (uint64_t) sqlite3_column_int64(a->size, 0) : 0;
	sqlite3_reset(a->size);
	return r == SQLITE_ROW ? SQLITE_OK : r;
}

static int prepare_adding(struct adding *a)
{
	int r = prepare(a->db, "SELECT max((?2 / 86400) * 86400, coalesce((SELECT max(at) FROM cuts WHERE kind = ?1 AND at <= ?2), 0))", &a->begin);

	if (r == SQLITE_OK)
		r = prepare(a->db, "UPDATE rows SET count = count + ?5 WHERE kind = ?1 AND begin = ?2 AND domain = ?3 AND row = ?4", &a->update);
	if (r == SQLITE_OK)
		r = prepare(a->db, "INSERT INTO rows (kind, begin, domain, row, count) VALUES (?1, ?2, ?3, ?4, ?5)", &a->insert);
	if (r == SQLITE_OK)
		r = prepare(a->db, "INSERT OR REPLACE INTO policies (kind, begin, domain, policy) VALUES (?1, ?2, ?3, ?4)", &a->policy);
	if (r == SQLITE_OK)
		r = prepare(a->db, "SELECT count(*) FROM rows", &a->size);
	return r == SQLITE_OK ? count_rows(a) : r;
}

static void finish_adding(struct adding *a)
{
	sqlite3_finalize(a->begin);
	sqlite3_finalize(a->update);
	sqlite3_finalize(a->insert);
	sqlite3_finalize(a->policy);
	sqlite3_finalize(a->size);
}

static int find_begin(struct adding *a, const struct report_note *n, int64_t *ret)
{
	int r;

	sqlite3_bind_int(a->begin, 1, (int) n->kind);
	sqlite3_bind_int64(a->begin, 2, seconds(n->time));
	r = sqlite3_step(a->begin);
	*ret = r == SQLITE_ROW ? sqlite3_column_int64(a->begin, 0) : 0;
	sqlite3_reset(a->begin);
	return r == SQLITE_ROW ? SQLITE_OK : r;
}

static int put_row(sqlite3_stmt *s, const struct report_note *n, int64_t begin)
{
	bind_item(s, n->kind, begin, n->domain);
	sqlite3_bind_text(s, 4, n->row, -1, SQLITE_STATIC);
	sqlite3_bind_int64(s, 5, (int64_t) n->count);
	return run(s);
}

static int add_note(struct adding *a, const struct report_note *n)
{
	int64_t begin;
	int r = find_begin(a, n, &begin);

	if (r == SQLITE_OK)
		r = put_row(a->update, n, begin);
	if (r == SQLITE_OK && sqlite3_changes(a->db) == 0) {
		if (a->rows >= a->rows_max) {
			a->dropped += n->count;
			return SQLITE_OK;
		}
		a->rows++;
		r = put_row(a->insert, n, begin);
	}
	if (r == SQLITE_OK && n->policy) {
		bind_item(a->policy, n->kind, begin, n->domain);
		sqlite3_bind_text(a->policy, 4, n->policy, -1, SQLITE_STATIC);
		r = run(a->policy);
	}
	return r;
}

static int end_transaction(sqlite3 *db, int r)
{
	int end = sqlite3_exec(db, r == SQLITE_OK ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL);

	return r == SQLITE_OK ? end : r;
}

int report_store_add(const char *path, const struct report_note *const *notes, unsigned n, unsigned rows_max,
		     uint64_t *ret_dropped, char error[static STORE_ERROR])
{
	_cleanup_(close_db) sqlite3 *db = NULL;
	struct adding a = { .rows_max = rows_max };
	int r = open_db(path, &db, error);

	if (r < 0)
		return r;
	a.db = db;
	r = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	if (r == SQLITE_OK) {
		r = prepare_adding(&a);
		for (unsigned i = 0; i < n && r == SQLITE_OK; i++)
			r = add_note(&a, notes[i]);
		if (r != SQLITE_OK)
			failed(db, r, error);
		finish_adding(&a);
		r = end_transaction(db, r);
	}
	if (r != SQLITE_OK)
		return failed(db, r, error);
	*ret_dropped = a.dropped;
	return 0;
}

int report_store_cut(const char *path, enum report_kind kind, wall_t at, char error[static STORE_ERROR])
{
	_cleanup_(close_db) sqlite3 *db = NULL;
	_cleanup_(finalize) sqlite3_stmt *s = NULL;
	int r = open_db(path, &db, error);

	if (r < 0)
		return r;
	r = prepare(db, "INSERT OR IGNORE INTO cuts (kind, at) VALUES (?1, ?2)", &s);
	if (r == SQLITE_OK) {
		sqlite3_bind_int(s, 1, (int) kind);
		sqlite3_bind_int64(s, 2, seconds(at));
		r = run(s);
	}
	return r == SQLITE_OK ? 0 : failed(db, r, error);
}

/* --- looking ---------------------------------------------------------------------------------------------------- */

/* A list in an arena that doubles. */
static void *grow(struct arena *a, void *items, unsigned n, unsigned *room, size_t size)
{
	unsigned more = *room ? *room * 2 : 16;
	void *new;

	if (n < *room)
		return items;
	new = arena_array(a, size, more);
	if (new && n)
		memcpy(new, items, n * size);
	if (new)
		*room = more;
	return new;
}

static const char *column(sqlite3_stmt *s, int i, struct arena *a)
{
	const char *text = (const char *) sqlite3_column_text(s, i);

	return arena_strdup(a, text ? text : "");
}

static int take_item(sqlite3_stmt *s, enum report_kind kind, struct arena *a, struct report_items *list, unsigned *room)
{
	struct report_item *items = grow(a, list->items, list->n, room, sizeof(*items)), *item;

	if (!items)
		return -ENOMEM;
	list->items = items;
	item = &items[list->n];
	*item = (struct report_item) {
		.kind = kind,
		.begin = from_seconds(sqlite3_column_int64(s, 0)),
		.end = from_seconds(sqlite3_column_int64(s, 1)),
		.domain = column(s, 2, a),
		.rows = (uint64_t) sqlite3_column_int64(s, 3),
		.count = (uint64_t) sqlite3_column_int64(s, 4),
		.attempts = (unsigned) sqlite3_column_int64(s, 5),
		.first = from_seconds(sqlite3_column_int64(s, 6)),
		.next = from_seconds(sqlite3_column_int64(s, 7)),
		.done = column(s, 8, a),
	};
	if (!item->domain || !item->done)
		return -ENOMEM;
	list->n++;
	return 0;
}

static int list_items(sqlite3 *db, enum report_kind kind, wall_t ended_by, const char *domain, struct arena *a,
		      struct report_items *list, char error[static STORE_ERROR])
{
	_cleanup_(finalize) sqlite3_stmt *s = NULL;
	unsigned room = 0;
	int r = prepare(db, "SELECT begin, " PERIOD_END " AS ending, domain, count(*), sum(count), coalesce(attempts, 0),"
			    " coalesce(first, 0), coalesce(next, 0), coalesce(done, '') FROM rows LEFT JOIN sends USING (kind, begin, domain)"
			    " WHERE kind = ?1 AND (?2 = 0 OR ending <= ?2) AND (?3 IS NULL OR domain = ?3)"
			    " GROUP BY kind, begin, domain ORDER BY begin, domain", &s);

	if (r != SQLITE_OK)
		return failed(db, r, error);
	sqlite3_bind_int(s, 1, (int) kind);
	sqlite3_bind_int64(s, 2, seconds(ended_by));
	if (domain)
		sqlite3_bind_text(s, 3, domain, -1, SQLITE_STATIC);
	while ((r = sqlite3_step(s)) == SQLITE_ROW)
		if (take_item(s, kind, a, list, &room) < 0)
			return -ENOMEM;
	return r == SQLITE_DONE ? 0 : failed(db, r, error);
}

int report_store_list(const char *path, enum report_kind kind, wall_t ended_by, const char *domain, struct arena *a,
		      struct report_items *ret, char error[static STORE_ERROR])
{
	_cleanup_(close_db) sqlite3 *db = NULL;
	struct report_items list = { 0 };
	int r = open_to_look(path, &db, error);

	if (r >= 0)
		r = list_items(db, kind, ended_by, domain, a, &list, error);
	if (r < 0 && r != -ENOENT)
		return r;
	*ret = list;
	return 0;
}

static int load_policy(sqlite3 *db, const struct report_item *item, struct arena *a, struct report_data *data,
		       char error[static STORE_ERROR])
{
	_cleanup_(finalize) sqlite3_stmt *s = NULL;
	int r = prepare(db, "SELECT policy FROM policies WHERE kind = ?1 AND begin = ?2 AND domain = ?3", &s);

	if (r != SQLITE_OK)
		return failed(db, r, error);
	bind_item(s, item->kind, seconds(item->begin), item->domain);
	r = sqlite3_step(s);
	if (r == SQLITE_ROW) {
		data->policy = column(s, 0, a);
		return data->policy ? 0 : -ENOMEM;
	}
	return r == SQLITE_DONE ? 0 : failed(db, r, error);
}

static int load_rows(sqlite3 *db, const struct report_item *item, struct arena *a, struct report_data *data,
		     char error[static STORE_ERROR])
{
	_cleanup_(finalize) sqlite3_stmt *s = NULL;
	unsigned rows_room = 0, counts_room = 0;
	int r = prepare(db, "SELECT row, count FROM rows WHERE kind = ?1 AND begin = ?2 AND domain = ?3 ORDER BY count DESC, row", &s);

	if (r != SQLITE_OK)
		return failed(db, r, error);
	bind_item(s, item->kind, seconds(item->begin), item->domain);
	while ((r = sqlite3_step(s)) == SQLITE_ROW) {
		const char **rows = grow(a, data->rows, data->n_rows, &rows_room, sizeof(*rows));
		uint64_t *counts = grow(a, data->counts, data->n_rows, &counts_room, sizeof(*counts));

		if (!rows || !counts)
			return -ENOMEM;
		data->rows = rows;
		data->counts = counts;
		rows[data->n_rows] = column(s, 0, a);
		counts[data->n_rows] = (uint64_t) sqlite3_column_int64(s, 1);
		if (!rows[data->n_rows++])
			return -ENOMEM;
	}
	return r == SQLITE_DONE ? 0 : failed(db, r, error);
}

int report_store_load(const char *path, const struct report_item *item, struct arena *a, struct report_data *ret,
		      char error[static STORE_ERROR])
{
	_cleanup_(close_db) sqlite3 *db = NULL;
	struct report_data data = { 0 };
	int r = open_to_look(path, &db, error);

	if (r >= 0)
		r = load_policy(db, item, a, &data, error);
	if (r >= 0)
		r = load_rows(db, item, a, &data, error);
	if (r < 0)
		return r;
	*ret = data;
	return 0;
}

/* --- after sending ---------------------------------------------------------------------------------------------- */

/* Statements with the three parameters of an item, all or none of them. */
static int run_all(sqlite3 *db, const char *const *texts, unsigned n, const struct report_item *item)
{
	int r = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

	if (r != SQLITE_OK)
		return r;
	for (unsigned i = 0; i < n && r == SQLITE_OK; i++) {
		_cleanup_(finalize) sqlite3_stmt *s = NULL;

		r = prepare(db, texts[i], &s);
		if (r != SQLITE_OK)
			break;
		bind_item(s, item->kind, seconds(item->begin), item->domain);
		r = run(s);
	}
	return end_transaction(db, r);
}

int report_store_remove(const char *path, const struct report_item *item, char error[static STORE_ERROR])
{
	static const char *const texts[] = {
		"DELETE FROM rows WHERE kind = ?1 AND begin = ?2 AND domain = ?3",
		"DELETE FROM policies WHERE kind = ?1 AND begin = ?2 AND domain = ?3",
		"DELETE FROM sends WHERE kind = ?1 AND begin = ?2 AND domain = ?3",
	};
	_cleanup_(close_db) sqlite3 *db = NULL;
	int r = open_db(path, &db, error);

	if (r < 0)
		return r;
	r = run_all(db, texts, ARRAY_LEN(texts), item);
	return r == SQLITE_OK ? 0 : failed(db, r, error);
}

int report_store_later(const char *path, const struct report_item *item, char error[static STORE_ERROR])
{
	_cleanup_(close_db) sqlite3 *db = NULL;
	_cleanup_(finalize) sqlite3_stmt *s = NULL;
	int r = open_db(path, &db, error);

	if (r < 0)
		return r;
	r = prepare(db, "INSERT OR REPLACE INTO sends (kind, begin, domain, attempts, first, next, done) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", &s);
	if (r == SQLITE_OK) {
		bind_item(s, item->kind, seconds(item->begin), item->domain);
		sqlite3_bind_int64(s, 4, item->attempts);
		sqlite3_bind_int64(s, 5, seconds(item->first));
		sqlite3_bind_int64(s, 6, seconds(item->next));
		sqlite3_bind_text(s, 7, item->done, -1, SQLITE_STATIC);
		r = run(s);
	}
	return r == SQLITE_OK ? 0 : failed(db, r, error);
}

int report_store_forget(const char *path, wall_t before, uint64_t *ret_rows, char error[static STORE_ERROR])
{
	_cleanup_(close_db) sqlite3 *db = NULL;
	char text[400];
	long long s = (long long) seconds(before);
	int r;

	*ret_rows = 0;
	r = open_existing(path, SQLITE_OPEN_READWRITE, &db, error);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	snprintf(text, sizeof(text),
		 "BEGIN IMMEDIATE; DELETE FROM policies WHERE begin < %lld; DELETE FROM sends WHERE begin < %lld;"
		 "DELETE FROM cuts WHERE at < %lld; DELETE FROM rows WHERE begin < %lld; COMMIT", s, s, s, s);
	r = sqlite3_exec(db, text, NULL, NULL, NULL);
	if (r != SQLITE_OK)
		return failed(db, r, error);
	*ret_rows = (uint64_t) sqlite3_changes(db);
	return 0;
}
