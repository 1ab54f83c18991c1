/* iprev (RFC 8601 section 3): does the client's address have a name that has this address? */
#pragma once

#include "dns/resolver.h"

enum iprev_word { IPREV_PASS, IPREV_FAIL, IPREV_TEMPERROR, IPREV_PERMERROR };
const char *iprev_word_text(enum iprev_word word);

struct iprev_result {
	enum iprev_word word;
	const char *name;   /* the confirmed one; "" */
	const char *reason; /* for people; never NULL */
};

/* From a fiber. max_names: of the address, how many are looked at (0: 10). 0 with a word, -ECANCELED, -ENOMEM. */
int iprev_check(struct resolver *r, const struct ip *client, unsigned max_names, usec_t deadline, struct arena *a,
		struct iprev_result *ret);
