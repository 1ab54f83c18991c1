/* xtext (RFC 3461 section 4): how ENVID, ORCPT and AUTH carry any text through a parameter, and its
 * sibling for addresses in UTF-8 (RFC 6533 section 3), where \x{20AC} stands for a character. */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"

/* Appends s with everything outside "!" to "~", and "+" and "=", as +XX. */
void xtext_encode(struct slice s, struct buffer *out);
/* -EINVAL when it is not xtext. The result is terminated, in the arena; it may hold any octet that was
 * encoded, also NUL. */
int xtext_decode(struct arena *a, struct slice text, struct slice *ret);

/* utf-8-addr-xtext: ASCII only, for servers without SMTPUTF8 and for message/delivery-status. -EILSEQ
 * when s is not UTF-8. */
int unitext_encode(struct slice s, struct buffer *out);
/* Undoes utf-8-addr-xtext and utf-8-addr-unitext, leaves utf-8-address alone. -EINVAL; -EILSEQ when it is
 * not UTF-8. */
int unitext_decode(struct arena *a, struct slice text, struct slice *ret);

/* An ORCPT value: address-type ";" encoded address (RFC 3461 section 4.2). */
#define ORCPT_MAX 500
/* From the wire to "type;address" with the address decoded (xtext, or unitext for type utf-8), which is
 * what the envelope keeps. The type is in lower case. Control characters in the decoded address are
 * refused: -EINVAL. -EILSEQ: not UTF-8, or not ASCII without allow_utf8. -E2BIG. */
int orcpt_decode(struct arena *a, struct slice wire, bool allow_utf8, const char **ret);
/* From "type;address" to the wire. with_utf8: the peer takes SMTPUTF8. -EINVAL. */
int orcpt_encode(const char *orcpt, bool with_utf8, struct buffer *out);
