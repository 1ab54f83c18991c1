/* The addresses that may take a delivery, in the order in which they are tried.
 *
 * Hosts come by preference, equals in random order (RFC 5321 section 5.1) or by weight (host_order.h). The addresses of a host are looked up when its
 * turn comes, and interleaved by family, the one first that worked for this site the last time, else IPv6 (RFC 8305
 * section 4). candidates_connect then races through them (race.h); hosts of the same preference take part in one race,
 * less preferred ones wait until all before them have failed.
 *
 * A host that can't be given anything now, whatever it shows (policies.h), is passed over.
 *
 * Its life: candidates_begin, candidates_connect for each connection that is wanted (it goes on with those that have not
 * failed), candidates_settled when it is known what the connection was good for. */
#pragma once

#include "deliver/policies.h"
#include "deliver/race.h"

enum candidate_state { CANDIDATE_NEW, CANDIDATE_RUNNING, CANDIDATE_DONE };

struct candidate {
	struct candidate *next;
	enum candidate_state state;
	const struct target_host *host;
	const struct host_policy *policy; /* what it must show; NULL: nothing is asked of it */
	struct dial_target at;
};

struct candidates {
	struct race race;
	const struct slot_info *info;
	struct policies *policies; /* NULL: nothing is asked of anybody */
	const struct host_policy *policy; /* of the host whose addresses are being added */
	struct target_host *hosts; /* in the order in which they are tried */
	unsigned n_hosts;
	unsigned host;             /* the next one whose addresses are to be found */
	struct candidate *first, **end;
	unsigned running, tried;
	bool seen[2];              /* addresses of IPv4, IPv6 */
	bool out_of_reach;         /* some were of a family that no source of ours has */
	bool chosen[3];            /* a source for a name, IPv4, IPv6 */
	bool reaches[3];           /* and there is one */
	struct dial_target source[3];
	/* What happened to one of them. */
	void (*trouble)(void *context, const struct outcome *o);
	void *context;
};

/* race.deliverer, settings, arena and until, info, policies, trouble and context are set already. 0 or -ENOMEM. */
int candidates_begin(struct candidates *c);
/* The next one that lets us connect. -EHOSTUNREACH: there is none left; -ECANCELED, -ENOMEM. */
int candidates_connect(struct candidates *c, const struct candidate **ret, struct stream **ret_stream);
/* A connection to the host led nowhere: when that is a fault of the host, it is asked last for a while (route/health.h). */
void candidates_failed(const struct candidates *c, const struct target_host *host, const struct outcome *o);
/* The connection to it became a session, so it works, and so does its family. */
void candidates_worked(struct candidates *c, const struct candidate *which);
