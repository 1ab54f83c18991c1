/* The protection of a connection: from the policy of a host (route/policy.h) to a handshake, and from the handshake to what was
 * reached, for the outcome, the event and the TLS reports (RFC 8460).
 *
 *	protection_refusal   the policy lets nothing go to this host: why
 *	protection_expect    whom the handshake is to expect
 *	protection_reached   what it came to, and whether that is enough
 *	protection_holds     is a connection that is there good enough for another policy?
 *	protection_note      one result for the reports */
#pragma once

#include "deliver/smtp_client.h"
#include "tls/tls.h"

/* The outcome of a host that was refused; strings of the policy and of the arena. */
void protection_refusal(const struct host_policy *p, struct arena *a, struct outcome *ret);
/* address: as text, for certificates of hosts without a name. -ENOMEM. */
int protection_expect(const struct smtp_peer *peer, const char *address, struct arena *a, struct tls_expected *ret);
/* Notes it in the client. 0, or -EKEYREJECTED with *ret_why (static text): it isn't enough. -ENOMEM. */
int protection_reached(struct smtp_client *c, const struct tls_info *info, const char **ret_why);
bool protection_holds(const struct smtp_client *c, const struct host_policy *p);

/* For the policy of the peer, if it has one that is reported. remote: who; may lack everything. reason: NULL or a few words. */
void protection_note(const struct deliverer *d, const struct host_policy *p, const struct remote *remote, const char *helo,
		     enum tls_report_result result, const char *reason);
/* That of a host that was refused. */
void protection_note_refusal(const struct deliverer *d, const struct host_policy *p);
/* That the policy of its domain could not be fetched, if so: once for a session. */
void protection_note_domain(const struct deliverer *d, const struct host_policy *p);
/* The result of a handshake that failed; trouble of the network is none. */
void protection_note_failure(const struct smtp_client *c, int error, const struct tls_failure *failure);
/* That of one that worked. */
void protection_note_success(const struct smtp_client *c, const struct tls_info *info);
