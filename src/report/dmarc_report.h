/* An aggregate report of DMARC (RFC 9990) as a value, written as XML and read from it.
 *
 * We write what the schema of RFC 9990 asks for. We read that and what RFC 7489 had (no namespace, other tags beside):
 * words are kept as they came, with a limit on how many there are. A document with a DOCTYPE is refused before anything in
 * it is looked at, so no entity is ever expanded and nothing outside is read. */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"
#include "base/time.h"

#define DMARC_REPORT_SIGNATURES_MAX 100u /* of one row (RFC 9990 section 2.1.3) */

struct dmarc_report_dkim {
	const char *domain, *selector, *result;
};

/* Strings may be NULL where an element may be absent, and in what was read also where it must not. */
struct dmarc_report_row {
	const char *source_ip;
	uint64_t count;
	const char *disposition; /* "none", "pass", "quarantine", "reject" */
	const char *dkim, *spf;  /* aligned: "pass" or "fail" */
	const char *override, *comment; /* "local_policy"...; the first of them */
	const char *header_from, *envelope_from, *envelope_to;
	unsigned n_signatures;
	struct dmarc_report_dkim *signatures;
	const char *spf_domain, *spf_result;
};

struct dmarc_report {
	const char *organization, *email, *contact;
	const char *id;
	wall_t begin, end;
	const char *error, *generator;
	/* what was published */
	const char *domain, *p, *sp, *np, *adkim, *aspf, *fo, *testing, *discovery;
	unsigned n_rows;
	struct dmarc_report_row *rows;
};

/* Appends the document. Characters that XML doesn't have become question marks. Check the buffer's error. */
void dmarc_report_write(const struct dmarc_report *report, struct buffer *out);

struct dmarc_report_limits {
	unsigned rows; /* 0: 100,000 */
};
/* Everything in *ret lies in the arena. limits may be NULL. On a worker or another deep stack. -EBADMSG: it is no report,
 * *ret_why (static, or in the arena) says why; -E2BIG: more rows than the limit; -ENOMEM. */
int dmarc_report_read(struct slice xml, const struct dmarc_report_limits *limits, struct arena *a, struct dmarc_report *ret,
		      const char **ret_why);
