/* Where the results of securing connections go to be counted (SMTP TLS Reporting, RFC 8460): the room that delivers gives
 * them, the one that writes reports takes them. This interface is all that they know of each other; `main` hands it
 * down.
 *
 * One note per session with a receiving host and per policy that was applied to it: a success, or a failure with its
 * reason. The same session may fail for several reasons (section 4). Failures of the network are none of TLS and are
 * not noted (section 4.3.4), and neither is a session that carried a TLS report (section 3): that of a message whose
 * envelope has `TLS-Required: No` and our reports' sender is the deliverer's to leave out. */
#pragma once

#include "base/net.h"
#include "base/time.h"

/* RFC 8460 section 4.4, "policy-type". */
enum tls_report_policy { TLS_REPORT_NO_POLICY, TLS_REPORT_TLSA, TLS_REPORT_STS };

/* RFC 8460 section 4.3, "result-type". */
enum tls_report_result {
	TLS_REPORT_SUCCESS,
	TLS_REPORT_STARTTLS_NOT_SUPPORTED,
	TLS_REPORT_CERTIFICATE_HOST_MISMATCH,
	TLS_REPORT_CERTIFICATE_EXPIRED,
	TLS_REPORT_CERTIFICATE_NOT_TRUSTED,
	TLS_REPORT_VALIDATION_FAILURE,
	TLS_REPORT_TLSA_INVALID,
	TLS_REPORT_DNSSEC_INVALID,
	TLS_REPORT_DANE_REQUIRED,
	TLS_REPORT_STS_POLICY_FETCH_ERROR,
	TLS_REPORT_STS_POLICY_INVALID,
	TLS_REPORT_STS_WEBPKI_INVALID,
};

struct tls_note {
	const char *domain;         /* Policy Domain, as A-labels: the recipients' for STS and no policy, the TLSA base
	                             * domain for DANE (section 1.1) */
	const char *recipient_domain; /* whose record _smtp._tls is asked for; NULL: the same */
	enum tls_report_policy policy;
	const char *policy_strings; /* the lines of the STS policy, or the TLSA records (section 4.5), with LF between
	                             * them; NULL: none */
	const char *mx_patterns;    /* "mx:" of an STS policy, with LF between them; NULL: none */
	enum tls_report_result result;
	const char *reason;         /* "failure-reason-code": an error code or a few words; NULL */
	const char *mx;             /* the host's name; NULL when it did not come to one */
	const char *helo;           /* what it calls itself in its greeting; NULL */
	struct ip local, remote;    /* family 0: not known */
	wall_t time;
};

struct tls_sink {
	/* From any fiber: everything that is kept is copied, nothing waits, nothing fails in a way that concerns the caller.
	 * NULL: nobody collects. */
	void (*note)(const struct tls_note *note, void *context);
	void *context;
};

static inline void tls_sink_note(const struct tls_sink *s, const struct tls_note *note)
{
	if (s && s->note)
		s->note(note, s->context);
}
