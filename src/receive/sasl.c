#include "receive/sasl.h"

#include <gsasl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "smtp/extensions.h"

#define SCRAM (AUTH_SCRAM_SHA_1 | AUTH_SCRAM_SHA_1_PLUS | AUTH_SCRAM_SHA_256 | AUTH_SCRAM_SHA_256_PLUS)
#define SCRAM_1 (AUTH_SCRAM_SHA_1 | AUTH_SCRAM_SHA_1_PLUS)

struct sasl {
	Gsasl_session *session;
	struct world *world;
	const struct log *log;
	struct users *users;
	unsigned mechanism;
	unsigned steps;
	bool looked_up;
	int error;        /* of the look-up, other than -ENOENT */
	struct user user; /* what was found */
	/* of one step */
	struct slice input;
	char *output;
	size_t output_len;
};

/* --- what the library asks for ---------------------------------------------------------------------------------- */

static bool set_base64(Gsasl_session *s, Gsasl_property p, const unsigned char *data, size_t len)
{
	_cleanup_buffer_ struct buffer text = { 0 };
	bool set = false;

	base64_encode(slice_new((const char *) data, len), &text);
	if (buffer_error(&text) == 0)
		set = gsasl_property_set_raw(s, p, text.data, text.len) == GSASL_OK;
	if (text.data)
		explicit_bzero(text.data, text.capacity);
	return set;
}

/* The verifier of the user who was named in the first message. Who has none gets one that nothing fits, so that he is told
 * the same as a wrong password is, and after as many messages. */
static void look_up(struct sasl *x)
{
	enum scram_hash h = x->mechanism & SCRAM_1 ? SCRAM_SHA_1 : SCRAM_SHA_256;
	const char *name = gsasl_property_fast(x->session, GSASL_AUTHID);
	struct scram_verifier v = { 0 };
	char iterations[16];
	int r;

	x->looked_up = true;
	r = users_find(x->users, slice_from(name), &x->user);
	if (r < 0 && r != -ENOENT)
		x->error = r;
	if (r == 0 && x->user.verifiers.scram[h].iterations)
		v = x->user.verifiers.scram[h];
	else
		users_pretend(x->users, slice_from(name), h, &v);
	if (r == 0 && !x->user.verifiers.scram[h].iterations)
		LOG(x->log, LOG_NOTICE, "this user can't log in by SCRAM, because only a hash of the password is kept; set it anew with "
					"`yizhan user passwd`", F_STR("user", x->user.name));
	snprintf(iterations, sizeof(iterations), "%u", v.iterations);
	if (gsasl_property_set(x->session, GSASL_SCRAM_ITER, iterations) != GSASL_OK ||
	    !set_base64(x->session, GSASL_SCRAM_SALT, v.salt, v.salt_len) ||
	    !set_base64(x->session, GSASL_SCRAM_STOREDKEY, v.stored_key, scram_key_len(h)) ||
	    !set_base64(x->session, GSASL_SCRAM_SERVERKEY, v.server_key, scram_key_len(h)))
		x->error = -ENOMEM;
	explicit_bzero(&v, sizeof(v));
}

static int answer(Gsasl *g, Gsasl_session *session, Gsasl_property property)
{
	struct sasl *x = session ? gsasl_session_hook_get(session) : NULL;

	switch (property) {
	case GSASL_VALIDATE_SIMPLE:
	case GSASL_VALIDATE_EXTERNAL:
		return GSASL_OK; /* the caller decides */
	case GSASL_SCRAM_ITER:
	case GSASL_SCRAM_SALT:
	case GSASL_SCRAM_STOREDKEY:
	case GSASL_SCRAM_SERVERKEY:
		if (!x || x->looked_up)
			return GSASL_NO_CALLBACK;
		look_up(x);
		return GSASL_OK;
	default:
		return GSASL_NO_CALLBACK;
	}
}

int sasl_init(struct Gsasl **ret)
{
	Gsasl *g;

	if (gsasl_init(&g) != GSASL_OK)
		return -ENOMEM;
	gsasl_callback_set(g, answer);
	*ret = g;
	return 0;
}

void sasl_done(struct Gsasl *g)
{
	if (g)
		gsasl_done(g);
}

/* --- one exchange ----------------------------------------------------------------------------------------------- */

int sasl_new(struct Gsasl *g, struct world *w, const struct log *log, struct users *users, unsigned mechanism, struct sasl **ret)
{
	struct sasl *x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return -ENOMEM;
	x->world = w;
	x->log = log;
	x->users = users;
	x->mechanism = mechanism;
	r = gsasl_server_start(g, auth_mechanism_name(mechanism), &x->session);
	if (r != GSASL_OK) {
		free(x);
		return r == GSASL_MALLOC_ERROR ? -ENOMEM : -EOPNOTSUPP;
	}
	gsasl_session_hook_set(x->session, x);
	*ret = x;
	return 0;
}

static void wipe_property(Gsasl_session *s, Gsasl_property p)
{
	char *text = (char *) gsasl_property_fast(s, p);

	if (text)
		explicit_bzero(text, strlen(text));
}

void sasl_free(struct sasl *x)
{
	if (!x)
		return;
	wipe_property(x->session, GSASL_PASSWORD);
	wipe_property(x->session, GSASL_SCRAM_STOREDKEY);
	wipe_property(x->session, GSASL_SCRAM_SERVERKEY);
	gsasl_finish(x->session);
	user_done(&x->user);
	free(x);
}

int sasl_set_binding(struct sasl *x, const char *kind, struct slice data)
{
	Gsasl_property p = strcmp(kind, "tls-exporter") == 0 ? GSASL_CB_TLS_EXPORTER : GSASL_CB_TLS_UNIQUE;

	if (!(x->mechanism & SCRAM))
		return 0;
	return set_base64(x->session, p, (const unsigned char *) data.data, data.len) ? 0 : -ENOMEM;
}

/* On a worker, because of the look-up. */
static int step(void *arg)
{
	struct sasl *x = arg;

	return gsasl_step(x->session, x->input.data, x->input.len, &x->output, &x->output_len);
}

static int error_of(const struct sasl *x, int r)
{
	switch (r) {
	case GSASL_OK:
		return SASL_DONE;
	case GSASL_NEEDS_MORE:
		return SASL_MORE;
	case GSASL_MALLOC_ERROR:
		return -ENOMEM;
	case GSASL_MECHANISM_PARSE_ERROR:
	case GSASL_BASE64_ERROR:
	case GSASL_MECHANISM_CALLED_TOO_MANY_TIMES:
		return -EBADMSG;
	default:
		return r < 0 ? r : -EACCES;
	}
}

/* What clients look for in the challenges of LOGIN, of which there is no standard. */
static struct slice login_challenge(const struct sasl *x)
{
	return x->steps == 1 ? SLICE("Username:") : SLICE("Password:");
}

int sasl_step(struct sasl *x, struct slice input, struct buffer *out)
{
	int r;

	x->input = input;
	x->output = NULL;
	x->output_len = 0;
	x->steps++;
	r = error_of(x, world_offload(x->world, step, x));
	if (x->error < 0)
		r = x->error;
	if (r == SASL_MORE && x->mechanism == AUTH_LOGIN)
		buffer_append_slice(out, login_challenge(x));
	else if (r >= 0)
		buffer_append(out, x->output, x->output_len);
	gsasl_free(x->output);
	return buffer_error(out) < 0 ? -ENOMEM : r;
}

const char *sasl_user(const struct sasl *x)
{
	return gsasl_property_fast(x->session, GSASL_AUTHID);
}

const char *sasl_authorization(const struct sasl *x)
{
	return gsasl_property_fast(x->session, GSASL_AUTHZID);
}

const char *sasl_password(const struct sasl *x)
{
	return gsasl_property_fast(x->session, GSASL_PASSWORD);
}

void sasl_take_user(struct sasl *x, struct user *ret)
{
	*ret = x->user;
	x->user = (struct user) { 0 };
}
