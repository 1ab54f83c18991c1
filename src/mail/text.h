/* Small questions about text from the network, asked in many places. */
#pragma once

#include "base/buffer.h"

bool text_is_ascii(struct slice s);
/* Below the space, or DEL. */
bool text_has_control(struct slice s);
/* Only the space and what can be seen of ASCII. */
bool text_is_printable_ascii(struct slice s);
/* The front of s, at most max octets, not cut inside of a character of UTF-8. */
struct slice text_head(struct slice s, size_t max);
/* Appends s with control characters as spaces: nothing of it can begin a new line. */
void text_append_clean(struct buffer *out, struct slice s);
