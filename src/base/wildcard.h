/* Patterns with `*` (any run of bytes, also none) and `?` (one byte), for addresses and host names in
 * routes and rules. ASCII letters match in either case; there are no classes and no escapes. */
#pragma once

#include "base/slice.h"

/* Takes at most len(pattern) * len(text) steps, whatever the pattern. */
bool wildcard_match(struct slice pattern, struct slice text);
