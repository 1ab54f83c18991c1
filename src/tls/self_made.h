/* A certificate that nobody has signed but itself, for tests and simulations. */
#pragma once

#include "world/world.h"

/* Writes a new key (P-256) and a certificate for this name, good for 30 days, as PEM files with mode 0600. -EIO when OpenSSL
 * can't, -ENOMEM, or what the writing said. */
int tls_self_made(struct world *w, const char *name, const char *certificate_path, const char *key_path);
