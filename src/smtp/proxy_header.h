/* The header of the PROXY protocol, versions 1 and 2: by it a load balancer in front of us says who the client is.
 * It stands before everything else on the connection (the protocol is described in HAProxy's proxy-protocol.txt). */
#pragma once

#include "base/net.h"

enum proxy_kind {
	PROXY_CLIENT,  /* client and server are filled */
	PROXY_LOCAL,   /* the proxy speaks for itself: a health check. The addresses of the connection are the real ones */
	PROXY_UNKNOWN, /* it speaks for a client that it can't describe */
};
struct proxy_header {
	enum proxy_kind kind;
	struct endpoint client, server; /* ENDPOINT_UNIX: over a unix socket of the proxy's machine */
	unsigned version;               /* 1 or 2 */
};

#define PROXY_HEADER_MAX 16384u /* octets that are accepted, with all additions of version 2 */

/* Looks at what has come so far. 1: *ret and *ret_len (octets of the header) are filled; 0: more is needed;
 * -EBADMSG: this is no such header, or a damaged one (version 2 with a wrong checksum, too); -E2BIG. */
int proxy_header_parse(struct slice in, struct proxy_header *ret, size_t *ret_len);
