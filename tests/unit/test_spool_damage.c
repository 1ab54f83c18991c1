/* What recovery makes of torn and rotten logs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "spool/record.h"
#include "unit/spool_scene.h"
#include "world/file.h"

#define FIRST "/spool/00000001.log"

static int set_up(void **state)
{
	struct scene *c = malloc(sizeof(*c));

	if (!c)
		return -1;
	scene_begin(c, 1);
	*state = c;
	return scene_open(c);
}

static int tear_down(void **state)
{
	struct scene *c = *state;

	scene_end(c);
	free(c);
	return 0;
}

/* Empties the spool's directory and puts one file there. */
static void only_this(struct scene *c, const char *path, const unsigned char *data, size_t len)
{
	for (unsigned i = 1; i < 20; i++) {
		char name[64];

		(void) snprintf(name, sizeof(name), "/spool/%08x.log", i);
		(void) path_unlink(c->world, name);
		(void) snprintf(name, sizeof(name), "/spool/free-%08x.log", i);
		(void) path_unlink(c->world, name);
	}
	scene_write_file(c, path, data, len);
}

static int remove_quarantined(const char *name, void *context)
{
	struct scene *c = context;
	char path[128];

	(void) snprintf(path, sizeof(path), "/spool/quarantine/%s", name);
	return path_unlink(c->world, path);
}

static void clear_quarantine(struct scene *c)
{
	(void) path_list(c->world, "/spool/quarantine", remove_quarantined, c);
}

static int check_found(struct scene *c, void *arg)
{
	for (unsigned i = 0; i < c->found_count; i++) {
		assert_false(c->found[i].wrong);
		assert_int_equal(scene_check(c, c->found[i].id, c->found[i].size), 0);
	}
	return 0;
}

/* --- torn tails --------------------------------------------------------------------------------------- */

static int two_messages(struct scene *c, void *arg)
{
	assert_int_equal(scene_commit(c, 1, 200), 0);
	assert_int_equal(scene_note(c, 1, 3, true), 0);
	assert_int_equal(scene_commit(c, 2, 300), 0);
	return 0;
}

static void test_a_tail_torn_at_any_byte_costs_only_the_last_message(void **state)
{
	struct scene *c = *state;
	unsigned char *image;
	uint32_t begin, commit, end;
	size_t len;

	scene_run(c, two_messages, NULL);
	image = scene_file(c, FIRST, &len);
	scene_close(c);
	end = (uint32_t) len;
	commit = end - 80; /* 48 and 12 and 13 bytes, padded */
	begin = commit - 352; /* the chunk of message 2: 48 and 300, padded */
	for (uint32_t cut = begin; cut < end; cut++) {
		bool in_chunk = cut > begin && cut < begin + 348, in_commit = cut > commit && cut < commit + 73;

		only_this(c, FIRST, image, cut);
		assert_int_equal(scene_open(c), 0);
		/* Padding behind the last payload may be missing. */
		assert_int_equal(c->found_count, cut >= commit + 73 ? 2 : 1);
		assert_int_equal(c->recovery.quarantined, 0);
		assert_int_equal(c->recovery.lost_messages, 0);
		assert_int_equal(c->recovery.torn_bytes > 0, in_chunk || in_commit);
		assert_int_equal(c->lines[LOG_CRITICAL], 0);
		assert_int_equal(c->found[0].note, 3);
		scene_run(c, check_found, NULL);
		scene_close(c);
	}
	free(image);
	assert_int_equal(scene_open(c), 0);
}

static int one_more(struct scene *c, void *arg)
{
	return scene_commit(c, *(msgid_t *) arg, 100);
}

static void test_the_log_goes_on_after_a_torn_tail(void **state)
{
	struct scene *c = *state;
	unsigned char *image;
	size_t len;

	scene_run(c, two_messages, NULL);
	image = scene_file(c, FIRST, &len);
	scene_close(c);
	only_this(c, FIRST, image, len - 40);
	free(image);
	for (msgid_t id = 10; id < 15; id++) {
		assert_int_equal(scene_open(c), 0);
		assert_int_equal(c->found_count, id - 9);
		assert_int_equal(c->recovery.torn_bytes > 0, id == 10); /* it was cut off */
		assert_int_equal(scene_run(c, one_more, &id), 0);
		scene_close(c);
	}
	assert_int_equal(scene_open(c), 0);
}

/* --- rot ------------------------------------------------------------------------------------------------- */

static int several_messages(struct scene *c, void *arg)
{
	for (msgid_t id = 1; id <= 5; id++)
		assert_int_equal(scene_commit(c, id, 60 * id), 0);
	assert_int_equal(scene_note(c, 2, 9, true), 0);
	assert_int_equal(spool_remove(c->spool, 4), 0);
	fiber_sleep_until(now() + USEC_SEC);
	return 0;
}

/* The image of a spool that was closed in order: every record of it was synced, and the seal says so. */
static unsigned char *closed_image(struct scene *c, size_t *ret_len)
{
	unsigned char *image;

	scene_run(c, several_messages, NULL);
	scene_close(c);
	image = scene_file(c, FIRST, ret_len);
	return image;
}

static void test_no_flipped_byte_goes_unseen_or_costs_more_than_its_message(void **state)
{
	struct scene *c = *state;
	size_t len;
	unsigned char *image = closed_image(c, &len);
	unsigned lost = 0, aside = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char bit = (unsigned char) (1u << i % 8);

		if (i > 64 && i < SEGMENT_START && i % 64 != 0)
			continue; /* zeros of the header */
		image[i] ^= bit;
		only_this(c, FIRST, image, len);
		image[i] ^= bit;
		clear_quarantine(c);
		assert_int_equal(scene_open(c), 0);
		scene_run(c, check_found, NULL); /* never altered content */
		assert_in_range(c->found_count, 3, 5);
		if (c->found_count < 4) {
			lost++;
			assert_true(c->recovery.quarantined > 0);
		}
		if (c->recovery.quarantined > 0) {
			aside++;
			assert_true(c->lines[LOG_CRITICAL] > 0);
			assert_true(scene_count_files(c, "/spool/quarantine", ".record") > 0);
		} else /* padding, the seal, the other copy of the header */
			assert_int_equal(c->found_count, 4);
		scene_close(c);
	}
	assert_true(lost > 1000);
	assert_true(aside > lost);
	free(image);
	assert_int_equal(scene_open(c), 0);
}

static void test_damage_is_reported_set_aside_and_then_gone(void **state)
{
	struct scene *c = *state;
	size_t len;
	unsigned char *image = closed_image(c, &len);

	image[SEGMENT_START + 60] ^= 1; /* in the body of message 1 */
	only_this(c, FIRST, image, len);
	assert_int_equal(scene_open(c), 0);
	assert_int_equal(c->recovery.quarantined, 1);
	assert_int_equal(c->recovery.lost_messages, 1);
	assert_int_equal(c->found_count, 3);
	assert_int_equal(scene_count_files(c, "/spool/quarantine", "00000001-00001000.record"), 1);
	assert_int_equal(scene_count_files(c, "/spool/quarantine", "0000000000001.envelope"), 1);
	assert_int_equal(scene_count_files(c, "/spool/quarantine", "0000000000001.body"), 1);
	scene_pass(c, 5 * USEC_MIN); /* the damaged segment is emptied */
	scene_reopen(c);
	assert_int_equal(c->recovery.quarantined, 0);
	assert_int_equal(c->recovery.lost_messages, 0);
	assert_int_equal(c->found_count, 3);
	assert_int_equal(scene_find(c, 2)->note, 9);
	scene_run(c, check_found, NULL);
	free(image);
}

static int a_long_message(struct scene *c, void *arg)
{
	assert_int_equal(scene_commit(c, 1, 200000), 0);
	assert_int_equal(scene_commit(c, 2, 100), 0);
	return 0;
}

static void test_a_long_message_with_a_hole_is_lost_but_its_rest_is_kept(void **state)
{
	struct scene *c = *state;
	unsigned char *image, *body;
	unsigned right = 0;
	size_t len;

	scene_run(c, a_long_message, NULL);
	scene_close(c);
	image = scene_file(c, FIRST, &len);
	image[SEGMENT_START + 20000] ^= 4;
	scene_write_file(c, FIRST, image, len);
	free(image);
	assert_int_equal(scene_open(c), 0);
	assert_int_equal(c->found_count, 1);
	assert_int_equal(c->found[0].id, 2);
	assert_int_equal(c->recovery.lost_messages, 1);
	body = scene_file(c, "/spool/quarantine/0000000000001.body", &len);
	assert_int_equal(len, 200000);
	for (size_t i = 0; i < len; i++)
		right += (char) body[i] == scene_byte(1, i);
	assert_in_range(right, 200000 - 17000, 199999);
	free(body);
}

static void test_a_segment_without_any_header_is_read_with_the_secret_of_the_others(void **state)
{
	struct scene *c = *state;
	unsigned char *image;
	size_t len;

	scene_run(c, a_long_message, NULL);
	scene_close(c);
	image = scene_file(c, FIRST, &len);
	memset(image, 0, SEGMENT_START);
	scene_write_file(c, FIRST, image, len);
	free(image);
	assert_int_equal(scene_open(c), 0);
	assert_int_equal(c->found_count, 2);
	assert_true(c->lines[LOG_CRITICAL] > 0);
	scene_run(c, check_found, NULL);
}

static void test_a_spool_without_any_header_is_set_aside_as_a_whole(void **state)
{
	struct scene *c = *state;
	size_t len;
	unsigned char *image = closed_image(c, &len);

	memset(image, 0, SEGMENT_START);
	only_this(c, FIRST, image, len);
	free(image);
	assert_int_equal(scene_open(c), 0);
	assert_int_equal(c->found_count, 0);
	assert_int_equal(c->recovery.quarantined, 1);
	assert_int_equal(scene_count_files(c, "/spool/quarantine", "00000001.log"), 1);
}

static int read_the_rotten(struct scene *c, void *arg)
{
	_cleanup_(spool_reader_closep) struct spool_reader *r = NULL;
	char data[100];

	assert_int_equal(spool_reader_open(c->spool, 3, &r), 0);
	assert_int_equal(spool_reader_read(r, 0, data, sizeof(data)), -EBADMSG);
	return 0;
}

static void test_rot_that_comes_while_the_spool_is_open_is_seen_when_it_is_read(void **state)
{
	struct scene *c = *state;
	unsigned char *image;
	size_t len;

	scene_run(c, several_messages, NULL);
	image = scene_file(c, FIRST, &len);
	for (size_t i = SEGMENT_START; i + 8 < len; i++) { /* in the body of message 3 */
		char expected[8];

		for (unsigned k = 0; k < 8; k++)
			expected[k] = scene_byte(3, 100 + k);
		if (memcmp(image + i, expected, 8) == 0)
			image[i] ^= 0x80;
	}
	scene_write_file(c, FIRST, image, len);
	free(image);
	scene_run(c, read_the_rotten, NULL);
}

static void test_a_bad_sector_costs_only_what_is_in_it(void **state)
{
	struct scene *c = *state;

	scene_run(c, a_long_message, NULL);
	scene_close(c);
	/* The large read fails, then the one of the page where message 2 is not. */
	sim_host_add_fault(c->host, &(struct sim_fault) { .ops = SIM_READ, .path = "00000001", .error = -EIO, .skip = 1,
							  .times = 2 });
	assert_int_equal(scene_open(c), 0);
	assert_int_equal(c->found_count, 1);
	assert_int_equal(c->found[0].id, 2);
	assert_true(c->lines[LOG_CRITICAL] > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_tail_torn_at_any_byte_costs_only_the_last_message, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_the_log_goes_on_after_a_torn_tail, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_flipped_byte_goes_unseen_or_costs_more_than_its_message, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_damage_is_reported_set_aside_and_then_gone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_long_message_with_a_hole_is_lost_but_its_rest_is_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_segment_without_any_header_is_read_with_the_secret_of_the_others, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_a_spool_without_any_header_is_set_aside_as_a_whole, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_rot_that_comes_while_the_spool_is_open_is_seen_when_it_is_read, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_a_bad_sector_costs_only_what_is_in_it, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
