/* What strangers send to log in: base64, and the messages with tokens. The first octet chooses. */
#include <stdlib.h>

#include "base/base64.h"
#include "smtp/bearer.h"
#include "users/oauth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A text has one form: what was decoded encodes to the same. */
static void fuzz_base64(struct slice text)
{
	char *decoded = malloc(text.len + 1);
	struct buffer again = { 0 };
	ssize_t n = base64_decode(text, decoded, text.len);

	if (n >= 0) {
		base64_encode(slice_new(decoded, (size_t) n), &again);
		assert(slice_eq(buffer_slice(&again), text) || text.len == 0);
	}
	buffer_done(&again);
	free(decoded);
}

static void look_at(const struct bearer *b, struct slice message)
{
	assert(strlen(b->user) < sizeof(b->user));
	assert(b->token.len == 0 || (b->token.data >= message.data && b->token.data + b->token.len <= message.data + message.len));
	for (size_t i = 0; i < b->token.len; i++)
		assert(b->token.data[i] > ' ' && b->token.data[i] < 127);
}

static void fuzz_introspection(struct slice json)
{
	const struct users_oauth_config config = { .user_claim = "username", .scope = "smtp" };
	uint64_t expires;
	char *user;

	if (introspection_parse(json, &config, &user, &expires) < 0)
		return;
	assert(user_name_is_valid(slice_from(user)));
	free(user);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_new((const char *) data + 1, size ? size - 1 : 0);
	struct bearer b;

	if (size == 0)
		return 0;
	switch (data[0] % 4) {
	case 0:
		fuzz_base64(text);
		break;
	case 1:
		if (oauthbearer_parse(text, &b) == 0)
			look_at(&b, text);
		break;
	case 2:
		if (xoauth2_parse(text, &b) == 0)
			look_at(&b, text);
		break;
	default:
		fuzz_introspection(text);
	}
	return 0;
}
