/* The client's side of SOCKS 5 (RFC 1928), with logging in by name and password (RFC 1929): a few octets each way, and the
 * stream is that of the server behind the proxy.
 *
 * The parsers look at what has come so far: they return how many octets the message has, 0 when more must come, and
 * -EPROTO when it is none. */
#pragma once

#include "base/arena.h"
#include "route/source.h"
#include "world/stream.h"

#define SOCKS_NO_LOGIN 0x00u
#define SOCKS_PASSWORD 0x02u
#define SOCKS_NO_METHOD 0xffu

ssize_t socks_parse_method(struct slice in, uint8_t *ret_method);  /* RFC 1928 section 3 */
ssize_t socks_parse_login(struct slice in, uint8_t *ret_status);   /* RFC 1929 section 2: 0 is success */
ssize_t socks_parse_reply(struct slice in, uint8_t *ret_reply);    /* RFC 1928 section 6: 0 is success */
/* "connection refused". */
const char *socks_reply_text(uint8_t reply);

/* Asks the proxy, to which the stream is connected, for a connection to `to`, or where its kind is ENDPOINT_NONE, to `host`
 * at to->port. 0: what comes next on the stream is the server's. Else -errno, and *ret_why in words (in the arena, or
 * NULL: as the error says). */
int socks_connect(struct stream *s, const struct proxy *proxy, const struct endpoint *to, const char *host, usec_t deadline,
		  struct arena *a, const char **ret_why);
