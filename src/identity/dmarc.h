/* DMARC (RFC 9989): is the domain that a person reads in From one of those that SPF or DKIM proved, and what does it
 * ask for when it isn't?
 *
 * There is no list of public suffixes: the organizational domain is found by a walk up the DNS tree of at most eight
 * questions (section 4.10). */
#pragma once

#include "dns/resolver.h"
#include "identity/dkim.h"
#include "identity/dmarc_record.h"
#include "identity/spf.h"

enum dmarc_word { DMARC_NONE, DMARC_PASS, DMARC_FAIL, DMARC_TEMPERROR, DMARC_PERMERROR };
const char *dmarc_word_text(enum dmarc_word word);

struct dmarc_input {
	const char *const *domains; /* of From, as from_domains gives them */
	unsigned n_domains;
	const char *trouble;        /* From can't be read: why; NULL */
	const struct spf_result *spf; /* NULL: not known. Only of MAIL FROM, or of HELO for a null reverse-path */
	const struct dkim_result *dkim;
	unsigned n_dkim;
};

struct dmarc_result {
	enum dmarc_word word;
	const char *domain;       /* the Author Domain; "" when there is none */
	const char *policy_domain; /* whose record it is; "" */
	enum dmarc_policy policy; /* what it asks for: p, sp or np, also on pass */
	bool testing;             /* t=y: one step milder is meant */
	bool spf_aligned, dkim_aligned; /* a pass of it is aligned */
	struct dmarc_record record;
	const char *reason;       /* for people; never NULL */
};

/* From a fiber. 0 with a word, -ECANCELED, -ENOMEM. With several domains the worst verdict counts (section 11.5). */
int dmarc_check(struct resolver *r, const struct dmarc_input *in, usec_t deadline, struct arena *a, struct dmarc_result *ret);
/* The organizational domain (section 4.10.2). *ret lies in the arena; 0, -EAGAIN for trouble with the DNS, -ECANCELED,
 * -ENOMEM. */
int dmarc_organizational_domain(struct resolver *r, const char *domain, usec_t deadline, struct arena *a, const char **ret);
