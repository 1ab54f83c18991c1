#include "deliver/services.h"

/* Rounded down: the time is not to become longer with each hop. */
static int64_t seconds_left(const struct envelope *e, const struct next_server *to)
{
	int64_t left = e->deliver_by - to->now, second = (int64_t) USEC_SEC;

	return left / second - (left % second < 0);
}

static bool offers(const struct next_server *to, unsigned extension)
{
	return to->extensions->bits & extension;
}

static bool refuse(struct refusal *ret, int code, int subject, int detail, const char *what)
{
	*ret = (struct refusal) { code, subject, detail, what };
	return true;
}

/* RFC 2852 section 4.1.4.1: what is to be returned when it is late goes only to servers that can do that, too. */
static bool time_is_missing(const struct envelope *e, const struct next_server *to, struct arena *a, struct refusal *ret)
{
	int64_t left = seconds_left(e, to);

	if (!envelope_returns(e) || to->lmtp)
		return false;
	if (left <= 0)
		return refuse(ret, 550, 4, 7, "was reached too late: the time is over that the sender gave");
	if (!offers(to, EXT_DELIVERBY))
		return refuse(ret, 550, 3, 3, "can't promise to deliver in time (it does not offer DELIVERBY)");
	if (left >= (int64_t) to->extensions->by_min)
		return false;
	return refuse(ret, 550, 4, 7, arena_printf(a, "needs %u seconds to deliver, and %lld are left", to->extensions->by_min,
						   (long long) left));
}

bool services_are_missing(const struct envelope *e, const struct next_server *to, struct arena *a, struct refusal *ret)
{
	return time_is_missing(e, to, a, ret);
}

void services_write_mail(const struct envelope *e, const struct next_server *to, struct buffer *out)
{
	if ((e->flags & ENVELOPE_REQUIRETLS) && offers(to, EXT_REQUIRETLS))
		buffer_append_str(out, " REQUIRETLS");
	if (e->deliver_by && offers(to, EXT_DELIVERBY)) {
		int64_t left = MIN(MAX(seconds_left(e, to), (int64_t) -999999999), (int64_t) 999999999);

		buffer_printf(out, " BY=%lld;%c%s", (long long) left, e->by_mode, e->by_trace ? "T" : "");
	}
	/* RFC 6710 section 4.2: also when nobody has given one. */
	if (offers(to, EXT_MT_PRIORITY))
		buffer_printf(out, " MT-PRIORITY=%d", e->priority);
	if (e->solicit && offers(to, EXT_NO_SOLICITING))
		buffer_printf(out, " SOLICIT=%s", e->solicit);
}

void services_write_rcpt(const struct envelope_recipient *r, const struct next_server *to, struct buffer *out)
{
	char when[32];

	/* RFC 7293 section 5.1.1: the action is passed on as it was given. */
	if (r->rrvs != RRVS_NONE && offers(to, EXT_RRVS))
		buffer_printf(out, " RRVS=%s%s", wall_format_seconds(r->valid_since, when, sizeof(when)),
			      r->rrvs == RRVS_CONTINUE ? ";C" : "");
}

bool services_allow_recipient(const struct envelope_recipient *r, const struct next_server *to)
{
	return r->rrvs != RRVS_REJECT || to->lmtp || offers(to, EXT_RRVS);
}

unsigned services_notify(const struct envelope *e, const struct envelope_recipient *r, const struct next_server *to)
{
	if (!e->deliver_by || e->by_mode != 'N' || offers(to, EXT_DELIVERBY) || (r->notify & NOTIFY_NEVER))
		return r->notify;
	return (r->notify ? r->notify : NOTIFY_FAILURE) | NOTIFY_DELAY;
}
