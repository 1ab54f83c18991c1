/* ARC, the Authenticated Received Chain (RFC 8617): what those who handled a message before saw and vouch for, judged,
 * and our own link added. */
#pragma once

#include "identity/dkim.h"

/* RFC 8617 section 4.4. Trouble with the DNS is a failure, too (section 5.2.1). */
enum arc_word { ARC_NONE, ARC_PASS, ARC_FAIL };
const char *arc_word_text(enum arc_word word);

struct arc_result {
	enum arc_word word;
	unsigned sets;       /* how many links the chain has */
	const char *domain;  /* who sealed last; "" */
	const char *reason;  /* for people; never NULL */
};

/* From a fiber. 0 with a word, -ECANCELED, -ENOMEM. max_sets: longer chains fail unseen; 0: 50. */
int arc_verify(struct resolver *r, const struct content *m, const struct dkim_limits *limits, unsigned max_sets, wall_t now,
	       usec_t deadline, struct arena *a, struct arc_result *ret);

struct arc_sealing {
	const char *results; /* what an Authentication-Results field would say: "mx.example.org; spf=pass ..." */
	wall_t time;
};
/* Before the message is fed. */
int arc_seal_prepare(struct content *m);
/* Appends ARC-Seal, ARC-Message-Signature and ARC-Authentication-Results, which go in front of the message in this
 * order. verdict: of the chain as it came. -EALREADY: the last link says already that the chain is broken, or there
 * are 50 of them (RFC 8617 sections 5.1 and 5.2): nothing is to be added; else as dkim_sign. */
int arc_seal(const struct content *m, const struct arc_result *verdict, const struct dkim_key *key,
	     const struct arc_sealing *how, struct arena *a, struct buffer *out);
