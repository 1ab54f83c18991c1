#include "identity/key_cache.h"

#include <stdlib.h>

#include "base/hash.h"

#define PLACES 512u /* a power of two; a key takes about 2 KB */

/* A key is overwritten by the next one that falls on its place. */
struct place {
	EVP_PKEY *key; /* NULL: free */
	bool ed25519;
	size_t len;
	char *data; /* as it stands in the record, decoded */
};

struct key_cache {
	struct hash_key hash; /* nobody outside can choose whose place he takes */
	struct place places[PLACES];
};

int key_cache_new(struct world *w, struct key_cache **ret)
{
	struct key_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	world_random(w, &c->hash, sizeof(c->hash));
	*ret = c;
	return 0;
}

static void clear(struct place *p)
{
	EVP_PKEY_free(TAKE_PTR(p->key));
	free(TAKE_PTR(p->data));
}

void key_cache_free(struct key_cache *c)
{
	for (unsigned i = 0; c && i < PLACES; i++)
		clear(&c->places[i]);
	free(c);
}

static void keep(struct place *p, bool ed25519, struct slice data, EVP_PKEY *key)
{
	char *copy = malloc(data.len ? data.len : 1);

	if (!copy)
		return; /* then it is read again */
	clear(p);
	memcpy(copy, data.data, data.len);
	*p = (struct place) { .key = key, .ed25519 = ed25519, .len = data.len, .data = copy };
	EVP_PKEY_up_ref(key);
}

int key_cache_public_key(struct key_cache *c, bool ed25519, struct slice data, EVP_PKEY **ret)
{
	struct place *p = c ? &c->places[hash_bytes(&c->hash, data.data, data.len) & (PLACES - 1)] : NULL;
	int r;

	if (p && p->key && p->ed25519 == ed25519 && p->len == data.len && memcmp(p->data, data.data, data.len) == 0) {
		EVP_PKEY_up_ref(p->key);
		*ret = p->key;
		return 0;
	}
	r = crypto_public_key(ed25519, data, ret);
	if (r >= 0 && p)
		keep(p, ed25519, data, *ret);
	return r;
}
