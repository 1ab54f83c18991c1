#include <sqlite3.h>
#include <stdlib.h>

#include "users/sql.h"

int sql_user(const struct log *log, const char *place, const char *name, const char *password, const char *addresses,
	     struct user *ret)
{
	struct user user = { 0 };
	struct slice rest = SLICE_NULL;
	int r = 0;

	if (password)
		r = verifiers_parse(slice_from(password), &rest, &user.verifiers);
	if (r == -EINVAL || rest.len > 0) {
		user_done(&user);
		LOG(log, LOG_WARNING, "what the database keeps of a password has none of the known forms ($y$..., $6$..., $2b$..., "
				      "SCRAM-SHA-256$...)", F_STR("database", place), F_STR("user", name));
		return -EAGAIN;
	}
	if (r < 0)
		return r;
	user.name = strdup(name);
	user.addresses = addresses ? strdup(addresses) : NULL;
	if (!user.name || (addresses && !user.addresses)) {
		user_done(&user);
		return -ENOMEM;
	}
	*ret = user;
	return 0;
}

static int failed(const struct log *log, const struct users_backend_config *config, sqlite3 *db, const char *what)
{
	LOG(log, LOG_ERROR, "a user can't be looked up in the SQLite database", F_STR("database", config->place),
	    F_STR("reason", what ? what : sqlite3_errmsg(db)));
	return -EAGAIN;
}

static const char *column(sqlite3_stmt *query, const char *name)
{
	for (int i = 0; i < sqlite3_column_count(query); i++)
		if (slice_ieq_str(slice_from(sqlite3_column_name(query, i)), name))
			return (const char *) sqlite3_column_text(query, i);
	return NULL;
}

static bool has_column(sqlite3_stmt *query, const char *name)
{
	for (int i = 0; i < sqlite3_column_count(query); i++)
		if (slice_ieq_str(slice_from(sqlite3_column_name(query, i)), name))
			return true;
	return false;
}

static int ask(const struct log *log, const struct users_backend_config *config, sqlite3 *db, sqlite3_stmt *query,
	       struct slice name, struct user *ret)
{
	const char *shown;
	_cleanup_(freep) char *asked = NULL;

	if (sqlite3_bind_parameter_count(query) != 1)
		return failed(log, config, db, "the query needs exactly one parameter, $1 for the user's name");
	if (sqlite3_bind_text(query, 1, name.data, (int) name.len, SQLITE_STATIC) != SQLITE_OK)
		return failed(log, config, db, NULL);
	switch (sqlite3_step(query)) {
	case SQLITE_DONE:
		return -ENOENT;
	case SQLITE_ROW:
		break;
	default:
		return failed(log, config, db, NULL);
	}
	if (!has_column(query, "password"))
		return failed(log, config, db, "the query gives no column called password");
	shown = column(query, "name");
	if (!shown) {
		asked = slice_dup(name);
		if (!asked)
			return -ENOMEM;
		shown = asked;
	}
	return sql_user(log, config->place, shown, column(query, "password"), column(query, "addresses"), ret);
}

int sqlite_find(const struct log *log, const struct users_backend_config *config, struct slice folded_name, struct user *ret)
{
	sqlite3_stmt *query = NULL;
	sqlite3 *db = NULL;
	int r;

	if (sqlite3_open_v2(config->place, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
		r = failed(log, config, db, db ? NULL : "out of memory");
		sqlite3_close(db);
		return r;
	}
	sqlite3_busy_timeout(db, (int) (config->timeout / USEC_MS));
	if (sqlite3_prepare_v2(db, config->query, -1, &query, NULL) != SQLITE_OK || !query)
		r = failed(log, config, db, NULL);
	else
		r = ask(log, config, db, query, folded_name, ret);
	sqlite3_finalize(query);
	sqlite3_close(db);
	return r;
}
