/* "Did you mean": the known word that is nearest to a mistyped one. */
#pragma once

#include "base/slice.h"

/* The nearest of n candidates (terminated strings) by insertions, deletions, substitutions and swaps of
 * neighbours, letters compared without case; the first of equals. NULL when none is near enough to be
 * a likely slip: one slip for up to five letters, one more for every three. Words of more than 63
 * bytes are never near. */
const char *suggest_nearest(struct slice word, const char *const *candidates, size_t n);
