#include <libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "users/sql.h"

#define KEPT_MAX 4u

struct postgresql {
	const struct log *log;
	const struct users_backend_config *config;
	pthread_mutex_t lock;
	PGconn *kept[KEPT_MAX]; /* idle */
	unsigned n_kept;
};

int postgresql_new(const struct log *log, const struct users_backend_config *config, struct postgresql **ret)
{
	struct postgresql *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->log = log;
	p->config = config;
	pthread_mutex_init(&p->lock, NULL);
	*ret = p;
	return 0;
}

void postgresql_free(struct postgresql *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->n_kept; i++)
		PQfinish(p->kept[i]);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* The messages of the library end with a newline and may have several lines. The connection string, in which there may be a
 * password, isn't shown. */
static int failed(const struct postgresql *p, const char *text)
{
	LOG(p->log, LOG_ERROR, "a user can't be looked up in the PostgreSQL database", F_SLICE("reason", slice_trim(slice_from(text))));
	return -EAGAIN;
}

/* A new connection. Whatever the administrator wrote, it has deadlines: for the connection, for the query, and for a server
 * that is silent. */
static PGconn *connect_now(const struct postgresql *p)
{
	char seconds[16], options[64], silence[16];
	const char *const keys[] = { "dbname", "connect_timeout", "tcp_user_timeout", "fallback_application_name", "options", NULL };
	const char *const values[] = { p->config->place, seconds, silence, "yizhan", options, NULL };

	snprintf(seconds, sizeof(seconds), "%u", (unsigned) MAX(p->config->timeout / USEC_SEC, (usec_t) 2));
	snprintf(silence, sizeof(silence), "%u", (unsigned) (p->config->timeout / USEC_MS));
	snprintf(options, sizeof(options), "-c statement_timeout=%u", (unsigned) (p->config->timeout / USEC_MS));
	return PQconnectdbParams(keys, values, 1);
}

static PGconn *take(struct postgresql *p)
{
	PGconn *c = NULL;

	pthread_mutex_lock(&p->lock);
	if (p->n_kept > 0)
		c = p->kept[--p->n_kept];
	pthread_mutex_unlock(&p->lock);
	return c;
}

static void give_back(struct postgresql *p, PGconn *c)
{
	pthread_mutex_lock(&p->lock);
	if (PQstatus(c) == CONNECTION_OK && p->n_kept < KEPT_MAX) {
		p->kept[p->n_kept++] = c;
		c = NULL;
	}
	pthread_mutex_unlock(&p->lock);
	PQfinish(c);
}

static const char *value(const PGresult *result, const char *name)
{
	int column = PQfnumber(result, name);

	return column < 0 || PQgetisnull(result, 0, column) ? NULL : PQgetvalue(result, 0, column);
}

static int read_result(const struct postgresql *p, const PGresult *result, const char *asked, struct user *ret)
{
	const char *name;

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		return failed(p, PQresultErrorMessage(result));
	if (PQntuples(result) == 0)
		return -ENOENT;
	if (PQfnumber(result, "password") < 0)
		return failed(p, "the query gives no column called password");
	name = value(result, "name");
	return sql_user(p->log, "PostgreSQL", name ? name : asked, value(result, "password"), value(result, "addresses"), ret);
}

/* 1: the connection turned out to be dead. */
static int ask(const struct postgresql *p, PGconn *c, const char *name, struct user *ret)
{
	const char *const values[] = { name };
	PGresult *result = PQexecParams(c, p->config->query, 1, NULL, values, NULL, NULL, 0);
	int r = PQstatus(c) == CONNECTION_OK ? read_result(p, result, name, ret) : 1;

	PQclear(result);
	return r;
}

int postgresql_find(struct postgresql *p, struct slice folded_name, struct user *ret)
{
	_cleanup_(freep) char *name = slice_dup(folded_name);
	PGconn *c;
	int r = 1;

	if (!name)
		return -ENOMEM;
	while (r > 0 && (c = take(p))) {
		r = ask(p, c, name, ret);
		give_back(p, c);
	}
	if (r <= 0)
		return r;
	c = connect_now(p);
	if (!c)
		return -ENOMEM;
	if (PQstatus(c) == CONNECTION_OK)
		r = ask(p, c, name, ret);
	if (r > 0)
		r = failed(p, PQerrorMessage(c));
	give_back(p, c);
	return r;
}
