/* What is said about access tokens: the first octet chooses the answer of an endpoint, with which status, or the error in the
 * challenge of a mail server. A token that is taken can stand in a message, and what is said can be shown. */
#include <stdlib.h>

#include "deliver/token_answer.h"
#include "smtp/bearer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_words(const char *why)
{
	assert(strlen(why) < TOKEN_WHY);
	for (const char *c = why; *c; c++)
		assert(*c >= ' ' && *c <= '~');
}

static void fuzz_answer(struct slice text, long status)
{
	struct token_answer a;
	int r = token_answer_parse(text, status, &a);

	assert(r == 0 || r == -EACCES || r == -EAGAIN || r == -EPROTO || r == -ENOMEM);
	assert(r == 0 ? a.access != NULL : !a.access && !a.refresh);
	check_words(a.why);
	assert(r == 0 || r == -ENOMEM || a.why[0]);
	if (r == 0) {
		struct buffer message = { 0 };
		struct bearer b;

		assert(a.access[0] && strlen(a.access) <= TOKEN_MAX && bearer_is_token(slice_from(a.access)));
		assert(a.lifetime <= 366 * USEC_DAY && (!a.refresh || strlen(a.refresh) <= TOKEN_MAX));
		oauthbearer_format("u", "h", 25, a.access, &message);
		assert(buffer_error(&message) < 0 || oauthbearer_parse(buffer_slice(&message), &b) == 0);
		buffer_done(&message);
	}
	token_answer_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const long statuses[] = { 200, 400, 401, 429, 503, 0 };
	struct slice text = slice_new((const char *) data + 1, size ? size - 1 : 0);
	char said[TOKEN_WHY];

	if (size == 0)
		return 0;
	if (data[0] % 8 < ARRAY_LEN(statuses)) {
		fuzz_answer(text, statuses[data[0] % 8]);
	} else {
		bearer_error_describe(text, said);
		check_words(said);
	}
	return 0;
}
