/* Where a session meets the gate (gate.h): one call at each stage. They fill in the facts, wait where a tarpit says so, and
 * give the reply to a refusal. 1: go on; else what the reply returned (0: it was refused), or -errno. */
#pragma once

#include "receive/session.h"
#include "receive/gate.h"

int session_gate_connect(struct session *s); /* before the banner; keeps the client waiting for it, too */
int session_gate_helo(struct session *s);
int session_gate_mail(struct session *s, uint64_t announced_size); /* there is a transaction */
/* *ret_discard: the recipient gets its 250 and is not added. */
int session_gate_rcpt(struct session *s, const struct address *to, bool *ret_discard);
/* The content is there, size octets of it. A refusal is not yet replied to (LMTP replies to each recipient): it stands in
 * *ret. */
int session_gate_data(struct session *s, uint64_t size, struct gate_answer *ret);
void session_gate_end_message(struct session *s); /* before its arena goes */
void session_gate_leave(struct session *s);

/* The reply to a refusal. */
int session_refuse(struct session *s, const struct gate_answer *answer);

/* Limits as rules have set them for this session or message. */
unsigned session_recipients_max(const struct session *s);
uint64_t session_message_size_max(const struct session *s);
/* The rule that holds the message, or NULL; is it to be thrown away? */
const char *session_gate_holds(const struct session *s);
bool session_gate_discards(const struct session *s);
/* The header fields that rules add, each with its line end. Returns how many of them are the message's: what rules at the
 * end of the content add comes behind that, and is got with from. */
unsigned session_gate_headers(const struct session *s, struct buffer *out);
void session_gate_late_headers(const struct session *s, unsigned from, struct buffer *out);
