/* What the gate asks the DNS about a client and its sender. Each function is for a fiber, waits until the deadline at
 * most, and puts what it found into the facts; temporary trouble is a state of its own, on which nothing is refused
 * unless the configuration says so. All return 0, -ECANCELED or -ENOMEM. */
#pragma once

#include "dns/resolver.h"
#include "receive/gate_facts.h"

#define GATE_REVERSE_NAMES_MAX 10u /* PTR records that are looked at, and as many addresses of each */

/* The client's names (PTR), the first of which that has the client's address again is confirmed. */
int gate_find_reverse(struct resolver *r, usec_t deadline, struct arena *a, struct gate_facts *f);
/* Sets or clears GATE_HELO_UNRESOLVED: RFC 5321 section 2.3.5 wants a name with address or MX records. *ret_temporary: it
 * could not be told. */
int gate_resolve_helo(struct resolver *r, usec_t deadline, struct arena *a, struct gate_facts *f, bool *ret_temporary);
/* Could the sender be answered? RFC 5321 section 3.6.2, RFC 7505 section 4.2. */
int gate_find_sender_domain(struct resolver *r, usec_t deadline, struct arena *a, struct gate_facts *f);

/* What is wrong with an EHLO name as it stands, without asking anybody (enum gate_helo_fault). own: our host name; client:
 * family 0 for a unix socket. */
unsigned gate_helo_faults(const char *helo, const char *own, const struct ip *client);
