/* The two texts of MTA-STS: the first octet says which. What is taken keeps the limits of RFC 8461. */
#include <stdio.h>
#include <stdlib.h>

#include "route/mta_sts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void record(struct slice text)
{
	char id[STS_ID_MAX + 1];
	int r = sts_record_parse(text, id);

	assert(r == 0 || r == 1 || r == -EINVAL);
	if (r == 1)
		assert(id[0] && strlen(id) <= STS_ID_MAX && slice_eq_str(slice_head(text, strlen("v=STSv1")), "v=STSv1"));
}

static void policy(struct slice text)
{
	struct sts_policy p;
	const char *why = NULL;
	struct arena *a;
	int r;

	if (arena_new(0, &a) < 0)
		return;
	r = sts_policy_parse(text, a, &p, &why);
	assert(r == 0 || r == -ENOMEM || (r == -EINVAL && why));
	if (r == 0) {
		assert(p.max_age <= STS_AGE_MAX && p.n_patterns <= STS_PATTERNS_MAX);
		assert(p.mode == STS_NONE || p.n_patterns > 0);
		for (unsigned i = 0; i < p.n_patterns; i++) {
			bool wild = p.patterns[i][0] == '*';
			char host[300];

			assert(strlen(p.patterns[i]) < 260);
			snprintf(host, sizeof(host), "%s%s", wild ? "a" : "", p.patterns[i] + wild);
			assert(sts_policy_names(&p, host));
		}
		assert(!sts_policy_names(&p, ""));
	}
	arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_new((const char *) data, size);

	if (size == 0)
		return 0;
	if (data[0] == 'v' && size > 1 && data[1] == '=')
		record(text);
	else
		policy(text);
	return 0;
}
