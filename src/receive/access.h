/* Who may do what: the rules that make this no open relay. They are few and fixed; what an administrator can
 * choose on top of them comes before. */
#pragma once

#include "receive/session.h"

/* The client may relay: its address is in `trusted`, or it came through a unix socket, which has permissions. */
bool access_is_trusted(const struct receive_config *config, const struct endpoint *peer);

/* Are the line ends of this client made CRLF, whatever they are? */
bool access_normalizes(const struct session *s);

/* May a client send a message at all through a listener of this role? known: it is trusted, or has logged in. */
enum reply_id access_listener(enum listen_role role, bool known);

/* May this session send a message at all? REPLY_SENDER_OK, or the reply to refuse with. */
enum reply_id access_sender(const struct session *s);

/* The same for anybody: may who relays (or not) send to this address? See below. */
enum reply_id access_address(struct router *router, bool may_relay, const struct address *to, const struct route_facts *facts,
			     struct arena *a, struct reply *ret_custom);

/* May it send to this address? REPLY_RECIPIENT_OK; or the reply to refuse with (its %1 is the address); or
 * REPLY_COUNT with *ret_custom filled (text of the configuration) when a route says `reject`. a: scratch. */
enum reply_id access_recipient(struct session *s, const struct address *to, const struct address *from, struct arena *a,
			       struct reply *ret_custom);
