/* The text of a DMARC policy record (RFC 9989 sections 4.7 and 4.8). Pure. */
#pragma once

#include "base/slice.h"

enum dmarc_policy { DMARC_POLICY_NONE, DMARC_POLICY_QUARANTINE, DMARC_POLICY_REJECT, DMARC_POLICY_ABSENT };
enum dmarc_psd { DMARC_PSD_UNKNOWN, DMARC_PSD_YES, DMARC_PSD_NO };

struct dmarc_record {
	enum dmarc_policy p, sp, np; /* sp and np may be DMARC_POLICY_ABSENT */
	bool strict_dkim, strict_spf;
	bool testing;                /* t=y */
	enum dmarc_psd psd;
	struct slice rua, ruf, fo;   /* data NULL: absent */
	/* p is not valid, or sp or np aren't, and there is nobody to report that to: no DMARC is applied (RFC 9989
	 * section 4.10.1). */
	bool unusable;
};

/* Does it begin with the version? What doesn't is no DMARC record. */
bool dmarc_record_is(struct slice text);
/* Never fails for such a text: what isn't valid falls back to its default (RFC 9989 section 4.8). */
void dmarc_record_parse(struct slice text, struct dmarc_record *ret);
const char *dmarc_policy_text(enum dmarc_policy p); /* "quarantine" */
