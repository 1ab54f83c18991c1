/* SPF records and the text of explanations: what is taken is well formed, and so are its macros. */
#include <stdlib.h>

#include "identity/spf_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(struct slice text, bool explain)
{
	struct spf_macro m;

	while (text.len > 0) {
		size_t before = text.len;

		if (spf_macro_next(&text, explain, &m) < 0)
			return;
		assert(text.len < before);
		assert(m.kind == SPF_MACRO_LETTER || m.text.len > 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_new((const char *) data, size);
	struct spf_record record;
	const char *why = NULL;
	struct arena *a;
	int r;

	walk(text, true);
	walk(text, false);
	if (!spf_record_is(text) || arena_new(0, &a) < 0)
		return 0;
	r = spf_record_parse(text, a, &record, &why);
	assert(r == 0 || r == -ENOMEM || (r == -EINVAL && why));
	for (unsigned i = 0; r == 0 && i < record.n_directives; i++) {
		const struct spf_directive *d = &record.directives[i];

		assert(strchr("+-~?", d->qualifier) && d->text.len > 0);
		assert(d->cidr4 <= 32 && d->cidr6 <= 128);
		assert((d->mechanism != SPF_INCLUDE && d->mechanism != SPF_EXISTS) || d->domain.len > 0);
		assert(d->mechanism != SPF_IP4 || d->ip.family == 4);
		assert(d->mechanism != SPF_IP6 || d->ip.family != 4);
		walk(d->domain, false);
	}
	arena_free(a);
	return 0;
}
