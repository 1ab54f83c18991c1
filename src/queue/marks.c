#include "queue/marks.h"

#include <string.h>

#include "base/wildcard.h"

#define PIECE 3u
#define EDGE '\0' /* stands before the first and behind the last character of a local part */

static uint64_t mark(unsigned char a, unsigned char b, unsigned char c)
{
	uint32_t piece = (uint32_t) ascii_lower((char) a) << 16 | (uint32_t) ascii_lower((char) b) << 8 |
			 (uint32_t) ascii_lower((char) c);

	return UINT64_C(1) << (piece * 0x9e3779b1u >> 26);
}

/* Every three characters in a row. */
static uint64_t marks_within(struct slice text)
{
	uint64_t marks = 0;

	for (size_t i = 0; i + PIECE <= text.len; i++)
		marks |= mark((unsigned char) text.data[i], (unsigned char) text.data[i + 1], (unsigned char) text.data[i + 2]);
	return marks;
}

static uint64_t mark_of_beginning(struct slice text)
{
	return text.len < 2 ? 0 : mark(EDGE, (unsigned char) text.data[0], (unsigned char) text.data[1]);
}

/* Three bits of the whole, so that short ones are told apart, too. */
static uint64_t marks_of_whole(struct slice text)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < text.len; i++)
		h = (h ^ (unsigned char) ascii_lower(text.data[i])) * 16777619u;
	h ^= h >> 15;
	return UINT64_C(1) << (h & 63) | UINT64_C(1) << (h >> 6 & 63) | UINT64_C(1) << (h >> 12 & 63);
}

static uint64_t marks_of_local(struct slice local)
{
	return marks_within(local) | mark_of_beginning(local) | marks_of_whole(local);
}

uint64_t marks_of_address(const char *address)
{
	const char *at = strchr(address, '@');

	if (at && !strchr(at + 1, '@'))
		return marks_of_local(slice_new(address, (size_t) (at - address)));
	return *address ? UINT64_MAX : 0; /* the null path matches only what everything matches */
}

static bool domain_may_hold(const struct name *domain, struct slice text)
{
	if (!domain)
		return true;
	for (size_t i = 0; i + text.len <= domain->len; i++)
		if (slice_ieq(slice_new(domain->text + i, text.len), text))
			return true;
	return false;
}

static bool has_all(uint64_t marks, uint64_t wanted)
{
	return (marks & wanted) == wanted;
}

/* A run of the pattern without wildcards. What stands in it before an @ is in the local part. A run without @ is in one
 * of the two as a whole; one with which the pattern begins, in the local part. */
static bool run_may_be_in(uint64_t marks, const struct name *domain, struct slice run, bool first)
{
	const char *at = memrchr(run.data, '@', run.len);
	struct slice local = at ? slice_new(run.data, (size_t) (at - run.data)) : run;
	uint64_t wanted = marks_within(local);

	if (first)
		wanted |= mark_of_beginning(local);
	if (first && at)
		wanted |= marks_of_whole(local);
	return has_all(marks, wanted) || (!at && !first && domain_may_hold(domain, run));
}

bool marks_may_match(uint64_t marks, const struct name *domain, const char *pattern)
{
	if (!name_may_match(domain, pattern))
		return false;
	for (const char *p = pattern; *p;) {
		size_t len = strcspn(p, "*?");

		if (len > 0 && !run_may_be_in(marks, domain, slice_new(p, len), p == pattern))
			return false;
		p += len;
		p += strspn(p, "*?");
	}
	return true;
}
