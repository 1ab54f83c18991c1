/* RDATA as a hostile server may send it, under every type that is taken apart; and packing what came out. */
#include <stdlib.h>

#include "dns/rdata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum dns_type types[] = { DNS_A, DNS_NS, DNS_CNAME, DNS_PTR, DNS_MX, DNS_TXT, DNS_AAAA, DNS_SRV, DNS_TLSA };
	_cleanup_(arena_freep) struct arena *a = NULL;
	struct dns_record records[ARRAY_LEN(types)];
	struct dns_answer answer = { .records = records, .canonical = "canonical" }, copy;

	if (arena_new(0, &a) < 0)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct dns_record *record = &records[answer.n_records];
		struct dns_name name;

		if (dns_record_parse(types[i], slice_new((const char *) data, size), a, record) < 0)
			continue;
		if (record->name && dns_name_parse(slice_from(record->name), NULL, &name) < 0)
			abort();
		answer.n_records++;
	}
	if (dns_answer_copy(&answer, a, &copy) < 0)
		return 0;
	for (unsigned i = 0; i < copy.n_records; i++)
		if (!slice_eq(copy.records[i].data, records[i].data))
			abort();
	return 0;
}
