/* Logging in with an access token: OAUTHBEARER (RFC 7628) and XOAUTH2. A refusal comes in two steps, a challenge with the
 * error in JSON, and after an answer that says nothing the reply itself. */
#include "base/base64.h"
#include "deliver/login_exchange.h"
#include "deliver/token_answer.h"
#include "deliver/tokens.h"
#include "smtp/bearer.h"

/* The message as base64, in memory that the caller wipes. */
static int write_message(const struct exchange *x, const char *token, struct buffer *out)
{
	const struct smtp_client *c = x->client;
	_cleanup_buffer_ struct buffer message = { 0 };
	size_t most = strlen(c->peer.login->user) * 3 + strlen(token) + 600;

	/* Room for all of it at once, so that no copies of the token stay behind. */
	(void) buffer_reserve(&message, most);
	(void) buffer_reserve(out, BASE64_LEN(most) + 1);
	if (x->mechanism == AUTH_OAUTHBEARER)
		oauthbearer_format(c->peer.login->user, c->peer.host, c->peer.endpoint.port, token, &message);
	else
		xoauth2_format(c->peer.login->user, token, &message);
	base64_encode(buffer_slice(&message), out);
	if (message.data)
		explicit_bzero(message.data, message.capacity);
	return buffer_error(&message) < 0 || buffer_error(out) < 0 ? -ENOMEM : 0;
}

struct challenge {
	const char *text; /* base64 */
	char *json;       /* room for what it decodes to */
	char said[TOKEN_WHY];
};

/* On a worker: what nests in JSON needs stack. */
static int read_challenge(void *arg)
{
	struct challenge *ch = arg;
	ssize_t n = base64_decode(slice_from(ch->text), ch->json, strlen(ch->text));

	if (n > 0)
		bearer_error_describe(slice_new(ch->json, (size_t) n), ch->said);
	return 0;
}

/* RFC 7628 section 3.2.3: the error is answered by the octet 1 alone; XOAUTH2 has an empty line. *reply becomes the refusal. */
static int hear_refusal(struct exchange *x, struct reply *reply)
{
	struct challenge ch = { .text = reply->text, .json = arena_alloc(x->scratch, strlen(reply->text) + 1) };
	int r;

	if (!ch.json)
		return -ENOMEM;
	(void) world_offload(x->client->deliverer->world, read_challenge, &ch);
	r = login_respond(x, x->mechanism == AUTH_OAUTHBEARER ? "AQ==" : "", reply);
	if (r >= 0 && ch.said[0])
		reply->text = arena_printf(x->scratch, "%s (%s)", reply->text, ch.said);
	return r < 0 ? r : reply->text ? 0 : -ENOMEM;
}

/* One token. 0 with the reply that counts. */
static int offer(struct exchange *x, const char *token, struct reply *reply)
{
	_cleanup_buffer_ struct buffer message = { 0 };
	int r = write_message(x, token, &message);

	if (r >= 0)
		r = login_begin(x, message.data, reply);
	if (message.data)
		explicit_bzero(message.data, message.capacity);
	if (r >= 0 && reply->code == 334)
		r = hear_refusal(x, reply);
	return r;
}

static int get_token(struct exchange *x, const char **ret)
{
	const char *why = NULL;
	int r = tokens_get(x->client->deliverer->tokens, x->client->peer.login->oauth, x->scratch, ret, &why);

	if (r == -EAGAIN)
		return login_fail(x, r, why ? why : "no access token can be had");
	return r < 0 ? login_lost(x, r) : 0;
}

int login_by_token(struct exchange *x)
{
	struct tokens *tokens = x->client->deliverer->tokens;
	const struct relay_oauth *account = x->client->peer.login->oauth;
	struct reply first = { 0 };

	for (;;) {
		const char *token;
		struct reply reply;
		bool again;
		int r = get_token(x, &token);

		if (r < 0)
			return r;
		r = offer(x, token, &reply);
		/* Only a refusal for good is about the token. */
		again = r >= 0 && REPLY_PERMANENT(&reply) && tokens_refused(tokens, account, token);
		explicit_bzero((char *) token, strlen(token));
		if (r >= 0 && reply.code == 235)
			return 0;
		if (r < 0 && first.code && r != -ECANCELED) /* it hung up after its refusal */
			return login_refused(x, &first);
		if (r < 0)
			return login_lost(x, r);
		if (!again || first.code)
			return login_refused(x, &reply);
		first = reply;
	}
}
