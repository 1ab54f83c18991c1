/* Tag lists (RFC 6376 section 3.2): "a=rsa-sha256; d=example.org; ...", the form of DKIM's and ARC's header
 * fields and of the records that DKIM and DMARC keep in the DNS. Slices point into the text that was parsed.
 *
 * Beside them two things that all of this needs: Base64 with white space in it, and raw labels written as the
 * names that the resolver takes. */
#pragma once

#include "base/arena.h"
#include "base/slice.h"

#define TAGS_MAX 40u

struct tag {
	struct slice name;
	struct slice value; /* without white space at its ends; folds inside stay */
};

struct tags {
	unsigned n;
	struct tag tag[TAGS_MAX];
};

/* -EINVAL: not a tag list; -EEXIST: a tag stands there twice (RFC 6376 section 3.2); -E2BIG: more than
 * TAGS_MAX. Bytes that are not ASCII are let through, as RFC 8616 section 5 has it. */
int tags_parse(struct slice text, struct tags *ret);
/* The same for records that are to be read as far as they make sense (RFC 9989 section 4.8): what is no tag is passed
 * over, the first of two counts, and so do the first TAGS_MAX. */
void tags_parse_leniently(struct slice text, struct tags *ret);
/* The value of a tag, or one with data NULL. Names are compared byte for byte. */
struct slice tags_get(const struct tags *t, const char *name);

/* Folding white space at both ends gone: spaces, tabs, CR and LF. */
struct slice fws_trim(struct slice s);
/* The words between separators, trimmed: false when nothing is left. An empty word is a word. */
bool fws_word(struct slice *rest, char separator, struct slice *ret);
/* A number of at most max_digits digits; -EINVAL, -ERANGE. */
int tag_number(struct slice s, unsigned max_digits, uint64_t *ret);

/* White space is passed over, padding may be missing. The bytes lie in the arena. -EINVAL, -ENOMEM. */
int tag_base64(struct arena *a, struct slice text, struct slice *ret);

/* A domain name as raw bytes (what came out of a header or a macro), escaped so that the resolver reads just those
 * bytes (RFC 1035 section 5.1). Labels are still cut at dots. NULL when memory is out. */
char *name_escape(struct arena *a, struct slice raw);
/* Is name the same as, or below, parent? Without case; neither with a final dot. */
bool name_is_within(struct slice name, struct slice parent);
