/* What was learned about hosts and sites in the last hours, so that the next connection need not learn it again: which
 * family of addresses works, whether BDAT does.
 *
 * A table of fixed size; where it is full, what would be forgotten soonest makes room. Nothing in it is needed: what was
 * forgotten is learned again. It starts empty and lives in memory. From any thread; doesn't wait. */
#pragma once

#include "world/world.h"

struct remembered;

enum remembered_kind {
	REMEMBERED_FAMILY,     /* of a site: 4 or 6, by which the last connection came about */
	REMEMBERED_UNROUTABLE, /* of "4" or "6": 1 when this machine has no way into that family at the moment */
	REMEMBERED_BDAT,       /* of a host: enum bdat_known */
	REMEMBERED_BLOCKED,    /* of a site and a source, as dial_blocked writes them: 1 */
};
enum bdat_known { BDAT_UNKNOWN, BDAT_WORKS, BDAT_FAILS };

/* entries: rounded up to a multiple of 4. -ENOMEM. */
int remembered_new(struct world *w, unsigned entries, struct remembered **ret);
void remembered_free(struct remembered *m);
DEFINE_FREEP(struct remembered, remembered_free)

/* For so long. value: not 0. A name has one value of each kind. */
void remember(struct remembered *m, enum remembered_kind kind, const char *name, uint8_t value, usec_t keep);
/* 0: nothing is known. */
uint8_t recall(struct remembered *m, enum remembered_kind kind, const char *name);
