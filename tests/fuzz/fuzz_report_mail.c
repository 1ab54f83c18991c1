/* Files that should hold reports: messages, mailbox files, archives. */
#include <stdlib.h>

#include "report/unpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int take(enum document_kind kind, struct slice text, void *context)
{
	uint64_t *octets = context;

	assert(kind == DOCUMENT_XML || kind == DOCUMENT_JSON);
	assert(text.len > 0);
	*octets += text.len;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct unpack_limits limits = { .size = 1u << 20, .entries = 10 };
	uint64_t octets = 0;
	struct unpack_found found = { .document = take, .context = &octets };
	int r = report_unpack(slice_new((const char *) data, size), &limits, &found);

	assert(r == 0 || r == -ENOMEM);
	return 0;
}
