/* The text of a master file (RFC 1035 section 5.1), cut into entries: what stands on a line, or on several
 * lines within parentheses; and the RDATA of the types we know, from such words to wire form.
 *
 * Comments are dropped but for those that have a line to themselves, which dns/zone.c looks into. */
#pragma once

#include "base/buffer.h"
#include "dns/name.h"
#include "dns/resolver.h"

#define ZONE_WORDS_MAX 4096u /* of one entry */

struct zone_word {
	struct slice text; /* as it stands in the file, escapes included, without the quotes */
	bool quoted;
};

struct zone_lexer {
	struct slice rest;
	unsigned line; /* of rest */
};

enum zone_entry_kind { ZONE_END, ZONE_WORDS, ZONE_COMMENT };

struct zone_entry {
	enum zone_entry_kind kind;
	unsigned line;         /* where it begins */
	bool indented;         /* begins with a blank: the owner is that of the entry before */
	struct slice comment;  /* of ZONE_COMMENT: what follows the semicolon, trimmed */
	unsigned n_words, capacity;
	struct zone_word *words; /* on the heap, used again for the next entry */
};
void zone_entry_done(struct zone_entry *e);

/* The next entry. On -EBADMSG *ret_error is static text, e->line says where, and the lexer stands behind the
 * line: go on if you like. */
int zone_lexer_next(struct zone_lexer *l, struct zone_entry *e, const char **ret_error);

/* "MX", "type65280": 0 and the type; *ret_ignored for types that we know of but have no use for. -EINVAL. */
int zone_type_parse(struct slice text, enum dns_type *ret, bool *ret_ignored);
/* "3600", "1h30m". -EINVAL, -ERANGE beyond 2^31 - 1. */
int zone_ttl_parse(struct slice text, uint32_t *ret);
/* Appends the wire form. -EBADMSG with *ret_error as static text. */
int zone_rdata_parse(enum dns_type type, const struct zone_word *words, unsigned n, const struct dns_name *origin,
		     struct buffer *out, const char **ret_error);
