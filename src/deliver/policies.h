/* The policies that one delivery meets (route/policy.h): that of its domain, looked up beside the addresses of the first host,
 * and that of each host, when its turn comes.
 *
 *	policies_begin    at the beginning of an attempt
 *	policies_ask      what the domain says is asked for, mostly of the caches, else by a fiber of its own
 *	policies_join     waits for that; whoever has asked must, before the arena is reset
 *	policies_of_host  what a host must show */
#pragma once

#include "deliver/deliverer.h"
#include "queue/site.h"
#include "route/policy.h"

struct policies {
	struct deliverer *deliverer;
	const struct deliver_settings *settings;
	const struct slot_info *info;
	struct slice recipients_domain; /* of the first recipient; "" where hosts come from a configuration: each has its own */
	enum policy_wish wish;
	struct arena *arena;
	struct domain_policy *domain;   /* NULL: not asked for yet */
	struct fiber_group askers;
	int result;                     /* of asking */
	bool noted;                     /* that the domain's policy could not be fetched */
};

/* The domain of an address. */
struct slice policies_address_domain(const char *address);
/* What the message wishes. */
enum policy_wish policies_wish(const struct hop *hop, const struct envelope *e);

void policies_begin(struct policies *p, struct deliverer *d, const struct deliver_settings *settings, const struct slot_info *info,
		    const struct delivery *delivery, struct arena *a);
int policies_ask(struct policies *p); /* 0, -ENOMEM */
int policies_join(struct policies *p); /* 0, -ECANCELED, -ENOMEM */
/* 0; -ECANCELED; -ENOMEM. The policy lies in the arena, which must live as long. */
int policies_of_host(struct policies *p, const struct target_host *host, const struct host_policy **ret);
/* May the recipients of all domains of this delivery go as one? Else each domain's go as it wants. Resets the arena. */
bool policies_differ(const struct delivery *d, struct deliverer *deliverer, const struct deliver_settings *settings,
		     const struct slot_info *info, struct arena *a);
