/* The window of a site: how many connections it may have at the same time.
 *
 * It begins small, opens by one for every windowful of successes, and closes by half when a connection
 * fails or the site asks us to slow down, by a quarter when its replies take much longer than usual (latency.h). What it closed to is remembered: it opens fast up to half way
 * between there and where it was, and slowly beyond, so that it does not run into the same wall every few
 * seconds. Pure numbers, no clock; the owner of the site calls. */
#pragma once

#include "base/macro.h"

struct window {
	unsigned size;      /* connections allowed now, at least 1 */
	unsigned initial;
	unsigned max;
	unsigned threshold; /* above it the window opens slowly */
	unsigned successes; /* since it last changed */
	unsigned slow;      /* slow replies since it was closed for one */
};

#define WINDOW_SLOW 10 /* above the threshold it opens by one for so many windowfuls */

void window_init(struct window *w, unsigned initial, unsigned max);
/* New limits; what was learned stays, inside of them. */
void window_limit(struct window *w, unsigned initial, unsigned max);
/* A delivery ended with an answer for the message or its recipients: the site works. busy: connections in use;
 * a window that is not filled says nothing about a wider one, so it does not open. */
void window_success(struct window *w, unsigned busy);
/* A connection failed, or broke. */
void window_failure(struct window *w);
/* The site said that we are too fast. */
void window_throttled(struct window *w);
/* A reply took much longer than usual: it closes by a quarter, once for each windowful of such. */
void window_slow(struct window *w);
/* What is remembered of it. fresh: a width above the first one is believed, too. */
void window_recall(struct window *w, unsigned size, unsigned threshold, bool fresh);
/* After a back-off: begins again, but not wider than it was. */
void window_restart(struct window *w);
