/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing beyond U+10FFFF.
 *
 * Text from the network is bytes until somebody looks; here is the one place that looks. */
#pragma once

#include "base/slice.h"

/* The character at the front of s: returns its length in bytes (1 to 4) and its code point in *ret,
 * or 0 when s is empty or does not begin with a whole, valid character (*ret is then untouched). */
size_t utf8_decode(struct slice s, uint32_t *ret);

/* All of s is valid (an empty slice is). */
bool utf8_valid(struct slice s);

/* The character can be shown on a terminal as itself: no control, no invisible or direction-changing
 * format character, no line or paragraph separator, no noncharacter. */
bool utf8_printable(uint32_t c);

/* Text that people typed: valid, and without control characters of ASCII (an empty slice is). */
bool utf8_is_text(struct slice s);
