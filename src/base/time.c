#include "base/time.h"

#include <inttypes.h>
#include <stdio.h>

/* 100 years of 365.25 days: beyond it a duration in a configuration is a slip of the finger. */
#define LONGEST (36525 * USEC_DAY)

#define DAYS_OF_4_YEARS 1461
#define DAYS_OF_100_YEARS 36524
#define DAYS_OF_400_YEARS 146097
/* From 0000-03-01 to 1970-01-01. Years that begin in March have their leap day at the end. */
#define DAYS_TO_EPOCH 719468

/* Largest first. */
static const struct unit {
	const char *name;
	usec_t usec;
} units[] = {
	{ "d", USEC_DAY }, { "h", USEC_HOUR }, { "m", USEC_MIN }, { "s", USEC_SEC }, { "ms", USEC_MS }, { "us", 1 },
};

usec_t deadline_after(usec_t now, usec_t after)
{
	return after > DEADLINE_NEVER - now ? DEADLINE_NEVER : now + after;
}

/* Takes one number and its unit from the front of *s; *unit is the first that may still come, so that
 * each comes once and the larger before the smaller. */
static int take_part(struct slice *s, size_t *unit, usec_t *total)
{
	size_t digits = 0, letters = 0;
	struct slice name;
	uint64_t value;
	usec_t part;
	int r;

	while (digits < s->len && ascii_is_digit(s->data[digits]))
		digits++;
	r = slice_to_u64(slice_head(*s, digits), &value);
	if (r < 0 && r != -ERANGE)
		return r;
	if (r == -ERANGE)
		value = UINT64_MAX;
	*s = slice_skip(*s, digits);
	while (letters < s->len && ascii_is_alpha(s->data[letters]))
		letters++;
	name = slice_head(*s, letters);
	*s = slice_skip(*s, letters);
	while (*unit < ARRAY_LEN(units) && !slice_eq_str(name, units[*unit].name))
		(*unit)++;
	if (*unit == ARRAY_LEN(units))
		return -EINVAL;
	if (__builtin_mul_overflow(value, units[(*unit)++].usec, &part) ||
	    __builtin_add_overflow(*total, part, total))
		*total = UINT64_MAX;
	return 0;
}

int duration_parse(struct slice s, usec_t *ret)
{
	usec_t total = 0;
	uint64_t seconds;
	size_t unit = 0;
	int r;

	r = slice_to_u64(s, &seconds);
	if (r == -ERANGE)
		return r;
	if (r == 0) {
		if (__builtin_mul_overflow(seconds, USEC_SEC, &total))
			return -ERANGE;
	} else {
		do {
			r = take_part(&s, &unit, &total);
			if (r < 0)
				return r;
		} while (s.len > 0);
	}
	if (total > LONGEST)
		return -ERANGE;
	*ret = total;
	return 0;
}

/* Writes d with the units of the set (a bit for each of units[]); false when that is not exact. */
static bool format_with(usec_t d, unsigned set, char *out, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		usec_t n = d / units[i].usec;
		int len;

		if (!(set & 1u << i))
			continue;
		if (n == 0)
			return false;
		len = snprintf(out + used, size - used, "%" PRIu64 "%s", n, units[i].name);
		if (len < 0 || (size_t) len >= size - used)
			return false;
		used += (size_t) len;
		d -= n * units[i].usec;
	}
	return d == 0 && used > 0;
}

/* Of several shortest forms the one with the fewest units and among those the largest is taken:
 * "90m" rather than "1h30m". There are 63 sets of units; this is for configuration, not for speed. */
const char *duration_format(usec_t d, char *out, size_t size)
{
	size_t best_len = SIZE_MAX;
	int best_units = 0;
	char text[64], best[64] = "0s";

	for (unsigned set = 1; set < 1u << ARRAY_LEN(units); set++) {
		int n = __builtin_popcount(set);
		size_t len;

		if (!format_with(d, set, text, sizeof(text)))
			continue;
		len = strlen(text);
		if (len < best_len || (len == best_len && n < best_units)) {
			best_len = len;
			best_units = n;
			memcpy(best, text, len + 1);
		}
	}
	slice_copy(slice_from(best), out, size);
	return out;
}

static usec_t round_to(usec_t d, usec_t step)
{
	return d > UINT64_MAX - step ? d / step * step : (d + step / 2) / step * step;
}

const char *duration_for_people(usec_t d, char *out, size_t size)
{
	usec_t r;

	/* Each range is left when rounding reaches its end: 59.97 s are "1 min". */
	if (d < USEC_MS)
		snprintf(out, size, "%" PRIu64 " us", d);
	else if ((r = round_to(d, USEC_MS)) < USEC_SEC)
		snprintf(out, size, "%" PRIu64 " ms", r / USEC_MS);
	else if ((r = round_to(d, 100 * USEC_MS)) < 10 * USEC_SEC && r % USEC_SEC != 0)
		snprintf(out, size, "%" PRIu64 ".%" PRIu64 " s", r / USEC_SEC, r % USEC_SEC / (100 * USEC_MS));
	else if ((r = round_to(d, USEC_SEC)) < USEC_MIN)
		snprintf(out, size, "%" PRIu64 " s", r / USEC_SEC);
	else if (r < USEC_HOUR && r % USEC_MIN != 0)
		snprintf(out, size, "%" PRIu64 " min %" PRIu64 " s", r / USEC_MIN, r % USEC_MIN / USEC_SEC);
	else if ((r = round_to(d, USEC_MIN)) < USEC_HOUR)
		snprintf(out, size, "%" PRIu64 " min", r / USEC_MIN);
	else if (r < USEC_DAY && r % USEC_HOUR != 0)
		snprintf(out, size, "%" PRIu64 " h %" PRIu64 " min", r / USEC_HOUR, r % USEC_HOUR / USEC_MIN);
	else if ((r = round_to(d, USEC_HOUR)) < USEC_DAY)
		snprintf(out, size, "%" PRIu64 " h", r / USEC_HOUR);
	else if (r % USEC_DAY != 0)
		snprintf(out, size, "%" PRIu64 " d %" PRIu64 " h", r / USEC_DAY, r % USEC_DAY / USEC_HOUR);
	else
		snprintf(out, size, "%" PRIu64 " d", r / USEC_DAY);
	return out;
}

/* Rounds towards the past, also before 1970. */
static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

void wall_to_civil(wall_t t, struct civil *ret)
{
	int64_t seconds = floor_div(t, (int64_t) USEC_SEC);
	int64_t since_epoch = floor_div(seconds, 86400);
	int64_t second_of_day = seconds - since_epoch * 86400;
	int64_t days = since_epoch + DAYS_TO_EPOCH;
	int64_t eras = floor_div(days, DAYS_OF_400_YEARS);
	int64_t centuries, fours, years, month;

	days -= eras * DAYS_OF_400_YEARS;
	/* The last century and the last year of their group are a day longer: hence the MIN. */
	centuries = MIN(days / DAYS_OF_100_YEARS, (int64_t) 3);
	days -= centuries * DAYS_OF_100_YEARS;
	fours = days / DAYS_OF_4_YEARS;
	days -= fours * DAYS_OF_4_YEARS;
	years = MIN(days / 365, (int64_t) 3);
	days -= years * 365;
	/* Five months from March on have 153 days, always in the pattern 31, 30, 31, 30, 31. */
	month = (5 * days + 2) / 153;
	days -= (153 * month + 2) / 5;
	*ret = (struct civil) {
		.year = (int) (eras * 400 + centuries * 100 + fours * 4 + years + (month >= 10)),
		.month = (int) (month < 10 ? month + 3 : month - 9),
		.day = (int) days + 1,
		.hour = (int) (second_of_day / 3600),
		.minute = (int) (second_of_day / 60 % 60),
		.second = (int) (second_of_day % 60),
		/* 1970-01-01 was a Thursday. */
		.weekday = (int) (since_epoch + 4 - 7 * floor_div(since_epoch + 4, 7)),
	};
}

/* Both written forms have four digits for the year: what lies outside becomes the nearest end. */
static wall_t clamp_to_four_digits(wall_t t)
{
	const wall_t first = -INT64_C(62167219200) * 1000000;          /* 0000-01-01T00:00:00 */
	const wall_t last = INT64_C(253402300799) * 1000000 + 999999; /* 9999-12-31T23:59:59.999999 */

	return t < first ? first : MIN(t, last);
}

/* So many digits of n over those that stand in text from `at` on: a tenth of what snprintf takes, and each message has
 * some of these times in its header and its events. */
static void put_digits(char *text, size_t at, size_t digits, int n)
{
	while (digits-- > 0) {
		text[at + digits] = (char) ('0' + n % 10);
		n /= 10;
	}
}

const char *wall_format_rfc3339(wall_t t, char *out, size_t size)
{
	char text[] = "0000-00-00T00:00:00.000Z";
	struct civil c;

	t = clamp_to_four_digits(t);
	wall_to_civil(t, &c);
	put_digits(text, 0, 4, c.year);
	put_digits(text, 5, 2, c.month);
	put_digits(text, 8, 2, c.day);
	put_digits(text, 11, 2, c.hour);
	put_digits(text, 14, 2, c.minute);
	put_digits(text, 17, 2, c.second);
	put_digits(text, 20, 3, (int) (floor_div(t, 1000) - floor_div(t, (int64_t) USEC_SEC) * 1000));
	(void) slice_copy(slice_new(text, sizeof(text) - 1), out, size);
	return out;
}

const char *wall_format_rfc5322(wall_t t, char *out, size_t size)
{
	static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	char text[] = "Sun, 00 Jan 0000 00:00:00 +0000";
	struct civil c;

	wall_to_civil(clamp_to_four_digits(t), &c);
	memcpy(text, days[c.weekday], 3);
	put_digits(text, 5, 2, c.day);
	memcpy(text + 8, months[c.month - 1], 3);
	put_digits(text, 12, 4, c.year);
	put_digits(text, 17, 2, c.hour);
	put_digits(text, 20, 2, c.minute);
	put_digits(text, 23, 2, c.second);
	(void) slice_copy(slice_new(text, sizeof(text) - 1), out, size);
	return out;
}

const char *wall_format_seconds(wall_t t, char *out, size_t size)
{
	struct civil c;

	wall_to_civil(clamp_to_four_digits(t), &c);
	snprintf(out, size, "%04d-%02d-%02dT%02d:%02d:%02dZ", c.year, c.month, c.day, c.hour, c.minute, c.second);
	return out;
}

/* --- reading ------------------------------------------------------------------------------------ */

/* The other way round of wall_to_civil, for the date alone. */
static int64_t days_since_epoch(int year, int month, int day)
{
	int64_t y = month > 2 ? year : year - 1, from_march = month > 2 ? month - 3 : month + 9;

	return y * 365 + floor_div(y, 4) - floor_div(y, 100) + floor_div(y, 400) + (153 * from_march + 2) / 5 + day - 1 -
	       DAYS_TO_EPOCH;
}

/* Digits of a fixed number from the front, between two limits; then what stands behind them ('\0': nothing is asked). */
static bool take_number(struct slice *s, size_t digits, int least, int most, char behind, int *ret)
{
	uint64_t n;

	if (s->len < digits || slice_to_u64(slice_head(*s, digits), &n) < 0 || n > (uint64_t) most || (int) n < least)
		return false;
	*s = slice_skip(*s, digits);
	*ret = (int) n;
	if (behind == '\0')
		return true;
	if (s->len == 0 || ascii_lower(s->data[0]) != behind)
		return false;
	*s = slice_skip(*s, 1);
	return true;
}

/* "Z", "+02:00": minutes to the east. */
static bool take_offset(struct slice *s, int *ret)
{
	int hours, minutes, sign;

	if (s->len == 0)
		return false;
	sign = s->data[0] == '-' ? -1 : 1;
	if (ascii_lower(s->data[0]) == 'z') {
		*s = slice_skip(*s, 1);
		*ret = 0;
		return true;
	}
	if (s->data[0] != '+' && s->data[0] != '-')
		return false;
	*s = slice_skip(*s, 1);
	if (!take_number(s, 2, 0, 23, ':', &hours) || !take_number(s, 2, 0, 59, '\0', &minutes))
		return false;
	*ret = sign * (hours * 60 + minutes);
	return true;
}

int wall_parse_rfc3339(struct slice s, wall_t *ret)
{
	int year, month, day, hour, minute, second, offset;
	struct civil check;
	int64_t days;

	if (!take_number(&s, 4, 1, 9999, '-', &year) || !take_number(&s, 2, 1, 12, '-', &month) ||
	    !take_number(&s, 2, 1, 31, 't', &day) || !take_number(&s, 2, 0, 23, ':', &hour) ||
	    !take_number(&s, 2, 0, 59, ':', &minute) || !take_number(&s, 2, 0, 60, '\0', &second))
		return -EINVAL;
	if (s.len > 1 && s.data[0] == '.' && ascii_is_digit(s.data[1]))
		for (s = slice_skip(s, 1); s.len > 0 && ascii_is_digit(s.data[0]); s = slice_skip(s, 1))
			;
	if (!take_offset(&s, &offset) || s.len > 0)
		return -EINVAL;
	days = days_since_epoch(year, month, day);
	wall_to_civil(days * 86400 * (int64_t) USEC_SEC, &check);
	if (check.month != month || check.day != day) /* 30 February */
		return -EINVAL;
	*ret = (days * 86400 + hour * 3600 + minute * 60 + second - offset * 60) * (int64_t) USEC_SEC;
	return 0;
}
