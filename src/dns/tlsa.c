#include "dns/tlsa.h"

#include <stdio.h>

#include "dns/rdata.h"

int tlsa_parse(struct slice rdata, struct tlsa_record *ret)
{
	const uint8_t *p = (const uint8_t *) rdata.data;

	if (rdata.len < 4)
		return -EBADMSG;
	*ret = (struct tlsa_record) { p[0], p[1], p[2], slice_skip(rdata, 3) };
	return 0;
}

bool tlsa_is_usable(const struct tlsa_record *r)
{
	/* RFC 7672 section 3.1.3: the usages 0 and 1 lean on CAs that mail servers don't agree on. */
	if ((r->usage != TLSA_DANE_TA && r->usage != TLSA_DANE_EE) || r->selector > 1)
		return false;
	switch (r->matching) {
	case TLSA_FULL:
		return r->data.len > 0;
	case TLSA_SHA256:
		return r->data.len == 32;
	case TLSA_SHA512:
		return r->data.len == 64;
	}
	return false;
}

const char *tlsa_format(const struct tlsa_record *r, char out[static TLSA_TEXT])
{
	static const char digits[] = "0123456789abcdef";
	int used = snprintf(out, TLSA_TEXT, "%u %u %u ", r->usage, r->selector, r->matching);
	char *p = out + used;

	for (size_t i = 0; i < r->data.len; i++) {
		if (p + 2 + sizeof("...") > out + TLSA_TEXT) {
			p = stpcpy(p, "...");
			break;
		}
		*p++ = digits[(uint8_t) r->data.data[i] >> 4];
		*p++ = digits[(uint8_t) r->data.data[i] & 15];
	}
	*p = '\0';
	return out;
}

const char *dane_status_name(enum dane_status s)
{
	static const char *const names[] = {
		[DANE_NONE] = "none", [DANE_USABLE] = "usable", [DANE_UNUSABLE] = "unusable", [DANE_ERROR] = "error",
	};

	return names[s];
}

/* --- finding them ------------------------------------------------------------------------------------------- */

struct search {
	struct resolver *resolver;
	const char *host;
	uint16_t port;
	usec_t deadline;
	struct arena *arena;
};

static int conclude(struct dane *ret, enum dane_status status, const char *why)
{
	if (!why)
		return -ENOMEM;
	ret->status = status;
	ret->why = why;
	return 0;
}

static int take_records(const struct dns_answer *answer, struct arena *a, struct dane *dane)
{
	bool usable = false;

	dane->records = arena_new_array(a, struct tlsa_record, MIN(answer->n_records, TLSA_RECORDS_MAX));
	if (!dane->records)
		return -ENOMEM;
	for (unsigned i = 0; i < answer->n_records && dane->n_records < TLSA_RECORDS_MAX; i++) {
		struct tlsa_record *record = &dane->records[dane->n_records];

		/* What can't be read is a record all the same: whoever publishes one has TLS (section 2.2). */
		if (tlsa_parse(answer->records[i].data, record) < 0)
			continue;
		dane->n_records++;
		usable |= tlsa_is_usable(record);
	}
	dane->status = usable ? DANE_USABLE : DANE_UNUSABLE;
	return 0;
}

/* Section 2.2.3: the records at one candidate for the base domain. DANE_NONE: the next candidate is tried. */
static int ask_candidate(const struct search *s, const char *base, struct dane *ret)
{
	struct dane dane = { .base = base, .name = arena_printf(s->arena, "_%u._tcp.%s", s->port, base) };
	struct dns_answer answer;
	int r;

	if (!dane.name)
		return -ENOMEM;
	r = dns_query(s->resolver, dane.name, DNS_TLSA, s->deadline, s->arena, &answer);
	if (r < 0)
		return r;
	if (DNS_STATUS_TEMPORARY(answer.status))
		r = conclude(&dane, DANE_ERROR,
			     arena_printf(s->arena, "the TLSA records of %s can't be looked up: %s", s->host,
					  answer.why ? answer.why : dns_status_name(answer.status)));
	else if (answer.status != DNS_OK)
		r = conclude(&dane, DANE_NONE, "no TLSA record");
	else if (!answer.secure)
		r = conclude(&dane, DANE_NONE, "the TLSA records are not protected by DNSSEC");
	else
		r = take_records(&answer, s->arena, &dane);
	if (r >= 0)
		*ret = dane;
	return r;
}

/* Section 2.2.2, "Insecure CNAME": the addresses lie in an unsigned zone, but does the alias? 1, 0, -EAGAIN with *ret_why. */
static int alias_is_secure(const struct search *s, const char **ret_why)
{
	struct dns_answer answer;
	int r = dns_query(s->resolver, s->host, DNS_CNAME, s->deadline, s->arena, &answer);

	if (r < 0)
		return r;
	if (!DNS_STATUS_TEMPORARY(answer.status))
		return answer.secure;
	*ret_why = arena_printf(s->arena, "the alias %s can't be looked up: %s", s->host,
				answer.why ? answer.why : dns_status_name(answer.status));
	return *ret_why ? -EAGAIN : -ENOMEM;
}

static int find_insecure(const struct search *s, bool alias, struct dane *ret)
{
	const char *why = NULL;
	int r = alias ? alias_is_secure(s, &why) : 0;

	if (r == -EAGAIN)
		return conclude(ret, DANE_ERROR, why);
	if (r < 0)
		return r;
	return r > 0 ? ask_candidate(s, s->host, ret) : conclude(ret, DANE_NONE, "the addresses are not protected by DNSSEC");
}

int dane_find(struct resolver *resolver, const char *host, uint16_t port, const struct dns_address_list *addresses, usec_t deadline,
	      struct arena *a, struct dane *ret)
{
	struct search s = { .resolver = resolver, .host = host, .port = port, .deadline = deadline, .arena = a };
	bool alias = addresses->canonical && strcmp(addresses->canonical, host) != 0;
	struct dane dane = { .base = host };
	int r;

	if (!addresses->validated)
		r = find_insecure(&s, alias, &dane);
	else
		r = ask_candidate(&s, alias ? addresses->canonical : host, &dane);
	/* The name as it was given is the second candidate. */
	if (r >= 0 && addresses->validated && alias && dane.status == DANE_NONE)
		r = ask_candidate(&s, host, &dane);
	if (r >= 0)
		*ret = dane;
	return r;
}
