/* Key records, and tag lists in general: what is taken has a key that can be used or not, but never hurts. */
#include <stdlib.h>

#include "identity/crypto.h"
#include "identity/signature.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_new((const char *) data, size);
	struct key_record key;
	struct tags tags;
	struct arena *a;
	int r;

	if (tags_parse(text, &tags) == 0) {
		struct tags again;

		assert(tags.n > 0 && tags.n <= TAGS_MAX);
		tags_parse_leniently(text, &again);
		assert(again.n == tags.n);
		for (unsigned i = 0; i < tags.n; i++)
			assert(tags.tag[i].name.len > 0 && slice_eq(tags.tag[i].value, again.tag[i].value));
	}
	if (arena_new(0, &a) < 0)
		return 0;
	r = key_record_parse(text, a, &key);
	assert(r == 0 || r == -EINVAL || r == -ENOPKG || r == -ENOMEM);
	if (r == 0 && key.data.len > 0) {
		EVP_PKEY *pkey;

		(void) key_list_has(key.services, "email");
		if (crypto_public_key(key.ed25519, key.data, &pkey) == 0) {
			assert(EVP_PKEY_get_bits(pkey) >= 0);
			EVP_PKEY_free(pkey);
		}
	}
	arena_free(a);
	return 0;
}
