#include "queue/retry.h"

static const usec_t default_delays[] = { 5 * USEC_MIN, 15 * USEC_MIN, 30 * USEC_MIN,
					 USEC_HOUR,    2 * USEC_HOUR, 4 * USEC_HOUR };
static const usec_t greylist_delays[] = { 5 * USEC_MIN, 10 * USEC_MIN, 15 * USEC_MIN, 30 * USEC_MIN };

#define BACKOFF_FIRST (30 * USEC_SEC)

usec_t retry_expire(const struct retry_schedule *s)
{
	return s->expire ? s->expire : 5 * USEC_DAY;
}

usec_t retry_warn(const struct retry_schedule *s)
{
	return s->warn ? s->warn : 4 * USEC_HOUR;
}

static usec_t pick(const usec_t *delays, unsigned n, unsigned attempts)
{
	unsigned i = attempts > 0 ? attempts - 1 : 0;

	return delays[MIN(i, n - 1)];
}

/* Up to such a part longer. */
static usec_t jitter(usec_t delay, unsigned part, uint64_t random)
{
	return deadline_after(delay, random % (delay / part + 1));
}

usec_t retry_delay(const struct retry_schedule *s, unsigned attempts, enum reply_class class, uint64_t random)
{
	usec_t delay;

	if (s->delays && s->n_delays > 0)
		delay = pick(s->delays, s->n_delays, attempts);
	else
		delay = pick(default_delays, ARRAY_LEN(default_delays), attempts);
	if (class == CLASS_GREYLISTED && attempts <= ARRAY_LEN(greylist_delays))
		delay = MIN(delay, pick(greylist_delays, ARRAY_LEN(greylist_delays), attempts));
	return jitter(delay, 10, random);
}

usec_t retry_longest(const struct retry_schedule *s)
{
	bool own = s->delays && s->n_delays > 0;
	const usec_t *delays = own ? s->delays : default_delays;
	usec_t longest = 0;

	for (size_t i = 0; i < (own ? s->n_delays : ARRAY_LEN(default_delays)); i++)
		longest = MAX(longest, delays[i]);
	return longest;
}

usec_t retry_backoff(unsigned failures, usec_t cap, uint64_t random)
{
	usec_t delay = BACKOFF_FIRST;

	for (unsigned i = 1; i < failures && delay < cap; i++)
		delay *= 2;
	return jitter(MIN(delay, cap), 2, random);
}
