/* Authentication-Results: what is read can be written and read again; no forged field stays. */
#include <stdlib.h>

#include "mail/authres.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(struct arena *a, const struct authres *first)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	char *id = arena_slice(a, first->authserv_id);
	struct authres second;

	if (!id || strlen(id) != first->authserv_id.len)
		return;
	authres_format_value(id, first->methods, first->n_methods, &out);
	assert(authres_parse(a, buffer_slice(&out), &second) == 0);
	assert(second.n_methods == first->n_methods);
	for (unsigned i = 0; i < first->n_methods; i++) {
		assert(slice_eq(first->methods[i].method, second.methods[i].method));
		assert(slice_eq(first->methods[i].result, second.methods[i].result));
		assert(first->methods[i].n_properties == second.methods[i].n_properties);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_new((const char *) data, size);
	_cleanup_buffer_ struct buffer once = { 0 }, twice = { 0 };
	struct authres result;
	struct arena *a;

	if (arena_new(0, &a) < 0)
		return 0;
	if (authres_parse(a, text, &result) == 0)
		write_again(a, &result);
	authres_remove_forged(text, "mx.example.org", true, &once);
	assert(once.len <= text.len);
	assert(authres_remove_forged(buffer_slice(&once), "mx.example.org", true, &twice) == 0);
	arena_free(a);
	return 0;
}
