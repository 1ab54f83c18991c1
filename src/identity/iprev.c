#include "identity/iprev.h"

#define NAMES 10u

const char *iprev_word_text(enum iprev_word word)
{
	static const char *const words[] = { "pass", "fail", "temperror", "permerror" };

	return words[word];
}

int iprev_check(struct resolver *r, const struct ip *client, unsigned max_names, usec_t deadline, struct arena *a,
		struct iprev_result *ret)
{
	const char *question = dns_reverse_name(a, client, NULL);
	struct iprev_result result = { .word = IPREV_FAIL, .name = "", .reason = "none of the address's names has this address" };
	struct dns_answer names;
	int error;

	if (!question)
		return -ENOMEM;
	error = dns_query(r, question, DNS_PTR, deadline, a, &names);
	if (error < 0)
		return error;
	if (DNS_STATUS_TEMPORARY(names.status)) {
		result.word = IPREV_TEMPERROR;
		result.reason = names.why;
	} else if (names.n_records == 0) {
		/* RFC 8601 section 2.7.3. */
		result.word = IPREV_PERMERROR;
		result.reason = "the address has no name";
	}
	for (unsigned i = 0; i < names.n_records && i < (max_names ? max_names : NAMES); i++) {
		error = dns_has_address(r, names.records[i].name, client, deadline, a);
		if (error > 0) {
			result = (struct iprev_result) { .word = IPREV_PASS, .name = names.records[i].name, .reason = "the name has the address" };
			break;
		}
		if (error == -EAGAIN) {
			result.word = IPREV_TEMPERROR;
			result.reason = "a name of the address can't be looked up now";
		} else if (error < 0) {
			return error;
		}
	}
	*ret = result;
	return 0;
}
