/* Bit rot: every byte of a small spool is damaged in turn, with several patterns, and every file of it is cut at every
 * byte. What a recovery has to find then is computed here from the intact records, by docs/SPOOL.md, without the one
 * that was hit: exactly its message may be missing, or exactly its note or removal may be forgotten, and the damaged
 * bytes have to lie in the quarantine under the name of their place, which the log says.
 *
 * Of the zeros in the headers of the segments every sixteenth byte is enough; ROT=all takes all of them. ROT=n takes
 * only every n-th byte and length, for runs under a tool that makes them slow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "spool/record.h"
#include "unit/spool_scene.h"
#include "world/file.h"

#define SEGMENTS_MAX 8
#define RECORDS_MAX 128
#define ID_MAX 16
#define SAID_MAX 8192

struct place {
	unsigned segment; /* index in images */
	uint32_t offset, size, unpadded;
	struct record record;
	const unsigned char *bytes;
};

struct image {
	uint32_t number;
	unsigned char *bytes;
	size_t len;
};

/* What is there, by id: the number of the note plus one; 0: no such message. */
struct state {
	uint32_t note[ID_MAX];
	bool lost[ID_MAX]; /* its commit stands there, but not its body */
};

struct rot {
	struct scene scene;
	struct image images[SEGMENTS_MAX];
	unsigned image_count;
	struct place places[RECORDS_MAX];
	unsigned place_count;
	char said[SAID_MAX]; /* what was logged as critical */
	size_t said_len;
	unsigned opened, missing, aside; /* counted over all */
};

static struct rot *rot_of(void **state)
{
	return *state;
}

static void note_line(void *context, const char *line, size_t len)
{
	struct rot *k = context;

	if (!memmem(line, len, "\"critical\"", 10) || k->said_len + len >= SAID_MAX)
		return;
	memcpy(k->said + k->said_len, line, len);
	k->said_len += len;
	k->said[k->said_len] = '\0';
}

static int set_up(void **state)
{
	struct rot *k = calloc(1, sizeof(*k));

	if (!k)
		return -1;
	scene_begin(&k->scene, 1);
	k->scene.log.write = note_line;
	k->scene.log.context = k;
	*state = k;
	return scene_open(&k->scene);
}

static int tear_down(void **state)
{
	struct rot *k = rot_of(state);

	for (unsigned i = 0; i < k->image_count; i++)
		free(k->images[i].bytes);
	scene_end(&k->scene);
	free(k);
	return 0;
}

/* --- a small spool -------------------------------------------------------------------------------------- */

static int first_life(struct scene *c, void *arg)
{
	for (msgid_t id = 1; id <= 5; id++)
		assert_int_equal(scene_commit(c, id, 30 * id + 7), 0);
	assert_int_equal(scene_note(c, 2, 1, true), 0);
	assert_int_equal(scene_note(c, 2, 2, true), 0);
	assert_int_equal(spool_remove(c->spool, 4), 0);
	fiber_sleep_until(now() + USEC_SEC);
	return 0;
}

static int second_life(struct scene *c, void *arg)
{
	assert_int_equal(spool_remove(c->spool, 3), 0);
	assert_int_equal(scene_note(c, 1, 7, true), 0);
	assert_int_equal(scene_commit(c, 6, 0), 0);
	assert_int_equal(scene_commit(c, 7, 250), 0);
	assert_int_equal(scene_note(c, 2, 3, true), 0);
	assert_int_equal(spool_remove(c->spool, 6), 0);
	if (*(const bool *) arg)
		assert_int_equal(spool_remove(c->spool, 7), 0);
	fiber_sleep_until(now() + USEC_SEC);
	return 0;
}

static int third_life(struct scene *c, void *arg)
{
	assert_int_equal(scene_commit(c, 8, 100), 0);
	assert_int_equal(scene_note(c, 8, 4, true), 0);
	return 0;
}

static int keep_image(const char *name, void *context)
{
	struct rot *k = context;
	struct image *g = &k->images[k->image_count];
	char path[64];
	unsigned number;

	if (sscanf(name, "%8x.log", &number) != 1)
		return 0;
	assert_true(k->image_count < SEGMENTS_MAX);
	k->image_count++;
	(void) snprintf(path, sizeof(path), "/spool/%s", name);
	g->number = number;
	g->bytes = scene_file(&k->scene, path, &g->len);
	return 0;
}

/* All records of the images, in order. */
static void find_places(struct rot *k)
{
	for (unsigned i = 0; i < k->image_count; i++) {
		const struct image *g = &k->images[i];
		struct segment_header *h = malloc(sizeof(*h));
		struct segment_key key;
		uint32_t at = SEGMENT_START;

		assert_non_null(h);
		assert_int_equal(segment_header_decode(g->bytes, g->len, h), 0);
		key = segment_key_derive(&h->secret, g->number);
		free(h);
		while (at < g->len) {
			struct place *p = &k->places[k->place_count++];

			assert_true(k->place_count <= RECORDS_MAX);
			*p = (struct place) { .segment = i, .offset = at, .bytes = g->bytes + at };
			assert_int_equal(record_decode(p->bytes, g->len - at, key, at, &p->record), 0);
			p->size = record_size(&p->record);
			p->unpadded = RECORD_HEADER + p->record.extents * RECORD_EXTENT + p->record.length;
			at += p->size;
		}
		assert_int_equal(at, g->len);
	}
}

/* Three segments, closed in order: seals vouch for everything. compacted: the second one, of which only notes and a
 * removal live on in the third. */
static void make_spool(struct rot *k, bool compacted)
{
	struct scene *c = &k->scene;

	c->config.compact_percent = 5;
	scene_run(c, first_life, NULL);
	scene_reopen(c);
	scene_run(c, second_life, &compacted);
	scene_reopen(c);
	if (compacted)
		scene_pass(c, 5 * USEC_MIN);
	scene_run(c, third_life, NULL);
	scene_close(c);
	assert_int_equal(path_list(c->world, "/spool", keep_image, k), 0);
	find_places(k);
}

/* --- what has to be found ------------------------------------------------------------------------------- */

static const struct place *place_at(const struct rot *k, uint32_t segment, uint32_t offset)
{
	for (unsigned i = 0; i < k->place_count; i++)
		if (k->images[k->places[i].segment].number == segment && k->places[i].offset == offset)
			return &k->places[i];
	return NULL;
}

static uint32_t note_number(const unsigned char *data, uint32_t len)
{
	char text[64];
	unsigned n = 0;

	(void) snprintf(text, sizeof(text), "%.*s", (int) len, (const char *) data);
	return sscanf(text, "note %u of", &n) == 1 ? n : 0;
}

typedef bool (*gone_fn)(const struct place *p, const void *arg);

static void play_commit(const struct rot *k, const struct place *p, gone_fn gone, const void *arg, struct state *s)
{
	msgid_t id = p->record.id;

	for (unsigned i = 0; i < p->record.extents; i++) {
		struct extent x = record_extent(p->bytes, i);
		const struct place *chunk = place_at(k, x.segment, x.offset);

		if (!chunk || gone(chunk, arg)) {
			s->lost[id] = s->note[id] == 0; /* what compaction left behind is as good */
			return;
		}
	}
	s->note[id] = 1 + note_number(p->bytes + RECORD_HEADER + p->record.extents * RECORD_EXTENT, p->record.note_length);
	s->lost[id] = false;
}

static void play_remove(struct state *s, msgid_t id)
{
	s->note[id] = 0;
	s->lost[id] = false;
}

/* The records in order, without those that are gone. */
static struct state expect(const struct rot *k, gone_fn gone, const void *arg)
{
	struct state s = { 0 };

	for (unsigned i = 0; i < k->place_count; i++) {
		const struct place *p = &k->places[i];
		const unsigned char *payload = p->bytes + RECORD_HEADER + p->record.extents * RECORD_EXTENT;

		if (gone(p, arg))
			continue;
		if (p->record.type == RECORD_COMMIT)
			play_commit(k, p, gone, arg, &s);
		else if (p->record.type == RECORD_NOTE && s.note[p->record.id] > 0)
			s.note[p->record.id] = 1 + note_number(payload, p->record.length);
		else if (p->record.type == RECORD_REMOVE)
			play_remove(&s, p->record.id);
		else if (p->record.type == RECORD_REMOVES)
			for (uint32_t at = 0; at < p->record.length; at += RECORD_REMOVES_ENTRY)
				play_remove(&s, removes_decode(payload + at).id);
	}
	return s;
}

/* --- damaging --------------------------------------------------------------------------------------------- */

static int remove_entry(const char *name, void *context)
{
	struct rot *k = context;
	char path[128];

	(void) snprintf(path, sizeof(path), "/spool/%s", name);
	(void) path_unlink(k->scene.world, path);
	(void) snprintf(path, sizeof(path), "/spool/quarantine/%s", name);
	(void) path_unlink(k->scene.world, path);
	return 0;
}

/* The spool as it was, but for segment `changed`, of which so many bytes are left. */
static void put_images(struct rot *k, unsigned changed, size_t len)
{
	char path[64];

	(void) path_list(k->scene.world, "/spool/quarantine", remove_entry, k);
	(void) path_list(k->scene.world, "/spool", remove_entry, k);
	for (unsigned i = 0; i < k->image_count; i++) {
		(void) snprintf(path, sizeof(path), "/spool/%08x.log", k->images[i].number);
		scene_write_file(&k->scene, path, k->images[i].bytes, i == changed ? len : k->images[i].len);
	}
	k->said_len = 0;
	k->said[0] = '\0';
}

static int check_contents(struct scene *c, void *arg)
{
	for (unsigned i = 0; i < c->found_count; i++) {
		assert_false(c->found[i].wrong);
		assert_int_equal(scene_check(c, c->found[i].id, c->found[i].size), 0);
	}
	return 0;
}

static void recover_and_compare(struct rot *k, const struct state *s, const char *what, unsigned segment, size_t at)
{
	struct scene *c = &k->scene;

	assert_int_equal(scene_open(c), 0);
	k->opened++;
	scene_run(c, check_contents, NULL);
	for (msgid_t id = 1; id < ID_MAX; id++) {
		const struct scene_message *m = scene_find(c, id);
		uint32_t note = m ? 1 + m->note : 0;

		if (note != s->note[id])
			fail_msg("%s at byte %zu of segment %u: message %u has note %d, expected %d", what, at,
				 k->images[segment].number, (unsigned) id, (int) note - 1, (int) s->note[id] - 1);
		k->missing += s->lost[id];
	}
}

static bool is_this(const struct place *p, const void *arg)
{
	return p == arg;
}

/* The record that a byte belongs to; NULL for headers and for padding, which no checksum covers. */
static const struct place *hit_by(const struct rot *k, unsigned segment, size_t at)
{
	for (unsigned i = 0; i < k->place_count; i++) {
		const struct place *p = &k->places[i];

		if (p->segment == segment && at >= p->offset && at < p->offset + p->unpadded)
			return p;
	}
	return NULL;
}

/* The damaged bytes are in the quarantine, and the log says where they were. */
static void check_set_aside(struct rot *k, const struct place *p, const unsigned char *damaged)
{
	struct scene *c = &k->scene;
	unsigned char *kept;
	char text[128];
	size_t len;

	assert_int_equal(c->recovery.quarantined, 1);
	(void) snprintf(text, sizeof(text), "/spool/quarantine/%08x-%08x.record", k->images[p->segment].number, p->offset);
	kept = scene_file(c, text, &len);
	assert_int_equal(len, p->size);
	assert_memory_equal(kept, damaged, len);
	free(kept);
	(void) snprintf(text, sizeof(text), "\"segment\":%u,\"offset\":%u,\"length\":%u", k->images[p->segment].number,
			p->offset, p->size);
	assert_non_null(strstr(k->said, text));
	k->aside++;
}

/* A message that lost a part is named, and what is left of it is kept. */
static void check_lost(struct rot *k, const struct place *p, const struct state *s)
{
	struct scene *c = &k->scene;
	msgid_t id = p->record.id;
	char name[MSGID_TEXT + 16], text[MSGID_TEXT];

	if (p->record.type == RECORD_CHUNK && s->lost[id]) {
		assert_int_equal(c->recovery.lost_messages, 1);
		(void) snprintf(name, sizeof(name), "%s.envelope", id_format(id, text));
		assert_int_equal(scene_count_files(c, "/spool/quarantine", name), 1);
		assert_non_null(strstr(k->said, "a message is lost"));
		assert_non_null(strstr(k->said, text));
	}
}

static void damage(struct rot *k, unsigned segment, size_t at, unsigned char value, const char *what)
{
	struct image *g = &k->images[segment];
	const struct place *p = hit_by(k, segment, at);
	unsigned char whole = g->bytes[at];
	struct state s = expect(k, is_this, p && p->record.type != RECORD_SEAL ? p : NULL);

	if (value == whole)
		return;
	g->bytes[at] = value;
	put_images(k, segment, g->len);
	recover_and_compare(k, &s, what, segment, at);
	if (p && p->record.type != RECORD_SEAL) {
		check_set_aside(k, p, p->bytes);
		check_lost(k, p, &s);
	} else
		assert_int_equal(k->scene.recovery.quarantined + k->scene.recovery.lost_messages, 0);
	scene_close(&k->scene);
	g->bytes[at] = whole;
}

static bool thorough(void)
{
	const char *all = getenv("ROT");

	return all && strcmp(all, "all") == 0;
}

static unsigned stride(void)
{
	const char *value = getenv("ROT");
	unsigned long n = value ? strtoul(value, NULL, 10) : 1;

	return n > 1 ? (unsigned) n : 1;
}

static void damage_every_byte(struct rot *k)
{
	for (unsigned i = 0; i < k->image_count; i++)
		for (size_t at = 0; at < k->images[i].len; at += stride()) {
			unsigned char whole = k->images[i].bytes[at];
			bool zeros = at < SEGMENT_START && at % (SEGMENT_START / 2) > 64;

			if (zeros && !thorough() && at % 16 != 0)
				continue;
			damage(k, i, at, whole ^ (unsigned char) (1u << at % 8), "a flipped bit");
			damage(k, i, at, 0xff, "0xff");
			damage(k, i, at, 0x00, "0x00");
			damage(k, i, at, (unsigned char) ~whole, "flipped bits");
		}
	print_message("%u segments, %u records, %u recoveries: %u set aside, %u messages lost and named\n", k->image_count,
		      k->place_count, k->opened, k->aside, k->missing);
}

static void test_a_damaged_byte_costs_its_own_record_and_nothing_else(void **state)
{
	struct rot *k = rot_of(state);

	make_spool(k, false);
	assert_true(k->image_count >= 3 && k->place_count > 20);
	damage_every_byte(k);
	assert_true(k->aside > 4000 / stride() && k->missing > 1000 / stride());
	assert_int_equal(scene_open(&k->scene), 0);
}

static void test_a_damaged_byte_in_a_compacted_spool_costs_no_more(void **state)
{
	struct rot *k = rot_of(state);
	unsigned lists = 0;

	make_spool(k, true);
	for (unsigned i = 0; i < k->place_count; i++)
		lists += k->places[i].record.type == RECORD_REMOVES;
	assert_true(lists > 0);
	damage_every_byte(k);
	assert_int_equal(scene_open(&k->scene), 0);
}

/* --- cutting ------------------------------------------------------------------------------------------------ */

struct cut_at {
	unsigned segment;
	size_t len;
};

static bool is_behind(const struct place *p, const void *arg)
{
	const struct cut_at *c = arg;

	return p->segment == c->segment && p->offset + p->unpadded > c->len;
}

static bool is_in_segment(const struct place *p, const void *arg)
{
	const struct cut_at *c = arg;

	return p->segment == c->segment;
}

static void test_a_file_cut_at_any_byte_loses_what_was_behind_and_nothing_else(void **state)
{
	struct rot *k = rot_of(state);

	make_spool(k, false);
	for (unsigned i = 0; i < k->image_count; i++)
		for (size_t len = 0; len < k->images[i].len; len += len < SEGMENT_START - 64 && !thorough() ? 16 : stride()) {
			struct cut_at c = { i, len };
			struct state s = expect(k, len < SEGMENT_START ? is_in_segment : is_behind, &c);

			put_images(k, i, len);
			recover_and_compare(k, &s, "a cut", i, len);
			scene_close(&k->scene);
		}
	print_message("%u recoveries\n", k->opened);
	assert_int_equal(scene_open(&k->scene), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_damaged_byte_costs_its_own_record_and_nothing_else, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_damaged_byte_in_a_compacted_spool_costs_no_more, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_file_cut_at_any_byte_loses_what_was_behind_and_nothing_else, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
