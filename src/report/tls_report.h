/* A report of TLSRPT (RFC 8460 section 4) as a value, written as JSON and read from it. Where it is read, it comes from
 * strangers: its lists are bounded, and what is no text where text is expected is left out. */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"
#include "base/time.h"

struct tls_report_failure {
	const char *result;              /* "certificate-expired" */
	const char *sending_ip, *mx, *helo, *receiving_ip; /* NULL: not said */
	uint64_t count;
	const char *information, *reason;
};

struct tls_report_policy_result {
	const char *type; /* "sts", "tlsa", "no-policy-found" */
	const char *domain;
	unsigned n_strings, n_mx;
	const char **strings, **mx;
	uint64_t successes, failures;
	unsigned n_details;
	struct tls_report_failure *details;
};

struct tls_report {
	const char *organization, *contact, *id;
	wall_t begin, end;
	unsigned n_policies;
	struct tls_report_policy_result *policies;
};

/* Appends the document, on one line. 0 or -ENOMEM. */
int tls_report_write(const struct tls_report *report, struct buffer *out);
/* Everything in *ret lies in the arena. -EBADMSG: it is no report, *ret_why (static, or in the arena) says why; -ENOMEM. */
int tls_report_read(struct slice json, struct arena *a, struct tls_report *ret, const char **ret_why);
