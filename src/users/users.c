#include "users/users.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/utf8.h"
#include "base/wildcard.h"
#include "users/dovecot.h"
#include "users/oauth.h"
#include "users/sql.h"
#include "users/user_file.h"

#define NAME_MAX_OCTETS 255u

struct backend {
	const struct users_backend_config *config;
	struct user_file *file;
	struct postgresql *postgresql;
};

struct users {
	struct world *world;
	const struct log *log;
	const struct users_config *config;
	struct backend *backends;
	struct oauth *oauth;
	struct hash_key pretence[2]; /* for the salts of those who don't exist */
	pthread_mutex_t lock;        /* of what follows */
	char *dummy;                 /* a hash that no password has */
	unsigned iterations;         /* of a verifier seen last */
};

/* --- names ------------------------------------------------------------------------------------------------------ */

void user_done(struct user *u)
{
	free(TAKE_PTR(u->name));
	free(TAKE_PTR(u->addresses));
	verifiers_done(&u->verifiers);
}

bool user_name_is_valid(struct slice name)
{
	return name.len > 0 && name.len <= NAME_MAX_OCTETS && utf8_is_text(name);
}

char *user_name_fold(struct slice name)
{
	char *folded = slice_dup(name);

	for (size_t i = 0; folded && i < name.len; i++)
		folded[i] = ascii_lower(folded[i]);
	return folded;
}

/* --- life ------------------------------------------------------------------------------------------------------- */

int users_new(struct world *w, const struct log *log, const struct users_config *config, struct users **ret)
{
	_cleanup_(users_freep) struct users *u = calloc(1, sizeof(*u));
	int r = 0;

	if (!u)
		return -ENOMEM;
	u->world = w;
	u->log = log;
	u->config = config;
	u->iterations = SCRAM_ITERATIONS;
	pthread_mutex_init(&u->lock, NULL);
	world_random(w, u->pretence, sizeof(u->pretence));
	u->backends = calloc(config->n_backends + 1, sizeof(*u->backends));
	if (!u->backends)
		return -ENOMEM;
	for (unsigned i = 0; i < config->n_backends && r >= 0; i++) {
		struct backend *b = &u->backends[i];

		b->config = &config->backends[i];
		if (b->config->kind == BACKEND_FILE)
			r = user_file_new(w, log, b->config->place, &b->file);
		else if (b->config->kind == BACKEND_POSTGRESQL)
			r = postgresql_new(log, b->config, &b->postgresql);
	}
	if (r >= 0 && config->oauth.introspection)
		r = oauth_new(w, log, &config->oauth, &u->oauth);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(u);
	return 0;
}

void users_free(struct users *u)
{
	if (!u)
		return;
	for (unsigned i = 0; u->backends && i < u->config->n_backends; i++) {
		user_file_free(u->backends[i].file);
		postgresql_free(u->backends[i].postgresql);
	}
	oauth_free(u->oauth);
	free(u->backends);
	free(u->dummy);
	pthread_mutex_destroy(&u->lock);
	free(u);
}

const struct users_config *users_config(const struct users *u)
{
	return u->config;
}

bool users_have_verifiers(const struct users *u)
{
	for (unsigned i = 0; i < u->config->n_backends; i++)
		if (u->config->backends[i].kind != BACKEND_DOVECOT)
			return true;
	return false;
}

/* --- finding ---------------------------------------------------------------------------------------------------- */

/* May block. */
static int find_in(struct users *u, struct backend *b, struct slice folded, struct user *ret)
{
	switch (b->config->kind) {
	case BACKEND_FILE:
		return user_file_find(b->file, folded, ret);
	case BACKEND_SQLITE:
		return sqlite_find(u->log, b->config, folded, ret);
	case BACKEND_POSTGRESQL:
		return postgresql_find(b->postgresql, folded, ret);
	case BACKEND_DOVECOT:
		break;
	}
	return -ENOENT;
}

/* What those who don't exist are made to look like follows those who do. */
static void note_seen(struct users *u, const struct user *user)
{
	for (enum scram_hash h = 0; h < SCRAM_HASHES; h++)
		if (user->verifiers.scram[h].iterations)
			__atomic_store_n(&u->iterations, user->verifiers.scram[h].iterations, __ATOMIC_RELAXED);
	if (!user->verifiers.crypt)
		return;
	pthread_mutex_lock(&u->lock);
	if (!u->dummy)
		u->dummy = crypt_dummy(user->verifiers.crypt);
	pthread_mutex_unlock(&u->lock);
}

int users_find(struct users *u, struct slice name, struct user *ret)
{
	_cleanup_(freep) char *folded = NULL;

	if (!user_name_is_valid(name))
		return -ENOENT;
	folded = user_name_fold(name);
	if (!folded)
		return -ENOMEM;
	for (unsigned i = 0; i < u->config->n_backends; i++) {
		int r = find_in(u, &u->backends[i], slice_from(folded), ret);

		if (r >= 0)
			note_seen(u, ret);
		if (r != -ENOENT)
			return r;
	}
	return -ENOENT;
}

void users_pretend(struct users *u, struct slice name, enum scram_hash h, struct scram_verifier *ret)
{
	struct scram_verifier v = { .iterations = __atomic_load_n(&u->iterations, __ATOMIC_RELAXED), .salt_len = 16 };

	for (unsigned i = 0; i < 2; i++) {
		uint64_t part = hash_bytes_nocase(&u->pretence[i], name.data, name.len) + h;

		memcpy(v.salt + 8 * i, &part, sizeof(part));
	}
	world_random(u->world, v.stored_key, sizeof(v.stored_key));
	world_random(u->world, v.server_key, sizeof(v.server_key));
	*ret = v;
}

/* --- passwords -------------------------------------------------------------------------------------------------- */

/* A hash like those of the users, made once. On a worker. */
static char *get_dummy(struct users *u)
{
	char *copy;

	pthread_mutex_lock(&u->lock);
	for (unsigned i = 0; i < u->config->n_backends && !u->dummy; i++)
		if (u->backends[i].file) {
			_cleanup_(freep) char *sample = user_file_sample(u->backends[i].file);

			if (sample)
				u->dummy = crypt_dummy(sample);
		}
	if (!u->dummy)
		u->dummy = crypt_dummy(NULL);
	copy = u->dummy ? strdup(u->dummy) : NULL;
	pthread_mutex_unlock(&u->lock);
	return copy;
}

struct check {
	struct users *users;
	unsigned backend; /* the first to ask; afterwards the one that stopped it, or n_backends */
	struct slice folded;
	const char *password;
	struct user user;
};

/* On a worker: the backends with verifiers, up to one that knows the user or isn't of this kind. */
static int check_stored(void *arg)
{
	struct check *c = arg;
	struct users *u = c->users;

	for (; c->backend < u->config->n_backends; c->backend++) {
		int r;

		if (u->backends[c->backend].config->kind == BACKEND_DOVECOT)
			return -ENOENT;
		r = find_in(u, &u->backends[c->backend], c->folded, &c->user);
		if (r == -ENOENT)
			continue;
		if (r < 0)
			return r;
		note_seen(u, &c->user);
		if (c->user.verifiers.crypt)
			return crypt_matches(c->user.verifiers.crypt, c->password) ? 0 : -EACCES;
		break; /* he has none: that takes as long as if he had */
	}
	_cleanup_(freep) char *dummy = get_dummy(u);

	if (!dummy)
		return -ENOMEM;
	(void) crypt_matches(dummy, c->password);
	return -EACCES;
}

/* Dovecot says no both to a wrong password and to a stranger; the next backend may know better. */
static int check_dovecot(struct check *c, const struct login_context *context)
{
	int r = dovecot_check(c->users->log, c->users->backends[c->backend].config, c->folded, c->password, context, &c->user);

	c->backend++;
	return r == -EACCES && c->backend < c->users->config->n_backends ? -ENOENT : r;
}

/* -EAGAIN when its turn doesn't come in time. */
static int check_in_turn(struct check *c, const struct login_context *context)
{
	struct users_turns *turns = context->turns;
	int r = 0;

	while (turns && turns->running >= c->users->config->parallel_checks && r >= 0)
		r = cond_wait(&turns->free, "its turn to have a password checked", context->deadline);
	if (r < 0)
		return r == -ETIMEDOUT ? -EAGAIN : r;
	if (turns)
		turns->running++;
	r = world_offload(c->users->world, check_stored, c);
	if (turns) {
		turns->running--;
		cond_signal(&turns->free);
	}
	return r;
}

int users_check_password(struct users *u, struct slice name, const char *password, const struct login_context *context,
			 struct user *ret)
{
	_cleanup_(freep) char *folded = NULL;
	struct check c = { .users = u, .password = password };
	int r = -ENOENT;

	folded = user_name_fold(user_name_is_valid(name) ? name : SLICE("-"));
	if (!folded)
		return -ENOMEM;
	c.folded = slice_from(folded);
	while (r == -ENOENT) {
		if (c.backend < u->config->n_backends && u->backends[c.backend].config->kind == BACKEND_DOVECOT)
			r = check_dovecot(&c, context);
		else
			r = check_in_turn(&c, context);
	}
	if (r < 0) {
		user_done(&c.user);
		return r;
	}
	*ret = c.user;
	return 0;
}

/* --- tokens ----------------------------------------------------------------------------------------------------- */

struct owner {
	struct users *users;
	struct slice name;
	struct user *user;
};

static int find_owner(void *arg)
{
	struct owner *o = arg;

	return users_find(o->users, o->name, o->user);
}

int users_describe(struct users *u, struct slice name, struct user *ret)
{
	struct user user = { 0 };
	struct owner owner = { .users = u, .name = name, .user = &user };
	int r = world_offload(u->world, find_owner, &owner);

	if (r < 0 && r != -ENOENT)
		return r;
	if (r == -ENOENT && !(user.name = slice_dup(name)))
		return -ENOMEM;
	*ret = user;
	return 0;
}

int users_check_token(struct users *u, struct slice claimed, struct slice token, const struct login_context *context,
		      struct user *ret)
{
	_cleanup_(freep) char *name = NULL;
	int r;

	if (!u->oauth)
		return -EACCES;
	r = oauth_check(u->oauth, token, &name);
	if (r < 0)
		return r;
	if (!user_name_is_valid(slice_from(name)) || (claimed.len > 0 && !slice_ieq_str(claimed, name)))
		return -EACCES;
	return users_describe(u, slice_from(name), ret);
}

/* --- whose address ---------------------------------------------------------------------------------------------- */

/* Calls back with each pattern that is the user's; true as soon as one of them is what was looked for. */
static bool each_pattern(const struct users_config *config, const char *user, const char *addresses,
			 bool (*look)(struct slice pattern, void *context), void *context)
{
	struct slice rest = slice_from(addresses);
	bool any = addresses != NULL;

	while (rest.len > 0) {
		size_t n = strcspn(rest.data, " ,");

		if (n > 0 && look(slice_head(rest, n), context))
			return true;
		rest = slice_skip(rest, n + (n < rest.len));
	}
	for (unsigned i = 0; i < config->n_senders; i++) {
		if (!wildcard_match(slice_from(config->senders[i].user), slice_from(user)))
			continue;
		any = true;
		for (unsigned k = 0; k < config->senders[i].n_addresses; k++)
			if (look(slice_from(config->senders[i].addresses[k]), context))
				return true;
	}
	/* Nothing is said about him: then he has the address that he is called by, if it is one (and not a pattern). */
	return !any && strchr(user, '@') && !strpbrk(user, "*?") && look(slice_from(user), context);
}

static bool covers(struct slice pattern, void *context)
{
	const struct slice *address = context;
	struct slice domain = slice_skip(*address, address->len);

	if (slice_find(pattern, '@') >= 0)
		return wildcard_match(pattern, *address);
	/* Without an @ it is about the domain. */
	for (size_t i = address->len; i-- > 0;)
		if (address->data[i] == '@') {
			domain = slice_skip(*address, i + 1);
			break;
		}
	return wildcard_match(pattern, domain);
}

bool users_may_send_as(const struct users_config *config, const char *user, const char *addresses, struct slice address)
{
	return each_pattern(config, user, addresses, covers, &address);
}

static bool append(struct slice pattern, void *context)
{
	struct buffer *out = context;

	if (out->len > 0)
		buffer_append_str(out, ", ");
	if (slice_find(pattern, '@') < 0)
		buffer_append_str(out, "*@");
	buffer_append_slice(out, pattern);
	return false;
}

void users_list_addresses(const struct users_config *config, const char *user, const char *addresses, struct buffer *out)
{
	each_pattern(config, user, addresses, append, out);
	if (out->len == 0)
		buffer_append_str(out, "none");
}
