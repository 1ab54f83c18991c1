/* The text of an SPF record (RFC 7208 sections 4.5, 4.6 and 12): read whole before any of it counts, so that an
 * error anywhere makes the record void. Slices point into the text. Pure. */
#pragma once

#include "base/arena.h"
#include "base/net.h"

enum spf_mechanism { SPF_ALL, SPF_INCLUDE, SPF_A, SPF_MX, SPF_PTR, SPF_IP4, SPF_IP6, SPF_EXISTS };

struct spf_directive {
	char qualifier; /* '+', '-', '~' or '?' */
	enum spf_mechanism mechanism;
	struct slice text;   /* the whole term as it was written */
	struct slice domain; /* domain-spec, macros and all; empty: the domain of the record */
	uint8_t cidr4, cidr6;
	struct ip ip;        /* of ip4 and ip6; family 0 for a network that can't match (an IPv4 address in ip6) */
};

struct spf_record {
	unsigned n_directives;
	struct spf_directive *directives;
	struct slice redirect;    /* domain-spec; data NULL: none */
	struct slice explanation; /* the same of exp= */
};

#define SPF_RECORD_MAX 65535u

/* Does the version section fit: exactly "v=spf1", then a space or the end (RFC 7208 section 4.5)? */
bool spf_record_is(struct slice text);
/* -EINVAL with *ret_why, a sentence in the arena, when there is any error; -ENOMEM. */
int spf_record_parse(struct slice text, struct arena *a, struct spf_record *ret, const char **ret_why);

/* --- macros ----------------------------------------------------------------------------------------------- */

enum spf_macro_kind {
	SPF_MACRO_LITERAL, /* text as it is */
	SPF_MACRO_LETTER,
};
struct spf_macro {
	enum spf_macro_kind kind;
	struct slice text;       /* of a literal; "%%" comes as "%", "%_" as a space, "%-" as "%20" */
	char letter;             /* lower case */
	bool escape;             /* it was an upper-case letter: URL-escape the result */
	unsigned digits;         /* 0: all parts */
	bool reverse;
	struct slice delimiters; /* empty: "." */
	bool transformed;        /* digits, r or delimiters were there */
};
/* The next piece off the front of a macro-string (which must not be empty). -EINVAL: a syntax error. explain: this is
 * the text of an explanation, with spaces and the letters c, r and t. */
int spf_macro_next(struct slice *rest, bool explain, struct spf_macro *ret);
