#include "queue/consequence.h"

#include "queue/ladder.h"

static const char *when_name(unsigned condition)
{
	switch (condition) {
	case WHEN_UNREACHABLE:
		return "unreachable";
	case WHEN_BLOCKED:
		return "blocked";
	case WHEN_TLS:
		return "tls";
	case WHEN_THROTTLED:
		return "throttled";
	default:
		return NULL;
	}
}

static const char *site_effect(enum reply_class class)
{
	switch (class) {
	case CLASS_BLOCKED:
		return "rests for our address; then one message tests it";
	case CLASS_TLS:
		return "rests; then one message tests it";
	case CLASS_THROTTLED:
		return "gets fewer connections";
	case CLASS_UNREACHABLE:
		return "rests; one message probes it";
	default:
		return "goes on as before";
	}
}

void consequence_of(const struct classification *c, const struct reply *reply, const struct retry_schedule *schedule,
		    struct consequence *ret)
{
	bool permanent = c->treat == TREAT_PERMANENT || (c->treat == TREAT_AS_SAID && REPLY_PERMANENT(reply));
	unsigned condition = ladder_condition(c->class);

	*ret = (struct consequence) {
		.permanent = permanent,
		.condition = condition,
		.when = when_name(condition),
		.retry = permanent ? 0 : retry_delay(schedule, 1, c->class, 0),
		.expire = retry_expire(schedule),
		.site = site_effect(c->class),
	};
}
