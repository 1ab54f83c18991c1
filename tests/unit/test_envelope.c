/* The packed envelope: whole, and damaged in every way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mail/envelope.h"

static struct envelope_recipient recipients[] = {
	{ .address = "bob@example.com", .orcpt = "rfc822;Bob@example.com", .notify = NOTIFY_SUCCESS | NOTIFY_DELAY },
	{ .address = "carol@example.net" },
};

static struct envelope sample(void)
{
	return (struct envelope) {
		.id = 0x123456789abcdef0,
		.arrival = 1795406706789123,
		.reverse_path = "alice@example.org",
		.envid = "QQ 1",
		.ret = DSN_RET_HDRS,
		.body = BODY_8BITMIME,
		.flags = ENVELOPE_SMTPUTF8 | ENVELOPE_TRUSTED,
		.client_ip = "192.0.2.1",
		.client_name = NULL,
		.helo = "mx.example.org",
		.user = NULL,
		.protocol = "ESMTPS",
		.size = 1234567890123,
		.n_recipients = 2,
		.recipients = recipients,
	};
}

static void assert_same_string(const char *a, const char *b)
{
	if (!b)
		assert_null(a);
	else
		assert_string_equal(a, b);
}

static void assert_same(const struct envelope *a, const struct envelope *b)
{
	assert_int_equal(a->id, b->id);
	assert_int_equal(a->arrival, b->arrival);
	assert_same_string(a->reverse_path, b->reverse_path);
	assert_same_string(a->envid, b->envid);
	assert_int_equal(a->ret, b->ret);
	assert_int_equal(a->body, b->body);
	assert_int_equal(a->flags, b->flags);
	assert_same_string(a->client_ip, b->client_ip);
	assert_same_string(a->client_name, b->client_name);
	assert_same_string(a->helo, b->helo);
	assert_same_string(a->user, b->user);
	assert_same_string(a->protocol, b->protocol);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->n_recipients, b->n_recipients);
	for (unsigned i = 0; i < a->n_recipients; i++) {
		assert_same_string(a->recipients[i].address, b->recipients[i].address);
		assert_same_string(a->recipients[i].orcpt, b->recipients[i].orcpt);
		assert_int_equal(a->recipients[i].notify, b->recipients[i].notify);
		assert_int_equal(a->recipients[i].rrvs, b->recipients[i].rrvs);
		assert_int_equal(a->recipients[i].valid_since, b->recipients[i].valid_since);
	}
	assert_int_equal(a->hold_until, b->hold_until);
	assert_int_equal(a->deliver_by, b->deliver_by);
	assert_int_equal(a->by_mode, b->by_mode);
	assert_int_equal(a->by_trace, b->by_trace);
	assert_int_equal(a->priority, b->priority);
	assert_same_string(a->solicit, b->solicit);
	assert_int_equal(a->n_headers, b->n_headers);
	for (unsigned i = 0; i < a->n_headers; i++) {
		assert_same_string(a->headers[i].name, b->headers[i].name);
		assert_same_string(a->headers[i].value, b->headers[i].value);
	}
}

/* One that asks for everything. */
static struct envelope_recipient demanding[] = {
	{ .address = "bob@example.com", .rrvs = RRVS_REJECT, .valid_since = 1396566060000000 },
	{ .address = "carol@example.net", .rrvs = RRVS_CONTINUE, .valid_since = -1000000 },
};

static struct envelope sample_with_wishes(void)
{
	struct envelope e = sample();

	e.flags |= ENVELOPE_REQUIRETLS | ENVELOPE_RRVS_FIELD;
	e.body = BODY_BINARYMIME;
	e.hold_until = 1795406706789123 + 1000000;
	e.deliver_by = 1795406706789123 + 2000000;
	e.by_mode = 'R';
	e.by_trace = true;
	e.priority = -9;
	e.solicit = "org.example:ADV";
	e.recipients = demanding;
	return e;
}

/* What is packed as this version comes out again, is copied, and can't be damaged unseen by cutting. */
static void survives_as_version(const struct envelope *in, int version)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	struct envelope out;
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	assert_int_equal(envelope_pack(in, &b), 0);
	assert_int_equal(b.data[0], version);
	assert_int_equal(envelope_unpack(buffer_slice(&b), a, &out), 0);
	assert_same(&out, in);
	assert_int_equal(envelope_copy(in, a, &out), 0);
	assert_same(&out, in);
	for (size_t n = 0; n < b.len; n++)
		assert_int_equal(envelope_unpack(slice_head(buffer_slice(&b), n), a, &out), -EBADMSG);
	for (size_t bit = 0; bit < b.len * 8; bit++) {
		b.data[bit / 8] = (char) (b.data[bit / 8] ^ 1 << bit % 8);
		(void) envelope_unpack(buffer_slice(&b), a, &out);
		b.data[bit / 8] = (char) (b.data[bit / 8] ^ 1 << bit % 8);
	}
	arena_free(a);
}

static void test_wishes_are_packed_for_those_who_have_them(void **state)
{
	struct envelope plain = sample(), in = sample_with_wishes();

	survives_as_version(&plain, 1); /* what an older server can read */
	survives_as_version(&in, 2);
}

static void test_header_fields_for_routes_are_packed_for_those_who_have_them(void **state)
{
	struct envelope_header fields[ENVELOPE_HEADERS];
	struct envelope in = sample(), demanding_too = sample_with_wishes(), out;
	_cleanup_buffer_ struct buffer b = { 0 };
	struct arena *a;

	for (unsigned i = 0; i < ENVELOPE_HEADERS; i++)
		fields[i] = (struct envelope_header) { "X-Campaign", i ? "spring" : "" };
	in.headers = demanding_too.headers = fields;
	in.n_headers = 1;
	demanding_too.n_headers = ENVELOPE_HEADERS;
	survives_as_version(&in, 3);
	survives_as_version(&demanding_too, 3);
	assert_int_equal(arena_new(0, &a), 0);
	demanding_too.n_headers = 0;
	assert_int_equal(envelope_pack(&demanding_too, &b), 0);
	b.data[0] = 3; /* without any field it has another version */
	buffer_put_varint(&b, 0);
	assert_int_equal(envelope_unpack(buffer_slice(&b), a, &out), -EBADMSG);
	b.data[b.len - 1] = ENVELOPE_HEADERS + 1;
	assert_int_equal(envelope_unpack(buffer_slice(&b), a, &out), -EBADMSG);
	arena_free(a);
}

static void test_wishes_are_told_to_people(void **state)
{
	struct envelope plain = sample(), e = sample_with_wishes();
	_cleanup_buffer_ struct buffer b = { 0 };

	envelope_asks(&plain, &b);
	assert_int_equal(b.len, 0);
	envelope_asks(&e, &b);
	assert_string_equal(b.data, "REQUIRETLS, BINARYMIME, held until 2026-11-23T04:05:07Z, returned unless delivered by "
				    "2026-11-23T04:05:08Z, priority -9, SOLICIT=org.example:ADV, recipient valid since "
				    "2014-04-03T23:01:00Z, Require-Recipient-Valid-Since");
}

static void test_what_is_packed_comes_out_again(void **state)
{
	struct envelope in = sample(), out, empty = { .reverse_path = "" };
	_cleanup_buffer_ struct buffer b = { 0 };
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	assert_int_equal(envelope_pack(&in, &b), 0);
	assert_int_equal(envelope_unpack(buffer_slice(&b), a, &out), 0);
	memset(b.data, 0, b.len); /* nothing points into it */
	assert_same(&out, &in);
	buffer_clear(&b);
	empty.arrival = -1;
	assert_int_equal(envelope_pack(&empty, &b), 0);
	assert_int_equal(envelope_unpack(buffer_slice(&b), a, &out), 0);
	assert_same(&out, &empty);
	arena_free(a);
}

static void test_a_copy_owns_its_strings(void **state)
{
	struct envelope in = sample(), out;
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	assert_int_equal(envelope_copy(&in, a, &out), 0);
	assert_same(&out, &in);
	assert_ptr_not_equal(out.reverse_path, in.reverse_path);
	assert_ptr_not_equal(out.recipients, in.recipients);
	assert_ptr_not_equal(out.recipients[0].orcpt, in.recipients[0].orcpt);
	arena_free(a);
}

static void test_every_truncation_is_refused(void **state)
{
	struct envelope in = sample(), out;
	_cleanup_buffer_ struct buffer b = { 0 };

	assert_int_equal(envelope_pack(&in, &b), 0);
	for (size_t n = 0; n < b.len; n++) {
		char *copy = malloc(n ? n : 1);
		struct arena *a;

		memcpy(copy, b.data, n);
		assert_int_equal(arena_new(0, &a), 0);
		assert_int_equal(envelope_unpack(slice_new(copy, n), a, &out), -EBADMSG);
		arena_free(a);
		free(copy);
	}
}

static void test_what_follows_the_end_is_refused(void **state)
{
	struct envelope in = sample(), out;
	_cleanup_buffer_ struct buffer b = { 0 };
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	assert_int_equal(envelope_pack(&in, &b), 0);
	buffer_append_char(&b, 0);
	assert_int_equal(envelope_unpack(buffer_slice(&b), a, &out), -EBADMSG);
	arena_free(a);
}

static void test_every_flipped_bit_is_survived(void **state)
{
	struct envelope in = sample(), out;
	_cleanup_buffer_ struct buffer b = { 0 };

	assert_int_equal(envelope_pack(&in, &b), 0);
	for (size_t bit = 0; bit < b.len * 8; bit++) {
		struct arena *a;
		int r;

		assert_int_equal(arena_new(0, &a), 0);
		b.data[bit / 8] ^= (char) (1 << bit % 8);
		r = envelope_unpack(buffer_slice(&b), a, &out);
		assert_true(r == 0 || r == -EBADMSG);
		b.data[bit / 8] ^= (char) (1 << bit % 8);
		arena_free(a);
	}
}

static void test_a_number_of_recipients_beyond_the_bytes_takes_no_memory(void **state)
{
	struct envelope in = { .reverse_path = "" }, out;
	_cleanup_buffer_ struct buffer b = { 0 };
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	assert_int_equal(envelope_pack(&in, &b), 0);
	b.len--; /* the number of recipients, 0 */
	buffer_put_varint(&b, 0x7fffffff);
	assert_int_equal(envelope_unpack(buffer_slice(&b), a, &out), -EBADMSG);
	assert_true(arena_footprint(a) < 64 * 1024);
	arena_free(a);
}

static void test_a_nul_inside_a_string_is_refused(void **state)
{
	struct envelope in = sample(), out;
	_cleanup_buffer_ struct buffer b = { 0 };
	struct arena *a;
	char *at;

	assert_int_equal(arena_new(0, &a), 0);
	assert_int_equal(envelope_pack(&in, &b), 0);
	at = memmem(b.data, b.len, "alice", 5);
	assert_non_null(at);
	at[2] = '\0';
	assert_int_equal(envelope_unpack(buffer_slice(&b), a, &out), -EBADMSG);
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_packed_comes_out_again),
		cmocka_unit_test(test_a_copy_owns_its_strings),
		cmocka_unit_test(test_every_truncation_is_refused),
		cmocka_unit_test(test_what_follows_the_end_is_refused),
		cmocka_unit_test(test_every_flipped_bit_is_survived),
		cmocka_unit_test(test_a_number_of_recipients_beyond_the_bytes_takes_no_memory),
		cmocka_unit_test(test_wishes_are_packed_for_those_who_have_them),
		cmocka_unit_test(test_header_fields_for_routes_are_packed_for_those_who_have_them),
		cmocka_unit_test(test_wishes_are_told_to_people),
		cmocka_unit_test(test_a_nul_inside_a_string_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
