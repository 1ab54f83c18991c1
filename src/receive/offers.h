/* What a listener offers: which extensions its role has, and what the configuration adds and takes away. A command or a
 * parameter is obeyed where the last EHLO of this session offered it, and nowhere else (session->offered). The page
 * for administrators is docs/EXTENSIONS.md. */
#pragma once

#include "receive/receive.h"
#include "smtp/extensions.h"

/* enum extension. Those that a listener of this role may have, and those of it that it may do without. */
unsigned offers_possible(enum listen_role role);
unsigned offers_optional(enum listen_role role);
/* What a listener has when nobody says otherwise. */
unsigned offers_of_role(enum listen_role role);

struct session;
/* What this session is offered now: depends on the listener, on TLS, and on who the client is. */
void session_offers(const struct session *s, struct extensions *ret);
