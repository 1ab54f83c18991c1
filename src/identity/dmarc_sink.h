/* Where DMARC verdicts go to be counted: the room that receives gives them, the one that writes reports takes them. This
 * interface is all that they know of each other; `main` hands it down.
 *
 * What is given is one note per message whose Author Domain has a policy record, pass or fail, also when the message
 * was then refused or went elsewhere for another reason (RFC 9990 section 2.1). */
#pragma once

#include "identity/judge.h"

/* What was done about it (RFC 9990 section 2.1.1.9). */
enum dmarc_disposition { DMARC_DONE_NONE, DMARC_DONE_PASS, DMARC_DONE_QUARANTINE, DMARC_DONE_REJECT };

/* Why something else was done than the domain asked for (RFC 9990 section 2.1.6). */
enum dmarc_override {
	DMARC_OVERRIDE_NONE,
	DMARC_OVERRIDE_LOCAL_POLICY,
	DMARC_OVERRIDE_MAILING_LIST,
	DMARC_OVERRIDE_OTHER,
	DMARC_OVERRIDE_TEST_MODE,         /* t=y */
	DMARC_OVERRIDE_TRUSTED_FORWARDER, /* ARC, from a sealer that we believe */
};

struct dmarc_note {
	const struct ip *client;
	const char *mail_from;              /* the reverse-path; "" is the null one */
	const char *recipient;              /* the first of the envelope, for failure reports; may be NULL */
	const struct judge_result *verdict; /* its dmarc.policy_domain is not "" */
	enum dmarc_disposition disposition;
	enum dmarc_override override;
	const char *comment;                /* on the override, for people; NULL */
	const struct content *message;      /* for failure reports, its header fields alone; may be NULL */
	wall_t arrival;
};

struct dmarc_sink {
	/* From any fiber: everything that is kept is copied, nothing waits, nothing fails in a way that concerns the caller.
	 * NULL: nobody collects. */
	void (*note)(const struct dmarc_note *note, void *context);
	void *context;
};

static inline void dmarc_sink_note(const struct dmarc_sink *s, const struct dmarc_note *note)
{
	if (s && s->note)
		s->note(note, s->context);
}
