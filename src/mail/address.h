/* Addresses as the envelope carries them (RFC 5321 section 4.1.2, RFC 6531 section 3.3).
 *
 * A parsed address is a view of the text it was parsed from: nothing is copied or changed. What is
 * compared is compared with the domain's case folded; the local part is the business of its own server
 * (RFC 5321 section 2.4), except for "postmaster". */
#pragma once

#include "base/arena.h"
#include "base/net.h"

struct address {
	struct slice text;   /* local@domain as it was written, without angle brackets; empty: null path */
	struct slice local;  /* with its quotes, when it has them */
	struct slice domain; /* empty only for the bare <postmaster> and the null path */
	bool literal;        /* domain is [address literal] */
	struct ip ip;        /* of a literal that is an IPv4 or IPv6 address */
	bool utf8;           /* some byte is not ASCII: SMTPUTF8 is needed (valid UTF-8 was checked) */
};

#define LOCAL_PART_MAX 64   /* RFC 5321 section 4.5.3.1.1 */
#define DOMAIN_MAX 255      /* RFC 5321 section 4.5.3.1.2 */
#define PATH_MAX_OCTETS 256 /* RFC 5321 section 4.5.3.1.3, with the brackets */
#define LOCAL_PART_ACCEPT 240 /* with ADDRESS_ALLOW_LONG */

enum address_flags {
	ADDRESS_ALLOW_NULL = 1,       /* <> */
	ADDRESS_ALLOW_UTF8 = 2,       /* RFC 6531 */
	ADDRESS_ALLOW_POSTMASTER = 4, /* <postmaster> without a domain */
	/* Local parts up to LOCAL_PART_ACCEPT, and paths that long: variable return paths of mailing lists and
	 * rewritten senders often pass the limit, and RFC 5321 section 4.5.3.1 asks to impose none. */
	ADDRESS_ALLOW_LONG = 8,
	/* Whatever MAIL and RCPT may have taken: for reading the addresses of an envelope again. */
	ADDRESS_OF_ENVELOPE = ADDRESS_ALLOW_NULL | ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_POSTMASTER | ADDRESS_ALLOW_LONG,
};

/* Parses a path in angle brackets from the front of *s (source routes are accepted and dropped, RFC 5321
 * appendix F.2) and advances *s behind the '>'. -EINVAL: not a path; -E2BIG: a part is too long;
 * -EILSEQ: not ASCII without ADDRESS_ALLOW_UTF8, or not UTF-8. */
int path_parse(struct slice *s, unsigned flags, struct address *ret);
/* Parses local@domain without brackets, all of s. The same errors. */
int address_parse(struct slice s, unsigned flags, struct address *ret);
/* A domain name (labels of letters, digits, hyphens, underscores; U-labels with utf8), no trailing dot. */
bool domain_is_valid(struct slice s, bool allow_utf8);

/* The same mailbox: domains compared without case, local parts byte for byte. */
bool address_equal(const struct address *a, const struct address *b);
/* The local part without quotes and backslashes, for looking it up and for file names. NULL: memory. */
char *address_local_plain(struct arena *a, const struct address *addr);
/* The domain in lower case and as A-labels (IDNA 2008), for DNS and for comparing. The result is in the
 * arena. -EINVAL when it has no such form. */
int domain_to_ascii(struct arena *a, struct slice domain, const char **ret);
