/* A hostile segment image: whatever the bytes, the walk ends, stays inside them, and covers each byte once. The
 * first byte of the input says how much of the image is damaged on purpose: otherwise nothing but the checksums
 * would be tried, since the fuzzer can't compute them. */
#include <stdlib.h>

#include "base/crc32c.h"
#include "spool/walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct hash_key secret = { { 1, 2 } };

struct image {
	unsigned char *bytes;
	size_t len;
};

static ssize_t image_read(void *context, void *data, size_t len, uint64_t offset)
{
	const struct image *m = context;
	size_t n;

	if (offset >= m->len)
		return 0;
	n = MIN(len, m->len - (size_t) offset);
	memcpy(data, m->bytes + offset, n);
	return (ssize_t) n;
}

/* Records as the input describes them: six bytes each for type, list, length, durable and whether the header is
 * given a valid checksum. So what lies behind the checksum meets hostile values, too. */
static void add_records(struct image *m, size_t capacity, struct segment_key key, const uint8_t *data, size_t size)
{
	for (; size >= 6; data += 6, size -= 6) {
		struct record r = { .type = data[0], .extents = data[0] == RECORD_COMMIT ? data[1] : 0,
				    .length = (uint32_t) (data[2] | data[3] << 8), .durable = data[4] * 64u, .id = data[1] };
		struct extent *list = calloc(r.extents + 1u, sizeof(*list));
		size_t bare = RECORD_HEADER + r.extents * RECORD_EXTENT;

		if (!list || m->len + bare > capacity) {
			free(list);
			return;
		}
		r.note_length = data[5] & 1 ? r.length : data[5] * 256u;
		if (m->len + record_size(&r) <= capacity)
			r.payload_crc = crc32c(0, m->bytes + m->len + bare, r.length);
		record_encode(&r, list, key, (uint32_t) m->len, m->bytes + m->len);
		if (data[5] & 2)
			m->bytes[m->len + data[4] % bare] ^= data[5];
		m->len += data[5] & 4 ? bare & ~(size_t) 7 : MIN((size_t) record_size(&r), capacity - m->len);
		free(list);
	}
}

static void walk(struct image *m, struct segment_key key)
{
	struct walk_source source = { .read = image_read, .context = m, .size = m->len };
	uint32_t end = SEGMENT_START, sum = 0;
	struct walk_item item;
	struct walk w;
	int r;

	walk_init(&w, &source, key);
	while ((r = walk_next(&w, &item)) == 1) {
		if (item.offset != end || item.length == 0)
			abort();
		end += item.length;
		if (end > ((m->len + 7) & ~(size_t) 7))
			abort();
		if (item.kind != WALK_RECORD)
			continue;
		for (size_t i = 0; i < item.payload.len; i++)
			sum += (unsigned char) item.payload.data[i];
		for (unsigned i = 0; i < item.record.extents; i++)
			sum += record_extent(item.extents_at, i).length;
		for (size_t i = 0; item.record.type == RECORD_REMOVES && i + RECORD_REMOVES_ENTRY <= item.payload.len;
		     i += RECORD_REMOVES_ENTRY)
			sum += removes_decode((const unsigned char *) item.payload.data + i).segment;
	}
	if (r < 0)
		abort();
	walk_done(&w);
	*(volatile uint32_t *) &sum = sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const size_t capacity = SEGMENT_START + 65536;
	struct segment_key key = segment_key_derive(&secret, 1);
	struct segment_header *header;
	struct record record;
	struct image m;

	if (size < 1)
		return 0;
	header = malloc(sizeof(*header));
	m.bytes = calloc(1, capacity);
	if (!m.bytes || !header)
		abort();
	(void) segment_header_decode(data, size, header);
	(void) record_decode(data, size, key, 0, &record);

	m.len = SEGMENT_START;
	if (data[0] & 1)
		add_records(&m, capacity, key, data + 1, size - 1);
	else {
		m.len += MIN(size - 1, capacity - SEGMENT_START);
		memcpy(m.bytes + SEGMENT_START, data + 1, m.len - SEGMENT_START);
	}
	walk(&m, key);
	free(m.bytes);
	free(header);
	return 0;
}
