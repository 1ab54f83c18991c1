#include "spool/record.h"

#include "base/crc32c.h"

/* Places in a record's header. The checksum at 4 covers everything from 8 on, the list included. */
#define AT_MAGIC 0
#define AT_CRC 4
#define AT_LENGTH 8
#define AT_TYPE 12
#define AT_ZERO 13
#define AT_EXTENTS 14
#define AT_ID 16
#define AT_AUX 24
#define AT_PAYLOAD_CRC 32
#define AT_DURABLE 36
#define AT_NOTE_LENGTH 40
#define AT_RESERVED 44

/* Places in a copy of the segment's header. The first 16 bytes and the checksum at the end stay where they are
 * in all versions, so that an older program can tell a newer format from a damaged one. */
#define HEADER_MAGIC "Yizhan\x1a\n"
#define HEADER_AT_VERSION 8
#define HEADER_AT_COPY_SIZE 12
#define HEADER_AT_NUMBER 16
#define HEADER_AT_CREATED 24
#define HEADER_AT_SECRET 32
#define HEADER_AT_CUT_COUNT 48
#define HEADER_AT_CUTS 56
#define HEADER_AT_CRC (SEGMENT_HEADER_COPY - 4)
#define HEADER_CUT 8

_Static_assert(HEADER_AT_CUTS + SEGMENT_MAX_CUTS * HEADER_CUT <= HEADER_AT_CRC, "the cuts fit into the header");
_Static_assert(2 * SEGMENT_HEADER_COPY == SEGMENT_START, "two copies, then records");

static inline void put_u16(unsigned char *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put_u32(unsigned char *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put_u64(unsigned char *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static inline uint16_t get_u16(const unsigned char *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static inline uint32_t get_u32(const unsigned char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline uint64_t get_u64(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

struct segment_key segment_key_derive(const struct hash_key *secret, uint32_t segment)
{
	unsigned char number[4];
	uint64_t h;

	put_u32(number, segment);
	h = hash_bytes(secret, number, sizeof(number));
	/* A magic of zero would be found all over a preallocated file. */
	return (struct segment_key) { .magic = (uint32_t) h | 1, .seed = (uint32_t) (h >> 32) };
}

static uint32_t header_bytes(const struct record *r)
{
	return RECORD_HEADER + (uint32_t) r->extents * RECORD_EXTENT;
}

uint32_t record_size(const struct record *r)
{
	return (header_bytes(r) + r->length + RECORD_ALIGN - 1) & ~(RECORD_ALIGN - 1);
}

static uint32_t header_crc(const unsigned char *header, uint32_t len, struct segment_key key, uint32_t offset)
{
	unsigned char place[4];

	put_u32(place, offset);
	return crc32c(crc32c(key.seed, place, sizeof(place)), header + AT_LENGTH, len - AT_LENGTH);
}

void record_encode(const struct record *r, const struct extent *extents, struct segment_key key, uint32_t offset,
		   unsigned char *out)
{
	unsigned char *p = out + RECORD_HEADER;

	assert(r->length <= RECORD_MAX_PAYLOAD);
	put_u32(out + AT_MAGIC, key.magic);
	put_u32(out + AT_LENGTH, r->length);
	out[AT_TYPE] = r->type;
	out[AT_ZERO] = 0;
	put_u16(out + AT_EXTENTS, r->extents);
	put_u64(out + AT_ID, r->id);
	put_u64(out + AT_AUX, r->aux);
	put_u32(out + AT_PAYLOAD_CRC, r->payload_crc);
	put_u32(out + AT_DURABLE, r->durable);
	put_u32(out + AT_NOTE_LENGTH, r->note_length);
	put_u32(out + AT_RESERVED, 0);
	for (unsigned i = 0; i < r->extents; i++, p += RECORD_EXTENT) {
		put_u32(p, extents[i].segment);
		put_u32(p + 4, extents[i].offset);
		put_u32(p + 8, extents[i].length);
	}
	put_u32(out + AT_CRC, header_crc(out, header_bytes(r), key, offset));
}

int record_decode(const unsigned char *data, size_t available, struct segment_key key, uint32_t offset,
		  struct record *ret)
{
	struct record r;

	if (available < RECORD_HEADER || get_u32(data + AT_MAGIC) != key.magic)
		return -EBADMSG;
	r = (struct record) {
		.type = data[AT_TYPE],
		.extents = get_u16(data + AT_EXTENTS),
		.length = get_u32(data + AT_LENGTH),
		.payload_crc = get_u32(data + AT_PAYLOAD_CRC),
		.durable = get_u32(data + AT_DURABLE),
		.note_length = get_u32(data + AT_NOTE_LENGTH),
		.id = get_u64(data + AT_ID),
		.aux = get_u64(data + AT_AUX),
	};
	if (r.extents > RECORD_MAX_EXTENTS || available < header_bytes(&r) ||
	    header_crc(data, header_bytes(&r), key, offset) != get_u32(data + AT_CRC))
		return -EBADMSG;
	/* From here on it is what some program wrote here; still, a wrong program must not lead us astray. */
	if (r.type < RECORD_CHUNK || r.type > RECORD_SEAL || r.length > RECORD_MAX_PAYLOAD ||
	    r.note_length > r.length || r.durable > offset || (r.extents > 0 && r.type != RECORD_COMMIT))
		return -EBADMSG;
	*ret = r;
	return 0;
}

struct extent record_extent(const unsigned char *data, unsigned i)
{
	const unsigned char *p = data + RECORD_HEADER + (size_t) i * RECORD_EXTENT;

	return (struct extent) { .segment = get_u32(p), .offset = get_u32(p + 4), .length = get_u32(p + 8) };
}

bool record_payload_valid(const struct record *r, const void *payload)
{
	return crc32c(0, payload, r->length) == r->payload_crc;
}

void removes_encode(struct removed r, unsigned char out[static RECORD_REMOVES_ENTRY])
{
	put_u64(out, r.id);
	put_u32(out + 8, r.segment);
}

struct removed removes_decode(const unsigned char data[static RECORD_REMOVES_ENTRY])
{
	return (struct removed) { .id = get_u64(data), .segment = get_u32(data + 8) };
}

void segment_header_encode(const struct segment_header *h, unsigned char out[static SEGMENT_START])
{
	unsigned char *p = out + HEADER_AT_CUTS;

	assert(h->cut_count <= SEGMENT_MAX_CUTS);
	memset(out, 0, SEGMENT_START);
	memcpy(out, HEADER_MAGIC, sizeof(HEADER_MAGIC) - 1);
	put_u32(out + HEADER_AT_VERSION, h->version);
	put_u32(out + HEADER_AT_COPY_SIZE, SEGMENT_HEADER_COPY);
	put_u32(out + HEADER_AT_NUMBER, h->number);
	put_u64(out + HEADER_AT_CREATED, (uint64_t) h->created);
	put_u64(out + HEADER_AT_SECRET, h->secret.k[0]);
	put_u64(out + HEADER_AT_SECRET + 8, h->secret.k[1]);
	put_u32(out + HEADER_AT_CUT_COUNT, h->cut_count);
	for (unsigned i = 0; i < h->cut_count; i++, p += HEADER_CUT) {
		put_u32(p, h->cuts[i].segment);
		put_u32(p + 4, h->cuts[i].offset);
	}
	put_u32(out + HEADER_AT_CRC, crc32c(0, out, HEADER_AT_CRC));
	memcpy(out + SEGMENT_HEADER_COPY, out, SEGMENT_HEADER_COPY);
}

static int copy_decode(const unsigned char *data, struct segment_header *ret)
{
	const unsigned char *p = data + HEADER_AT_CUTS;

	if (memcmp(data, HEADER_MAGIC, sizeof(HEADER_MAGIC) - 1) != 0 ||
	    crc32c(0, data, HEADER_AT_CRC) != get_u32(data + HEADER_AT_CRC))
		return -EBADMSG;
	if (get_u32(data + HEADER_AT_VERSION) != SPOOL_VERSION)
		return -EPROTONOSUPPORT;
	if (get_u32(data + HEADER_AT_CUT_COUNT) > SEGMENT_MAX_CUTS)
		return -EBADMSG;
	ret->version = SPOOL_VERSION;
	ret->number = get_u32(data + HEADER_AT_NUMBER);
	ret->created = (wall_t) get_u64(data + HEADER_AT_CREATED);
	ret->secret.k[0] = get_u64(data + HEADER_AT_SECRET);
	ret->secret.k[1] = get_u64(data + HEADER_AT_SECRET + 8);
	ret->cut_count = get_u32(data + HEADER_AT_CUT_COUNT);
	for (unsigned i = 0; i < ret->cut_count; i++, p += HEADER_CUT)
		ret->cuts[i] = (struct cut) { .segment = get_u32(p), .offset = get_u32(p + 4) };
	return 0;
}

int segment_header_decode(const unsigned char *data, size_t len, struct segment_header *ret)
{
	int r = -EBADMSG;

	for (size_t at = 0; r == -EBADMSG && at + SEGMENT_HEADER_COPY <= len && at < SEGMENT_START;
	     at += SEGMENT_HEADER_COPY)
		r = copy_decode(data + at, ret);
	return r;
}
