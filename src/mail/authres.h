/* Authentication-Results (RFC 8601): what we found out about a message, told to those who read it after us; and the
 * fields of others that claim to be ours, found and taken out (section 5). Pure.
 *
 * A field is written from a list of methods, each with its result and properties:
 *
 *	Authentication-Results: mx.example.org;
 *		spf=pass smtp.mailfrom=example.net;
 *		dkim=pass header.d=example.net header.s=s1 header.b="AbCdEf+/" */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"

#define AUTHRES_PROPERTIES_MAX 8u
#define AUTHRES_METHODS_MAX 64u
#define AUTHRES_VALUE_MAX 500u /* octets of a value that is written: longer ones would not fit into a line (RFC 5322 section 2.1.1) */

struct authres_property {
	struct slice type, name; /* "smtp", "mailfrom" */
	struct slice value;      /* without quotes */
};
struct authres_method {
	struct slice method, result; /* "spf", "pass" */
	struct slice comment;        /* in parentheses behind the result; empty: none. Only written */
	struct slice reason;         /* reason=; empty: none */
	unsigned n_properties;
	struct authres_property properties[AUTHRES_PROPERTIES_MAX];
};
/* Adds a property if there is room and the value is neither empty nor too long. */
void authres_add(struct authres_method *m, const char *type, const char *name, const char *value);

/* Appends the value, "mx.example.org; spf=pass ...", folded, without the field's name and the last CRLF: what ARC
 * needs, too. Without methods it says "none". Control characters can't get in. */
void authres_format_value(const char *authserv_id, const struct authres_method *methods, unsigned n, struct buffer *out);
/* Appends the whole field with its CRLF. */
void authres_format(const char *authserv_id, const struct authres_method *methods, unsigned n, struct buffer *out);

struct authres {
	struct slice authserv_id; /* without quotes; in the arena */
	unsigned n_methods;       /* 0: "none" */
	struct authres_method *methods;
};
/* The value of a field, folds and comments included. -EINVAL: not one; -E2BIG: more methods or properties than we
 * keep; -ENOMEM. */
int authres_parse(struct arena *a, struct slice value, struct authres *ret);
/* Whose field is it: as much as can be told of a value that may be wrong behind that. False: not even that. arc: the
 * value begins with "i=3;", as that of ARC-Authentication-Results does. */
bool authres_claims(struct slice value, bool arc, const char *authserv_id);
/* Has it an ARC-Authentication-Results field that claims to be ours? Then it matters whether its chain holds. */
bool authres_has_forged_arc(struct slice message, const char *authserv_id);
/* Appends a header section (or a whole message) without the fields that claim to be ours: Authentication-Results, and
 * with arc, ARC-Authentication-Results of which no chain vouches. Returns how many were left out. */
unsigned authres_remove_forged(struct slice message, const char *authserv_id, bool arc, struct buffer *out);

/* Received-SPF (RFC 7208 section 9.1), for those who read that instead. Texts may be NULL or "" but for the result. */
struct received_spf {
	const char *result;   /* "pass" */
	const char *reason;   /* for people */
	const char *receiver; /* our name */
	const char *client_ip, *envelope_from, *helo;
	const char *identity; /* "mailfrom" or "helo" */
};
/* Appends the field, folded, with its CRLF. Control characters can't get in. */
void received_spf_format(const struct received_spf *r, struct buffer *out);
