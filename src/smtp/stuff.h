/* Sending content: dot-stuffing (RFC 5321 section 4.5.2), and the promise that no bare CR or LF leaves
 * this server by DATA, so that nobody behind us can be fooled by one: each stray one becomes a space. Of a message that came with
 * LFs alone by BDAT, and was accepted so, these become line ends in DATA, and stay what they are in BDAT.
 *
 * The stuffer keeps its state across pieces of any size. Its output is a sequence of runs, which are views of
 * the input wherever nothing had to be changed. */
#pragma once

#include "world/stream.h"

enum stuff_mode {
	STUFF_DATA, /* dots are doubled, the end is CRLF "." CRLF */
	STUFF_BINARY, /* counted chunks of content that may be anything (RFC 3030 section 3): nothing is changed */
	STUFF_BDAT, /* counted chunks: only stray CRs and LFs are replaced, the number of octets stays the same */
};

struct stuffer {
	enum stuff_mode mode;
	bool bare_lf;      /* set behind stuffer_init: LFs alone are line ends of this content */
	uint8_t state;
	uint64_t replaced; /* stray CRs and LFs; not LFs that stayed */
	uint64_t dots;     /* added */
};
void stuffer_init(struct stuffer *t, enum stuff_mode mode);
/* Takes from the front of *in. True with the next run of output in *ret (a view of the input or of static
 * text), false when the input is used up. A CR at the very end of the input is held back until the next
 * call or stuffer_finish. */
bool stuffer_next(struct stuffer *t, struct slice *in, struct slice *ret);
/* The last run. STUFF_DATA: a CRLF when the content did not end with one, ".", CRLF. STUFF_BDAT: the space
 * for a CR that was held back, or nothing. Static text. */
struct slice stuffer_finish(struct stuffer *t);

/* The same into a stream; waits only when its buffer is full. 0 or what stream_put returns. */
int stuffer_put(struct stuffer *t, struct stream *s, struct slice piece, usec_t deadline);
int stuffer_end(struct stuffer *t, struct stream *s, usec_t deadline);
