/* The arguments of XCLIENT and XFORWARD, by which a trusted program in front of us (a filter, a test) says for whom it
 * speaks: "NAME=mx.example.org ADDR=192.0.2.1". The commands are Postfix's (XCLIENT_README, XFORWARD_README); values
 * are xtext, and [UNAVAILABLE] and [TEMPUNAVAIL] stand for what isn't known. */
#pragma once

#include "base/arena.h"
#include "base/net.h"

enum client_attribute {
	ATTRIBUTE_NAME = 1,
	ATTRIBUTE_ADDR = 2,
	ATTRIBUTE_PORT = 4,
	ATTRIBUTE_PROTO = 8,
	ATTRIBUTE_HELO = 16,
	ATTRIBUTE_LOGIN = 32,
	ATTRIBUTE_DESTADDR = 64,
	ATTRIBUTE_DESTPORT = 128,
	ATTRIBUTE_IDENT = 256,
	ATTRIBUTE_SOURCE = 512,
};
/* What each command takes. */
#define ATTRIBUTES_OF_XCLIENT (ATTRIBUTE_NAME | ATTRIBUTE_ADDR | ATTRIBUTE_PORT | ATTRIBUTE_PROTO | ATTRIBUTE_HELO | \
			       ATTRIBUTE_LOGIN | ATTRIBUTE_DESTADDR | ATTRIBUTE_DESTPORT)
#define ATTRIBUTES_OF_XFORWARD (ATTRIBUTE_NAME | ATTRIBUTE_ADDR | ATTRIBUTE_PORT | ATTRIBUTE_PROTO | ATTRIBUTE_HELO | \
				ATTRIBUTE_IDENT | ATTRIBUTE_SOURCE)

struct client_attributes {
	unsigned given;      /* enum client_attribute; of these, what isn't known is NULL, 0 or family 0 */
	const char *name, *helo, *login, *ident;
	const char *proto;   /* "SMTP" or "ESMTP" */
	struct ip addr, dest;
	uint16_t port, dest_port;
};

/* takes: the attributes that the command has. Texts lie in the arena, without control characters. -EINVAL, with the
 * attribute that is wrong in *ret_wrong; -ENOMEM. What is given in *ret already (from an earlier command) stays. */
int client_attributes_parse(struct slice args, unsigned takes, struct arena *a, struct client_attributes *ret,
			    struct slice *ret_wrong);
