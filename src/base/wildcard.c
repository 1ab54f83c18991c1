#include "base/wildcard.h"

/* Only the last star seen needs to be tried again: what an earlier one took can't help, since the later
 * one takes any run itself. */
bool wildcard_match(struct slice pattern, struct slice text)
{
	size_t p = 0, t = 0;
	size_t star = SIZE_MAX, resume = 0; /* behind the last star; where its run ends at present */

	while (t < text.len) {
		if (p < pattern.len && pattern.data[p] == '*') {
			star = ++p;
			resume = t;
		} else if (p < pattern.len && (pattern.data[p] == '?' ||
					       ascii_lower(pattern.data[p]) == ascii_lower(text.data[t]))) {
			p++;
			t++;
		} else if (star != SIZE_MAX) {
			p = star;
			t = ++resume;
		} else {
			return false;
		}
	}
	while (p < pattern.len && pattern.data[p] == '*')
		p++;
	return p == pattern.len;
}
