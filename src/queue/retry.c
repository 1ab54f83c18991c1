#include "queue/retry.h"

static const usec_t default_delays[] = { 5 * USEC_MIN, 15 * USEC_MIN, 30 * USEC_MIN,
					 USEC_HOUR,    2 * USEC_HOUR, 4 * USEC_HOUR };
static const usec_t greylist_delays[] = { 5 * USEC_MIN, 5 * USEC_MIN, 10 * USEC_MIN, 15 * USEC_MIN, 30 * USEC_MIN };

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
	bool own = s->greylisted && s->n_greylisted > 0;
	usec_t delay;

	if (class == CLASS_GREYLISTED && own && attempts <= s->n_greylisted)
		return jitter(pick(s->greylisted, s->n_greylisted, attempts), 10, random);
	if (s->delays && s->n_delays > 0)
		delay = pick(s->delays, s->n_delays, attempts);
	else
		delay = pick(default_delays, ARRAY_LEN(default_delays), attempts);
	if (class == CLASS_GREYLISTED && !own && attempts <= ARRAY_LEN(greylist_delays))
		delay = MIN(delay, pick(greylist_delays, ARRAY_LEN(greylist_delays), attempts));
	return jitter(delay, 10, random);
}

/* --- hints ------------------------------------------------------------------------------------ */

#define HINT_NUMBER_MOST 100000u
#define HINT_MARGIN (5 * USEC_SEC)

/* The number at the beginning, which is cut off. */
static bool take_number(struct slice *s, unsigned *ret)
{
	unsigned v = 0;
	size_t n = 0;

	while (n < s->len && ascii_is_digit(s->data[n]) && v < HINT_NUMBER_MOST)
		v = v * 10 + (unsigned) (s->data[n++] - '0');
	*s = slice_skip(*s, n);
	*ret = v;
	return n > 0 && v < HINT_NUMBER_MOST;
}

/* ":04:59" behind the hours, or ":30" behind the minutes. */
static bool take_clock(struct slice *s, unsigned first, usec_t *ret)
{
	unsigned parts[3] = { first }, n = 1;

	while (n < 3 && s->len > 1 && s->data[0] == ':' && ascii_is_digit(s->data[1])) {
		*s = slice_skip(*s, 1);
		if (!take_number(s, &parts[n]) || parts[n] > 59)
			return false;
		n++;
	}
	if (n == 1)
		return false;
	*ret = n == 3 ? (parts[0] * 60ull + parts[1]) * USEC_MIN + parts[2] * USEC_SEC : parts[0] * USEC_MIN + parts[1] * USEC_SEC;
	return true;
}

/* "seconds", "min", "h". */
static bool take_unit(struct slice s, usec_t *ret)
{
	static const struct {
		const char *word;
		usec_t unit;
	} units[] = { { "sec", USEC_SEC }, { "min", USEC_MIN }, { "hour", USEC_HOUR } };

	while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '-'))
		s = slice_skip(s, 1);
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		bool alone = s.len > 0 && ascii_lower(s.data[0]) == units[i].word[0] && (s.len == 1 || !ascii_is_alnum(s.data[1]));

		if (!alone && !slice_istarts(s, units[i].word))
			continue;
		*ret = units[i].unit;
		return true;
	}
	return false;
}

bool retry_hint(struct slice text, usec_t *ret)
{
	bool inside = false; /* a word, like the 3 of mx3 */

	while (text.len > 0) {
		unsigned number;
		usec_t time = 0;

		if (!ascii_is_digit(text.data[0]) || inside) {
			inside = ascii_is_alnum(text.data[0]) || text.data[0] == '.';
			text = slice_skip(text, 1);
			continue;
		}
		inside = true;
		if (!take_number(&text, &number))
			continue;
		if (!take_clock(&text, number, &time)) {
			if (!take_unit(text, &time))
				continue;
			time *= number;
		}
		*ret = MIN(MAX(time, RETRY_HINT_LEAST), RETRY_HINT_MOST);
		return true;
	}
	return false;
}

usec_t retry_hinted(usec_t hint, uint64_t random)
{
	return jitter(hint + HINT_MARGIN, 10, random);
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
