/* What the ways of logging in share, for login*.c: one exchange of AUTH (RFC 4954), and the words for its failure. */
#pragma once

#include "deliver/smtp_client.h"

struct exchange {
	struct smtp_client *client;
	struct arena *scratch;
	struct outcome *failure;
	unsigned mechanism; /* enum auth_mechanism */
	const char *name;   /* of it */
};

/* Each returns a negative errno and has filled x->failure: in our own words, lost connection, a refusal. */
int login_fail(struct exchange *x, int error, const char *text);
int login_lost(struct exchange *x, int error);
int login_refused(struct exchange *x, const struct reply *reply);

/* AUTH with the first response (base64, "" for an empty one; NULL: the server speaks first), and the reply to that. A response
 * that makes the line too long is sent when the server asks for it. Wipes what it sent, not `response`. -errno: the
 * connection, as smtp_client_ask has it. */
int login_begin(struct exchange *x, const char *response, struct reply *ret);
int login_respond(struct exchange *x, const char *response, struct reply *ret);

/* OAUTHBEARER and XOAUTH2, with tokens of the deliverer. As login(). */
int login_by_token(struct exchange *x);
