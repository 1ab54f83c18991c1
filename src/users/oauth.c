#include "users/oauth.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/time.h"
#include "world/https.h"

#define DIGEST_OCTETS 32
#define KEPT 1024u
#define ANSWER_MAX (64u * 1024)

struct kept {
	unsigned char digest[DIGEST_OCTETS];
	char *user; /* NULL: the place is free */
	usec_t until;
};

struct oauth {
	struct world *world;
	const struct log *log;
	const struct users_oauth_config *config;
	pthread_mutex_t lock;
	struct kept kept[KEPT]; /* each token has one place */
};

int oauth_new(struct world *w, const struct log *log, const struct users_oauth_config *config, struct oauth **ret)
{
	struct oauth *o;

	if (https_begin() < 0)
		return -ENOMEM;
	o = calloc(1, sizeof(*o));
	if (!o) {
		https_end();
		return -ENOMEM;
	}
	o->world = w;
	o->log = log;
	o->config = config;
	pthread_mutex_init(&o->lock, NULL);
	*ret = o;
	return 0;
}

void oauth_free(struct oauth *o)
{
	if (!o)
		return;
	for (unsigned i = 0; i < KEPT; i++)
		free(o->kept[i].user);
	pthread_mutex_destroy(&o->lock);
	free(o);
	https_end();
}

/* --- the answer ------------------------------------------------------------------------------------------------- */

static bool has_word(const char *words, const char *word)
{
	struct slice rest = slice_from(words);

	while (rest.len > 0)
		if (slice_eq_str(slice_cut(rest, ' ', &rest), word))
			return true;
	return false;
}

int introspection_parse(struct slice json, const struct users_oauth_config *config, char **ret_user, uint64_t *ret_expires)
{
	json_t *answer = NULL, *active, *expires;
	const char *user, *scope;
	char *copy = NULL;
	int r = json_parse(json, JSON_REJECT_DUPLICATES, NULL, &answer);

	if (r < 0)
		return r == -ENOMEM ? r : -EPROTO;
	active = json_object_get(answer, "active");
	user = json_string_value(json_object_get(answer, config->user_claim));
	scope = json_string_value(json_object_get(answer, "scope"));
	expires = json_object_get(answer, "exp");
	if (!json_is_boolean(active))
		r = -EPROTO;
	else if (json_is_false(active) || !user || !user_name_is_valid(slice_from(user)) ||
		 (config->scope && !has_word(scope ? scope : "", config->scope)))
		r = -EACCES;
	else if (!(copy = strdup(user)))
		r = -ENOMEM;
	if (r == 0) {
		*ret_user = copy;
		*ret_expires = json_is_integer(expires) && json_integer_value(expires) > 0 ? (uint64_t) json_integer_value(expires) : 0;
	}
	json_decref(answer);
	return r;
}

/* --- the question ----------------------------------------------------------------------------------------------- */

struct question {
	struct oauth *oauth;
	struct slice token;
	char *user;
	uint64_t expires;
};

/* RFC 7662 section 2.1: a form by POST. */
static int post(struct question *q, struct https_post *p)
{
	const struct users_oauth_config *c = q->oauth->config;
	_cleanup_buffer_ struct buffer form = { 0 };
	int r = -ENOMEM;

	/* Enough for all of it, so that no copy of the token stays behind. */
	(void) buffer_reserve(&form, 3 * q->token.len + 64);
	https_form_add(&form, "token", q->token);
	https_form_add(&form, "token_type_hint", SLICE("access_token"));
	if (buffer_error(&form) == 0) {
		*p = (struct https_post) {
			.url = c->introspection, .form = buffer_slice(&form), .user = c->client_id, .password = c->client_secret,
			.ca_file = c->ca_file, .timeout = c->timeout, .most = ANSWER_MAX,
		};
		r = https_post(p);
	}
	if (form.data)
		explicit_bzero(form.data, form.capacity);
	if (r == -ENOMEM || (r == 0 && p->status == 200))
		return r;
	LOG(q->oauth->log, LOG_ERROR, "the server that knows the tokens can't be asked", F_STR("url", c->introspection),
	    F_STR("reason", r == 0 ? "it answers with another status than 200" : p->why), F_INT("status", p->status));
	return -EAGAIN;
}

/* On a worker. */
static int ask(void *arg)
{
	struct question *q = arg;
	struct https_post p = { 0 };
	int r = post(q, &p);

	if (r >= 0)
		r = introspection_parse(buffer_slice(&p.answer), q->oauth->config, &q->user, &q->expires);
	buffer_done(&p.answer);
	if (r == -EPROTO) {
		LOG(q->oauth->log, LOG_ERROR, "the server that knows the tokens doesn't answer as RFC 7662 says: there is no \"active\"",
		    F_STR("url", q->oauth->config->introspection));
		r = -EAGAIN;
	}
	return r;
}

/* --- what is remembered ----------------------------------------------------------------------------------------- */

static int make_digest(struct slice token, unsigned char out[static DIGEST_OCTETS])
{
	return EVP_Digest(token.data, token.len, out, NULL, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
}

static struct kept *place_of(struct oauth *o, const unsigned char *digest)
{
	return &o->kept[(digest[0] | digest[1] << 8) % KEPT];
}

/* The name, or NULL. */
static char *recall(struct oauth *o, const unsigned char *digest)
{
	struct kept *k = place_of(o, digest);
	char *user = NULL;

	pthread_mutex_lock(&o->lock);
	if (k->user && world_now(o->world) < k->until && memcmp(k->digest, digest, DIGEST_OCTETS) == 0)
		user = strdup(k->user);
	pthread_mutex_unlock(&o->lock);
	return user;
}

static void remember(struct oauth *o, const unsigned char *digest, const char *user, uint64_t expires)
{
	struct kept *k = place_of(o, digest);
	uint64_t wall = (uint64_t) (world_wall(o->world) / 1000000);
	usec_t time = o->config->cache;
	char *copy;

	if (expires)
		time = expires <= wall ? 0 : MIN(time, (usec_t) (expires - wall) * USEC_SEC);
	if (time == 0)
		return;
	copy = strdup(user);
	if (!copy)
		return;
	pthread_mutex_lock(&o->lock);
	free(k->user);
	k->user = copy;
	memcpy(k->digest, digest, DIGEST_OCTETS);
	k->until = world_now(o->world) + time;
	pthread_mutex_unlock(&o->lock);
}

int oauth_check(struct oauth *o, struct slice token, char **ret_user)
{
	struct question q = { .oauth = o, .token = token };
	unsigned char digest[DIGEST_OCTETS];
	char *known;
	int r;

	r = make_digest(token, digest);
	if (r < 0)
		return r;
	known = recall(o, digest);
	if (known) {
		*ret_user = known;
		return 0;
	}
	r = world_offload(o->world, ask, &q);
	if (r < 0)
		return r;
	remember(o, digest, q.user, q.expires);
	*ret_user = q.user;
	return 0;
}
