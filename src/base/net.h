/* Network addresses as plain values: parsed from text, compared, written as text. No system calls
 * are made here; world/ turns them into what the kernel wants.
 *
 * An IPv6 address that only wraps an IPv4 one (::ffff:192.0.2.1, what a dual-stack socket reports)
 * becomes that IPv4 address as soon as it enters, so that no access rule can be passed by writing an
 * address differently. */
#pragma once

#include "base/slice.h"

#define IP_TEXT 46       /* the longest address and a NUL */
#define CIDR_TEXT 50     /* with "/128" */
#define ENDPOINT_PATH 108
#define ENDPOINT_TEXT 120 /* "unix:" and the longest path, or "[address]:port" */

struct ip {
	uint8_t family; /* 4 or 6; 0: none */
	uint8_t bytes[16]; /* network order; family 4 uses the first four, the rest are zero */
};

/* From the bytes of a socket address; a wrapped IPv4 address is unwrapped. */
struct ip ip_from_v4(const uint8_t bytes[static 4]);
struct ip ip_from_v6(const uint8_t bytes[static 16]);

/* "192.0.2.1" (four decimal parts, nothing shorter), "2001:db8::1" (no zone, no brackets).
 * -EINVAL when it is none. */
int ip_parse(struct slice text, struct ip *ret);
/* IPv6 as in RFC 5952 section 4: lower case, the longest run of zeros as "::". Returns out; an address
 * without family gives "none". */
const char *ip_format(const struct ip *ip, char out[static IP_TEXT]);

bool ip_equal(const struct ip *a, const struct ip *b);
/* The first `bits` bits, the rest zero; bits beyond the length of the address change nothing. */
struct ip ip_network(const struct ip *ip, unsigned bits);

struct cidr {
	struct ip base; /* the bits behind the prefix are zero */
	uint8_t bits;
};

/* "10.0.0.0/8", "::1/128"; a bare address is a block of one. Bits behind the prefix may be set in the
 * text and are dropped. -EINVAL when it is none. */
int cidr_parse(struct slice text, struct cidr *ret);
const char *cidr_format(const struct cidr *c, char out[static CIDR_TEXT]);
/* Never across families: "::/0" holds no IPv4 address. */
bool cidr_contains(const struct cidr *c, const struct ip *ip);

/* Can it be reached over the Internet (RFC 6890, RFC 4291 section 2.4)? An IPv6 address in which a gateway finds one of
 * IPv4 (NAT64, 6to4) is what that one is. */
bool ip_is_public(const struct ip *ip);

enum endpoint_kind { ENDPOINT_NONE, ENDPOINT_IP, ENDPOINT_UNIX };

/* Where one connects to or listens. */
struct endpoint {
	enum endpoint_kind kind;
	struct ip ip;
	uint16_t port;
	char path[ENDPOINT_PATH]; /* absolute, terminated */
};

/* "127.0.0.1:25", "[::1]:25", "unix:/path". Port 0 is allowed (the kernel chooses). -EINVAL when it is
 * none of these (a host name isn't one), -ENAMETOOLONG for a path of more than 107 bytes. */
int endpoint_parse(struct slice text, struct endpoint *ret);
const char *endpoint_format(const struct endpoint *e, char out[static ENDPOINT_TEXT]);
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);
