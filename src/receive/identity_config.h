/* What the configuration says under `identity`: whose mail is judged, and what comes of it (docs/IDENTITY.md). */
#pragma once

#include "identity/judge.h"

enum dmarc_mode {
	DMARC_MODE_OBSERVE,    /* nothing is done but noted */
	DMARC_MODE_AS_HEADER,  /* quarantine and reject: a field is added */
	DMARC_MODE_ENFORCE,    /* what the domain asks for */
};
enum dmarc_quarantine { DMARC_QUARANTINE_HEADER, DMARC_QUARANTINE_HOLD };

struct identity_config {
	bool verify;               /* mail of strangers, on listeners of role mx, is judged */
	const char *name;          /* authserv-id; NULL: the host's name */
	int dmarc;                 /* enum dmarc_mode */
	int quarantine;            /* enum dmarc_quarantine: what enforcing it means */
	bool received_spf;         /* a Received-SPF field, too */
	bool logins;               /* mail of users gets a field that says auth=pass */
	const char *const *sealers; /* patterns of domains whose ARC seals may excuse a failure of DMARC */
	unsigned n_sealers;
	struct content_config content;
	struct judge_config judge;
};
