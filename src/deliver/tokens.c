#include "deliver/tokens.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/list.h"
#include "deliver/token_answer.h"
#include "world/fiber.h"
#include "world/file.h"

#define ANSWER_MAX (64u * 1024)
#define LIFETIME_UNSAID (5 * USEC_MIN)
#define MARGIN_MAX USEC_MIN /* so long before its end a token is used no more, or a tenth of its life */

struct account {
	struct link link;
	const struct relay_oauth *config; /* the newest that is this account */
	char *token;        /* NULL: none */
	usec_t born, until;
	bool fetching;
	struct list waiters;
	/* after fetches that failed */
	unsigned failures;
	usec_t retry_at;
	int error;
	char why[TOKEN_WHY];
	/* of the refresh token; the fetch alone touches it */
	char *seen;    /* what the file had */
	char *renewed; /* what came instead, and could not be written; or NULL */
};

struct tokens {
	struct world *world;
	const struct log *log;
	int (*post)(struct https_post *p);
	pthread_mutex_t lock; /* around all accounts */
	struct list accounts;
};

struct waiter {
	struct link link;
	struct completion done;
};

/* --- life --------------------------------------------------------------------------------------------------------- */

static void free_secret(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

static void set_secret(char **place, char *s)
{
	free_secret(*place);
	*place = s;
}

int tokens_new(struct world *w, const struct log *log, int (*post)(struct https_post *p), struct tokens **ret)
{
	struct tokens *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	if (https_begin() < 0) {
		free(t);
		return -ENOMEM;
	}
	t->world = w;
	t->log = log;
	t->post = post ? post : https_post;
	pthread_mutex_init(&t->lock, NULL);
	list_init(&t->accounts);
	*ret = t;
	return 0;
}

void tokens_free(struct tokens *t)
{
	struct link *k;

	if (!t)
		return;
	while ((k = list_pop(&t->accounts))) {
		struct account *a = container_of(k, struct account, link);

		free_secret(a->token);
		free_secret(a->seen);
		free_secret(a->renewed);
		free(a);
	}
	pthread_mutex_destroy(&t->lock);
	free(t);
	https_end();
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool is_account(const struct relay_oauth *a, const struct relay_oauth *b)
{
	return a == b || (a->grant == b->grant && strcmp(a->token_url, b->token_url) == 0 && strcmp(a->client_id, b->client_id) == 0 &&
			  same_text(a->scope, b->scope) && same_text(a->refresh_token_file, b->refresh_token_file));
}

/* With the lock. A reload may bring another secret: then what the old one led to doesn't count. */
static struct account *find_account(struct tokens *t, const struct relay_oauth *config, bool make)
{
	struct account *a;

	for (struct link *k = list_first(&t->accounts); k; k = list_next(&t->accounts, k)) {
		a = container_of(k, struct account, link);
		if (!is_account(a->config, config))
			continue;
		if (a->config != config && !same_text(a->config->client_secret, config->client_secret))
			a->retry_at = 0;
		a->config = config;
		return a;
	}
	a = make ? calloc(1, sizeof(*a)) : NULL;
	if (a) {
		a->config = config;
		list_init(&a->waiters);
		list_append(&t->accounts, &a->link);
	}
	return a;
}

/* --- a fetch, on a worker ------------------------------------------------------------------------------------------ */

struct fetch {
	struct tokens *tokens;
	struct account *account;
	const struct relay_oauth *config;
	struct token_answer answer;
};

/* Takes over what cannot be said in fewer words. */
static int trouble(struct fetch *f, int error, const char *what, const char *why)
{
	(void) snprintf(f->answer.why, sizeof(f->answer.why), "%.150s: %.230s", what, why);
	return error;
}

static int read_refresh_token(struct fetch *f)
{
	const char *path = f->config->refresh_token_file;
	struct account *a = f->account;
	_cleanup_(freep) char *text = NULL;
	struct slice line, rest;
	char *token;
	size_t len;
	int r;

	r = file_read_all(f->tokens->world, path, TOKEN_MAX, &text, &len);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		return a->renewed ? 0 : trouble(f, -EACCES, path, strerrordesc_np(-r));
	line = slice_trim(slice_cut(slice_new(text, len), '\n', &rest));
	if (line.len && line.data[line.len - 1] == '\r')
		line.len--;
	token = line.len ? slice_dup(line) : NULL;
	explicit_bzero(text, len);
	if (!line.len)
		return trouble(f, -EACCES, path, "the first line is empty");
	if (!token)
		return -ENOMEM;
	/* Somebody has put another one there: it counts more than what we could not write. */
	if (!a->seen || strcmp(a->seen, token) != 0)
		set_secret(&a->renewed, NULL);
	set_secret(&a->seen, token);
	return 0;
}

/* The endpoint may take the old one no longer, so that the new one is worth as much as the mailbox. */
static void write_refresh_token(struct fetch *f)
{
	const char *path = f->config->refresh_token_file;
	struct account *a = f->account;
	_cleanup_buffer_ struct buffer text = { 0 };
	struct file_info info;
	unsigned mode = path_info(f->tokens->world, path, &info) == 0 ? (info.mode & 0660) | 0600 : 0600;
	int r = -ENOMEM;

	(void) buffer_reserve(&text, strlen(a->renewed) + 2);
	buffer_append_str(&text, a->renewed);
	buffer_append_char(&text, '\n');
	if (buffer_error(&text) == 0)
		r = file_write_atomically(f->tokens->world, path, buffer_slice(&text), mode);
	if (text.data)
		explicit_bzero(text.data, text.capacity);
	if (r < 0)
		LOG(f->tokens->log, LOG_ERROR, "a new refresh token can't be written to its file, so that it will be lost when the server stops; "
					       "the file and its directory must be writable for the server's user",
		    F_STR("file", path), F_ERRNO("error", r));
	else
		set_secret(&a->seen, TAKE_PTR(a->renewed));
}

/* RFC 6749 sections 4.4.2, 6 and 2.3.1. */
static void write_form(const struct fetch *f, struct buffer *form)
{
	const struct relay_oauth *c = f->config;
	const struct account *a = f->account;

	(void) buffer_reserve(form, 4 * TOKEN_MAX); /* no copies of secrets stay behind */
	if (c->grant == GRANT_REFRESH_TOKEN) {
		https_form_add(form, "grant_type", SLICE("refresh_token"));
		https_form_add(form, "refresh_token", slice_from(a->renewed ? a->renewed : a->seen));
	} else {
		https_form_add(form, "grant_type", SLICE("client_credentials"));
	}
	if (c->scope)
		https_form_add(form, "scope", slice_from(c->scope));
	if (c->client_auth == CLIENT_IN_FORM) {
		https_form_add(form, "client_id", slice_from(c->client_id));
		if (c->client_secret)
			https_form_add(form, "client_secret", slice_from(c->client_secret));
	}
}

static int ask(struct fetch *f)
{
	const struct relay_oauth *c = f->config;
	bool header = c->client_auth == CLIENT_IN_HEADER;
	_cleanup_buffer_ struct buffer form = { 0 };
	struct https_post p = { .url = c->token_url, .ca_file = c->ca_file, .timeout = c->timeout, .most = ANSWER_MAX,
				.user = header ? c->client_id : NULL, .password = header ? c->client_secret : NULL };
	int r = -ENOMEM;

	write_form(f, &form);
	p.form = buffer_slice(&form);
	if (buffer_error(&form) == 0)
		r = f->tokens->post(&p);
	if (form.data)
		explicit_bzero(form.data, form.capacity);
	if (r == 0)
		r = token_answer_parse(buffer_slice(&p.answer), p.status, &f->answer);
	else if (r != -ENOMEM)
		(void) snprintf(f->answer.why, sizeof(f->answer.why), "%s", p.why);
	if (p.answer.data)
		explicit_bzero(p.answer.data, p.answer.capacity);
	buffer_done(&p.answer);
	return r;
}

static int fetch(void *arg)
{
	struct fetch *f = arg;
	struct account *a = f->account;
	int r = f->config->grant == GRANT_REFRESH_TOKEN ? read_refresh_token(f) : 0;

	if (r >= 0)
		r = ask(f);
	if (r >= 0 && a->seen && f->answer.refresh && strcmp(f->answer.refresh, a->renewed ? a->renewed : a->seen) != 0)
		set_secret(&a->renewed, TAKE_PTR(f->answer.refresh));
	if (a->renewed && f->config->grant == GRANT_REFRESH_TOKEN)
		write_refresh_token(f);
	return r;
}

/* --- what follows from it ------------------------------------------------------------------------------------------ */

static usec_t rest_of(int error, unsigned failures)
{
	usec_t first = error == -EACCES ? USEC_MIN : 5 * USEC_SEC, most = error == -EACCES ? USEC_HOUR : 5 * USEC_MIN;

	return MIN(first << MIN(failures - 1, 10u), most);
}

/* With the lock. True: this is news. Want of memory is our own trouble, for which the endpoint need not rest. */
static bool note_failure(struct account *a, const struct fetch *f, int error, usec_t t)
{
	bool news = a->failures == 0 || strcmp(f->answer.why, a->why) != 0;

	a->error = error;
	if (error == -ENOMEM)
		return false;
	(void) snprintf(a->why, sizeof(a->why), "%s", f->answer.why);
	a->failures++;
	a->retry_at = t + rest_of(error, a->failures);
	return news;
}

/* With the lock. */
static void note_token(struct account *a, struct fetch *f, usec_t t)
{
	usec_t life = f->answer.lifetime ? f->answer.lifetime : LIFETIME_UNSAID;

	set_secret(&a->token, TAKE_PTR(f->answer.access));
	a->born = t;
	a->until = t + life - MIN(MARGIN_MAX, life / 10);
	a->failures = 0;
	a->retry_at = 0;
	a->error = 0;
}

static void tell(const struct tokens *t, const struct fetch *f, bool news, bool again)
{
	const struct relay_oauth *c = f->config;

	if (news)
		LOG(t->log, LOG_WARNING, "no access token can be had, so that the mail for relays that need it waits",
		    F_STR("url", c->token_url), F_STR("client_id", c->client_id), F_STR("reason", f->account->why));
	else if (again)
		LOG(t->log, LOG_NOTICE, "access tokens can be had again", F_STR("url", c->token_url), F_STR("client_id", c->client_id));
}

/* Called with the lock, which is given back while the endpoint is asked. All who wait are woken. */
static void fetch_for_all(struct tokens *t, struct account *a)
{
	struct fetch f = { .tokens = t, .account = a, .config = a->config };
	bool news = false, again = a->failures > 0;
	struct list woken;
	struct link *k;
	int r;

	a->fetching = true;
	pthread_mutex_unlock(&t->lock);
	r = world_offload(t->world, fetch, &f);
	pthread_mutex_lock(&t->lock);
	a->fetching = false;
	if (r < 0)
		news = note_failure(a, &f, r, world_now(t->world));
	else
		note_token(a, &f, world_now(t->world));
	tell(t, &f, news, again && r >= 0);
	token_answer_done(&f.answer);
	list_init(&woken);
	list_splice(&woken, &a->waiters);
	while ((k = list_pop(&woken)))
		completion_done(&container_of(k, struct waiter, link)->done, 0);
}

/* With the lock, which is given back meanwhile. Whoever wakes it has taken it off the list. */
static void wait_for_fetch(struct tokens *t, struct account *a)
{
	struct waiter w = { .link = { NULL, NULL } };

	completion_init(&w.done);
	list_append(&a->waiters, &w.link);
	pthread_mutex_unlock(&t->lock);
	(void) completion_wait(&w.done);
	pthread_mutex_lock(&t->lock);
}

/* With the lock: what there is. */
static int answer(const struct tokens *t, const struct account *a, struct arena *arena, const char **ret, const char **ret_why)
{
	usec_t now = world_now(t->world);

	if (a->token && a->error == 0) {
		*ret = arena_strdup(arena, a->token);
		return *ret ? 0 : -ENOMEM;
	}
	if (a->error == -ENOMEM)
		return -ENOMEM;
	*ret_why = arena_printf(arena, "no access token from %s: %s (asked again in %llu s)", a->config->token_url, a->why,
				(unsigned long long) (a->retry_at > now ? (a->retry_at - now + USEC_SEC - 1) / USEC_SEC : 0));
	return -EAGAIN;
}

int tokens_get(struct tokens *t, const struct relay_oauth *config, struct arena *arena, const char **ret, const char **ret_why)
{
	struct account *a;
	usec_t now = world_now(t->world);
	int r = -ENOMEM;

	pthread_mutex_lock(&t->lock);
	a = find_account(t, config, true);
	if (a) {
		bool good = a->token && now < a->until, rests = a->failures > 0 && now < a->retry_at;

		if (a->fetching)
			wait_for_fetch(t, a);
		else if (!good && !rests)
			fetch_for_all(t, a);
		r = answer(t, a, arena, ret, ret_why);
	}
	pthread_mutex_unlock(&t->lock);
	return r;
}

bool tokens_refused(struct tokens *t, const struct relay_oauth *config, const char *token)
{
	usec_t now = world_now(t->world);
	struct account *a;
	bool another;

	pthread_mutex_lock(&t->lock);
	a = find_account(t, config, false);
	another = a && a->token && strcmp(a->token, token) != 0;
	if (a && a->token && !another && now >= a->born + TOKEN_REFUSED_REST) {
		set_secret(&a->token, NULL);
		another = true;
	}
	pthread_mutex_unlock(&t->lock);
	return another;
}
