/* The courier for SMTP and LMTP: serves one slot of a site with one connection at a time.
 *
 * It takes deliveries as the queue hands them out, connects when there is no connection (candidates.h), keeps the
 * connection for further messages, and says QUIT when nothing more comes. */
#pragma once

#include "deliver/deliverer.h"

void smtp_session_run(struct deliverer *d, const struct deliver_settings *settings, struct slot *slot);
