/* What is said about access tokens, read: the answer of a token endpoint (RFC 6749 sections 5.1 and 5.2) and the words of a
 * mail server that takes a token no longer (RFC 7628 section 3.2.2). JSON from the network: on a worker, whose stack is large
 * enough for what nests. */
#pragma once

#include "base/arena.h"
#include "base/time.h"

#define TOKEN_WHY 400
#define TOKEN_MAX 8192u /* octets of one token: what goes through one line of AUTH (RFC 4954 section 4) as base64 */

struct token_answer {
	char *access;    /* heap; one that may stand in a message (bearer_is_token) */
	char *refresh;   /* a new refresh token, or NULL; heap */
	usec_t lifetime; /* from now on; 0: not said */
	char why[TOKEN_WHY]; /* when there is none: what is wrong, printable */
};
/* status: of HTTP. On failure both tokens are NULL. -EACCES: the server refuses, and will until somebody changes something;
 * -EAGAIN: it can't now; -EPROTO: this is no such answer; -ENOMEM. */
int token_answer_parse(struct slice body, long status, struct token_answer *ret);
void token_answer_done(struct token_answer *a); /* wipes */

/* The decoded challenge that stands in for a refusal, for people: "invalid_token, scope smtp". "" when it says nothing. */
void bearer_error_describe(struct slice json, char out[static TOKEN_WHY]);
