#include "deliver/login.h"

#include <gsasl.h>
#include <stdlib.h>

#include "base/base64.h"
#include "deliver/login_exchange.h"
#include "deliver/login_notes.h"

#define STEPS_MAX 10
#define AUTH_COMMAND_MAX 510u /* RFC 4954 section 4: the line of AUTH is as long as other commands, without CRLF */

#define BY_PASSWORD_PLUS (AUTH_SCRAM_SHA_256_PLUS | AUTH_SCRAM_SHA_1_PLUS)
#define BY_SCRAM (AUTH_SCRAM_SHA_256 | AUTH_SCRAM_SHA_1 | BY_PASSWORD_PLUS)
#define BY_TOKEN (AUTH_OAUTHBEARER | AUTH_XOAUTH2)
#define SHOWS_SECRET (AUTH_PLAIN | AUTH_LOGIN | BY_TOKEN) /* to whoever listens */

int login_init(struct Gsasl **ret)
{
	return gsasl_init(ret) == GSASL_OK ? 0 : -ENOMEM;
}

void login_done(struct Gsasl *g)
{
	if (g)
		gsasl_done(g);
}

/* --- the choice --------------------------------------------------------------------------------------------------- */

static bool is_loopback(const struct endpoint *e)
{
	static const struct cidr v4 = { .base = { .family = 4, .bytes = { 127 } }, .bits = 8 };
	static const struct cidr v6 = { .base = { .family = 6, .bytes = { [15] = 1 } }, .bits = 128 };

	return e->kind == ENDPOINT_UNIX || cidr_contains(&v4, &e->ip) || cidr_contains(&v6, &e->ip);
}

/* What there are means for, and nothing forbids. */
static unsigned means(const struct relay *r)
{
	unsigned m = (r->user && r->password ? BY_SCRAM | AUTH_PLAIN | AUTH_LOGIN : 0) | (r->user && r->oauth ? BY_TOKEN : 0) |
		     (r->certificate ? AUTH_EXTERNAL : 0);

	return r->mechanisms ? m & r->mechanisms : m;
}

/* What could be said here without anybody hearing what he should not. */
static unsigned safe(const struct smtp_client *c, bool can_bind)
{
	unsigned m = means(c->peer.login);

	if (!c->encrypted && !is_loopback(&c->peer.endpoint))
		m &= ~(unsigned) SHOWS_SECRET;
	if (!c->encrypted)
		m &= ~(unsigned) AUTH_EXTERNAL;
	return can_bind ? m : m & ~(unsigned) BY_PASSWORD_PLUS;
}

/* The best mechanism that both know and that is safe here; 0 when there is none. Whoever refuses it is not offered a weaker one:
 * that would be what somebody in between waits for. */
static unsigned choose(const struct smtp_client *c, bool can_bind)
{
	static const unsigned by_preference[] = {
		AUTH_EXTERNAL, AUTH_OAUTHBEARER, AUTH_XOAUTH2, AUTH_SCRAM_SHA_256_PLUS, AUTH_SCRAM_SHA_1_PLUS,
		AUTH_SCRAM_SHA_256, AUTH_SCRAM_SHA_1, AUTH_PLAIN, AUTH_LOGIN,
	};
	unsigned both = c->extensions.auth & safe(c, can_bind);

	for (size_t i = 0; i < ARRAY_LEN(by_preference); i++)
		if (both & by_preference[i])
			return by_preference[i];
	return 0;
}

/* "PLAIN, LOGIN", in the arena; "none" for none. */
static const char *list_names(unsigned mechanisms, struct arena *a)
{
	const char *list = NULL;

	for (unsigned bit = 1; bit <= mechanisms; bit <<= 1)
		if (mechanisms & bit)
			list = arena_printf(a, "%s%s%s", list ? list : "", list ? ", " : "", auth_mechanism_name(bit));
	return list ? list : "none";
}

static int no_way(struct exchange *x)
{
	const struct smtp_client *c = x->client;
	const char *name = remote_name(&c->remote, x->scratch);

	if (c->extensions.auth & means(c->peer.login) & SHOWS_SECRET)
		return login_fail(x, -EOPNOTSUPP,
				  arena_printf(x->scratch, "%s would take the %s in the clear only, and the connection is not encrypted; set "
							   "`tls: required` for this relay", name, c->peer.login->oauth ? "token" : "password"));
	return login_fail(x, -EOPNOTSUPP,
			  arena_printf(x->scratch, "%s offers no way to log in that can be used here (it offers %s; this login can use %s)", name,
				       list_names(c->extensions.auth, x->scratch), list_names(means(c->peer.login), x->scratch)));
}

/* --- words and lines ---------------------------------------------------------------------------------------------- */

int login_fail(struct exchange *x, int error, const char *text)
{
	failure_local(x->failure, STAGE_AUTH, CLASS_AUTH, 451, 7, 8, text);
	x->failure->site_fault = true;
	outcome_about(x->failure, &x->client->remote);
	return error;
}

int login_lost(struct exchange *x, int error)
{
	failure_connection(x->failure, STAGE_AUTH, &x->client->remote, smtp_client_error(x->client, error), x->scratch);
	return error;
}

int login_refused(struct exchange *x, const struct reply *reply)
{
	failure_reply(x->failure, STAGE_AUTH, &x->client->remote, reply);
	/* A wrong password is our administrator's affair: the message waits until it is mended. */
	x->failure->kind = OUTCOME_DEFERRED;
	x->failure->class = CLASS_AUTH;
	x->failure->site_fault = true;
	return -EACCES;
}

int login_respond(struct exchange *x, const char *response, struct reply *ret)
{
	return smtp_client_ask(x->client, response, x->client->settings->config.command_timeout, x->scratch, ret);
}

int login_begin(struct exchange *x, const char *response, struct reply *ret)
{
	bool together = response && strlen("AUTH ") + strlen(x->name) + 1 + strlen(response) <= AUTH_COMMAND_MAX;
	/* "=" is an empty response (RFC 4954 section 4). */
	char *line = together ? arena_printf(x->scratch, "AUTH %s %s", x->name, response[0] ? response : "=")
			      : arena_printf(x->scratch, "AUTH %s", x->name);
	int r = login_respond(x, line, ret);

	if (line)
		explicit_bzero(line, strlen(line));
	if (r >= 0 && response && !together && ret->code == 334)
		r = login_respond(x, response, ret);
	return r;
}

/* --- GNU SASL ----------------------------------------------------------------------------------------------------- */

struct sasl_exchange {
	struct exchange *x;
	Gsasl_session *session;
	/* of one step */
	const char *challenge;
	char *answer; /* base64, to be freed with gsasl_free */
};

/* On a worker: a SCRAM step hashes the password thousands of times. */
static int step(void *arg)
{
	struct sasl_exchange *s = arg;

	return gsasl_step64(s->session, s->challenge, &s->answer);
}

/* GSASL_OK, GSASL_NEEDS_MORE, or -errno. */
static int do_step(struct sasl_exchange *s, const char *challenge)
{
	struct exchange *x = s->x;
	const char *user = x->client->peer.login->user;
	int r;

	s->challenge = challenge;
	s->answer = NULL;
	r = world_offload(x->client->deliverer->world, step, s);
	if (r == GSASL_OK || r == GSASL_NEEDS_MORE)
		return r;
	if (r < 0 || r == GSASL_MALLOC_ERROR)
		return login_lost(x, -ENOMEM);
	return login_fail(x, -EPROTO, arena_printf(x->scratch, "logging in to %s as %s by %s failed: %s",
						   remote_name(&x->client->remote, x->scratch), user ? user : "nobody", x->name,
						   gsasl_strerror(r)));
}

static void drop_answer(struct sasl_exchange *s)
{
	if (s->answer)
		explicit_bzero(s->answer, strlen(s->answer));
	gsasl_free(TAKE_PTR(s->answer));
}

/* Challenges and responses until 235, or a refusal (RFC 4954 section 4). */
static int converse(struct sasl_exchange *s)
{
	struct exchange *x = s->x;
	bool client_first = x->mechanism != AUTH_LOGIN; /* the others begin with a message of ours */
	int state = client_first ? do_step(s, "") : GSASL_NEEDS_MORE;
	struct reply reply;
	int r;

	if (state < 0)
		return state;
	r = login_begin(x, client_first ? (s->answer ? s->answer : "") : NULL, &reply);
	for (unsigned i = 0; i < STEPS_MAX; i++) {
		drop_answer(s);
		if (r < 0)
			return login_lost(x, r);
		if (reply.code == 235 && state != GSASL_OK)
			return login_fail(x, -EPROTO, arena_printf(x->scratch, "%s says that we are logged in, but it did not prove that it "
									       "knows the password",
								   remote_name(&x->client->remote, x->scratch)));
		if (reply.code == 235)
			return 0;
		if (reply.code != 334)
			return login_refused(x, &reply);
		if (state == GSASL_OK)
			break; /* it wants more than the mechanism has */
		state = do_step(s, reply.text);
		if (state < 0)
			return state;
		r = login_respond(x, s->answer ? s->answer : "", &reply);
	}
	drop_answer(s);
	return login_fail(x, -EPROTO,
			  arena_printf(x->scratch, "logging in to %s came to no end", remote_name(&x->client->remote, x->scratch)));
}

/* The channel is bound with -PLUS alone. Without it RFC 5802 section 6 would have us say that we could ("y"), so that the server
 * finds out when somebody hides its -PLUS from us; exchanges that begin so fail in GNU SASL 2.2 although nobody hides anything.
 * Where a server is known to offer -PLUS, `mechanisms` insists on it. kind: of the binding; 0: none. */
static int set_properties(struct sasl_exchange *s, Gsasl_property kind, struct slice binding)
{
	const struct relay *login = s->x->client->peer.login;
	_cleanup_buffer_ struct buffer text = { 0 };
	int r = GSASL_OK;

	if (s->x->mechanism == AUTH_EXTERNAL)
		return gsasl_property_set(s->session, GSASL_AUTHZID, login->user ? login->user : "") == GSASL_OK ? 0 : -ENOMEM;
	if (s->x->mechanism & BY_PASSWORD_PLUS) {
		base64_encode(binding, &text);
		r = buffer_error(&text) < 0 ? GSASL_MALLOC_ERROR : gsasl_property_set_raw(s->session, kind, text.data, text.len);
	}
	if (r == GSASL_OK)
		r = gsasl_property_set(s->session, GSASL_AUTHID, login->user);
	if (r == GSASL_OK)
		r = gsasl_property_set(s->session, GSASL_PASSWORD, login->password);
	return r == GSASL_OK ? 0 : -ENOMEM;
}

static int login_by_sasl(struct exchange *x, Gsasl_property kind, struct slice binding)
{
	struct sasl_exchange s = { .x = x };
	int r;

	if (gsasl_client_start(x->client->deliverer->sasl, x->name, &s.session) != GSASL_OK)
		return login_fail(x, -EOPNOTSUPP, arena_printf(x->scratch, "the SASL library has no %s", x->name));
	r = set_properties(&s, kind, binding);
	r = r < 0 ? login_lost(x, r) : converse(&s);
	drop_answer(&s);
	gsasl_finish(s.session);
	return r;
}

/* --- all of it ------------------------------------------------------------------------------------------------------ */

/* "tls-exporter" (RFC 9266), or what there was before TLS 1.3. */
static Gsasl_property find_binding(const struct smtp_client *c, struct arena *a, struct slice *ret)
{
	if (c->encrypted && tls_channel_binding(c->stream, "tls-exporter", a, ret) == 0)
		return GSASL_CB_TLS_EXPORTER;
	if (c->encrypted && tls_channel_binding(c->stream, "tls-unique", a, ret) == 0)
		return GSASL_CB_TLS_UNIQUE;
	return 0;
}

static int run(struct exchange *x)
{
	const struct relay *login = x->client->peer.login;
	struct slice binding = SLICE_NULL;
	Gsasl_property kind = find_binding(x->client, x->scratch, &binding);

	x->mechanism = choose(x->client, kind != 0);
	if (!x->mechanism && !login->user && !login->mechanisms)
		return 0; /* the certificate that was shown in TLS is all */
	if (!x->mechanism)
		return no_way(x);
	x->name = auth_mechanism_name(x->mechanism);
	return x->mechanism & BY_TOKEN ? login_by_token(x) : login_by_sasl(x, kind, binding);
}

int login(struct smtp_client *c, struct arena *scratch, struct outcome *ret_failure)
{
	struct exchange x = { .client = c, .scratch = scratch, .failure = ret_failure };
	struct login_notes *notes = c->deliverer->login_notes;
	const char *relay = c->peer.login->name ? c->peer.login->name : "", *host = remote_name(&c->remote, scratch);
	int r = run(&x);

	if (r >= 0)
		login_note_worked(notes, relay, host);
	else if (ret_failure->class == CLASS_AUTH)
		login_note_failed(notes, relay, host, ret_failure->reply.text);
	return r;
}
