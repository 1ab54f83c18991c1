/* Finding the octets that matter in message content, many at a time. */
#pragma once

#include "base/slice.h"

/* The index of the first CR, LF or NUL in data, or len. Sets *eight_bit when an octet above 127 lies
 * before it (it is never cleared). At about the speed of memory. */
size_t scan_text(const char *data, size_t len, bool *eight_bit);

/* Where in the text a scan stands. */
struct scan_place {
	bool line_start; /* behind CR LF, or at the beginning */
	bool after_cr;   /* behind a CR that no other stands before */
};
/* Passes over whole blocks of flawless text: every CR before a LF, every LF behind a CR, no NUL, and with dots
 * also no dot at the start of a line. Returns how many octets (0 when the first block is not like that, or
 * there is less than one), updates *place and *eight_bit. All line ends of a block cost as much as one. */
size_t scan_flawless(const char *data, size_t len, bool dots, struct scan_place *place, bool *eight_bit);
/* The same without the instructions that only some processors have: for tests. */
size_t scan_flawless_everywhere(const char *data, size_t len, bool dots, struct scan_place *place, bool *eight_bit);
