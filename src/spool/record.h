/* The bytes of the log: what a segment file begins with and what a record looks like.
 *
 * A segment file opens with two copies of its header, then come records, each aligned to 8 bytes. A record is
 * a header of 48 bytes, for a commit the list of the places where its body lies, and the payload. Two checksums:
 * that of the header also covers the segment's number, the record's offset and a secret of the spool, so a record
 * is valid in one place only. Bytes left from an earlier life of a recycled file can't be mistaken for records,
 * and neither can the body of a message whose sender wrote a record into it. The payload's own checksum can be
 * computed before the place is known, by whoever has the payload.
 *
 * Pure functions: nothing here reads or writes a file. docs/SPOOL.md has the same as a table. */
#pragma once

#include <endian.h>

#include "base/hash.h"
#include "base/id.h"

#define SPOOL_VERSION 1u

#define RECORD_HEADER 48u
#define RECORD_EXTENT 12u            /* bytes of one entry in a commit's list */
#define RECORD_ALIGN 8u
#define RECORD_MAX_EXTENTS 16384u    /* 2 GiB in chunks of 128 KiB */
#define RECORD_MAX_PAYLOAD (64u << 20)

#define SEGMENT_START 4096u          /* the first record */
#define SEGMENT_HEADER_COPY 2048u    /* each of the two copies of the header */
#define SEGMENT_MAX_CUTS 128u
#define SEGMENT_MIN_SIZE (64u << 10)
#define SEGMENT_MAX_SIZE (1u << 30)

enum record_type {
	RECORD_CHUNK = 1,   /* body bytes; aux: their offset in the body */
	RECORD_COMMIT = 2,  /* makes the message exist; aux: body size; payload: the note, then the envelope */
	RECORD_NOTE = 3,    /* replaces the note */
	RECORD_REMOVE = 4,  /* the message is done; aux: the segment of the commit that this record keeps dead */
	RECORD_REMOVES = 5, /* the same for many, moved here by compaction; payload: id (8), segment (4) each */
	RECORD_SEAL = 6,    /* nothing follows in this segment */
};
#define RECORD_REMOVES_ENTRY 12u

/* Where a part of a body lies: the place of its chunk record and the bytes in it. */
struct extent {
	uint32_t segment, offset, length;
};

struct record {
	uint8_t type;
	uint16_t extents;     /* entries between header and payload; commits only */
	uint32_t length;      /* of the payload */
	uint32_t payload_crc; /* CRC-32C, started with 0 */
	uint32_t durable;     /* everything of this segment below it was synced when this was written */
	uint32_t note_length; /* commits: so many bytes of the payload are the note */
	msgid_t id;
	uint64_t aux;
};

/* What binds a record to its segment: both are derived from the spool's secret and the segment's number. */
struct segment_key {
	uint32_t magic, seed;
};
struct segment_key segment_key_derive(const struct hash_key *secret, uint32_t segment);

/* The four bytes at data may open a record: the quick look before record_decode. */
static inline bool record_has_magic(const unsigned char *data, struct segment_key key)
{
	uint32_t v;

	memcpy(&v, data, sizeof(v));
	return v == htole32(key.magic);
}

/* Bytes on disk, padding included. Can't overflow: all parts are bounded. */
uint32_t record_size(const struct record *r);
/* Writes the header and the list (RECORD_HEADER + extents * RECORD_EXTENT bytes) as it is to stand at `offset`. */
void record_encode(const struct record *r, const struct extent *extents, struct segment_key key, uint32_t offset,
		   unsigned char *out);
/* Takes the header of what stands at `offset`, with `available` bytes from there on at hand. -EBADMSG: no record
 * of this place. The payload is not looked at; its length is trustworthy (the checksum covers it) and bounded, but
 * may reach beyond `available`. */
int record_decode(const unsigned char *data, size_t available, struct segment_key key, uint32_t offset,
		  struct record *ret);
/* Entry i of the list that follows the header at `data`. */
struct extent record_extent(const unsigned char *data, unsigned i);
bool record_payload_valid(const struct record *r, const void *payload);

struct removed {
	msgid_t id;
	uint32_t segment;
};
void removes_encode(struct removed r, unsigned char out[static RECORD_REMOVES_ENTRY]);
struct removed removes_decode(const unsigned char data[static RECORD_REMOVES_ENTRY]);

/* A segment that failed while it was written: what lies at or behind `offset` was never acknowledged and is void. */
struct cut {
	uint32_t segment, offset;
};
struct segment_header {
	uint32_t version;
	uint32_t number;
	wall_t created;
	struct hash_key secret;
	unsigned cut_count;
	struct cut cuts[SEGMENT_MAX_CUTS];
};
/* Both copies: SEGMENT_START bytes. */
void segment_header_encode(const struct segment_header *h, unsigned char out[static SEGMENT_START]);
/* Takes the first copy that holds. -EPROTONOSUPPORT: of a newer version. -EBADMSG: neither copy is whole. */
int segment_header_decode(const unsigned char *data, size_t len, struct segment_header *ret);
