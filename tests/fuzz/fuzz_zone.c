/* Any text as a master file: it is read or refused with a reason, and what was read can be asked. */
#include <stdlib.h>

#include "dns/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const struct zone *zone, const struct dns_name *name, struct arena *a)
{
	static const enum dns_type types[] = { DNS_A, DNS_AAAA, DNS_MX, DNS_TXT, DNS_CNAME, DNS_SRV, DNS_TLSA, (enum dns_type) 65280 };
	struct dns_answer answer;
	bool cname;

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (zone_find(zone, name, types[i], a, &answer, &cname) < 0)
			abort();
		if ((answer.status == DNS_OK) != (answer.n_records > 0))
			abort();
		for (unsigned k = 0; k < answer.n_records; k++) {
			const char *text = answer.records[k].name;
			struct dns_name target;

			/* What was written must be readable. */
			if (text && dns_name_parse(slice_from(text), NULL, &target) < 0)
				abort();
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	_cleanup_(zone_freep) struct zone *zone = NULL;
	struct slice text = slice_new((const char *) data, size), word;
	struct dns_name name;
	char *why;
	int r;

	r = zone_parse(text, "fuzz", &zone, &why);
	if ((r == -EBADMSG) != (why != NULL))
		abort();
	free(why);
	if (r < 0 || arena_new(0, &a) < 0)
		return 0;
	/* The first word of the text is a likely name in it. */
	word = slice_cut(text, ' ', &text);
	if (dns_name_parse(slice_head(word, 300), NULL, &name) < 0)
		name = (struct dns_name) { .len = 1 };
	do
		ask(zone, &name, a);
	while (dns_name_parent(&name));
	return 0;
}
