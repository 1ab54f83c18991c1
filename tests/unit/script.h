/* A stream with a scripted peer, in a simulated world: what it sends, piece by piece, and how long it pauses.
 * Time is virtual, so the pauses cost nothing. */
#pragma once

#include "base/buffer.h"
#include "world/stream.h"

struct script_step {
	struct slice data; /* arrives together */
	usec_t pause;      /* before it */
};

struct script {
	const struct script_step *steps;
	size_t n_steps;
	bool silent;           /* after the last step: nothing more comes; else the stream ends */
	struct buffer written; /* what was sent to the peer; the test frees it */
	/* inside */
	struct transport transport;
	size_t at, offset;
	bool paused;
};

/* Runs fn in a fiber with the stream, and closes it. */
void script_run(struct script *s, void (*fn)(struct stream *stream, void *arg), void *arg);
