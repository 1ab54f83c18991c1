/* What a tenant sends to a recipient that was refused for good before (queue/suppression.h) is refused at RCPT, with the date:
 * clients that may relay only, because only they submit. */
#pragma once

#include "receive/session.h"

/* From the session's fiber, which may wait for a worker. True: refuse it; *ret_when is "2026-11-25 (550 5.1.1 No such user)",
 * in the arena. */
bool suppress_recipient(struct session *s, const struct address *to, const struct address *from, struct arena *a, const char **ret_when);
