/* Is there a mailbox? Asked of the room that delivers, by the one that receives: this interface is all that they know of
 * each other. `main` hands it down. */
#pragma once

#include "queue/queue.h"
#include "smtp/reply.h"

enum verify_status {
	VERIFY_EXISTS,
	VERIFY_MISSING,   /* it said so, finally */
	VERIFY_TEMPORARY, /* it could not say now */
	VERIFY_UNKNOWN,   /* this kind of hop can't be asked */
};
struct verify_result {
	enum verify_status status;
	const char *by;      /* who said so: "mx.example.org [192.0.2.1]", a path; in the arena */
	struct reply reply;  /* what it said to RCPT; code 0: nothing. Text in the arena */
};
struct verifier {
	/* From a fiber. sender: what MAIL says ("" in most cases). 0, -ECANCELED or -ENOMEM. */
	int (*verify)(void *context, const struct hop *hop, const char *address, const char *sender, usec_t deadline, struct arena *a,
		      struct verify_result *ret);
	void *context;
};
