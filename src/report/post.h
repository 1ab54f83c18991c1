/* A report by HTTPS (RFC 8460 section 5.4). */
#pragma once

#include <stdatomic.h>

#include "dns/resolver.h"
#include "report/uri.h"

#define POST_WHY 256

struct report_post {
	const struct report_uri *uri;
	struct slice report;   /* gzip */
	const char *ca_file;   /* NULL: the system's */
	bool private_hosts;    /* hosts with private addresses are all right */
	const atomic_bool *stopping; /* looked at meanwhile: true ends it; NULL */
};
/* From a fiber; the work is done on the worker pool. The host's addresses come from our resolver, its certificate is checked,
 * and no redirection is followed: the URI is a stranger's. 0; -EPERM: only private addresses; -EAGAIN: not now, try again
 * later; -ENOMEM, -ECANCELED. `why` says what is wrong. */
int report_post(struct resolver *r, const struct report_post *p, usec_t deadline, struct arena *a, char why[static POST_WHY]);
