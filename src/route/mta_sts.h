/* MTA-STS (RFC 8461): the two texts in which a domain says that its mail hosts have TLS and certificates, and which hosts
 * those are. Pure functions; route/sts.h fetches and keeps policies.
 *
 *	_mta-sts.example.org TXT "v=STSv1; id=20261125T1;"         is there a policy, and which one?
 *	https://mta-sts.example.org/.well-known/mta-sts.txt        the policy itself
 *
 *		version: STSv1
 *		mode: enforce
 *		mx: mail.example.org
 *		mx: *.example.net
 *		max_age: 604800 */
#pragma once

#include "base/arena.h"

#define STS_ID_MAX 32
#define STS_POLICY_MAX ((size_t) 64 * 1024) /* octets of a policy: section 3.3 */
#define STS_PATTERNS_MAX 200u               /* of one policy; one with more is refused */
#define STS_AGE_MAX 31557600u               /* seconds, a year: section 3.2 */

enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE };
const char *sts_mode_name(enum sts_mode m); /* "enforce" */

/* Is a TXT record one of MTA-STS? 1 with the id; 0: another record; -EINVAL: it begins like one, and is none (section 3.1). */
int sts_record_parse(struct slice text, char ret_id[static STS_ID_MAX + 1]);

struct sts_policy {
	enum sts_mode mode;
	uint32_t max_age;         /* seconds */
	unsigned n_patterns;
	const char **patterns;    /* lower case: "mail.example.org", "*.example.net" */
};
/* Section 3.2. Fields that we don't know are passed over, of those that come twice the first counts. -EINVAL: *ret_why says
 * what is wrong with it; -ENOMEM. Texts lie in the arena. */
int sts_policy_parse(struct slice text, struct arena *a, struct sts_policy *ret, const char **ret_why);
/* Section 4.1: "*" stands for one label. host: lower case. */
bool sts_policy_names(const struct sts_policy *p, const char *host);
