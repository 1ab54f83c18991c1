#include "base/suggest.h"

#define LONGEST 63

/* Damerau and Levenshtein's distance in its usual restricted form (no part is edited twice). Each row
 * of the table needs the two before it. Both words are at most LONGEST long. */
static unsigned distance(struct slice a, struct slice b)
{
	uint8_t rows[3][LONGEST + 1];

	for (size_t j = 0; j <= b.len; j++)
		rows[0][j] = (uint8_t) j;
	for (size_t i = 1; i <= a.len; i++) {
		uint8_t *now = rows[i % 3];
		const uint8_t *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
		char x = ascii_lower(a.data[i - 1]);

		now[0] = (uint8_t) i;
		for (size_t j = 1; j <= b.len; j++) {
			char y = ascii_lower(b.data[j - 1]);
			uint8_t best = MIN(up[j], now[j - 1]) + 1;

			best = MIN(best, (uint8_t) (up[j - 1] + (x != y)));
			if (i > 1 && j > 1 && x == ascii_lower(b.data[j - 2]) &&
			    ascii_lower(a.data[i - 2]) == y)
				best = MIN(best, (uint8_t) (up2[j - 2] + 1));
			now[j] = best;
		}
	}
	return rows[a.len % 3][b.len];
}

const char *suggest_nearest(struct slice word, const char *const *candidates, size_t n)
{
	const char *best = NULL;
	unsigned best_distance = 0;

	if (word.len == 0 || word.len > LONGEST)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		struct slice candidate = slice_from(candidates[i]);
		size_t shorter = MIN(word.len, candidate.len), longer = MAX(word.len, candidate.len);
		unsigned near = (unsigned) MAX(longer / 3, (size_t) 1), d;

		if (candidate.len > LONGEST || longer - shorter > near)
			continue;
		d = distance(word, candidate);
		/* Nothing in common is no slip: "a" isn't a mistyped "x". */
		if (d > near || d >= longer || (best && d >= best_distance))
			continue;
		best = candidates[i];
		best_distance = d;
	}
	return best;
}
