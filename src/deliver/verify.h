/* The verifier of queue/verifier.h: looks for the mailbox's directory, or asks the next hop with MAIL and RCPT, and hangs
 * up before there is a message. */
#pragma once

#include "deliver/deliverer.h"
#include "queue/verifier.h"

struct verifier deliverer_verifier(struct deliverer *d);
