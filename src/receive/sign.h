/* The mail of our own users is signed as it comes in (RFC 6376 section 5.1; docs/IDENTITY.md, "Signing").
 *
 * Ours is whoever is trusted or has logged in. What passes through from strangers is not signed: neither what another server
 * brings, nor what a filter hands back and says by XFORWARD that it is somebody else's.
 *
 * What is signed is what is stored: the body is hashed on its way into the spool, after all that is changed in it, and the
 * signatures are put in front of it when it is complete. */
#pragma once

struct buffer;
struct transaction;

/* Before the first octet is stored. -ENOMEM. */
int transaction_begin_signing(struct transaction *t);
/* When all is stored, from the session's fiber. front: what else goes in front of it; the signatures are put on top of that. The
 * private keys work on the worker pool. ERROR_SIGNING: the message must not be taken. */
int transaction_sign(struct transaction *t, struct buffer *front);
/* The message was taken: an event says who signed it. */
void transaction_note_signed(const struct transaction *t);

#define ERROR_SIGNING (-EKEYREJECTED)
