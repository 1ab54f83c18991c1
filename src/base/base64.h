/* Base64 (RFC 4648 section 4) as protocols use it: on one line, padded, and strict when it is read. */
#pragma once

#include "base/buffer.h"

/* Octets of the text for n octets of data, without a terminator. */
#define BASE64_LEN(n) (((n) + 2) / 3 * 4)

void base64_encode(struct slice data, struct buffer *out);
/* Into out, of which size octets may be used: the number of octets. -EINVAL: other characters (also white space), a length
 * that is no multiple of four, padding in the middle, bits behind the end. -ENOBUFS: it doesn't fit. */
ssize_t base64_decode(struct slice text, void *out, size_t size);
