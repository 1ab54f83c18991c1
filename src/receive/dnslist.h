/* DNS lists of clients (RFC 5782): block lists and white lists, which differ in the sign of their weight only.
 *
 * A list is asked with the reversed address (IPv6 by nibbles) under its zone; an answer that its filters let pass is a
 * hit. Several lists are asked at the same time. Each is tested before it is believed, and again every hour: 127.0.0.2
 * must be in it and 127.0.0.1 must not (RFC 5782 section 5). A list that has everything, or lacks its test entry, or
 * answers 127.255.255.x (which says that it refuses to answer us) is switched off until it passes again; the change is
 * logged, and the state stands in `yizhan status`. Temporary trouble with the DNS is neither a hit nor a failed test.
 *
 * One object serves all loops; what changes in it is atomic. */
#pragma once

#include "dns/resolver.h"
#include "receive/gate_facts.h"

struct list_reply {
	uint8_t octets[4][32]; /* bit n of octet i: the value n passes */
};
/* "127.0.0.2", "127.0.0.[2..11]", "127.0.[0..2].[1;3..5]", "127.0.0.0/24". -EINVAL. */
int list_reply_parse(struct slice text, struct list_reply *ret);
bool list_reply_matches(const struct list_reply *r, const struct ip *answer);

struct list_config {
	const char *zone;
	int weight;
	unsigned n_replies;
	const struct list_reply *replies; /* one must match; n_replies 0: all of 127.0.0.0/8 but 127.0.0.1 */
	bool untested;                    /* it has no test entries: believed as it is */
};

struct lists;
int lists_new(struct world *w, const struct log *log, const struct list_config *config, unsigned n, struct lists **ret);
void lists_free(struct lists *l);
DEFINE_FREEP(struct lists, lists_free)

/* From a fiber: what the lists say about this address. *ret (in the arena) has a place for each hit. *ret_temporary:
 * some list could not be asked. 0, -ECANCELED or -ENOMEM. */
int lists_ask(struct lists *l, struct resolver *r, const struct ip *client, usec_t deadline, struct arena *a,
	      unsigned *ret_n, const struct gate_list_hit **ret, bool *ret_temporary);

/* "zen.example: answers for every address; switched off", for each list that is not in order. */
void lists_report(struct lists *l, void (*say)(void *context, const char *text), void *context);
