/* Who is it really? asked of a message while it comes in; src/identity/ answers.
 *
 *   judging_begin   the content is about to come: SPF and the client's name are asked for meanwhile, each in a fiber
 *   judging_watch   all of the content passes, is hashed and read by struct content, as it came
 *   judging_hold    its header section is held up to the blank line, and what claims to be ours is taken out
 *                   (RFC 8601 section 5) before it goes on into the spool
 *   judging_end     the content is complete: signatures, ARC and DMARC are judged, and the gate's rules get the facts
 *   judging_front   Authentication-Results and what else is now known goes in front of the message
 *   judging_seal    and on top of that our link of ARC, when it goes on to another server (seal.h)
 *   judging_done
 *
 * Mail of trusted clients does not come here: they are MTAs of our own house, whose fields stay. What users submit is only
 * freed of forged fields. */
#pragma once

#include "receive/gate.h"
#include "receive/session.h"
#include "receive/verdicts.h"

struct judging;

/* Is there anything to do for this message? */
bool judging_wanted(const struct session *s);
/* For a message whose recipients are known. received: what we put in front ourselves. -ENOMEM. */
int judging_begin(struct session *s, struct slice received, struct judging **ret);
int judging_watch(struct judging *j, struct slice data);
/* Takes content until *ret_begun says that what was held is in the spool and the rest may follow it there. */
int judging_hold(struct judging *j, struct slice data, bool *ret_begun);
/* For who holds the header section otherwise: appends it to out without what is forged. */
void judging_remove_forged(const struct judging *j, struct slice header, struct buffer *out);
/* The same as judging_hold, when no more comes. */
int judging_release(struct judging *j);
/* The gate's rules refused it after judging_end. */
void judging_refused(struct judging *j);
/* From the session's fiber, with a deadline of its own. 0; -ECANCELED, -ENOMEM. */
int judging_end(struct judging *j);
/* What is to be done about DMARC, after the rules of the gate: 1; 0 and *ret: the message is refused; -ENOMEM. */
int judging_decide(struct judging *j, struct gate_answer *ret);
/* Appends the fields that stand in front of it, the uppermost first. -ENOMEM. */
int judging_front(struct judging *j, struct buffer *out);
/* Mail that goes on to another server: puts our link of ARC on top of `front`, which holds all that judging_front and others want
 * above the message. ERROR_SIGNING (sign.h), -ENOMEM. */
int judging_seal(struct judging *j, struct buffer *front);
/* Appends what waited for the verdict on ARC, our own field first, to stand behind that; mostly nothing. */
void judging_append_waiting(const struct judging *j, struct buffer *out);
/* It was taken: what the greylist wants to know of it. */
void judging_remember(struct judging *j);
void judging_done(struct judging *j); /* NULL is fine */
