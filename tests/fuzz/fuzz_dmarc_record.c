/* DMARC records, and the addresses of From. */
#include <stdlib.h>

#include "identity/dmarc_record.h"
#include "mail/from.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_new((const char *) data, size);
	const char *const *domains;
	struct dmarc_record record;
	struct arena *a;
	unsigned n;

	if (dmarc_record_is(text)) {
		dmarc_record_parse(text, &record);
		assert(record.p <= DMARC_POLICY_REJECT && record.sp <= DMARC_POLICY_ABSENT && record.np <= DMARC_POLICY_ABSENT);
		assert(record.psd <= DMARC_PSD_NO);
	}
	if (arena_new(0, &a) < 0)
		return 0;
	if (from_domains(a, text, &domains, &n) == 0) {
		assert(n <= FROM_DOMAINS_MAX);
		for (unsigned i = 0; i < n; i++)
			assert(*domains[i] && !strpbrk(domains[i], "@<> ,;:()\r\n"));
	}
	arena_free(a);
	return 0;
}
