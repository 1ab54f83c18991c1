/* Times and durations. Two clocks, two types, never mixed:
 *
 *   usec_t   monotonic microseconds, for deadlines and intervals; means nothing outside the process
 *   wall_t   microseconds since 1970-01-01 UTC, for what is written down
 *
 * Both are read through world/world.h only. A deadline is an absolute usec_t. */
#pragma once

#include "base/slice.h"

typedef uint64_t usec_t;
typedef int64_t wall_t;

#define USEC_MS ((usec_t) 1000)
#define USEC_SEC ((usec_t) 1000000)
#define USEC_MIN (60 * USEC_SEC)
#define USEC_HOUR (60 * USEC_MIN)
#define USEC_DAY (24 * USEC_HOUR)
#define DEADLINE_NEVER UINT64_MAX

/* now + after, without overflow. */
usec_t deadline_after(usec_t now, usec_t after);

/* "90", "90s", "5m", "4h", "5d", "250ms", "1h30m": a duration; a bare number is seconds.
 * -EINVAL when it is none, -ERANGE beyond 100 years. */
int duration_parse(struct slice s, usec_t *ret);
/* The shortest exact form for configuration ("90s", "5m"); and for people, rounded ("3 h 20 min"). */
const char *duration_format(usec_t d, char *out, size_t size);
const char *duration_for_people(usec_t d, char *out, size_t size);

/* RFC 3339 in UTC with milliseconds: "2026-11-23T04:05:06.789Z". Needs 25 bytes. */
const char *wall_format_rfc3339(wall_t t, char *out, size_t size);
/* The same without the fraction: "2026-11-23T04:05:06Z". Needs 21 bytes. */
const char *wall_format_seconds(wall_t t, char *out, size_t size);
/* A date-time of RFC 3339 section 5.6, with any offset; a fraction of a second is dropped. -EINVAL. */
int wall_parse_rfc3339(struct slice s, wall_t *ret);
/* RFC 5322 section 3.3: "Mon, 23 Nov 2026 04:05:06 +0000" (always UTC). Needs 32 bytes. */
const char *wall_format_rfc5322(wall_t t, char *out, size_t size);

struct civil {
	int year, month, day, hour, minute, second, weekday; /* month and day from 1, Sunday is 0 */
};
void wall_to_civil(wall_t t, struct civil *ret); /* UTC, proleptic Gregorian */
