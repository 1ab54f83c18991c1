#include "route/match.h"

#include "base/wildcard.h"

/* A local part and its domain, with an @ between. The longest that the parser lets in. */
#define ADDRESS_TEXT_MAX (LOCAL_PART_ACCEPT + 1 + DOMAIN_MAX)

static bool matches_address(struct slice pattern, const struct address *address, const char *domain)
{
	char text[ADDRESS_TEXT_MAX];
	size_t domain_len = strlen(domain);
	size_t len = address->local.len + 1 + domain_len;

	if (wildcard_match(pattern, address->text))
		return true;
	if (len > sizeof(text))
		return false;
	/* Once more with the domain as it stands in the DNS: a pattern may be written either way. */
	memcpy(text, address->local.data, address->local.len);
	text[address->local.len] = '@';
	memcpy(text + address->local.len + 1, domain, domain_len);
	return wildcard_match(pattern, slice_new(text, len));
}

bool route_pattern_matches(const char *pattern, const struct address *address, const char *domain)
{
	struct slice p = slice_from(pattern);

	if (p.len == 0)
		return address->text.len == 0;
	if (p.len == 1 && p.data[0] == '*')
		return true;
	if (address->text.len == 0)
		return false;
	if (slice_find(p, '@') >= 0)
		return matches_address(p, address, domain);
	return wildcard_match(p, slice_from(domain)) || (address->utf8 && wildcard_match(p, address->domain));
}

bool route_patterns_match(const char *const *patterns, unsigned n, const struct address *address, const char *domain)
{
	if (!patterns || n == 0)
		return true;
	for (unsigned i = 0; i < n; i++)
		if (route_pattern_matches(patterns[i], address, domain))
			return true;
	return false;
}
