/* Delivery into Maildirs, on a simulated disk: names, content, durability, and addresses that want out of their
 * directory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "deliver/deliver.h"
#include "deliver/local_text.h"
#include "deliver/maildir.h"
#include "world/fiber.h"
#include "world/file.h"
#include "world/sim.h"

/* --- stand-ins ------------------------------------------------------------------------------------------------- */

struct spool_reader {
	char unused;
};

static struct {
	struct slice content;
	struct slot_info info;
	struct delivery delivery;
	bool given, done;
} fake;

int spool_reader_open(struct spool *s, msgid_t id, struct spool_reader **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

uint64_t spool_reader_size(const struct spool_reader *r)
{
	return fake.content.len;
}

ssize_t spool_reader_read(struct spool_reader *r, uint64_t offset, void *data, size_t len)
{
	size_t n = MIN(MIN(len, (size_t) 10000), fake.content.len - (size_t) offset); /* in pieces */

	memcpy(data, fake.content.data + offset, n);
	return (ssize_t) n;
}

void spool_reader_close(struct spool_reader *r)
{
	free(r);
}

const struct slot_info *slot_info(const struct slot *s)
{
	return &fake.info;
}

int slot_next(struct slot *s, usec_t deadline, struct delivery **ret)
{
	if (fake.given)
		return -ENOLINK;
	fake.given = true;
	*ret = &fake.delivery;
	return 0;
}

void slot_done(struct slot *s, struct delivery *d)
{
	fake.done = true;
}

/* --- fixture ----------------------------------------------------------------------------------------------------- */

struct fixture {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
	struct deliver_config config;
	struct deliverer *deliverer;
	struct hop hop;
	struct arena *arena;
	struct envelope envelope;
	struct delivery_recipient recipients[2];
	char *files[4];
	unsigned n_files;
	const char *directory;
	bool looked;
};

static void start_world(struct fixture *f)
{
	char *why = NULL;

	assert_int_equal(loop_new(f->world, "main", 0, 0, &f->loop), 0);
	assert_int_equal(loop_start(f->loop), 0);
	assert_int_equal(deliverer_new(f->world, NULL, NULL, &f->config, NULL, &f->deliverer, &why), 0);
}

static void end_world(struct fixture *f)
{
	loop_stop(f->loop);
	deliverer_free(f->deliverer);
	loop_free(f->loop);
	world_free(f->world);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	memset(&fake, 0, sizeof(fake));
	assert_int_equal(sim_new(&(struct sim_options) { .seed = 9 }, &f->sim), 0);
	assert_int_equal(sim_host_new(f->sim, "host", "192.0.2.1", &f->host, &f->world), 0);
	f->config.hostname = "we:ird/host.example";
	start_world(f);
	assert_int_equal(arena_new(0, &f->arena), 0);
	f->hop = (struct hop) { .kind = HOP_MAILDIR, .maildir = "/var/mail/{domain}/{local}" };
	fake.info = (struct slot_info) { .site = "maildir:here.example", .hop = &f->hop, .domain = "here.example" };
	fake.content = SLICE("Received: x\r\nSubject: y\r\n\r\nline\r\n.dot\r\nlast\r\n");
	f->envelope = (struct envelope) { .id = 7, .reverse_path = "sender@there.example" };
	f->recipients[0].address = "Bob@Here.example";
	f->recipients[1].address = "eve@here.example";
	fake.delivery = (struct delivery) { .id = 7, .arena = f->arena, .envelope = &f->envelope, .n_recipients = 1, .recipients = f->recipients };
	*state = f;
	return 0;
}

static void forget_files(struct fixture *f)
{
	for (unsigned i = 0; i < f->n_files; i++)
		free(f->files[i]);
	f->n_files = 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	end_world(f);
	forget_files(f);
	sim_free(f->sim);
	arena_free(f->arena);
	free(f);
	return 0;
}

static void deliver_main(void *arg)
{
	struct fixture *f = arg;
	struct courier *c = deliverer_courier(f->deliverer);

	c->run(c, NULL);
}

static void deliver(struct fixture *f)
{
	fake.given = fake.done = false;
	assert_int_equal(loop_spawn(f->loop, "deliver", deliver_main, f), 0);
	sim_run(f->sim, sim_now(f->sim) + USEC_MIN);
	assert_true(fake.done);
}

static int note_file(const char *name, void *context)
{
	struct fixture *f = context;

	assert_true(f->n_files < ARRAY_LEN(f->files));
	f->files[f->n_files++] = strdup(name);
	return 0;
}

static void look_main(void *arg)
{
	struct fixture *f = arg;

	(void) path_list(f->world, f->directory, note_file, f);
	f->looked = true;
}

static unsigned count_files(struct fixture *f, const char *directory)
{
	forget_files(f);
	f->directory = directory;
	f->looked = false;
	assert_int_equal(loop_spawn(f->loop, "look", look_main, f), 0);
	sim_run(f->sim, sim_now(f->sim) + USEC_MIN);
	assert_true(f->looked);
	return f->n_files;
}

struct read_job {
	struct world *world;
	char path[300];
	char *data;
	size_t len;
};

static void read_main(void *arg)
{
	struct read_job *j = arg;

	assert_int_equal(file_read_all(j->world, j->path, 10 * 1000 * 1000, &j->data, &j->len), 0);
}

/* The only file in the directory; the caller frees it. */
static char *read_only_file(struct fixture *f, const char *directory, size_t *ret_len)
{
	struct read_job j = { .world = f->world };

	assert_int_equal(count_files(f, directory), 1);
	snprintf(j.path, sizeof(j.path), "%s/%s", directory, f->files[0]);
	assert_int_equal(loop_spawn(f->loop, "read", read_main, &j), 0);
	sim_run(f->sim, sim_now(f->sim) + USEC_MIN);
	assert_non_null(j.data);
	*ret_len = j.len;
	return j.data;
}

#define BOB "/var/mail/here.example/bob"

/* --- tests ---------------------------------------------------------------------------------------------------------- */

static void test_a_message_lies_in_new_with_its_trace(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *data = NULL;
	char size[32];
	size_t len;

	deliver(f);
	assert_int_equal(f->recipients[0].outcome.kind, OUTCOME_DELIVERED);
	data = read_only_file(f, BOB "/new", &len);
	assert_string_equal(data, "Return-Path: <sender@there.example>\nDelivered-To: Bob@Here.example\n"
				  "Received: x\nSubject: y\n\nline\n.dot\nlast\n");
	snprintf(size, sizeof(size), ",S=%zu", len);
	assert_non_null(strstr(f->files[0], size));
	assert_non_null(strstr(f->files[0], "we\\072ird\\057host.example"));
	assert_int_equal(count_files(f, BOB "/tmp"), 0);
	assert_int_equal(count_files(f, BOB "/cur"), 0);
}

static void test_each_recipient_has_a_file(void **state)
{
	struct fixture *f = *state;

	fake.delivery.n_recipients = 2;
	deliver(f);
	deliver(f);
	assert_int_equal(f->recipients[1].outcome.kind, OUTCOME_DELIVERED);
	assert_int_equal(count_files(f, BOB "/new"), 2);
	assert_string_not_equal(f->files[0], f->files[1]);
	assert_int_equal(count_files(f, "/var/mail/here.example/eve/new"), 2);
}

static void test_what_was_delivered_survives_a_power_cut(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *data = NULL;
	size_t len;

	deliver(f);
	sim_host_crash(f->host);
	end_world(f);
	assert_int_equal(sim_host_restart(f->host, &f->world), 0);
	start_world(f);
	data = read_only_file(f, BOB "/new", &len);
	assert_non_null(strstr(data, "\nlast\n"));
}

static void test_a_large_message_goes_in_pieces(void **state)
{
	struct fixture *f = *state;
	_cleanup_buffer_ struct buffer big = { 0 };
	_cleanup_(freep) char *data = NULL;
	size_t len, lines = 0;

	buffer_append_str(&big, "Subject: big\r\n\r\n");
	while (big.len < 700000) {
		buffer_append_str(&big, "0123456789\r\n");
		lines++;
	}
	fake.content = buffer_slice(&big);
	deliver(f);
	assert_int_equal(f->recipients[0].outcome.kind, OUTCOME_DELIVERED);
	data = read_only_file(f, BOB "/new", &len);
	assert_null(memchr(data, '\r', len));
	assert_int_equal(len, strlen("Return-Path: <sender@there.example>\nDelivered-To: Bob@Here.example\nSubject: big\n\n") + lines * 11);
}

static void test_the_same_address_twice_is_a_loop(void **state)
{
	struct fixture *f = *state;

	fake.content = SLICE("Delivered-To: bob@here.example\r\n\r\nx\r\n");
	deliver(f);
	assert_int_equal(f->recipients[0].outcome.kind, OUTCOME_FAILED);
	assert_int_equal(f->recipients[0].outcome.reply.enhanced[1], 4);
	assert_int_equal(f->recipients[0].outcome.reply.enhanced[2], 6);
}

static void test_a_full_disk_defers_and_leaves_nothing(void **state)
{
	struct fixture *f = *state;

	sim_host_add_fault(f->host, &(struct sim_fault) { .ops = SIM_WRITE, .path = "/tmp/", .error = -ENOSPC, .times = 1 });
	deliver(f);
	assert_int_equal(f->recipients[0].outcome.kind, OUTCOME_DEFERRED);
	assert_int_equal(f->recipients[0].outcome.reply.code, 452);
	assert_int_equal(count_files(f, BOB "/tmp"), 0);
	sim_host_add_fault(f->host, &(struct sim_fault) { .ops = SIM_SYNC, .error = -EIO, .times = 1 });
	deliver(f);
	assert_int_equal(f->recipients[0].outcome.kind, OUTCOME_DEFERRED);
	assert_int_equal(count_files(f, BOB "/new"), 0);
	sim_host_add_fault(f->host, &(struct sim_fault) { .ops = SIM_WRITE, .error = -EDQUOT, .times = 1 });
	deliver(f);
	assert_int_equal(f->recipients[0].outcome.class, CLASS_MAILBOX_FULL);
	deliver(f);
	assert_int_equal(f->recipients[0].outcome.kind, OUTCOME_DELIVERED);
}

static void test_a_failed_sync_of_the_directory_is_no_delivery(void **state)
{
	struct fixture *f = *state;

	sim_host_add_fault(f->host, &(struct sim_fault) { .ops = SIM_SYNC_DIRECTORY, .path = "/new", .error = -EIO, .times = 1 });
	deliver(f);
	assert_int_equal(f->recipients[0].outcome.kind, OUTCOME_DEFERRED);
}

static void expect_path(struct arena *a, const char *template, const char *address, const char *expected)
{
	const char *path = NULL;
	int r = maildir_path(template, address, a, &path);

	if (!expected) {
		assert_int_equal(r, -EINVAL);
		return;
	}
	assert_int_equal(r, 0);
	assert_string_equal(path, expected);
}

static void test_addresses_become_paths_and_never_leave_them(void **state)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	const char *t = "/m/{domain}/{local}";

	assert_int_equal(arena_new(0, &a), 0);
	expect_path(a, t, "bob@here.example", "/m/here.example/bob");
	expect_path(a, t, "BOB@HERE.Example", "/m/here.example/bob");
	expect_path(a, t, "bob+lists@here.example", "/m/here.example/bob");
	expect_path(a, t, "+x@here.example", "/m/here.example/+x");
	expect_path(a, t, "\"quoted bob\"@here.example", "/m/here.example/quoted bob");
	expect_path(a, "/home/{user}/Maildir/", "bob@here.example", "/home/bob@here.example/Maildir");
	expect_path(a, "/fixed", "bob@here.example", "/fixed");
	expect_path(a, t, "\"../bob\"@here.example", NULL);
	expect_path(a, t, "\"..\"@here.example", NULL);
	expect_path(a, t, "\".hidden\"@here.example", NULL);
	expect_path(a, t, "a/b@here.example", NULL);
	expect_path(a, t, "/etc/passwd@here.example", NULL);
	expect_path(a, t, "\"a\\/b\"@here.example", NULL);
	expect_path(a, t, "\"\"@here.example", NULL);
	expect_path(a, t, "bob", NULL);
}

static void test_an_address_that_is_no_path_fails_for_good(void **state)
{
	struct fixture *f = *state;

	f->recipients[0].address = "a/b@here.example";
	deliver(f);
	assert_int_equal(f->recipients[0].outcome.kind, OUTCOME_FAILED);
	assert_int_equal(f->recipients[0].outcome.reply.enhanced[2], 3);
}

static void convert_in_pieces(const char *in, size_t cut, const char *expected)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	size_t len = strlen(in), from = 0;
	bool after_cr = false;
	char work[64];

	while (from < len || from == 0) {
		size_t n = MIN(cut, len - from);
		bool last = from + n == len;

		memcpy(work + 1, in + from, n);
		buffer_append(&out, work, local_text_convert(work, n, &after_cr, last));
		from += n;
		if (last)
			break;
	}
	assert_false(after_cr);
	if (!slice_eq_str(buffer_slice(&out), expected))
		fail_msg("\"%.*s\" from \"%s\" cut at %zu", (int) out.len, out.data, in, cut);
}

static void test_line_ends_are_converted_wherever_the_cut_falls(void **state)
{
	static const char *const cases[][2] = {
		{ "a\r\nb\r\n", "a\nb\n" }, { "a\rb\r\n", "a\rb\n" },	  { "a\r\r\nb", "a\r\nb" },
		{ "\r\n\r\n", "\n\n" },	    { "end with cr\r", "end with cr\r" }, { "a\nb", "a\nb" }, { "\r\r\r", "\r\r\r" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		for (size_t cut = 1; cut < 16; cut++)
			convert_in_pieces(cases[i][0], cut, cases[i][1]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_a_message_lies_in_new_with_its_trace),
		T(test_each_recipient_has_a_file),
		T(test_what_was_delivered_survives_a_power_cut),
		T(test_a_large_message_goes_in_pieces),
		T(test_the_same_address_twice_is_a_loop),
		T(test_a_full_disk_defers_and_leaves_nothing),
		T(test_a_failed_sync_of_the_directory_is_no_delivery),
		cmocka_unit_test(test_addresses_become_paths_and_never_leave_them),
		T(test_an_address_that_is_no_path_fails_for_good),
		cmocka_unit_test(test_line_ends_are_converted_wherever_the_cut_falls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
