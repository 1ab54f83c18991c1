/* Where reports are wanted: lists of URIs, and records _smtp._tls. */
#include <stdlib.h>

#include "report/tlsrpt_record.h"
#include "report/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const struct report_uri *u)
{
	assert(u->text && u->host && *u->host);
	for (const char *c = u->text; *c; c++)
		assert(*c > ' ' && *c < 0x7f && *c != '!' && *c != ',');
	if (u->scheme == REPORT_HTTPS) {
		assert(u->port && !u->address);
		return;
	}
	assert(u->address && strchr(u->address, '@'));
	for (const char *c = u->address; *c; c++)
		assert(*c >= ' ' && *c < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_new((const char *) data, size), rua;
	struct report_uri uris[REPORT_URIS_MAX];
	struct arena *a;
	unsigned n = 0;

	if (tlsrpt_record_parse(text, &rua) == 0)
		assert(rua.data > text.data && rua.data + rua.len <= text.data + text.len && rua.len);
	else
		rua = text;
	if (arena_new(0, &a) < 0)
		return 0;
	if (report_uris_parse(a, rua, REPORT_MAILTO | REPORT_HTTPS, uris, &n) == 0)
		for (unsigned i = 0; i < n; i++)
			look_at(&uris[i]);
	assert(n <= REPORT_URIS_MAX);
	arena_free(a);
	return 0;
}
