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

static bool some_pattern_matches(const char *const *patterns, unsigned n, const char *value)
{
	for (unsigned i = 0; i < n; i++)
		if (patterns[i][0] == '\0' ? value[0] == '\0'
					   : value[0] != '\0' && wildcard_match(slice_from(patterns[i]), slice_from(value)))
			return true;
	return false;
}

bool route_user_matches(const struct route_rule *rule, const char *user)
{
	return rule->n_user == 0 || some_pattern_matches(rule->user, rule->n_user, user ? user : "");
}

static const char *value_of(const struct route_facts *facts, const char *name)
{
	for (unsigned i = 0; i < facts->n_headers; i++)
		if (slice_ieq_str(slice_from(facts->headers[i].name), name))
			return facts->headers[i].value;
	return "";
}

bool route_content_matches(const struct route_rule *rule, const struct route_facts *facts)
{
	if (facts->size < rule->size_min || (rule->size_max > 0 && facts->size > rule->size_max))
		return false;
	for (unsigned i = 0; i < rule->n_headers; i++) {
		const struct route_header *h = &rule->headers[i];

		if (!some_pattern_matches(h->values, h->n_values, value_of(facts, h->name)))
			return false;
	}
	return true;
}
