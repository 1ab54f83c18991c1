/* What is kept of a password: a crypt(3) hash, with which the password itself can be checked (PLAIN, LOGIN), and SCRAM
 * verifiers (RFC 5803), with which somebody can prove that he knows it without showing it.
 *
 * As text they stand behind one another, separated by a space:
 *
 *	$y$j9T$...                                     a hash in one of libxcrypt's forms: yescrypt, bcrypt, SHA-512...
 *	SCRAM-SHA-256$10000:SALT$STOREDKEY:SERVERKEY   RFC 5803 section 3; the last three in base64
 *
 * A scheme in braces in front of a hash ("{SHA512-CRYPT}$6$...", as other mail servers write it) is passed over. What
 * begins with ! or * is no hash: nobody logs in with it. */
#pragma once

#include "base/buffer.h"

enum scram_hash { SCRAM_SHA_1, SCRAM_SHA_256, SCRAM_HASHES };

#define SCRAM_SALT_MAX 64
#define SCRAM_KEY_MAX 32
#define SCRAM_ITERATIONS 10000u /* RFC 7677 section 4 asks for 4,096 at least; the client does this work */
#define SCRAM_ITERATIONS_MIN 1000u
#define SCRAM_ITERATIONS_MAX 10000000u
#define PASSWORD_MAX 511u       /* octets; libxcrypt takes no more */

struct scram_verifier {
	unsigned iterations; /* 0: there is none */
	unsigned salt_len;
	unsigned char salt[SCRAM_SALT_MAX], stored_key[SCRAM_KEY_MAX], server_key[SCRAM_KEY_MAX];
};
/* Zeroed: none at all. */
struct verifiers {
	char *crypt; /* heap, or NULL */
	struct scram_verifier scram[SCRAM_HASHES];
};
void verifiers_done(struct verifiers *v); /* wipes and frees; the struct is empty afterwards */
size_t scram_key_len(enum scram_hash h);

/* Reads what stands in front of a ':' that is no part of it, or of the end; *ret_rest begins with that ':' or is empty.
 * -EINVAL: something that is neither of the forms; -ENOMEM. */
int verifiers_parse(struct slice text, struct slice *ret_rest, struct verifiers *ret);
void verifiers_format(const struct verifiers *v, struct buffer *out);

/* The following take their time (yescrypt some 70 ms, and 16 MB): on a worker, or in a command. */

/* A yescrypt hash and verifiers for both SCRAM mechanisms. The password is prepared as RFC 4013 says; -EINVAL when that
 * can't be done (it is empty, too long, holds forbidden characters); -ENOMEM; -EIO when there is no random. */
int verifiers_make(const char *password, unsigned iterations, struct verifiers *ret);
/* One verifier of a password that is prepared already (RFC 5802 section 3). -ENOMEM, -EINVAL. */
int scram_derive(const char *password, enum scram_hash h, struct slice salt, unsigned iterations, struct scram_verifier *ret);
/* Is it the password? false also when the hash has a form that the library doesn't know. */
bool crypt_matches(const char *hash, const char *password);
/* A hash of the same form and cost as `like` (NULL: of those that verifiers_make makes) which no password has.
 * On the heap; NULL when memory is out. */
char *crypt_dummy(const char *like);
