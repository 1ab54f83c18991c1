/* Numbers, times and texts as a terminal shows them. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/utf8.h"
#include "cli/cli.h"

void cli_print_json(const json_t *o)
{
	json_dumpf(o, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
}

const char *cli_text(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

uint64_t cli_number(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (uint64_t) n : 0;
}

const char *cli_size(uint64_t bytes, char out[static 16])
{
	static const char units[] = "BKMGT";
	unsigned unit = 0;
	double n = (double) bytes;

	while (n >= 1024 && unit < 4) {
		n /= 1024;
		unit++;
	}
	if (unit == 0)
		snprintf(out, 16, "%uB", (unsigned) bytes);
	else
		snprintf(out, 16, n < 10 ? "%.1f%c" : "%.0f%c", n, units[unit]);
	return out;
}

const char *cli_ago(uint64_t seconds, char *out, size_t size)
{
	if (!seconds) {
		snprintf(out, size, "0 s");
		return out;
	}
	return duration_for_people(MIN(seconds, UINT64_MAX / USEC_SEC) * USEC_SEC, out, size);
}

/* Bytes from the network could steer the terminal, so only what is printable is shown as itself. */
const char *cli_safe(const char *text, char *out, size_t size)
{
	struct slice rest = slice_from(text);
	size_t used = 0;

	while (rest.len) {
		uint32_t c;
		size_t n = utf8_decode(rest, &c);

		if (used + 5 >= size)
			break;
		if (n && utf8_printable(c)) {
			memcpy(out + used, rest.data, n);
			used += n;
		} else {
			n = n ? n : 1;
			out[used++] = '?';
		}
		rest = slice_skip(rest, n);
	}
	out[used] = '\0';
	return out;
}

bool cli_parse_time(const char *rfc3339, int64_t *ret_ms)
{
	struct tm tm = { 0 };
	int ms = 0;

	if (sscanf(rfc3339, "%4d-%2d-%2dT%2d:%2d:%2d.%3d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
		   &tm.tm_sec, &ms) < 6)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*ret_ms = (int64_t) timegm(&tm) * 1000 + ms;
	return true;
}

bool cli_seconds_since(const char *rfc3339, int64_t *ret)
{
	struct timespec t;
	int64_t ms;

	if (!cli_parse_time(rfc3339, &ms))
		return false;
	clock_gettime(CLOCK_REALTIME, &t);
	*ret = (int64_t) t.tv_sec - ms / 1000;
	return true;
}
