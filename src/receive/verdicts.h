/* What became of judging a message, told to those who read it after us (Authentication-Results, RFC 8601) and to the
 * administrator (events), and what DMARC makes us do (RFC 9989 section 5.3.6). Pure. */
#pragma once

#include "identity/dmarc_sink.h"
#include "identity/iprev.h"
#include "receive/gate_facts.h"
#include "receive/identity_config.h"

struct verdicts {
	const char *authserv_id;
	const struct ip *client;            /* NULL: not known, then there is neither SPF nor iprev */
	const char *helo, *mail_from;       /* of the envelope; helo may be NULL */
	const char *user;                   /* logged in; NULL. Then nothing else is known */
	const struct judge_result *result;  /* NULL: nothing was judged */
	const struct iprev_result *iprev;   /* NULL: not asked */
	const struct gate_list_hit *hits;   /* of the gate's lists */
	unsigned n_hits;
};

/* Append the fields; their methods lie in the arena for a moment. -ENOMEM. */
int verdicts_authentication_results(const struct verdicts *v, struct arena *a, struct buffer *out);
void verdicts_received_spf(const struct verdicts *v, struct buffer *out);

/* One sentence for each method, for people; NULL when memory is out. */
const char *verdicts_spf_text(const struct verdicts *v, struct arena *a);
const char *verdicts_dkim_text(const struct verdicts *v, struct arena *a);
const char *verdicts_arc_text(const struct verdicts *v, struct arena *a);
const char *verdicts_dmarc_text(const struct verdicts *v, struct arena *a);
const char *verdicts_iprev_text(const struct verdicts *v, struct arena *a);

/* The one word about all signatures, for rules: pass when one passed; else that of trouble, else the first one's; "none". */
const char *verdicts_dkim_word(const struct judge_result *r);

/* What is done about DMARC, and why it is not what the domain asks for. */
enum dmarc_action { DMARC_ACTION_NONE, DMARC_ACTION_MARK, DMARC_ACTION_HOLD, DMARC_ACTION_REJECT };
struct dmarc_decision {
	enum dmarc_action action;
	enum dmarc_disposition disposition; /* the same for reports */
	enum dmarc_override override;
	const char *comment; /* NULL, or static */
};
/* accepted: a rule of the gate said so. message: for the chain of ARC. */
void verdicts_decide(const struct judge_result *r, const struct content *message, const struct identity_config *config, bool accepted,
		     struct arena *a, struct dmarc_decision *ret);
/* Whoever sent it had no right to the sender's address: SPF fails for the reverse-path and nothing of the author's domain proves
 * the message; or DMARC fails where SPF doesn't say that the reverse-path is genuine. */
bool verdicts_are_doubtful(const struct judge_result *r);
/* Appends the field that stands for a quarantine. */
void verdicts_quarantine(const struct dmarc_result *d, struct buffer *out);
