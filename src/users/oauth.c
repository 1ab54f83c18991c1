#include "users/oauth.h"

#include <curl/curl.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/time.h"

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

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return -ENOMEM;
	o = calloc(1, sizeof(*o));
	if (!o) {
		curl_global_cleanup();
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
	curl_global_cleanup();
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
	json_t *answer = json_loadb(json.data, json.len, JSON_REJECT_DUPLICATES, NULL), *active, *expires;
	const char *user, *scope;
	char *copy = NULL;
	int r = 0;

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
	struct buffer answer;
	char *user;
	uint64_t expires;
	char why[CURL_ERROR_SIZE];
	long status;
};

static size_t take_answer(char *data, size_t size, size_t n, void *context)
{
	struct question *q = context;

	if (q->answer.len + size * n > ANSWER_MAX)
		return 0;
	buffer_append(&q->answer, data, size * n);
	return buffer_error(&q->answer) < 0 ? 0 : size * n;
}

static void set_up(CURL *curl, struct question *q, const char *form)
{
	const struct users_oauth_config *c = q->oauth->config;

	(void) curl_easy_setopt(curl, CURLOPT_URL, c->introspection);
	(void) curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
	(void) curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	(void) curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	(void) curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long) (c->timeout / USEC_MS));
	(void) curl_easy_setopt(curl, CURLOPT_POSTFIELDS, form);
	(void) curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_answer);
	(void) curl_easy_setopt(curl, CURLOPT_WRITEDATA, q);
	(void) curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, q->why);
	(void) curl_easy_setopt(curl, CURLOPT_USERAGENT, "yizhan/" YIZHAN_VERSION);
	if (c->ca_file)
		(void) curl_easy_setopt(curl, CURLOPT_CAINFO, c->ca_file);
	if (c->client_id) {
		(void) curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long) CURLAUTH_BASIC);
		(void) curl_easy_setopt(curl, CURLOPT_USERNAME, c->client_id);
		(void) curl_easy_setopt(curl, CURLOPT_PASSWORD, c->client_secret ? c->client_secret : "");
	}
}

/* RFC 7662 section 2.1: a form by POST. */
static int post(CURL *curl, struct question *q)
{
	_cleanup_buffer_ struct buffer form = { 0 };
	char *escaped = curl_easy_escape(curl, q->token.data, (int) q->token.len);
	CURLcode r;

	if (!escaped)
		return -ENOMEM;
	(void) buffer_reserve(&form, strlen(escaped) + 64);
	buffer_printf(&form, "token=%s&token_type_hint=access_token", escaped);
	explicit_bzero(escaped, strlen(escaped));
	curl_free(escaped);
	if (buffer_error(&form) < 0)
		return -ENOMEM;
	set_up(curl, q, form.data);
	r = curl_easy_perform(curl);
	explicit_bzero(form.data, form.capacity);
	(void) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &q->status);
	if (r == CURLE_OK && q->status == 200)
		return 0;
	LOG(q->oauth->log, LOG_ERROR, "the server that knows the tokens can't be asked", F_STR("url", q->oauth->config->introspection),
	    F_STR("reason", r == CURLE_OK ? "it answers with another status than 200" : q->why[0] ? q->why : curl_easy_strerror(r)),
	    F_INT("status", q->status));
	return -EAGAIN;
}

/* On a worker. */
static int ask(void *arg)
{
	struct question *q = arg;
	CURL *curl = curl_easy_init();
	int r;

	if (!curl)
		return -ENOMEM;
	r = post(curl, q);
	curl_easy_cleanup(curl);
	if (r >= 0)
		r = introspection_parse(buffer_slice(&q->answer), q->oauth->config, &q->user, &q->expires);
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
	buffer_done(&q.answer);
	if (r < 0)
		return r;
	remember(o, digest, q.user, q.expires);
	*ret_user = q.user;
	return 0;
}
