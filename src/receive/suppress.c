#include "receive/suppress.h"

#include "queue/queue.h"
#include "receive/acceptor.h"

bool suppress_recipient(struct session *s, const struct address *to, const struct address *from, struct arena *a, const char **ret_when)
{
	const struct suppression_config *config;
	struct suppression *list = queue_suppression(session_shared(s)->queue, &config);
	struct suppressed found;
	char tenant[TENANT_MAX], date[32];
	const char *recipient;

	if (!config->enabled || (!s->trusted && !s->user) || !suppression_tenant(config, s->user, from->text, tenant))
		return false;
	recipient = arena_slice(a, to->text);
	if (!recipient || suppression_find(list, config, tenant, recipient, &found) < 0)
		return false;
	(void) wall_format_seconds(found.since, date, sizeof(date));
	*ret_when = arena_printf(a, "%.10s (%s)", date, found.reason);
	return *ret_when != NULL;
}
