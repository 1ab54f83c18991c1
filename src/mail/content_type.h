/* What a body is: the Content-Type field (RFC 2045 section 5.1). Pure. */
#pragma once

#include "base/arena.h"
#include "base/slice.h"

struct content_type {
	const char *type;     /* "text", lower case */
	const char *subtype;  /* "plain", lower case */
	const char *boundary; /* of a multipart, or NULL */
};
static inline bool content_type_is(const struct content_type *t, const char *type, const char *subtype)
{
	return strcmp(t->type, type) == 0 && (!subtype || strcmp(t->subtype, subtype) == 0);
}

/* The value of the field, folds and all; everything in *ret lies in the arena. -EINVAL: it is not what the RFC asks for,
 * which means text/plain then; -ENOMEM. */
int content_type_parse(struct slice value, struct arena *a, struct content_type *ret);
/* The first token of a Content-Transfer-Encoding field (RFC 2045 section 6.1), comments and folds passed over: a view
 * of the value, empty without one. */
struct slice transfer_encoding(struct slice value);
