/* Which rung would the next message take, and why not the others? For `yizhan route`. */
#pragma once

#include "admin/making.h"
#include "queue/site_facts.h"
#include "route/route.h"

/* What is known of one rung. */
struct rung_view {
	bool leads_out;            /* to a site: the next two mean something */
	enum target_status status;
	const char *why;           /* unless it is TARGET_OK */
	struct site_facts site;    /* known is false without a server to ask */
	struct making *out;        /* gets "verdict" and "because" */
};
/* "verdict" is one of
 *
 *	next      the next message goes here
 *	skipped   the trouble that it has moves mail on at once
 *	waits     it has trouble, and there is no later rung for it: mail waits here
 *	bounces   mail would come back
 *	passed    it comes after one that is skipped, but is for other troubles
 *	later     mail doesn't come as far */
void verdict_on_rungs(const struct ladder *l, struct rung_view *views, struct arena *a);
