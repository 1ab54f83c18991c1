/* Our own mail: whose keys sign, when, and that what they made is what the world verifies. */
#include "identity/signing.h"

#include "identity/own_key.h"
#include "mail/from.h"
#include "unit/identity_fixture.h"

#define DAY ((wall_t) USEC_DAY)
#define NOW (20782 * DAY) /* 2026-11-25 */

static EVP_PKEY *rsa, *ed25519;

static int set_up(void **state)
{
	assert_int_equal(crypto_generate(false, 1024, &rsa), 0);
	assert_int_equal(crypto_generate(true, 0, &ed25519), 0);
	return 0;
}

static int tear_down(void **state)
{
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(ed25519);
	return 0;
}

/* The keys of every domain and selector here are these two. */
static struct fixture open_keys(const char *const *domains, unsigned n)
{
	struct buffer zone = { 0 };
	struct arena *a;
	struct fixture f;

	assert_int_equal(arena_new(0, &a), 0);
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < 2; k++) {
			const char *record;

			assert_int_equal(own_key_record(k ? ed25519 : rsa, a, &record), 0);
			own_key_zone_line(own_key_name(a, k ? "e" : "r", domains[i]), record, &zone);
		}
	f = open_zone(zone.data);
	buffer_done(&zone);
	arena_free(a);
	return f;
}

/* --- who signs --------------------------------------------------------------------------------------------------- */

static void test_which_entry_signs_for_whom(void **state)
{
	static const char *const patterns[] = { "*.example.net", "joe@example.com" };
	const struct signing_domain domains[] = {
		{ .domain = "example.org" },
		{ .domain = "news.example.org" },
		{ .domain = "bulk.example", .from = patterns, .n_from = 2 },
	};
	const struct signing_config c = { .domains = domains, .n_domains = 3 };
	static const struct {
		const char *address;
		bool matches[3];
	} cases[] = {
		{ "joe@example.org", { true } },
		{ "joe@mx1.example.org", { true } },
		{ "joe@news.example.org", { false, true } },
		{ "joe@a.news.example.org", { false, true } },
		{ "joe@oldnews.example.org", { true } },
		{ "joe@notexample.org", { false } },
		{ "joe@org", { false } },
		{ "joe@bulk.example", { false } }, /* it has patterns, and this is not among them */
		{ "joe@a.example.net", { false, false, true } },
		{ "joe@example.net", { false } },
		{ "joe@example.com", { false, false, true } },
		{ "jim@example.com", { false } },
		{ "\"a@example.org\"@example.com", { false } },
		{ "nobody", { false } },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		for (unsigned d = 0; d < 3; d++)
			if (signing_domain_matches(&c, &domains[d], cases[i].address) != cases[i].matches[d])
				fail_msg("%s, %s", cases[i].address, domains[d].domain);
}

static void test_a_key_signs_from_its_begin_to_its_end(void **state)
{
	const struct signing_key k = { .begin = NOW - DAY, .end = NOW + DAY }, always = { 0 };

	assert_false(signing_key_is_valid(&k, NOW - DAY - 1));
	assert_true(signing_key_is_valid(&k, NOW - DAY));
	assert_true(signing_key_is_valid(&k, NOW + DAY - 1));
	assert_false(signing_key_is_valid(&k, NOW + DAY));
	assert_true(signing_key_is_valid(&always, NOW));
}

static void test_the_first_address_of_from(void **state)
{
	static const char *const cases[][2] = {
		{ " Joe <joe@Example.ORG>", "joe@example.org" },
		{ " joe@a.example, jim@b.example", "joe@a.example" },
		{ " \"x, <y@z>\" <joe@a.example>", "joe@a.example" },
		{ " (c) group: joe@a.example;", "joe@a.example" },
		{ " \"a b\"@b\xc3\xbc" "cher.example", "\"a b\"@xn--bcher-kva.example" },
		{ " joe", NULL }, { "", NULL }, { " <>", NULL },
	};
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *address = "";
		int r = from_first(a, slice_from(cases[i][0]), &address);

		assert_int_equal(r, cases[i][1] ? 0 : -EINVAL);
		if (cases[i][1])
			assert_string_equal(address, cases[i][1]);
	}
	arena_free(a);
}

/* --- the whole way ----------------------------------------------------------------------------------------------- */

struct signed_message {
	int result;
	unsigned n;
	const char *why;
	const struct signing_domain *without_key;
	const char *text; /* with the signatures in front */
};

static struct signed_message sign(struct fixture *f, const struct signing_config *c, const char *sender, struct slice text, size_t piece)
{
	struct signed_message m = { .n = 99 };
	struct buffer out = { 0 };
	struct signing *s;

	assert_int_equal(signing_begin(c, sender, NOW, f->arena, &s), 0);
	for (size_t i = 0; i < text.len; i += piece)
		assert_int_equal(signing_feed(s, slice_head(slice_skip(text, i), piece)), 0);
	m.result = signing_finish(s, f->world, SLICE_NULL, &out, &m.n, &m.why);
	m.without_key = signing_without_key(s);
	buffer_append_slice(&out, text);
	m.text = arena_slice(f->arena, buffer_slice(&out));
	buffer_done(&out);
	signing_free(s);
	return m;
}

static void expect_pass(struct fixture *f, struct slice text, unsigned n, const char *const *domains)
{
	struct content *m;

	assert_int_equal(content_new(f->arena, NULL, false, &m), 0);
	assert_int_equal(content_feed(m, text), 0);
	assert_int_equal(content_end(m), 0);
	assert_int_equal(m->n_signatures, n);
	for (unsigned i = 0; i < n; i++) {
		struct dkim_result result;

		assert_int_equal(dkim_verify(f->resolver, m, i, NULL, NOW, DEADLINE_NEVER, f->arena, &result), 0);
		if (result.word != DKIM_PASS || strcmp(result.domain, domains[i]) != 0)
			fail_msg("%s of %s: %s\n%.*s", dkim_word_text(result.word), result.domain, result.reason, (int) text.len, text.data);
	}
	content_free(m);
}

static enum dkim_word verdict(struct fixture *f, struct slice text)
{
	struct dkim_result result;
	struct content *m;

	assert_int_equal(content_new(f->arena, NULL, false, &m), 0);
	assert_int_equal(content_feed(m, text), 0);
	assert_int_equal(content_end(m), 0);
	assert_int_equal(dkim_verify(f->resolver, m, 0, NULL, NOW, DEADLINE_NEVER, f->arena, &result), 0);
	content_free(m);
	return result.word;
}

static const char letter[] = "Received: from x\r\n\tby y\r\nFrom: Joe <joe@a.example>\r\nTo: sue@b.example\r\nSubject: hello\r\n"
			     "\r\nHello,  Sue.\r\n\r\n";

static void test_rsa_and_ed25519_together(void **state)
{
	struct signing_key keys[] = { { .selector = "r", .key = rsa }, { .selector = "e", .key = ed25519 } };
	const struct signing_domain d = { .domain = "a.example", .keys = keys, .n_keys = 2, .expire = USEC_DAY };
	const struct signing_config c = { .domains = &d, .n_domains = 1 };
	struct fixture f = open_keys((const char *const[]) { "a.example" }, 1);

	for (size_t piece = 1; piece <= sizeof(letter); piece++) {
		struct signed_message m = sign(&f, &c, "", slice_from(letter), piece);

		assert_int_equal(m.result, 0);
		assert_int_equal(m.n, 2);
		assert_non_null(strstr(m.text, "a=rsa-sha256"));
		assert_non_null(strstr(m.text, "a=ed25519-sha256"));
		assert_non_null(strstr(m.text, " x=1795651200;"));
		expect_pass(&f, slice_from(m.text), 2, (const char *const[]) { "a.example", "a.example" });
	}
	close_zone(&f);
}

static bool is_not_joe(void *context, const char *address)
{
	return strcmp(address, "joe@a.example") != 0;
}

static void test_an_author_that_is_not_the_sender_s_chooses_no_key(void **state)
{
	struct signing_key keys[] = { { .selector = "r", .key = rsa } };
	const struct signing_domain d[] = { { .domain = "a.example", .keys = keys, .n_keys = 1 }, { .domain = "b.example", .keys = keys, .n_keys = 1 } };
	const struct signing_config c = { .domains = d, .n_domains = 2 };
	struct fixture f = open_keys((const char *const[]) { "a.example" }, 1);
	static const char *const senders[] = { "sue@b.example", "" };

	for (unsigned i = 0; i < ARRAY_LEN(senders); i++) {
		struct buffer out = { 0 };
		struct signing *s;
		const char *why;
		unsigned n;

		assert_int_equal(signing_begin(&c, senders[i], NOW, f.arena, &s), 0);
		signing_restrict(s, is_not_joe, NULL);
		assert_int_equal(signing_feed(s, slice_from(letter)), 0);
		assert_int_equal(signing_finish(s, f.world, SLICE_NULL, &out, &n, &why), 0);
		assert_int_equal(n, i == 0 ? 1 : 0);
		assert_true(i == 1 || strstr(out.data, "d=b.example;"));
		buffer_done(&out);
		signing_free(s);
	}
	close_zone(&f);
}

static void test_rotation_by_date(void **state)
{
	struct signing_key keys[] = { { .selector = "r", .key = rsa, .end = NOW }, { .selector = "e", .key = ed25519, .begin = NOW } };
	struct signing_domain d = { .domain = "a.example", .keys = keys, .n_keys = 2 };
	const struct signing_config c = { .domains = &d, .n_domains = 1 };
	struct fixture f = open_keys((const char *const[]) { "a.example" }, 1);
	struct signed_message m = sign(&f, &c, "", slice_from(letter), 1000);

	assert_int_equal(m.n, 1);
	assert_non_null(strstr(m.text, "s=e;"));
	keys[0].end = NOW + 1; /* both for a while */
	assert_int_equal(sign(&f, &c, "", slice_from(letter), 1000).n, 2);
	d.n_keys = 1;
	keys[0].end = NOW; /* none is left */
	m = sign(&f, &c, "", slice_from(letter), 1000);
	assert_int_equal(m.result, 0);
	assert_int_equal(m.n, 0);
	assert_ptr_equal(m.without_key, &d);
	assert_string_equal(m.text, letter);
	close_zone(&f);
}

static void test_the_author_decides_and_then_the_sender(void **state)
{
	struct signing_key key = { .selector = "r", .key = rsa };
	const struct signing_domain d[] = { { .domain = "a.example", .keys = &key, .n_keys = 1 }, { .domain = "b.example", .keys = &key, .n_keys = 1 } };
	const struct signing_config c = { .domains = d, .n_domains = 2 };
	struct fixture f = open_keys((const char *const[]) { "a.example", "b.example" }, 2);
	static const struct {
		const char *from, *sender, *signs;
	} cases[] = {
		{ "From: joe@a.example\r\n", "x@b.example", "d=a.example" },
		{ "From: joe@other.example\r\n", "x@b.example", "d=b.example" },
		{ "From: joe@other.example\r\n", "x@other.example", NULL },
		{ "From: joe@other.example\r\n", "", NULL },
		{ "From: nonsense\r\n", "x@b.example", "d=b.example" },
		{ "From: joe@other.example, jim@a.example\r\n", "", NULL }, /* the first is the author that readers see */
		{ "from : joe@MX.a.example\r\n", "", "d=a.example" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *text = arena_printf(f.arena, "%sTo: x@y.example\r\n\r\nBody\r\n", cases[i].from);
		struct signed_message m = sign(&f, &c, cases[i].sender, slice_from(text), 7);

		assert_int_equal(m.result, 0);
		if (m.n != (cases[i].signs != NULL) || (m.n && !strstr(m.text, cases[i].signs)))
			fail_msg("%zu: %s", i, m.text);
	}
	close_zone(&f);
}

static void test_what_cannot_be_signed_says_why(void **state)
{
	struct signing_key key = { .selector = "r", .key = rsa };
	const struct signing_domain d = { .domain = "a.example", .keys = &key, .n_keys = 1 };
	const struct signing_config c = { .domains = &d, .n_domains = 1 };
	struct fixture f = open_keys((const char *const[]) { "a.example" }, 1);
	struct buffer many = { 0 };
	struct signed_message m = sign(&f, &c, "joe@a.example", SLICE("To: x@y.example\r\n\r\nBody\r\n"), 5);

	assert_int_equal(m.result, -EINVAL);
	assert_string_equal(m.why, "it has no From field");
	m = sign(&f, &c, "joe@a.example", SLICE("From: joe@a.example\r\nno field\r\n\r\nBody\r\n"), 5);
	assert_int_equal(m.result, -EINVAL);
	assert_non_null(strstr(m.why, "not a header field"));
	buffer_append_str(&many, "From: joe@a.example\r\n");
	for (unsigned i = 0; i < 300; i++)
		buffer_printf(&many, "%s: v\r\n", (const char *const[]) { "To", "Cc", "Subject", "Sender", "Date", "List-Id" }[i % 6]);
	buffer_append_str(&many, "\r\nBody\r\n");
	m = sign(&f, &c, "joe@a.example", buffer_slice(&many), 500);
	assert_int_equal(m.result, -EINVAL);
	assert_non_null(strstr(m.why, "more fields"));
	buffer_done(&many);
	close_zone(&f);
}

/* RFC 6376 section 8.15: the list is ours or the administrator's. */
static void test_oversigned_fields_are_those_of_the_configuration(void **state)
{
	static const char *const over[] = { "Subject", "X-Own" }, *const once[] = { "to", "subject", "From" };
	struct signing_key key = { .selector = "e", .key = ed25519 };
	const struct signing_domain d = { .domain = "a.example", .keys = &key, .n_keys = 1,
					  .fields = { .once = once, .n_once = 3, .oversigned = over, .n_oversigned = 2 } };
	const struct signing_config c = { .domains = &d, .n_domains = 1 };
	struct fixture f = open_keys((const char *const[]) { "a.example" }, 1);
	struct signed_message m = sign(&f, &c, "", slice_from(letter), 100);

	assert_non_null(strstr(m.text, "h=From:From:Subject:Subject:X-Own:to;"));
	expect_pass(&f, slice_from(m.text), 1, (const char *const[]) { "a.example" });
	close_zone(&f);
}

/* --- random messages ----------------------------------------------------------------------------------------------- */

static uint64_t seed = 1;

static unsigned below(unsigned n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned) (seed >> 33) % n;
}

static void add_text(struct buffer *out, unsigned n, bool body)
{
	static const char *const bits[] = { "a", " ", "  ", "\t", "word", "\xc3\xa4", "=", ";", ":", "." };

	while (n-- > 0) {
		if (!body && below(12) == 0)
			buffer_append_str(out, "\r\n x");
		else if (body && below(8) == 0)
			buffer_append_str(out, below(3) ? "\r\n" : "\r\n\r\n");
		else if (body && below(40) == 0)
			buffer_append_char(out, (char) below(256));
		else
			buffer_append_str(out, bits[below(ARRAY_LEN(bits))]);
	}
}

static void random_message(struct buffer *out)
{
	static const char *const names[] = { "To", "Subject", "Date", "X-A", "Cc", "subject ", "References", "List-Id", "Received" };

	for (unsigned n = below(8); n > 0; n--) {
		buffer_printf(out, "%s: v", names[below(ARRAY_LEN(names))]);
		add_text(out, below(30), false);
		buffer_append_str(out, "\r\n");
	}
	buffer_printf(out, "From:%s joe@a.example%s\r\n\r\n", below(2) ? "\r\n" : "", below(2) ? " (c)\r\n\t" : "");
	add_text(out, below(60), true);
	if (below(2))
		buffer_append_str(out, "\r\n");
}

static void test_what_is_signed_in_any_pieces_is_verified(void **state)
{
	struct signing_key keys[] = { { .selector = "e", .key = ed25519 }, { .selector = "r", .key = rsa } };
	struct fixture f = open_keys((const char *const[]) { "a.example" }, 1);

	for (unsigned i = 0; i < 600; i++) {
		const struct signing_domain d = { .domain = "a.example", .keys = keys, .n_keys = i % 10 == 0 ? 2 : 1,
						  .header = below(2) ? CANON_SIMPLE : CANON_RELAXED, .body = below(2) ? CANON_SIMPLE : CANON_RELAXED };
		const struct signing_config c = { .domains = &d, .n_domains = 1 };
		struct buffer text = { 0 };
		struct signed_message m;

		random_message(&text);
		m = sign(&f, &c, "", buffer_slice(&text), 1 + below(50));
		assert_int_equal(m.result, 0);
		/* What may follow the text in C's sense is an octet of a body, too. */
		if (!memchr(text.data, '\0', text.len))
			expect_pass(&f, slice_from(m.text), d.n_keys, (const char *const[]) { "a.example", "a.example" });
		buffer_done(&text);
		arena_reset(f.arena);
	}
	close_zone(&f);
}

/* What was added on top when all was seen is a part of what is signed. */
static void test_fields_in_front_are_signed_too(void **state)
{
	static const char front[] = "Reply-To: joe@a.example\r\nX-Ours: yes\r\nSubject: another\r\n", bare[] = "From: joe@a.example\r\n";
	struct signing_key key = { .selector = "e", .key = ed25519 };
	const struct signing_domain d = { .domain = "a.example", .keys = &key, .n_keys = 1 };
	const struct signing_config c = { .domains = &d, .n_domains = 1 };
	struct fixture f = open_keys((const char *const[]) { "a.example" }, 1);

	for (unsigned i = 0; i < 2; i++) {
		const char *text = i ? bare : letter, *why = NULL;
		struct buffer out = { 0 };
		struct signing *s;
		unsigned n;

		assert_int_equal(signing_begin(&c, "", NOW, f.arena, &s), 0);
		assert_int_equal(signing_feed(s, slice_from(text)), 0);
		assert_int_equal(signing_finish(s, f.world, slice_from(front), &out, &n, &why), 0);
		signing_free(s);
		buffer_printf(&out, "%s%s", front, text);
		expect_pass(&f, buffer_slice(&out), 1, (const char *const[]) { "a.example" });
		*strstr(out.data, "Reply-To: joe") = 'X'; /* it is covered */
		assert_int_equal(verdict(&f, buffer_slice(&out)), DKIM_FAIL);
		buffer_done(&out);
	}
	close_zone(&f);
}

static void test_a_message_of_our_own_at_once(void **state)
{
	struct signing_key key = { .selector = "e", .key = ed25519 };
	const struct signing_domain d = { .domain = "a.example", .keys = &key, .n_keys = 1 };
	const struct signing_config c = { .domains = &d, .n_domains = 1 }, none = { 0 };
	struct fixture f = open_keys((const char *const[]) { "a.example" }, 1);
	struct buffer out = { 0 };
	unsigned n = 99;

	assert_int_equal(signing_sign(&none, f.world, slice_from(letter), &out, &n), 0);
	assert_int_equal(signing_sign(NULL, f.world, slice_from(letter), &out, &n), 0);
	assert_int_equal(out.len, 0);
	assert_int_equal(n, 0);
	assert_int_equal(signing_sign(&c, f.world, slice_from(letter), &out, &n), 0);
	assert_int_equal(n, 1);
	assert_memory_equal(out.data, "DKIM-Signature: v=1; a=ed25519-sha256;", 38);
	buffer_done(&out);
	close_zone(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_which_entry_signs_for_whom),
		cmocka_unit_test(test_a_key_signs_from_its_begin_to_its_end),
		cmocka_unit_test(test_the_first_address_of_from),
		cmocka_unit_test(test_rsa_and_ed25519_together),
		cmocka_unit_test(test_an_author_that_is_not_the_sender_s_chooses_no_key),
		cmocka_unit_test(test_rotation_by_date),
		cmocka_unit_test(test_the_author_decides_and_then_the_sender),
		cmocka_unit_test(test_what_cannot_be_signed_says_why),
		cmocka_unit_test(test_oversigned_fields_are_those_of_the_configuration),
		cmocka_unit_test(test_what_is_signed_in_any_pieces_is_verified),
		cmocka_unit_test(test_fields_in_front_are_signed_too),
		cmocka_unit_test(test_a_message_of_our_own_at_once),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
