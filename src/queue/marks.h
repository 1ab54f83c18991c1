/* What a filter can know of an address without reading it: the local part leaves marks in 64 bits, one for each three
 * characters in a row and some for the whole.
 *
 * The addresses of a million waiting messages stand in the spool. A pattern like *bob* would have to read all of them;
 * the marks rule most out. They only ever say "no" or "perhaps". Several local parts may share the marks; the more
 * they are, the less the marks say. Case does not matter, as in patterns (base/wildcard.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "queue/name.h"

/* Of the local part of local@domain. An address with no @ or several has all marks: nothing is ruled out. */
uint64_t marks_of_address(const char *address);
/* Can an address with these marks and this domain match the pattern? domain NULL: it isn't known. */
bool marks_may_match(uint64_t marks, const struct name *domain, const char *pattern);
