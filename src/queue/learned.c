#include "queue/learned.h"

#include <errno.h>
#include <stdio.h>

#include "base/crc32c.h"

static const char first_line[] = "yizhan-learned 1\n";
static const char last_word[] = "end ";

void learned_begin(struct buffer *out)
{
	buffer_append_str(out, first_line);
}

static bool can_stand_in_a_line(struct slice key)
{
	for (size_t i = 0; i < key.len; i++)
		if ((unsigned char) key.data[i] < ' ')
			return false;
	return key.len > 0 && key.len <= LEARNED_KEY_MAX;
}

unsigned learned_add(struct buffer *out, const struct learned *l, const char *key)
{
	if (!can_stand_in_a_line(slice_from(key)))
		return 0;
	buffer_printf(out, "%u %u %llu %llu %lld %s\n", l->window, l->threshold, (unsigned long long) l->interval,
		      (unsigned long long) (l->usual / USEC_MS), (long long) (l->at / (wall_t) USEC_SEC), key);
	return 1;
}

void learned_end(struct buffer *out, unsigned n)
{
	buffer_printf(out, "%s%u %08x\n", last_word, n, crc32c(0, out->data, out->len));
}

/* --- reading ---------------------------------------------------------------------------------- */

static bool take_number(struct slice *line, uint64_t most, uint64_t *ret)
{
	struct slice word = slice_cut(*line, ' ', line);

	return line->data && word.len > 0 && slice_to_u64(word, ret) >= 0 && *ret <= most;
}

static int read_line(struct slice line, struct learned *ret, struct slice *ret_key)
{
	uint64_t window, threshold, interval, usual, at;

	if (!take_number(&line, 1000000, &window) || !take_number(&line, 1000000, &threshold) ||
	    !take_number(&line, USEC_HOUR, &interval) || !take_number(&line, USEC_DAY / USEC_MS, &usual) ||
	    !take_number(&line, UINT32_MAX, &at) || window == 0 || threshold == 0 || !can_stand_in_a_line(line))
		return -EBADMSG;
	*ret = (struct learned) { (unsigned) window, (unsigned) threshold, interval, usual * USEC_MS, (wall_t) (at * USEC_SEC) };
	*ret_key = line;
	return 0;
}

/* Splits the file into its lines and what the last one says of them. */
static int check_frame(struct slice text, struct slice *ret_lines, uint64_t *ret_n)
{
	size_t head = sizeof(first_line) - 1, end = text.len;
	struct slice last, number, sum;
	char wanted[16];

	if (text.len <= head || memcmp(text.data, first_line, head) != 0 || text.data[text.len - 1] != '\n')
		return -EBADMSG;
	for (end = text.len - 1; text.data[end - 1] != '\n'; end--)
		; /* there is one: behind the first line */
	last = slice_new(text.data + end, text.len - end - 1);
	if (end < head || last.len < sizeof(last_word) - 1 || memcmp(last.data, last_word, sizeof(last_word) - 1) != 0)
		return -EBADMSG;
	number = slice_cut(slice_skip(last, sizeof(last_word) - 1), ' ', &sum);
	snprintf(wanted, sizeof(wanted), "%08x", crc32c(0, text.data, end));
	if (!sum.data || !slice_eq_str(sum, wanted) || slice_to_u64(number, ret_n) < 0 || *ret_n > LEARNED_SITES_MAX)
		return -EBADMSG;
	*ret_lines = slice_new(text.data + head, end - head);
	return 0;
}

static int check_lines(struct slice lines, uint64_t wanted)
{
	uint64_t n = 0;

	while (lines.len > 0) {
		struct slice key, line = slice_cut(lines, '\n', &lines);
		struct learned l;

		if (read_line(line, &l, &key) < 0 || ++n > wanted)
			return -EBADMSG;
	}
	return n == wanted ? 0 : -EBADMSG;
}

int learned_read(struct slice text, int (*each)(const struct learned *l, struct slice key, void *context), void *context)
{
	struct slice lines;
	uint64_t n;
	int r = check_frame(text, &lines, &n);

	if (r >= 0)
		r = check_lines(lines, n);
	while (r == 0 && lines.len > 0) {
		struct slice key, line = slice_cut(lines, '\n', &lines);
		struct learned l;

		r = read_line(line, &l, &key);
		if (r == 0)
			r = each(&l, key, context);
	}
	return r;
}
