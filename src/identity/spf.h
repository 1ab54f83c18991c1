/* SPF (RFC 7208): may this client send mail for this domain?
 *
 * spf_check asks the DNS for the domain's record, walks its mechanisms in order, and the first that matches
 * decides. What it may ask is bounded (section 4.6.4), and so is the time. Trouble with the DNS is temperror, an
 * error in a record permerror; neither is ever "no record". */
#pragma once

#include "dns/resolver.h"

/* The words of RFC 7208 section 2.6 and RFC 8601 section 2.7.2. */
enum spf_word { SPF_NONE, SPF_NEUTRAL, SPF_PASS, SPF_FAIL, SPF_SOFTFAIL, SPF_TEMPERROR, SPF_PERMERROR };

struct spf_limits {
	unsigned lookups;      /* terms that ask the DNS; 0: 10; at most 30 */
	unsigned void_lookups; /* of them, those that found nothing; 0: 2 */
	unsigned names;        /* of one mx or ptr; 0: 10 */
	usec_t time;           /* for all of it; 0: 20 s */
};

struct spf_input {
	const struct ip *client;
	const char *helo;
	const char *mail_from; /* "" is the null reverse-path: then it is the HELO name that is checked */
	const char *receiver;  /* our name, for %{r}; NULL: "unknown" */
	wall_t time;           /* for %{t} */
};

struct spf_result {
	enum spf_word word;
	bool helo;               /* the HELO name was checked, not MAIL FROM */
	const char *domain;      /* that was checked, as A-labels where there are such; "" when there was none */
	const char *explanation; /* the domain's own words on fail (exp=), printable ASCII; "" */
	const char *reason;      /* for people: what decided; never NULL */
	unsigned lookups;        /* how many were needed */
};

/* From a fiber. Everything in *ret lies in the arena. 0 with a word, or -ECANCELED/-ENOMEM. limits may be NULL. */
int spf_check(struct resolver *r, const struct spf_input *in, const struct spf_limits *limits, usec_t deadline,
	      struct arena *a, struct spf_result *ret);
const char *spf_word_text(enum spf_word word); /* "pass"; static */
