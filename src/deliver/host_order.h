/* In which order the hosts of a target are asked. */
#pragma once

#include "route/health.h"

/* Hosts of the same preference are put in a random order, by weight: whoever has twice the weight of another stands in
 * front of it twice as often (RFC 2782; for MX hosts, which have no weights, every order is as likely: RFC 5321 section
 * 5.1). Then those that did not work lately go to the end, of all hosts, or of those with the same preference when
 * the preference is somebody else's and must be kept. hosts: by preference. */
void hosts_in_order(struct world *w, struct router *r, const struct hop *hop, struct target_host *hosts, unsigned n);
/* The part of it that is drawn. hosts: all of the same preference. */
void hosts_shuffle(struct world *w, struct target_host *hosts, unsigned n);
