/* Reading PEM files: a file is read as a whole through the world, so that a simulation has them, too, and wiped from
 * memory afterwards. What is wrong with it becomes a sentence that names the file. */
#pragma once

#include <openssl/ssl.h>

#include "world/world.h"

struct pem_file {
	char *text;
	size_t len;
	BIO *bio; /* reads text */
};
/* 0; -errno of the reading with *ret_why set (on the heap); -ENOMEM. pem_file_done in any case. */
int pem_file_open(struct world *w, const char *path, struct pem_file *f, char **ret_why);
void pem_file_done(struct pem_file *f);
#define _cleanup_pem_file_ _cleanup_(pem_file_done)

/* After a PEM_read_bio_* that returned NULL: nothing was wrong, there was just no further object. */
bool pem_at_end(void);
/* What OpenSSL's queue of this thread says last. Static text. */
const char *pem_reason(void);
/* *ret_why becomes the sentence (on the heap, NULL when memory is out); returns error. */
int pem_fail(int error, char **ret_why, const char *format, ...) _printf_(3, 4);
