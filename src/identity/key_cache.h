/* Public keys that were read before. Most mail comes from few signers, and a key that was used once has what makes the next
 * verification a third cheaper. One for each loop: nothing here is locked. */
#pragma once

#include "identity/crypto.h"
#include "world/world.h"

struct key_cache;
int key_cache_new(struct world *w, struct key_cache **ret);
void key_cache_free(struct key_cache *c); /* NULL is fine */
DEFINE_FREEP(struct key_cache, key_cache_free)

/* As crypto_public_key, whose result belongs to the caller here, too. c may be NULL: then that is what it is. */
int key_cache_public_key(struct key_cache *c, bool ed25519, struct slice data, EVP_PKEY **ret);
