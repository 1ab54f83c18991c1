#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "spool/index.h"
#include "spool/walk.h"

static const struct hash_key secret = { { 0x0123456789abcdef, 0xfedcba9876543210 } };

/* An image of a segment in memory. */
struct image {
	unsigned char bytes[65536];
	uint32_t len;
	struct segment_key key;
	uint32_t bad_from, bad_to; /* reads that touch this fail with -EIO */
};

static void image_init(struct image *m, uint32_t number)
{
	memset(m, 0, sizeof(*m));
	m->key = segment_key_derive(&secret, number);
	m->len = SEGMENT_START;
}

static uint32_t add(struct image *m, struct record r, const char *payload, const struct extent *extents)
{
	uint32_t at = m->len;

	r.length = (uint32_t) strlen(payload);
	r.payload_crc = crc32c(0, payload, r.length);
	record_encode(&r, extents, m->key, at, m->bytes + at);
	memcpy(m->bytes + at + RECORD_HEADER + r.extents * RECORD_EXTENT, payload, r.length);
	m->len += record_size(&r);
	return at;
}

static uint32_t add_note(struct image *m, msgid_t id, const char *text)
{
	return add(m, (struct record) { .type = RECORD_NOTE, .id = id }, text, NULL);
}

static ssize_t image_read(void *context, void *data, size_t len, uint64_t offset)
{
	struct image *m = context;
	size_t n;

	if (offset >= m->len)
		return 0;
	n = MIN(len, m->len - offset);
	if (m->bad_to > 0 && offset < m->bad_to && offset + n > m->bad_from)
		return -EIO;
	memcpy(data, m->bytes + offset, n);
	return (ssize_t) n;
}

struct seen {
	unsigned records, damaged, gaps, tails;
	msgid_t ids[64];
	uint32_t gap_offset, gap_length;
	uint32_t unreadable;
};

static struct seen walk_all(struct image *m)
{
	struct walk_source source = { .read = image_read, .context = m, .size = m->len };
	struct seen seen = { 0 };
	struct walk_item item;
	struct walk walk;
	uint32_t end = SEGMENT_START;

	walk_init(&walk, &source, m->key);
	while (walk_next(&walk, &item) == 1) {
		assert_int_equal(item.offset, end);
		end = item.offset + item.length;
		switch (item.kind) {
		case WALK_RECORD:
			seen.ids[seen.records++] = item.record.id;
			break;
		case WALK_DAMAGED:
			seen.damaged++;
			break;
		case WALK_GAP:
			seen.gaps++;
			seen.gap_offset = item.offset;
			seen.gap_length = item.length;
			break;
		case WALK_TAIL:
			seen.tails++;
			break;
		}
	}
	seen.unreadable = walk.unreadable;
	walk_done(&walk);
	return seen;
}

/* --- records --------------------------------------------------------------------------------------- */

static void test_a_record_survives_encoding(void **state)
{
	struct extent extents[2] = { { 1, 4096, 65536 }, { 2, 8192, 77 } };
	struct record in = { .type = RECORD_COMMIT, .id = 0x1122334455667788, .aux = 65613, .extents = 2, .length = 300,
			     .payload_crc = 0xdeadbeef, .durable = 5000, .note_length = 12 }, out;
	struct segment_key key = segment_key_derive(&secret, 7);
	unsigned char bytes[RECORD_HEADER + 2 * RECORD_EXTENT];

	record_encode(&in, extents, key, 9000, bytes);
	assert_int_equal(record_decode(bytes, sizeof(bytes), key, 9000, &out), 0);
	assert_int_equal(out.type, RECORD_COMMIT);
	assert_int_equal(out.id, in.id);
	assert_int_equal(out.aux, in.aux);
	assert_int_equal(out.extents, 2);
	assert_int_equal(out.length, 300);
	assert_int_equal(out.payload_crc, 0xdeadbeef);
	assert_int_equal(out.durable, 5000);
	assert_int_equal(out.note_length, 12);
	assert_int_equal(record_extent(bytes, 1).segment, 2);
	assert_int_equal(record_extent(bytes, 1).offset, 8192);
	assert_int_equal(record_extent(bytes, 1).length, 77);
	assert_int_equal(record_size(&out), 376); /* 48 + 24 + 300 = 372 */
}

static void test_a_record_is_valid_in_its_own_place_only(void **state)
{
	struct record in = { .type = RECORD_NOTE, .id = 5, .length = 0 }, out;
	struct segment_key key = segment_key_derive(&secret, 7), other = segment_key_derive(&secret, 8);
	struct hash_key stranger = { { 1, 2 } };
	struct segment_key foreign = segment_key_derive(&stranger, 7);
	unsigned char bytes[RECORD_HEADER];

	record_encode(&in, NULL, key, 4096, bytes);
	assert_int_equal(record_decode(bytes, sizeof(bytes), key, 4096, &out), 0);
	assert_int_equal(record_decode(bytes, sizeof(bytes), key, 4104, &out), -EBADMSG);
	assert_int_equal(record_decode(bytes, sizeof(bytes), other, 4096, &out), -EBADMSG);
	assert_int_equal(record_decode(bytes, sizeof(bytes), foreign, 4096, &out), -EBADMSG);
	other.magic = key.magic; /* even if the magic were known */
	assert_int_equal(record_decode(bytes, sizeof(bytes), other, 4096, &out), -EBADMSG);
}

static void test_no_flipped_bit_of_a_header_goes_unseen(void **state)
{
	struct extent extent = { 1, 4096, 10 };
	struct record in = { .type = RECORD_COMMIT, .id = 5, .aux = 10, .extents = 1, .length = 20 }, out;
	struct segment_key key = segment_key_derive(&secret, 7);
	unsigned char bytes[RECORD_HEADER + RECORD_EXTENT];

	record_encode(&in, &extent, key, 4096, bytes);
	for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
		bytes[bit / 8] ^= (unsigned char) (1u << bit % 8);
		assert_int_equal(record_decode(bytes, sizeof(bytes), key, 4096, &out), -EBADMSG);
		bytes[bit / 8] ^= (unsigned char) (1u << bit % 8);
	}
	for (size_t n = 0; n < sizeof(bytes); n++)
		assert_int_equal(record_decode(bytes, n, key, 4096, &out), -EBADMSG);
}

static void test_a_list_of_removals_survives_encoding(void **state)
{
	unsigned char bytes[RECORD_REMOVES_ENTRY];
	struct removed r;

	removes_encode((struct removed) { .id = UINT64_MAX - 1, .segment = 0x80000001 }, bytes);
	r = removes_decode(bytes);
	assert_true(r.id == UINT64_MAX - 1);
	assert_int_equal(r.segment, 0x80000001);
}

/* --- segment headers --------------------------------------------------------------------------------- */

static void test_a_segment_header_survives_damage_of_either_copy(void **state)
{
	struct segment_header in = { .version = SPOOL_VERSION, .number = 77, .created = -5, .secret = secret, .cut_count = 2,
				     .cuts = { { 3, 4096 }, { 9, 123456 } } }, out;
	unsigned char bytes[SEGMENT_START];

	segment_header_encode(&in, bytes);
	for (size_t i = 0; i < SEGMENT_START; i++) {
		bytes[i] ^= 0x10;
		memset(&out, 0xff, sizeof(out));
		assert_int_equal(segment_header_decode(bytes, sizeof(bytes), &out), 0);
		assert_int_equal(out.number, 77);
		assert_int_equal(out.created, -5);
		assert_memory_equal(&out.secret, &secret, sizeof(secret));
		assert_int_equal(out.cut_count, 2);
		assert_int_equal(out.cuts[1].offset, 123456);
		bytes[i] ^= 0x10;
	}
	bytes[20] ^= 1;
	bytes[SEGMENT_HEADER_COPY + 20] ^= 1;
	assert_int_equal(segment_header_decode(bytes, sizeof(bytes), &out), -EBADMSG);
	assert_int_equal(segment_header_decode(bytes, 0, &out), -EBADMSG);
}

static void test_a_newer_version_is_told_from_damage(void **state)
{
	struct segment_header in = { .version = SPOOL_VERSION + 1, .number = 1 }, out;
	unsigned char bytes[SEGMENT_START];

	segment_header_encode(&in, bytes);
	assert_int_equal(segment_header_decode(bytes, sizeof(bytes), &out), -EPROTONOSUPPORT);
	in.version = SPOOL_VERSION;
	segment_header_encode(&in, bytes);
	bytes[8] ^= 2; /* a version that the checksum does not confirm */
	assert_int_equal(segment_header_decode(bytes, sizeof(bytes), &out), 0);
}

/* --- walking -------------------------------------------------------------------------------------------- */

static void test_a_walk_finds_all_records_in_order(void **state)
{
	struct image *m = malloc(sizeof(*m));
	struct seen seen;

	image_init(m, 1);
	for (unsigned i = 1; i <= 20; i++)
		add_note(m, i, "some note text of any length" + i);
	seen = walk_all(m);
	assert_int_equal(seen.records, 20);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(seen.ids[i], i + 1);
	assert_int_equal(seen.gaps + seen.damaged + seen.tails, 0);
	free(m);
}

static void test_a_walk_steps_over_a_damaged_payload(void **state)
{
	struct image *m = malloc(sizeof(*m));
	struct seen seen;
	uint32_t at;

	image_init(m, 1);
	add_note(m, 1, "first");
	at = add_note(m, 2, "second");
	add_note(m, 3, "third");
	m->bytes[at + RECORD_HEADER + 2] ^= 1;
	seen = walk_all(m);
	assert_int_equal(seen.records, 2);
	assert_int_equal(seen.ids[1], 3);
	assert_int_equal(seen.damaged, 1);
	free(m);
}

static void test_a_walk_finds_the_way_back_after_a_damaged_header(void **state)
{
	struct image *m = malloc(sizeof(*m));
	struct seen seen;
	uint32_t at, next;

	image_init(m, 1);
	add_note(m, 1, "first");
	at = add_note(m, 2, "second");
	next = add_note(m, 3, "third");
	for (uint32_t i = 0; i < RECORD_HEADER; i++) {
		m->bytes[at + i] ^= 0x40;
		seen = walk_all(m);
		assert_int_equal(seen.records, 2);
		assert_int_equal(seen.gaps, 1);
		assert_int_equal(seen.gap_offset, at);
		assert_int_equal(seen.gap_length, next - at);
		m->bytes[at + i] ^= 0x40;
	}
	free(m);
}

static void test_bytes_of_an_earlier_life_are_not_taken_for_records(void **state)
{
	struct image *m = malloc(sizeof(*m));
	struct seen seen;

	image_init(m, 1);
	for (unsigned i = 1; i <= 30; i++)
		add_note(m, i, "from the segment that this file was before");
	m->key = segment_key_derive(&secret, 2);
	m->len = SEGMENT_START;
	add_note(m, 100, "new");
	add_note(m, 101, "from the segment that this file was before");
	m->len = 20000;
	seen = walk_all(m);
	assert_int_equal(seen.records, 2);
	assert_int_equal(seen.ids[0], 100);
	assert_int_equal(seen.gaps, 0);
	assert_int_equal(seen.tails, 1);
	free(m);
}

static void test_nothing_is_read_behind_a_seal(void **state)
{
	struct image *m = malloc(sizeof(*m));
	struct seen seen;

	image_init(m, 1);
	add_note(m, 1, "first");
	add(m, (struct record) { .type = RECORD_SEAL }, "", NULL);
	add_note(m, 2, "behind");
	seen = walk_all(m);
	assert_int_equal(seen.records, 2);
	assert_int_equal(seen.ids[1], 0);
	free(m);
}

static void test_a_tail_cut_anywhere_leaves_the_records_before_it(void **state)
{
	struct image *m = malloc(sizeof(*m));
	struct seen seen;
	uint32_t last, end;

	image_init(m, 1);
	add_note(m, 1, "first");
	last = add_note(m, 2, "the last record");
	end = last + RECORD_HEADER + 15;
	for (m->len = last; m->len < end; m->len++) {
		seen = walk_all(m);
		assert_int_equal(seen.records, 1);
		assert_int_equal(seen.gaps, 0);
	}
	m->len = end; /* only padding is missing */
	assert_int_equal(walk_all(m).records, 2);
	free(m);
}

static void test_a_bad_sector_costs_what_is_in_it(void **state)
{
	struct image *m = malloc(sizeof(*m));
	char text[1001];
	struct seen seen;

	memset(text, 'x', 1000);
	text[1000] = '\0';
	image_init(m, 1);
	for (unsigned i = 1; i <= 30; i++)
		add_note(m, i, text);
	m->bad_from = 12288;
	m->bad_to = 12289;
	seen = walk_all(m);
	assert_int_equal(seen.unreadable, 4096);
	/* Four records begin in the sector; the one that it cuts at the end is damaged. */
	assert_int_equal(seen.records, 25);
	assert_int_equal(seen.damaged, 1);
	assert_int_equal(seen.gaps, 1);
	free(m);
}

/* --- the index ------------------------------------------------------------------------------------------- */

static void test_the_index_finds_what_was_put_in_and_not_what_was_taken_out(void **state)
{
	struct index x;
	uint32_t cursor = 0, n = 0;

	index_init(&x);
	assert_null(index_find(&x, 1));
	for (uint64_t id = 1; id <= 50000; id++) {
		struct extent *many = NULL;
		struct entry *e = index_insert(&x, id << 20);

		assert_non_null(e);
		e->size = id;
		if (id % 10 == 0) {
			many = calloc(3, sizeof(*many));
			many[2].offset = (uint32_t) id;
			index_set_extents(&x, e, many, 3);
		} else
			index_set_extents(&x, e, &(struct extent) { .offset = (uint32_t) id }, 1);
	}
	for (uint64_t id = 1; id <= 50000; id += 3)
		index_remove(&x, index_find(&x, id << 20));
	for (uint64_t id = 1; id <= 50000; id++) {
		struct entry *e = index_find(&x, id << 20);

		assert_int_equal(e == NULL, id % 3 == 1);
		if (e) {
			assert_int_equal(e->size, id);
			assert_int_equal(entry_extents(e)[id % 10 == 0 ? 2 : 0].offset, id);
		}
	}
	while (index_each(&x, &cursor))
		n++;
	assert_int_equal(n, x.len);
	assert_int_equal(n, 33333);
	index_done(&x);
}

static void test_an_entry_costs_at_most_seventy_two_bytes(void **state)
{
	struct index x;

	index_init(&x);
	for (uint64_t id = 1; id <= 200000; id++) {
		struct entry *e = index_insert(&x, id);

		index_set_extents(&x, e, &(struct extent) { 1, 2, 3 }, 1);
	}
	assert_true(index_footprint(&x) <= 200000 * 72);
	index_done(&x);
}

static void test_a_reserved_entry_can_be_inserted(void **state)
{
	struct index x;

	index_init(&x);
	assert_int_equal(index_reserve(&x, 10000), 0);
	assert_true(x.slab_count >= 3);
	for (uint64_t id = 1; id <= 10000; id++)
		assert_non_null(index_insert(&x, id));
	assert_int_equal(x.slab_count, 3);
	index_done(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_record_survives_encoding),
		cmocka_unit_test(test_a_record_is_valid_in_its_own_place_only),
		cmocka_unit_test(test_no_flipped_bit_of_a_header_goes_unseen),
		cmocka_unit_test(test_a_list_of_removals_survives_encoding),
		cmocka_unit_test(test_a_segment_header_survives_damage_of_either_copy),
		cmocka_unit_test(test_a_newer_version_is_told_from_damage),
		cmocka_unit_test(test_a_walk_finds_all_records_in_order),
		cmocka_unit_test(test_a_walk_steps_over_a_damaged_payload),
		cmocka_unit_test(test_a_walk_finds_the_way_back_after_a_damaged_header),
		cmocka_unit_test(test_bytes_of_an_earlier_life_are_not_taken_for_records),
		cmocka_unit_test(test_nothing_is_read_behind_a_seal),
		cmocka_unit_test(test_a_tail_cut_anywhere_leaves_the_records_before_it),
		cmocka_unit_test(test_a_bad_sector_costs_what_is_in_it),
		cmocka_unit_test(test_the_index_finds_what_was_put_in_and_not_what_was_taken_out),
		cmocka_unit_test(test_an_entry_costs_at_most_seventy_two_bytes),
		cmocka_unit_test(test_a_reserved_entry_can_be_inserted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
