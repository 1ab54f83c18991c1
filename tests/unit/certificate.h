/* A key and a certificate for tests, signed by itself, for one name, valid for a day. */
#pragma once

#include "world/world.h"

/* Writes both as PEM files into the world's file system. From a fiber or outside of loops. */
/* The same with a key of this kind ("EC", "RSA") and with these names: "DNS:a.example,DNS:*.b.example". */
void certificate_write_kind(struct world *w, const char *kind, const char *names, const char *certificate_path, const char *key_path);
void certificate_write(struct world *w, const char *name, const char *certificate_path, const char *key_path);
