/* What a submission port does for people's mail programs (RFC 6409): it completes what they left out, takes away what must
 * not be seen, and refuses at once, with a sentence that helps, what could only bounce later.
 *
 *	at MAIL and RCPT   the domains must exist and take mail (section 3.2 of RFC 6409 has a server refuse early)
 *	the header         is held until its end: then the fields that are missing are added (section 8), Bcc goes, and a From
 *	                   field that is missing, doubled or without an address is refused or added
 *	the body           goes on as it comes
 *
 * The work on the header is pure; transaction.c holds it and asks. */
#pragma once

#include "receive/receive.h"
#include "receive/replies.h"

struct session;
struct address;

/* What is known about the message when its header has come to its end. */
struct submission_facts {
	const char *sender; /* the reverse path; "": none */
	const char *id;     /* of the message, for its Message-ID */
	const char *hostname;
	wall_t when;
};

/* What can be wrong with it; each has a reply. */
#define SUBMISSION_NO_FROM (-ENOMSG)
#define SUBMISSION_TWO_FROM (-ENOTUNIQ)
#define SUBMISSION_BAD_FROM (-EDESTADDRREQ)

/* Is there anything to be done to headers? Then they are held. */
bool submission_changes_headers(const struct submission_config *c);
/* begin: the message from its first octet to behind the end of its header at least (or all of it). Appends to out what is to be
 * written instead: the header with its changes and whatever stands behind it. 0, one of the above, or -ENOMEM. */
int submission_rewrite(const struct submission_config *c, const struct submission_facts *facts, struct slice begin, struct buffer *out);
/* The address in a From or Sender field: the first one, of "name <a@b>", "a@b (name)" and the like. False: there is none. */
bool submission_field_address(struct slice value, struct address *ret);

/* At MAIL and RCPT, from the session's fiber, which may wait for the DNS: REPLY_SENDER_OK and REPLY_RECIPIENT_OK, or why not (the
 * reply's %1 is the address). When the DNS can't say now, the message is taken: the queue will ask again. */
enum reply_id submission_check_sender(struct session *s, const struct address *sender);
enum reply_id submission_check_recipient(struct session *s, const struct address *to, const struct address *from);
