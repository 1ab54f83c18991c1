/* The front of every resolver: names in one spelling, the cache, reverse look-ups. */
#include "dns/resolver.h"

#include <stdio.h>
#include <stdlib.h>

#include "dns/cache.h"
#include "dns/name.h"
#include "dns/unbound.h"
#include "dns/zone.h"
#include "world/file.h"

#define ZONE_SIZE_MAX ((size_t) 256 * 1024 * 1024)
#define REVERSE_NAMES_MAX 10u
/* Whoever has waited less and given up has learnt nothing about the name that others should be told. */
#define TIMEOUT_WORTH_KEEPING (3 * USEC_SEC)

/* A text that can't be a name has no records; asking servers about it would be an error of its own. */
static int answer_no_name(const char *name, struct arena *a, struct dns_answer *ret)
{
	char shown[128];
	struct dns_answer answer = { .status = DNS_NXDOMAIN, .ttl = 0 };

	answer.canonical = arena_strdup(a, name);
	answer.why = arena_printf(a, "'%s' is not a domain name", slice_escape(slice_from(name), shown, sizeof(shown)));
	if (!answer.canonical || !answer.why)
		return -ENOMEM;
	*ret = answer;
	return 0;
}

/* The one spelling under which a name is asked for and kept. */
static int normalise(const char *name, char out[static DNS_NAME_TEXT])
{
	struct dns_name n;
	int r;

	r = dns_name_parse(slice_from(name), NULL, &n);
	if (r < 0)
		return r;
	(void) dns_name_format(&n, out);
	return 0;
}

int dns_query(struct resolver *r, const char *name, enum dns_type type, usec_t deadline, struct arena *a,
	      struct dns_answer *ret)
{
	char text[DNS_NAME_TEXT];
	struct dns_answer answer;
	usec_t start;
	int result;

	if (normalise(name, text) < 0)
		return answer_no_name(name, a, ret);
	if (r->cache) {
		result = dns_cache_get(r->cache, text, type, a, ret);
		if (result != 0)
			return result < 0 ? result : 0;
	}
	start = world_now(r->world);
	result = r->ops->query(r, text, type, deadline, a, &answer);
	if (result < 0)
		return result;
	if (r->cache && (answer.status != DNS_TIMEOUT || world_now(r->world) - start >= TIMEOUT_WORTH_KEEPING))
		dns_cache_put(r->cache, text, type, &answer);
	*ret = answer;
	return 0;
}

int dns_query_cached(struct resolver *r, const char *name, enum dns_type type, struct arena *a, struct dns_answer *ret)
{
	char text[DNS_NAME_TEXT];

	if (normalise(name, text) < 0)
		return answer_no_name(name, a, ret) < 0 ? 0 : 1;
	if (!r->cache)
		return 0;
	return dns_cache_get(r->cache, text, type, a, ret) > 0;
}

/* --- reverse ------------------------------------------------------------------------------------------- */

char *dns_reverse_name(struct arena *a, const struct ip *ip, const char *suffix_or_null)
{
	const uint8_t *b = ip->bytes;
	char nibbles[65], *p = nibbles;

	if (ip->family == 4)
		return arena_printf(a, "%u.%u.%u.%u.%s", b[3], b[2], b[1], b[0],
				    suffix_or_null ? suffix_or_null : "in-addr.arpa");
	/* RFC 3596 section 2.5: the lowest nibble first. */
	for (int i = 15; i >= 0; i--) {
		*p++ = "0123456789abcdef"[b[i] & 15];
		*p++ = '.';
		*p++ = "0123456789abcdef"[b[i] >> 4];
		*p++ = '.';
	}
	*p = '\0';
	return arena_printf(a, "%s%s", nibbles, suffix_or_null ? suffix_or_null : "ip6.arpa");
}

int dns_has_address(struct resolver *r, const char *name, const struct ip *ip, usec_t deadline, struct arena *a)
{
	struct dns_answer answer;
	int result;

	if (!dns_name_is_host(name))
		return 0;
	result = dns_query(r, name, ip->family == 4 ? DNS_A : DNS_AAAA, deadline, a, &answer);
	if (result < 0)
		return result;
	if (DNS_STATUS_TEMPORARY(answer.status))
		return -EAGAIN;
	for (unsigned i = 0; i < answer.n_records; i++)
		if (ip_equal(&answer.records[i].ip, ip))
			return 1;
	return 0;
}

int dns_reverse(struct resolver *r, const struct ip *ip, usec_t deadline, struct arena *a, const char **ret)
{
	const char *question = dns_reverse_name(a, ip, NULL);
	struct dns_answer answer;
	bool temporary = false;
	int result;

	if (!question)
		return -ENOMEM;
	result = dns_query(r, question, DNS_PTR, deadline, a, &answer);
	if (result < 0)
		return result;
	if (DNS_STATUS_TEMPORARY(answer.status))
		return -EAGAIN;
	for (unsigned i = 0; i < answer.n_records && i < REVERSE_NAMES_MAX; i++) {
		const char *name = answer.records[i].name;

		result = dns_has_address(r, name, ip, deadline, a);
		if (result > 0) {
			*ret = name;
			return 0;
		}
		if (result == -EAGAIN)
			temporary = true;
		else if (result < 0)
			return result;
	}
	if (temporary)
		return -EAGAIN;
	*ret = "";
	return 0;
}

/* --- life ---------------------------------------------------------------------------------------------- */

static int zone_file_resolver_new(struct world *w, const struct dns_config *config, struct resolver **ret, char **ret_why)
{
	_cleanup_(freep) char *text = NULL;
	struct zone *zone;
	size_t len;
	int r;

	r = file_read_all(w, config->zone, ZONE_SIZE_MAX, &text, &len);
	if (r < 0) {
		if (asprintf(ret_why, "%s: cannot read the zone: %s", config->zone, strerror(-r)) < 0)
			*ret_why = NULL;
		return r;
	}
	r = zone_parse(slice_new(text, len), config->zone, &zone, ret_why);
	if (r < 0)
		return r;
	return zone_resolver_new(w, zone, config->cache_entries, ret);
}

int resolver_new(struct world *w, const struct log *log, const struct dns_config *config, struct resolver **ret, char **ret_why)
{
	*ret_why = NULL;
	if (config->zone)
		return zone_file_resolver_new(w, config, ret, ret_why);
	return unbound_resolver_new(w, log, config, ret, ret_why);
}

void resolver_free(struct resolver *r)
{
	struct dns_cache *cache;

	if (!r)
		return;
	cache = r->cache;
	r->ops->free(r);
	dns_cache_free(cache);
}
