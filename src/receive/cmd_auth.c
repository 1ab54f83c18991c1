/* AUTH (RFC 4954): a client becomes a user. The mechanisms of GNU SASL are in sasl.h, those with OAuth's tokens in
 * smtp/bearer.h; here is the exchange around them, what is counted, and what is said. */
#include <stdlib.h>

#include "base/base64.h"
#include "receive/acceptor.h"
#include "receive/auth.h"
#include "receive/commands.h"
#include "receive/external.h"
#include "receive/sasl.h"
#include "smtp/bearer.h"
#include "users/attempts.h"

#define SCRAM_PLAIN (AUTH_SCRAM_SHA_1 | AUTH_SCRAM_SHA_256)
#define SCRAM_PLUS (AUTH_SCRAM_SHA_1_PLUS | AUTH_SCRAM_SHA_256_PLUS)
#define TOKENS (AUTH_OAUTHBEARER | AUTH_XOAUTH2)
#define MESSAGE_MAX (AUTH_LINE_MAX / 4 * 3)
#define STEPS_MAX 10u
#define TURN_TIME (10 * USEC_SEC)
#define TURN_PAUSE (50 * USEC_MS)

/* How an exchange ended. */
enum login_end {
	LOGIN_OK,
	LOGIN_WRONG,     /* somebody isn't who he says he is */
	LOGIN_DEFECT,    /* not a message of the mechanism */
	LOGIN_TEMPORARY, /* can't be found out now */
	LOGIN_REPLIED,   /* the last word was said already; l->result */
};

struct login {
	struct session *s;
	unsigned mechanism;
	usec_t began;
	struct attempt attempt;
	bool counted;          /* attempts_begin was called */
	bool wrong;            /* so it was in vain, however the exchange goes on */
	const char *why;       /* it failed: for the log */
	char claimed[256];     /* the name that the client gave */
	bool has_message;      /* of the client: */
	char *message;         /* MESSAGE_MAX octets */
	size_t len;
	struct user user;
	int result;            /* LOGIN_REPLIED: what the reply returned */
};

/* --- what is offered -------------------------------------------------------------------------------------------- */

/* RFC 9266 section 3 for all of TLS, RFC 5929 section 3 for TLS 1.2. */
static const char *const bindings[] = { "tls-exporter", "tls-unique" };

static bool has_binding(struct session *s)
{
	struct slice data;

	for (size_t i = 0; i < ARRAY_LEN(bindings) && s->tls; i++)
		if (tls_channel_binding(s->stream, bindings[i], s->arena, &data) == 0)
			return true;
	return false;
}

/* All that there are: the client chooses. */
static int set_bindings(struct session *s, struct sasl *x)
{
	struct slice data;
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(bindings) && r >= 0; i++)
		if (tls_channel_binding(s->stream, bindings[i], s->arena, &data) == 0)
			r = sasl_set_binding(x, bindings[i], data);
	return r;
}

/* What could be offered to this session, with TLS or as it is now. */
static unsigned possible(struct session *s, bool with_tls)
{
	unsigned m;

	if (!s->listener->auth || !s->settings->users || s->role == ROLE_LMTP)
		return 0;
	m = users_config(s->settings->users)->mechanisms;
	if (with_tls)
		return m;
	/* Whoever listens would have the password or the token. */
	return s->listener->auth_without_tls ? m & SCRAM_PLAIN : 0;
}

bool auth_offer(struct session *s)
{
	s->mechanisms = possible(s, s->tls != NULL);
	if (!s->mechanisms)
		return false;
	if (s->mechanisms & SCRAM_PLUS && !has_binding(s))
		s->mechanisms &= ~(unsigned) SCRAM_PLUS;
	if (!s->tls || s->spoken_for || !external_user(users_config(s->settings->users), s->tls, SLICE_NULL))
		s->mechanisms &= ~(unsigned) AUTH_EXTERNAL;
	return s->mechanisms != 0;
}

void auth_forget(struct session *s)
{
	s->user = s->addresses = NULL;
}

int auth_become(struct session *s, const char *user)
{
	struct user known = { 0 };
	int r = 0;

	auth_forget(s);
	if (!user)
		return 0;
	if (s->settings->users)
		r = users_describe(s->settings->users, slice_from(user), &known);
	if (r >= 0 && known.addresses && !(s->addresses = arena_strdup(s->arena, known.addresses)))
		r = -ENOMEM;
	user_done(&known);
	if (r >= 0)
		s->user = user;
	return r;
}

/* --- the exchange ----------------------------------------------------------------------------------------------- */

static enum login_end replied(struct login *l, int result)
{
	l->result = result;
	return LOGIN_REPLIED;
}

/* Takes over a response. text lies in the stream's buffer, where it is wiped. */
static enum login_end take_response(struct login *l, struct slice text)
{
	ssize_t n = base64_decode(text, l->message, MESSAGE_MAX);

	if (text.len > 0)
		explicit_bzero((char *) text.data, text.len);
	if (n < 0)
		return replied(l, session_reply(l->s, REPLY_AUTH_NOT_BASE64));
	l->len = (size_t) n;
	l->has_message = true;
	return LOGIN_OK;
}

static void wipe_message(struct login *l)
{
	explicit_bzero(l->message, l->len);
	l->len = 0;
	l->has_message = false;
}

/* Sends a challenge and reads the response (RFC 4954 section 4). LOGIN_OK: l->message holds it. */
static enum login_end ask(struct login *l, struct slice challenge)
{
	_cleanup_buffer_ struct buffer wire = { 0 };
	struct session *s = l->s;
	struct slice line;
	int r;

	buffer_append_str(&wire, "334 ");
	base64_encode(challenge, &wire);
	buffer_append_str(&wire, "\r\n");
	r = buffer_error(&wire) < 0 ? session_reply(s, REPLY_OUT_OF_MEMORY) : session_put(s, buffer_slice(&wire));
	if (r < 0 || buffer_error(&wire) < 0)
		return replied(l, r);
	r = session_read_line(s, AUTH_LINE_MAX, REPLY_AUTH_LINE_TOO_LONG, &line);
	if (r <= 0)
		return replied(l, r);
	if (slice_eq_str(line, "*"))
		return replied(l, session_reply(s, REPLY_AUTH_CANCELLED));
	if (take_response(l, line) != LOGIN_OK)
		return LOGIN_REPLIED;
	/* Each response answers a challenge: nothing can have been sent behind it. */
	return session_out_of_turn(s, "the reply to AUTH", false) ? replied(l, 0) : LOGIN_OK;
}

static enum login_end outcome_of(int r)
{
	switch (r) {
	case 0:
		return LOGIN_OK;
	case -EACCES:
		return LOGIN_WRONG;
	case -EBADMSG:
	case -EINVAL:
		return LOGIN_DEFECT;
	default:
		return LOGIN_TEMPORARY;
	}
}

static void claim(struct login *l, const char *name)
{
	if (name)
		(void) slice_copy(slice_from(name), l->claimed, sizeof(l->claimed));
}

static enum login_end locked(struct login *l, enum attempts_key key, usec_t left)
{
	char text[32];

	atomic_fetch_add_explicit(&l->s->acceptor->logins_locked, 1, memory_order_relaxed);
	duration_for_people(left, text, sizeof(text));
	LOG(session_shared(l->s)->log, LOG_INFO, "no login: locked out", F_STR("client", l->s->client),
	    F_STR("user", key == ATTEMPTS_ACCOUNT ? l->claimed : NULL), F_USEC("left", left));
	return replied(l, session_reply_with(l->s, key == ATTEMPTS_ACCOUNT ? REPLY_AUTH_ACCOUNT_LOCKED : REPLY_AUTH_ADDRESS_LOCKED,
					     slice_from(text), SLICE_NULL));
}

/* Before a password, a proof or a token is looked at. */
static enum login_end count(struct login *l, bool by_account)
{
	struct session *s = l->s;
	struct attempts *attempts = session_shared(s)->attempts;
	usec_t deadline = deadline_after(now(), TURN_TIME), left = 0;
	enum attempts_key key;
	int r = 0;

	if (by_account) {
		_cleanup_(freep) char *folded = user_name_fold(slice_from(l->claimed));

		if (!folded)
			return LOGIN_TEMPORARY;
		attempt_set_account(attempts, slice_from(folded), &l->attempt);
	}
	for (;;) {
		r = attempts_begin(attempts, &users_config(s->settings->users)->limits, &l->attempt, &key, &left);
		if (r != -EAGAIN || now() >= deadline || fiber_sleep_until(deadline_after(now(), TURN_PAUSE)) < 0)
			break;
	}
	l->counted = r == 0;
	return r == -EBUSY ? locked(l, key, left) : r < 0 ? LOGIN_TEMPORARY : LOGIN_OK;
}

static void make_context(struct login *l, struct login_context *ret)
{
	*ret = (struct login_context) {
		.turns = &l->s->acceptor->passwords,
		.client = l->s->client,
		.encrypted = l->s->tls != NULL,
		.deadline = session_deadline(l->s),
	};
}

/* --- by GNU SASL ------------------------------------------------------------------------------------------------ */

static enum login_end check_password(struct login *l, struct sasl *x)
{
	const char *password = sasl_password(x);
	struct login_context context;
	enum login_end o;

	if (!password || !l->claimed[0])
		return LOGIN_DEFECT;
	o = count(l, true);
	if (o != LOGIN_OK)
		return o;
	make_context(l, &context);
	return outcome_of(users_check_password(l->s->settings->users, slice_from(l->claimed), password, &context, &l->user));
}

static enum login_end check_certificate(struct login *l, const char *as)
{
	struct users *users = l->s->settings->users;
	const char *user = external_user(users_config(users), l->s->tls, slice_from(as));
	enum login_end o;

	claim(l, as && as[0] ? as : user);
	o = count(l, false);
	if (o != LOGIN_OK)
		return o;
	if (!user) {
		l->why = "the certificate is not this user's";
		return LOGIN_WRONG;
	}
	return outcome_of(users_describe(users, slice_from(user), &l->user));
}

/* Messages of the client in, challenges out, until the mechanism is done. */
static enum login_end converse(struct login *l, struct sasl *x)
{
	bool scram = l->mechanism & (SCRAM_PLAIN | SCRAM_PLUS);

	for (unsigned i = 0; i < STEPS_MAX; i++) {
		_cleanup_buffer_ struct buffer out = { 0 };
		enum login_end o;
		int r;

		/* The second message of SCRAM holds the proof. */
		if (scram && i == 1 && (o = count(l, true)) != LOGIN_OK)
			return o;
		r = sasl_step(x, slice_new(l->message, l->len), &out);
		wipe_message(l);
		claim(l, sasl_user(x));
		if (r < 0)
			return outcome_of(r);
		if (r == SASL_DONE && out.len == 0)
			return LOGIN_OK;
		o = ask(l, buffer_slice(&out));
		if (o != LOGIN_OK)
			return o;
		if (r == SASL_DONE) /* RFC 4954 section 4: data with the success; the response to it is empty */
			return l->len == 0 ? LOGIN_OK : LOGIN_DEFECT;
	}
	return LOGIN_DEFECT;
}

/* Who begins? LOGIN has two challenges of ours; the others wait for a message of the client. */
static enum login_end begin(struct login *l, struct sasl *x)
{
	_cleanup_buffer_ struct buffer challenge = { 0 };

	if (l->mechanism == AUTH_LOGIN && sasl_step(x, SLICE_NULL, &challenge) != SASL_MORE)
		return LOGIN_TEMPORARY;
	return l->has_message ? LOGIN_OK : ask(l, buffer_slice(&challenge));
}

static enum login_end run_sasl_with(struct login *l, struct sasl *x)
{
	enum login_end o = begin(l, x);
	const char *as;

	if (o == LOGIN_OK)
		o = converse(l, x);
	if (o != LOGIN_OK)
		return o;
	as = sasl_authorization(x);
	if (l->mechanism == AUTH_EXTERNAL)
		return check_certificate(l, as);
	if (l->mechanism & (AUTH_PLAIN | AUTH_LOGIN))
		o = check_password(l, x);
	else
		sasl_take_user(x, &l->user);
	if (o == LOGIN_OK && as && as[0] && !slice_ieq_str(slice_from(as), l->claimed)) {
		l->why = "he wants to act as somebody else";
		o = LOGIN_WRONG;
	}
	return o;
}

static enum login_end run_sasl(struct login *l)
{
	struct session *s = l->s;
	struct sasl *x;
	enum login_end o;
	int r = sasl_new(s->settings->sasl, session_shared(s)->world, session_shared(s)->log, s->settings->users, l->mechanism, &x);

	if (r < 0)
		return LOGIN_TEMPORARY;
	o = s->mechanisms & SCRAM_PLUS && set_bindings(s, x) < 0 ? LOGIN_TEMPORARY : run_sasl_with(l, x);
	sasl_free(x);
	return o;
}

/* --- by token --------------------------------------------------------------------------------------------------- */

/* RFC 7628 section 3.2.2, 3.2.3: what is wrong, as JSON in a challenge, to which the client says something empty. */
static enum login_end refuse_token(struct login *l)
{
	const char *scope = users_config(l->s->settings->users)->oauth.scope;
	_cleanup_buffer_ struct buffer text = { 0 };
	enum login_end o;

	l->wrong = true;
	buffer_printf(&text, "{\"status\":\"%s\",\"schemes\":\"bearer\",\"scope\":\"", l->mechanism == AUTH_XOAUTH2 ? "401" : "invalid_token");
	buffer_append_json(&text, slice_from(scope ? scope : ""));
	buffer_append_str(&text, "\"}");
	o = buffer_error(&text) < 0 ? LOGIN_OK : ask(l, buffer_slice(&text));
	return o == LOGIN_OK ? LOGIN_WRONG : o;
}

static enum login_end run_token(struct login *l)
{
	struct login_context context;
	struct bearer bearer;
	enum login_end o = l->has_message ? LOGIN_OK : ask(l, SLICE_NULL);
	struct slice message = slice_new(l->message, l->len);
	int r;

	if (o != LOGIN_OK)
		return o;
	message.len = l->len;
	r = l->mechanism == AUTH_XOAUTH2 ? xoauth2_parse(message, &bearer) : oauthbearer_parse(message, &bearer);
	if (r < 0)
		return LOGIN_DEFECT;
	claim(l, bearer.user);
	o = count(l, false);
	if (o != LOGIN_OK)
		return o;
	make_context(l, &context);
	r = bearer.token.len == 0 ? -EACCES
				  : users_check_token(l->s->settings->users, slice_from(bearer.user), bearer.token, &context, &l->user);
	wipe_message(l);
	return r == -EACCES ? refuse_token(l) : outcome_of(r);
}

/* --- the end ---------------------------------------------------------------------------------------------------- */

static int accept_user(struct login *l)
{
	struct session *s = l->s;
	const char *user = arena_strdup(s->arena, l->user.name);
	const char *addresses = arena_strdup(s->arena, l->user.addresses);

	if (!user || (l->user.addresses && !addresses))
		return session_reply(s, REPLY_AUTH_TEMPORARY);
	s->user = user;
	s->addresses = addresses;
	s->progress = now();
	atomic_fetch_add_explicit(&s->acceptor->logins, 1, memory_order_relaxed);
	LOG(session_shared(s)->log, LOG_INFO, "a user logged in", F_STR("user", user), F_STR("client", s->client),
	    F_STR("mechanism", auth_mechanism_name(l->mechanism)), F_BOOL("tls", s->tls != NULL));
	return session_reply(s, REPLY_AUTH_DONE);
}

/* Counts it, and says in log and event when that was the last one. */
static void note_failure(struct login *l)
{
	const struct users_limits *limits = &users_config(l->s->settings->users)->limits;
	struct receive_shared *shared = session_shared(l->s);
	const char *client = l->s->client, *why = l->why ? l->why : "wrong, or there is no such user";
	unsigned locks = l->counted ? attempts_failed(shared->attempts, limits, &l->attempt) : 0;
	char text[32];

	atomic_fetch_add_explicit(&l->s->acceptor->logins_failed, 1, memory_order_relaxed);
	LOG(shared->log, LOG_NOTICE, "a login failed", F_STR("client", client), F_STR("user", l->claimed),
	    F_STR("mechanism", auth_mechanism_name(l->mechanism)), F_STR("reason", why));
	EVENT(shared->events, MSGID_NONE, EVENT_LOGIN_FAILED, F_STR("client", client), F_STR("user", l->claimed),
	      F_STR("mechanism", auth_mechanism_name(l->mechanism)), F_STR("reason", why));
	duration_for_people(limits->lockout, text, sizeof(text));
	for (enum attempts_key k = 0; k < ATTEMPTS_KEYS; k++) {
		bool account = k == ATTEMPTS_ACCOUNT;

		if (!(locks & 1u << k))
			continue;
		LOG(shared->log, LOG_WARNING, account ? "too many logins to an account failed: it is locked"
						      : "too many logins from an address failed: it is locked out",
		    F_STR("client", client), F_STR("user", account ? l->claimed : NULL), F_STR("for", text));
		EVENT(shared->events, MSGID_NONE, EVENT_LOCKED_OUT, F_STR(account ? "user" : "client", account ? l->claimed : client),
		      F_STR("for", text));
	}
}

/* However fast it was found out: a refusal takes as long as the others, and guessing takes longer. */
static int refuse_user(struct login *l)
{
	struct session *s = l->s;

	note_failure(l);
	s->waiting = true;
	(void) fiber_sleep_until(deadline_after(l->began, users_config(s->settings->users)->failure_delay));
	s->waiting = false;
	return session_reply(s, REPLY_AUTH_FAILED);
}

static int finish(struct login *l, enum login_end o)
{
	struct attempts *attempts = session_shared(l->s)->attempts;

	if (l->counted && o == LOGIN_OK)
		attempts_succeeded(attempts, &l->attempt);
	else if (l->counted && o != LOGIN_WRONG && !l->wrong)
		attempts_undecided(attempts, &l->attempt);
	switch (o) {
	case LOGIN_OK:
		return accept_user(l);
	case LOGIN_WRONG:
		return refuse_user(l);
	case LOGIN_DEFECT:
		return session_reply_with(l->s, REPLY_AUTH_DEFECT, slice_from(auth_mechanism_name(l->mechanism)), SLICE_NULL);
	case LOGIN_TEMPORARY:
		return session_reply(l->s, REPLY_AUTH_TEMPORARY);
	case LOGIN_REPLIED:
		break;
	}
	if (l->wrong)
		note_failure(l);
	return l->result;
}

/* --- the command ------------------------------------------------------------------------------------------------ */

/* What stands in the way of this mechanism: REPLY_AUTH_DONE when nothing does. */
static enum reply_id obstacle(struct session *s, unsigned mechanism)
{
	bool needs_tls = !s->tls && s->settings->tls && s->hello == HELLO_EHLO;

	if (s->user)
		return REPLY_AUTH_ALREADY; /* RFC 4954 section 4 */
	if (s->transaction)
		return REPLY_IN_TRANSACTION;
	if (!(s->offered & EXT_AUTH))
		return needs_tls && possible(s, true) ? REPLY_AUTH_NEEDS_TLS : REPLY_NOT_OFFERED;
	if (mechanism & s->mechanisms)
		return REPLY_AUTH_DONE;
	if (needs_tls && (mechanism & possible(s, true)))
		return REPLY_AUTH_NEEDS_TLS;
	return mechanism & (AUTH_PLAIN | AUTH_LOGIN | SCRAM_PLAIN) ? REPLY_AUTH_TOO_WEAK : REPLY_AUTH_UNKNOWN;
}

/* The initial response, if there is one; RFC 4954 section 4: "=" is an empty one. */
static enum login_end take_initial(struct login *l, struct slice text)
{
	if (text.len == 0)
		return LOGIN_OK;
	if (slice_eq_str(text, "=")) {
		l->has_message = true;
		return LOGIN_OK;
	}
	return take_response(l, text);
}

static int run(struct login *l, struct slice initial)
{
	struct session *s = l->s;
	const struct ip *ip = s->stream->peer.kind == ENDPOINT_IP && !s->trusted ? &s->stream->peer.ip : NULL;
	struct attempts *attempts = session_shared(s)->attempts;
	usec_t left;
	enum login_end o;

	attempt_init(attempts, ip, &l->attempt);
	if (attempts_locked(attempts, &l->attempt, ATTEMPTS_ADDRESS, &left))
		o = locked(l, ATTEMPTS_ADDRESS, left);
	else
		o = take_initial(l, initial);
	if (o == LOGIN_OK)
		o = l->mechanism & TOKENS ? run_token(l) : run_sasl(l);
	return finish(l, o);
}

int cmd_auth(struct session *s, const struct command *c)
{
	struct slice initial, name = slice_cut(c->args, ' ', &initial);
	struct login l = { .s = s, .mechanism = auth_mechanism_from_name(name), .began = now() };
	enum reply_id why = obstacle(s, l.mechanism);
	int r;

	/* RFC 4954 section 4: AUTH is the last command of a group, as in RFC 2920 section 3.1. */
	if (session_out_of_turn(s, "the reply to AUTH", false))
		return 0;
	if (name.len == 0)
		return session_reply(s, REPLY_AUTH_WHAT);
	if (why != REPLY_AUTH_DONE)
		return session_reply_with(s, why, why == REPLY_NOT_OFFERED || why == REPLY_IN_TRANSACTION ? c->name : name, SLICE_NULL);
	l.message = malloc(MESSAGE_MAX);
	if (!l.message)
		return session_reply(s, REPLY_OUT_OF_MEMORY);
	r = run(&l, slice_trim(initial));
	explicit_bzero(l.message, MESSAGE_MAX);
	free(l.message);
	user_done(&l.user);
	return r;
}

/* --- afterwards ------------------------------------------------------------------------------------------------- */

/* What MAIL says by AUTH= (RFC 4954 section 5), on whose behalf somebody else took the message, is checked for its form
 * (smtp/parameters.h) and passed on to nobody: that is what AUTH=<> means. */
int auth_check_sender(struct session *s, const struct address *from)
{
	const struct users_config *config;
	_cleanup_buffer_ struct buffer own = { 0 };

	if (!s->user || from->text.len == 0 || !s->settings->users)
		return 1;
	config = users_config(s->settings->users);
	if (users_may_send_as(config, s->user, s->addresses, from->text))
		return 1;
	users_list_addresses(config, s->user, s->addresses, &own);
	if (buffer_error(&own) < 0)
		return session_reply(s, REPLY_OUT_OF_MEMORY);
	return session_reply_with(s, REPLY_NOT_YOUR_ADDRESS, from->text, buffer_slice(&own));
}
