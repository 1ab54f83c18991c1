#include "receive/gate_dns.h"

#include "dns/mx.h"
#include "dns/name.h"

/* Does the name have this address? 1, 0, -EAGAIN when that can't be told now, or another -errno. */
static int leads_back(struct resolver *r, const char *name, const struct ip *ip, usec_t deadline, struct arena *a)
{
	struct dns_answer answer;
	int result = dns_query(r, name, ip->family == 4 ? DNS_A : DNS_AAAA, deadline, a, &answer);

	if (result < 0)
		return result;
	if (DNS_STATUS_TEMPORARY(answer.status))
		return -EAGAIN;
	for (unsigned i = 0; i < answer.n_records && i < GATE_REVERSE_NAMES_MAX; i++)
		if (ip_equal(&answer.records[i].ip, ip))
			return 1;
	return 0;
}

/* Looks at the names in turn. */
static int confirm(struct resolver *r, const struct dns_answer *names, usec_t deadline, struct arena *a, struct gate_facts *f)
{
	bool temporary = false;

	f->reverse = GATE_REVERSE_NONE;
	for (unsigned i = 0; i < names->n_records && i < GATE_REVERSE_NAMES_MAX; i++) {
		const char *name = names->records[i].name;
		int result;

		if (!dns_name_is_host(name))
			continue;
		if (f->reverse == GATE_REVERSE_NONE) {
			f->reverse = GATE_REVERSE_UNCONFIRMED;
			f->reverse_name = name;
		}
		result = leads_back(r, name, &f->client, deadline, a);
		if (result > 0) {
			f->reverse = GATE_REVERSE_CONFIRMED;
			f->reverse_name = name;
			return 0;
		}
		temporary |= result == -EAGAIN;
		if (result < 0 && result != -EAGAIN)
			return result;
	}
	if (temporary)
		f->reverse = GATE_REVERSE_TEMPORARY;
	return 0;
}

int gate_find_reverse(struct resolver *r, usec_t deadline, struct arena *a, struct gate_facts *f)
{
	const char *question = dns_reverse_name(a, &f->client, NULL);
	struct dns_answer names;
	int result;

	if (!question)
		return -ENOMEM;
	result = dns_query(r, question, DNS_PTR, deadline, a, &names);
	if (result < 0)
		return result;
	if (DNS_STATUS_TEMPORARY(names.status)) {
		f->reverse = GATE_REVERSE_TEMPORARY;
		return 0;
	}
	return confirm(r, &names, deadline, a, f);
}

int gate_resolve_helo(struct resolver *r, usec_t deadline, struct arena *a, struct gate_facts *f, bool *ret_temporary)
{
	struct mx_set set;
	int result;

	*ret_temporary = false;
	f->helo_faults &= (unsigned) ~GATE_HELO_UNRESOLVED;
	if (!f->helo || f->helo[0] == '[' || (f->helo_faults & GATE_HELO_BARE_ADDRESS))
		return 0;
	result = dns_mx(r, f->helo, deadline, a, &set);
	if (result < 0)
		return result;
	*ret_temporary = set.status == MX_TEMPORARY;
	if (set.status == MX_NO_DOMAIN || set.status == MX_NO_HOST)
		f->helo_faults |= GATE_HELO_UNRESOLVED;
	return 0;
}

int gate_find_sender_domain(struct resolver *r, usec_t deadline, struct arena *a, struct gate_facts *f)
{
	struct mx_set set;
	int result;

	/* Bounces come from nowhere, and an address literal needs no DNS. */
	if (!f->sender_domain || !f->sender_domain[0] || f->sender.literal) {
		f->sender_domain_state = GATE_DOMAIN_OK;
		return 0;
	}
	result = dns_mx(r, f->sender_domain, deadline, a, &set);
	if (result < 0)
		return result;
	switch (set.status) {
	case MX_OK:
	case MX_IMPLICIT:
		f->sender_domain_state = GATE_DOMAIN_OK;
		break;
	case MX_NULL:
		f->sender_domain_state = GATE_DOMAIN_NULL_MX;
		break;
	case MX_NO_DOMAIN:
	case MX_NO_HOST:
		f->sender_domain_state = GATE_DOMAIN_MISSING;
		break;
	case MX_TEMPORARY:
		f->sender_domain_state = GATE_DOMAIN_TEMPORARY;
		break;
	}
	return 0;
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]": the address, or false. */
static bool literal_parse(struct slice text, struct ip *ret)
{
	struct slice inside = slice_new(text.data + 1, text.len - 2);

	if (slice_istarts(inside, "IPv6:"))
		inside = slice_skip(inside, 5);
	return ip_parse(inside, ret) == 0;
}

unsigned gate_helo_faults(const char *helo, const char *own, const struct ip *client)
{
	struct slice name = slice_from(helo);
	struct ip ip;

	if (name.len > 2 && name.data[0] == '[' && name.data[name.len - 1] == ']') {
		if (!literal_parse(name, &ip))
			return GATE_HELO_SYNTAX;
		return client->family && !ip_equal(&ip, client) ? GATE_HELO_WRONG_LITERAL : 0;
	}
	if (ip_parse(name, &ip) == 0)
		return GATE_HELO_BARE_ADDRESS | (client->family && !ip_equal(&ip, client) ? GATE_HELO_WRONG_LITERAL : 0);
	if (name.len && name.data[name.len - 1] == '.')
		name.len--;
	if (!domain_is_valid(name, true))
		return GATE_HELO_SYNTAX;
	return (slice_find(name, '.') < 0 ? GATE_HELO_NOT_FQDN : 0) | (slice_ieq_str(name, own) ? GATE_HELO_OWN_NAME : 0);
}
