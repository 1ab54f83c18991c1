#include "base/id.h"

#define COUNTER_BITS 18
#define MAKER_BITS 4
#define TIME_SHIFT (COUNTER_BITS + MAKER_BITS)
#define COUNTER_MAX ((UINT64_C(1) << COUNTER_BITS) - 1)
#define MS_MAX ((UINT64_C(1) << (64 - TIME_SHIFT)) - 1)
#define DIGITS (MSGID_TEXT - 1)

/* 2020-01-01T00:00:00Z */
#define EPOCH (INT64_C(1577836800) * 1000000)

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

static msgid_t compose(uint64_t ms, unsigned maker)
{
	return ms << TIME_SHIFT | (uint64_t) maker << COUNTER_BITS;
}

/* Ids are made for 139 years; afterwards MSGID_NONE comes, never a used one. */
msgid_t id_next(struct id_source *source, wall_t now)
{
	uint64_t ms = now > EPOCH ? (uint64_t) (now - EPOCH) / USEC_MS : 0;
	uint64_t last_ms = source->last >> TIME_SHIFT;
	unsigned last_maker = (unsigned) (source->last >> COUNTER_BITS) & 15;
	msgid_t id;

	assert(source->maker <= 15);
	id = compose(MIN(MAX(ms, last_ms), MS_MAX), source->maker);
	if (id <= source->last) {
		/* The same millisecond again, or the clock stepped back: count on from the last one. Its
		 * maker is another than ours only when it came from id_floor. */
		if (last_maker == source->maker && (source->last & COUNTER_MAX) != COUNTER_MAX)
			id = source->last + 1;
		else if (last_ms < MS_MAX)
			id = compose(last_ms + 1, source->maker);
		else
			return MSGID_NONE;
	}
	source->last = id;
	return id;
}

void id_floor(struct id_source *source, msgid_t highest)
{
	source->last = MAX(source->last, highest);
}

wall_t id_time(msgid_t id)
{
	return EPOCH + (wall_t) ((id >> TIME_SHIFT) * USEC_MS);
}

const char *id_format(msgid_t id, char out[static MSGID_TEXT])
{
	out[DIGITS] = '\0';
	for (int i = DIGITS - 1; i >= 0; i--) {
		out[i] = alphabet[id & 31];
		id >>= 5;
	}
	return out;
}

int id_parse(struct slice text, msgid_t *ret)
{
	msgid_t id = 0;

	if (text.len != DIGITS)
		return -EINVAL;
	for (size_t i = 0; i < DIGITS; i++) {
		const char *at = memchr(alphabet, ascii_lower(text.data[i]), sizeof(alphabet) - 1);

		/* 13 digits hold 65 bits, one more than an id has. */
		if (!at || (i == 0 && at - alphabet > 15))
			return -EINVAL;
		id = id << 5 | (uint64_t) (at - alphabet);
	}
	*ret = id;
	return 0;
}
