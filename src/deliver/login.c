#include "deliver/login.h"

#include <gsasl.h>
#include <stdlib.h>

#define STEPS_MAX 10

int login_init(struct Gsasl **ret)
{
	return gsasl_init(ret) == GSASL_OK ? 0 : -ENOMEM;
}

void login_done(struct Gsasl *g)
{
	if (g)
		gsasl_done(g);
}

static bool is_loopback(const struct endpoint *e)
{
	static const struct cidr v4 = { .base = { .family = 4, .bytes = { 127 } }, .bits = 8 };
	static const struct cidr v6 = { .base = { .family = 6, .bytes = { [15] = 1 } }, .bits = 128 };

	return e->kind == ENDPOINT_UNIX || cidr_contains(&v4, &e->ip) || cidr_contains(&v6, &e->ip);
}

/* The best mechanism that both know and that is safe here; 0 when there is none. */
static unsigned choose(const struct smtp_client *c)
{
	static const unsigned by_preference[] = { AUTH_SCRAM_SHA_256, AUTH_SCRAM_SHA_1, AUTH_PLAIN, AUTH_LOGIN };
	bool private = c->encrypted || is_loopback(&c->peer.endpoint);

	for (size_t i = 0; i < ARRAY_LEN(by_preference); i++) {
		unsigned m = by_preference[i];

		if ((c->extensions.auth & m) && (private || !(m & (AUTH_PLAIN | AUTH_LOGIN))))
			return m;
	}
	return 0;
}

struct exchange {
	struct smtp_client *client;
	Gsasl_session *sasl;
	struct arena *scratch;
	struct outcome *failure;
	const char *mechanism;
	/* of one step */
	const char *challenge;
	char *answer; /* base64, to be freed with gsasl_free */
};

static int fail(struct exchange *x, int error, const char *text)
{
	failure_local(x->failure, STAGE_AUTH, CLASS_AUTH, 451, 7, 8, text);
	x->failure->site_fault = true;
	outcome_about(x->failure, &x->client->remote);
	return error;
}

static int lost(struct exchange *x, int error)
{
	failure_connection(x->failure, STAGE_AUTH, &x->client->remote, error, x->scratch);
	return error;
}

/* On a worker: a SCRAM step hashes the password thousands of times. */
static int step(void *arg)
{
	struct exchange *x = arg;

	return gsasl_step64(x->sasl, x->challenge, &x->answer);
}

/* GSASL_OK, GSASL_NEEDS_MORE, or -errno. */
static int do_step(struct exchange *x, const char *challenge)
{
	int r;

	x->challenge = challenge;
	x->answer = NULL;
	r = world_offload(x->client->deliverer->world, step, x);
	if (r == GSASL_OK || r == GSASL_NEEDS_MORE)
		return r;
	return fail(x, -EPROTO, arena_printf(x->scratch, "logging in to %s as %s by %s failed: %s",
					     remote_name(&x->client->remote, x->scratch), x->client->peer.login->user, x->mechanism,
					     r < 0 ? "out of memory" : gsasl_strerror(r)));
}

/* Sends `prefix` and the answer of the last step. */
static int send_answer(struct exchange *x, const char *prefix, struct reply *ret)
{
	char *line = arena_printf(x->scratch, "%s%s", prefix, x->answer ? x->answer : "");
	int r;

	gsasl_free(TAKE_PTR(x->answer));
	if (!line)
		return lost(x, -ENOMEM);
	r = smtp_client_ask(x->client, line, x->client->settings->config.command_timeout, x->scratch, ret);
	return r < 0 ? lost(x, r) : 0;
}

static int refused(struct exchange *x, const struct reply *reply)
{
	failure_reply(x->failure, STAGE_AUTH, &x->client->remote, reply);
	/* A wrong password is our administrator's affair: the message waits until it is mended. */
	x->failure->kind = OUTCOME_DEFERRED;
	x->failure->class = CLASS_AUTH;
	x->failure->site_fault = true;
	return -EACCES;
}

/* RFC 4954 section 4: challenges and responses until 235, or a refusal. */
static int converse(struct exchange *x)
{
	bool client_first = strcmp(x->mechanism, "LOGIN") != 0; /* the others begin with a message of ours */
	const char *prefix = arena_printf(x->scratch, "AUTH %s%s", x->mechanism, client_first ? " " : "");
	int state = GSASL_NEEDS_MORE;
	struct reply reply;
	int r;

	if (!prefix)
		return lost(x, -ENOMEM);
	if (client_first) {
		state = do_step(x, "");
		if (state < 0)
			return state;
	}
	for (unsigned i = 0; i < STEPS_MAX; i++) {
		r = send_answer(x, prefix, &reply);
		if (r < 0)
			return r;
		prefix = "";
		if (reply.code == 235) {
			if (state == GSASL_OK)
				return 0;
			return fail(x, -EPROTO, arena_printf(x->scratch, "%s says that we are logged in, but it did not prove that it "
									 "knows the password",
							     remote_name(&x->client->remote, x->scratch)));
		}
		if (reply.code != 334)
			return refused(x, &reply);
		if (state == GSASL_OK)
			break; /* it wants more than the mechanism has */
		state = do_step(x, reply.text);
		if (state < 0)
			return state;
	}
	return fail(x, -EPROTO,
		    arena_printf(x->scratch, "logging in to %s came to no end", remote_name(&x->client->remote, x->scratch)));
}

int login(struct smtp_client *c, struct arena *scratch, struct outcome *ret_failure)
{
	struct exchange x = { .client = c, .scratch = scratch, .failure = ret_failure };
	unsigned mechanism = choose(c);
	int r;

	if (!mechanism) {
		bool plain = c->extensions.auth & (AUTH_PLAIN | AUTH_LOGIN);

		return fail(&x, -EOPNOTSUPP,
			    arena_printf(scratch, plain ? "%s would take the password in the clear only, and the connection is not "
							  "encrypted; set `tls: required` for this relay"
							: "%s offers no way to log in that is known here (SCRAM-SHA-256, SCRAM-SHA-1, "
							  "PLAIN, LOGIN)",
					 remote_name(&c->remote, scratch)));
	}
	x.mechanism = auth_mechanism_name(mechanism);
	if (gsasl_client_start(c->deliverer->sasl, x.mechanism, &x.sasl) != GSASL_OK)
		return fail(&x, -EOPNOTSUPP, arena_printf(scratch, "the SASL library has no %s", x.mechanism));
	gsasl_property_set(x.sasl, GSASL_AUTHID, c->peer.login->user);
	gsasl_property_set(x.sasl, GSASL_PASSWORD, c->peer.login->password);
	r = converse(&x);
	gsasl_finish(x.sasl);
	return r;
}
