/* Who signs what we write ourselves: notifications, reports (queue_sign). This interface is all that it knows of
 * signatures; `main` hands it down. */
#pragma once

#include "base/buffer.h"
#include "world/world.h"

struct signer {
	/* From a fiber. message: whole, its lines end with CRLF. Appends the fields that go in front of it: none when nobody signs
	 * for its author. -errno: it can't be signed. */
	int (*sign)(const void *context, struct world *w, struct slice message, struct buffer *out);
	const void *context;
};
