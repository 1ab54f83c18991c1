/* Domain names: between the text that people and configurations write and the wire form in which two
 * spellings of one name are the same bytes.
 *
 * The wire form (RFC 1035 section 3.1) is a row of labels, each a length byte and up to 63 bytes, ended
 * by an empty label; here always in lower case. The text has the escapes of RFC 1035 section 5.1: \X for
 * a byte that would mean something else, \DDD for one that can't be printed. */
#pragma once

#include "base/slice.h"

#define DNS_NAME_MAX 255   /* bytes of the wire form */
#define DNS_LABEL_MAX 63
#define DNS_NAME_TEXT 1024 /* the longest text with all bytes escaped, and a NUL */

struct dns_name {
	uint8_t len; /* of the wire form with its final 0: at least 1 */
	uint8_t wire[DNS_NAME_MAX];
};

/* A text that ends with a dot is absolute; else origin is appended (NULL: the root). "" and "." are the root.
 * -EINVAL: not a name (an empty label, a label that is too long, a wrong escape); -ENAMETOOLONG. */
int dns_name_parse(struct slice text, const struct dns_name *origin, struct dns_name *ret);
/* The name at the front of wire bytes, lower-cased; no compression pointers. Returns the bytes it takes there,
 * -EBADMSG. */
int dns_name_from_wire(const uint8_t *data, size_t len, struct dns_name *ret);
/* Lower case, no final dot, "" for the root. Returns out. */
const char *dns_name_format(const struct dns_name *n, char out[static DNS_NAME_TEXT]);
bool dns_name_equal(const struct dns_name *a, const struct dns_name *b);
/* Takes the first label off; false when n is the root already. */
bool dns_name_parent(struct dns_name *n);
/* Puts "*" in front. -ENAMETOOLONG. */
int dns_name_wildcard(const struct dns_name *n, struct dns_name *ret);

/* Could this be the name of a host in a lookup: letters, digits, hyphens (and underscores, which the field has)
 * in every label, no hyphen first, and not an IPv4 address in disguise (RFC 1123 section 2.1: the last label
 * isn't all digits). Takes text without a final dot. */
bool dns_name_is_host(const char *text);
