/* Happy eyeballs (RFC 8305 section 5): connection attempts to several addresses, each begun a moment after the one before, or
 * at once when that has failed; the first connection that stands wins, the others are given up.
 *
 * The usual case costs nothing: the first attempt is made by the calling fiber itself, and when it succeeds within the
 * delay, or fails, no race takes place. Only then each attempt becomes a fiber, and the next addresses are asked for, which
 * may mean looking them up. */
#pragma once

#include "deliver/dial.h"

struct race {
	struct deliverer *deliverer;
	const struct deliver_settings *settings;
	struct arena *arena;
	usec_t until; /* for all of it */
	/* The next address to try: 0 with *ret, which stays valid during the race; -ENOENT: none at the moment; -ECANCELED or
	 * -ENOMEM. May wait. It is not called while another call of it waits. */
	int (*next)(struct race *r, const struct dial_target **ret);
	/* That one came to nothing. Not said of those that another one has beaten. Doesn't wait. */
	void (*failed)(struct race *r, const struct dial_target *t, int error, const char *why);
};

/* 0: the winner, and its stream. -EHOSTUNREACH: `next` has no more, and all have failed. -ECANCELED, -ENOMEM. */
int race_run(struct race *r, const struct dial_target **ret, struct stream **ret_stream);
