/* Users: lines of the password file and the file itself, lock-outs, whose address is whose, Dovecot's and OAuth's words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtp/bearer.h"
#include "users/attempts.h"
#include "users/dovecot.h"
#include "users/oauth.h"
#include "users/user_file.h"
#include "world/file.h"
#include "world/sim.h"

struct fixture {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 11 }, &f->sim), 0);
	assert_int_equal(sim_host_new(f->sim, "host", "192.0.2.1", &f->host, &f->world), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	world_free(f->world);
	sim_free(f->sim);
	free(f);
	return 0;
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

static int parse(const char *line, struct user_line *ret)
{
	const char *why = NULL;
	int r = user_line_parse(slice_from(line), ret, &why);

	if (r == -EINVAL)
		assert_non_null(why);
	return r;
}

static void test_lines(void **state)
{
	struct user_line l;

	assert_int_equal(parse("alice:$6$s$h", &l), 1);
	assert_true(slice_eq_str(l.name, "alice"));
	assert_null(l.addresses.data);
	verifiers_done(&l.verifiers);
	assert_int_equal(parse("alice@example.org:$6$s$h:addresses=a@b.example,*@c.example\r", &l), 1);
	assert_true(slice_eq_str(l.addresses, "a@b.example,*@c.example"));
	verifiers_done(&l.verifiers);
	assert_int_equal(parse("with space:!:", &l), 1);
	assert_int_equal(parse("", &l), 0);
	assert_int_equal(parse("   ", &l), 0);
	assert_int_equal(parse("# alice:x", &l), 0);
	assert_int_equal(parse("alice", &l), -EINVAL);
	assert_int_equal(parse(":$6$s$h", &l), -EINVAL);
	assert_int_equal(parse("a\tb:$6$s$h", &l), -EINVAL);
	assert_int_equal(parse("alice:secret", &l), -EINVAL);
	assert_int_equal(parse("alice:$6$s$h:uid=5", &l), -EINVAL);
	assert_int_equal(parse("alice:$6$s$h:addresses=", &l), -EINVAL);
}

static void check_edit(const char *before, const char *name, const char *line, int was_there, const char *after)
{
	_cleanup_buffer_ struct buffer out = { 0 };

	assert_int_equal(user_file_edit(slice_from(before), slice_from(name), line, &out), was_there);
	assert_string_equal(out.data ? out.data : "", after);
}

static void test_editing(void **state)
{
	check_edit("", "a", "a:1", 0, "a:1\n");
	check_edit("# x\nb:2\n", "a", "a:1", 0, "# x\nb:2\na:1\n");
	check_edit("# a:x\nA:2\nb:3", "a", "a:1", 1, "# a:x\na:1\nb:3\n");
	check_edit("a:1\n\nb:2\na:3\n", "a", NULL, 1, "\nb:2\n");
	check_edit("b:2\n", "a", NULL, 0, "b:2\n");
	check_edit("a:1\na:2\n", "a", "a:9", 1, "a:9\n");
}

static void write_file(struct fixture *f, const char *text)
{
	assert_int_equal(file_write_atomically(f->world, "users", slice_from(text), 0600), 0);
	sim_run(f->sim, sim_now(f->sim) + USEC_SEC);
}

static void expect_hash(struct user_file *file, const char *name, const char *hash)
{
	struct user u;
	int r = user_file_find(file, slice_from(name), &u);

	if (!hash) {
		assert_int_equal(r, -ENOENT);
		return;
	}
	assert_int_equal(r, 0);
	assert_string_equal(u.verifiers.crypt, hash);
	user_done(&u);
}

static void test_a_file_is_read_again_when_it_has_changed(void **state)
{
	struct fixture *f = *state;
	struct user_file *file;
	struct user u;

	assert_int_equal(user_file_new(f->world, NULL, "users", &file), 0);
	assert_int_equal(user_file_find(file, SLICE("alice"), &u), -EAGAIN); /* it isn't there */
	write_file(f, "alice:$6$a$1\nbroken\nBOB:$6$b$1\nalice:$6$a$second\n");
	expect_hash(file, "alice", "$6$a$1");
	expect_hash(file, "bob", "$6$b$1");
	expect_hash(file, "broken", NULL);
	expect_hash(file, "", NULL);
	write_file(f, "alice:$6$a$2\n");
	expect_hash(file, "alice", "$6$a$2");
	expect_hash(file, "bob", NULL);
	assert_int_equal(path_unlink(f->world, "users"), 0);
	assert_int_equal(user_file_find(file, SLICE("alice"), &u), -EAGAIN);
	write_file(f, "");
	expect_hash(file, "alice", NULL);
	user_file_free(file);
}

/* --- lock-outs ---------------------------------------------------------------------------------------------------- */

static const struct users_limits limits = { .per_address = 3, .per_account = 3, .window = 10 * USEC_MIN, .lockout = 15 * USEC_MIN };

static struct attempt attempt_of(const struct attempts *a, const char *ip, const char *account)
{
	struct attempt t;
	struct ip address;

	if (ip)
		assert_int_equal(ip_parse(slice_from(ip), &address), 0);
	attempt_init(a, ip ? &address : NULL, &t);
	if (account)
		attempt_set_account(a, slice_from(account), &t);
	return t;
}

static int begin(struct attempts *a, const char *ip, const char *account)
{
	struct attempt t = attempt_of(a, ip, account);
	enum attempts_key key;
	usec_t left;

	return attempts_begin(a, &limits, &t, &key, &left);
}

static unsigned fail_once(struct attempts *a, const char *ip, const char *account)
{
	struct attempt t = attempt_of(a, ip, account);

	assert_int_equal(begin(a, ip, account), 0);
	return attempts_failed(a, &limits, &t);
}

static void test_the_third_failure_locks_out(void **state)
{
	struct fixture *f = *state;
	struct attempts *a;
	struct attempt t;
	usec_t left = 0;

	assert_int_equal(attempts_new(f->world, &a), 0);
	assert_int_equal(fail_once(a, "192.0.2.7", "x"), 0);
	assert_int_equal(fail_once(a, "192.0.2.7", "y"), 0);
	assert_int_equal(fail_once(a, "192.0.2.7", "z"), 1u << ATTEMPTS_ADDRESS);
	assert_int_equal(begin(a, "192.0.2.7", "w"), -EBUSY);
	assert_int_equal(begin(a, "192.0.2.8", "w"), 0);
	t = attempt_of(a, "192.0.2.7", NULL);
	assert_true(attempts_locked(a, &t, ATTEMPTS_ADDRESS, &left));
	assert_true(left == 15 * USEC_MIN);
	assert_false(attempts_locked(a, &t, ATTEMPTS_ACCOUNT, &left));
	sim_run(f->sim, sim_now(f->sim) + 15 * USEC_MIN);
	assert_int_equal(begin(a, "192.0.2.7", "w"), 0);
	attempts_free(a);
}

static void test_an_account_is_locked_from_everywhere(void **state)
{
	struct fixture *f = *state;
	struct attempts *a;

	assert_int_equal(attempts_new(f->world, &a), 0);
	assert_int_equal(fail_once(a, "192.0.2.1", "alice"), 0);
	assert_int_equal(fail_once(a, "192.0.2.2", "alice"), 0);
	assert_int_equal(fail_once(a, NULL, "alice"), 1u << ATTEMPTS_ACCOUNT);
	for (int i = 0; i < 10; i++) /* who is turned away by the account isn't counted by address */
		assert_int_equal(begin(a, "192.0.2.3", "alice"), -EBUSY);
	assert_int_equal(begin(a, "192.0.2.3", "bob"), 0);
	attempts_free(a);
}

static void test_the_window_moves_on(void **state)
{
	struct fixture *f = *state;
	struct attempts *a;

	assert_int_equal(attempts_new(f->world, &a), 0);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(fail_once(a, "192.0.2.1", NULL), 0);
		sim_run(f->sim, sim_now(f->sim) + 6 * USEC_MIN);
	}
	attempts_free(a);
}

static void test_successes_and_what_is_under_way(void **state)
{
	struct fixture *f = *state;
	struct attempt t;
	struct attempts *a;

	assert_int_equal(attempts_new(f->world, &a), 0);
	t = attempt_of(a, "192.0.2.1", "alice");
	assert_int_equal(fail_once(a, "192.0.2.1", "alice"), 0);
	assert_int_equal(fail_once(a, "192.0.2.1", "alice"), 0);
	assert_int_equal(begin(a, "192.0.2.1", "alice"), 0);
	assert_int_equal(begin(a, "192.0.2.1", "alice"), -EAGAIN); /* the one before could be the last */
	attempts_succeeded(a, &t);
	/* The account begins anew, the address does not. */
	assert_int_equal(fail_once(a, "192.0.2.1", "alice"), 1u << ATTEMPTS_ADDRESS);
	assert_int_equal(fail_once(a, "192.0.2.2", "alice"), 0);
	attempts_free(a);
	assert_int_equal(attempts_new(f->world, &a), 0);
	t = attempt_of(a, "192.0.2.1", "alice");
	for (int i = 0; i < 10; i++) {
		assert_int_equal(begin(a, "192.0.2.1", "alice"), 0);
		attempts_undecided(a, &t);
	}
	attempts_free(a);
}

static void test_ipv6_is_counted_by_64(void **state)
{
	struct fixture *f = *state;
	struct attempts *a;

	assert_int_equal(attempts_new(f->world, &a), 0);
	assert_int_equal(fail_once(a, "2001:db8::1", NULL), 0);
	assert_int_equal(fail_once(a, "2001:db8::2", NULL), 0);
	assert_int_equal(fail_once(a, "2001:db8::ffff:3", NULL), 1);
	assert_int_equal(begin(a, "2001:db8:0:1::1", NULL), 0);
	attempts_free(a);
}

static void test_the_table_is_bounded(void **state)
{
	struct fixture *f = *state;
	struct attempts *a;
	char name[16];

	assert_int_equal(attempts_new(f->world, &a), 0);
	for (int i = 0; i < 3; i++)
		fail_once(a, NULL, "old");
	for (unsigned i = 0; i < 100001; i++) {
		snprintf(name, sizeof(name), "%u", i);
		fail_once(a, NULL, name);
		if (i == 50000)
			assert_int_equal(begin(a, NULL, "old"), -EBUSY); /* and it was used */
	}
	assert_int_equal(begin(a, NULL, "old"), -EBUSY);
	attempts_free(a);
}

/* --- whose address is whose ------------------------------------------------------------------------------------- */

static void test_senders(void **state)
{
	static const char *const news[] = { "news.example.org", "info@example.org" };
	const struct users_senders senders[] = { { "*@news.example.org", news, ARRAY_LEN(news) } };
	const struct users_config config = { .senders = senders, .n_senders = 1 };
	const struct { const char *user, *addresses, *from; bool may; } cases[] = {
		{ "alice@example.org", NULL, "alice@example.org", true },
		{ "alice@example.org", NULL, "ALICE@Example.ORG", true },
		{ "alice@example.org", NULL, "alice@example.org.evil.example", false },
		{ "alice@example.org", "x@example.org", "alice@example.org", false },
		{ "alice@example.org", "x@example.org, y@example.org", "y@example.org", true },
		{ "alice", NULL, "alice", false },
		{ "*@*", NULL, "bob@example.org", false },
		{ "alice", "*@example.org", "any@example.org", true },
		{ "alice", "*@example.org", "any@sub.example.org", false },
		{ "alice", "example.org", "any@example.org", true },
		{ "alice", "example.org", "any@notexample.org", false },
		{ "bot@news.example.org", NULL, "x@news.example.org", true },
		{ "bot@news.example.org", NULL, "info@example.org", true },
		{ "bot@news.example.org", "own@example.org", "own@example.org", true },
		{ "bot@news.example.org", NULL, "other@example.org", false },
		{ "alice", "example.org", "\"a@evil.example\"@example.org", true },
		{ "alice", "example.org", "\"a@example.org\"@evil.example", false },
		{ "alice", "", "", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (users_may_send_as(&config, cases[i].user, cases[i].addresses, slice_from(cases[i].from)) != cases[i].may)
			fail_msg("case %zu: %s as %s", i, cases[i].user, cases[i].from);
	_cleanup_buffer_ struct buffer list = { 0 };

	users_list_addresses(&config, "bot@news.example.org", "a@example.org", &list);
	assert_string_equal(list.data, "a@example.org, *@news.example.org, info@example.org");
}

/* --- Dovecot ------------------------------------------------------------------------------------------------------ */

static enum dovecot_line said(const char *line, const char *argument)
{
	struct slice got;
	enum dovecot_line what = dovecot_parse(slice_from(line), 7, &got);

	assert_true(slice_eq_str(got, argument ? argument : ""));
	return what;
}

static void test_lines_of_dovecot(void **state)
{
	assert_int_equal(said("VERSION\t1\t2", NULL), DOVECOT_OTHER);
	assert_int_equal(said("VERSION\t2\t0", NULL), DOVECOT_WRONG_VERSION);
	assert_int_equal(said("MECH\tPLAIN\tplaintext", "PLAIN"), DOVECOT_MECH);
	assert_int_equal(said("DONE", NULL), DOVECOT_DONE);
	assert_int_equal(said("OK\t7\tuser=alice\tresp=x", "alice"), DOVECOT_OK);
	assert_int_equal(said("OK\t7", NULL), DOVECOT_OK);
	assert_int_equal(said("OK\t8\tuser=alice", NULL), DOVECOT_OTHER);
	assert_int_equal(said("OK\t7x\tuser=alice", NULL), DOVECOT_OTHER);
	assert_int_equal(said("OK", NULL), DOVECOT_OTHER);
	assert_int_equal(said("OKAY\t7", NULL), DOVECOT_OTHER);
	assert_int_equal(said("FAIL\t7\tuser=alice\ttemp", "alice"), DOVECOT_TEMPORARY);
	assert_int_equal(said("FAIL\t7\tuser=temp", "temp"), DOVECOT_FAIL);
	assert_int_equal(said("FAIL\t7\treason=temp", NULL), DOVECOT_FAIL);
	assert_int_equal(said("CONT\t7\tAAAA", NULL), DOVECOT_CONTINUE);
	assert_int_equal(said("", NULL), DOVECOT_OTHER);
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static void test_oauthbearer(void **state)
{
	struct bearer b;

	/* RFC 7628 section 4.1 */
	assert_int_equal(oauthbearer_parse(SLICE("n,a=user@example.com,\1host=server.example.com\1port=143\1"
						 "auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\1\1"), &b), 0);
	assert_string_equal(b.user, "user@example.com");
	assert_true(slice_eq_str(b.token, "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="));
	/* section 4.3: without a token, to learn what is wanted */
	assert_int_equal(oauthbearer_parse(SLICE("n,a=user@example.com,\1host=server.example.com\1port=143\1auth=\1\1"), &b), 0);
	assert_int_equal(b.token.len, 0);
	assert_int_equal(oauthbearer_parse(SLICE("y,,\1auth=bearer x\1\1"), &b), 0);
	assert_string_equal(b.user, "");
	assert_int_equal(oauthbearer_parse(SLICE("n,a=a=2Cb=3Dc,\1auth=Bearer x\1\1"), &b), 0);
	assert_string_equal(b.user, "a,b=c");
}

static void test_what_is_not_oauthbearer(void **state)
{
	static const char *const bad[] = {
		"", "n", "n,", "n,,", "n,,\1", "n,,\1\1", "n,,\1auth=Bearer x", "n,,\1auth=Bearer x\1", "n,,auth=Bearer x\1\1",
		"p=tls-unique,,\1auth=Bearer x\1\1", "x,,\1auth=Bearer x\1\1", "n,b=x,\1auth=Bearer x\1\1", "n,a=,\1auth=Bearer x\1\1",
		"n,a==2,\1auth=Bearer x\1\1", "n,a=x=41,\1auth=Bearer x\1\1", "n,,\1auth=Basic eDp5\1\1", "n,,\1auth=Bearer x\1\1more",
		"n,,\1auth=Bearer x y\1\1", "n,,\1auth=Bearer x\1auth=Bearer\1\1\1", "n,,\1auth=Bearer \x80\1\1", "n,a=\x07,\1auth=Bearer x\1\1",
	};
	struct bearer b;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (oauthbearer_parse(slice_from(bad[i]), &b) != -EINVAL)
			fail_msg("taken: %zu", i);
	assert_int_equal(oauthbearer_parse(slice_new("n,,\1auth=Bearer x\0y\1\1", 22), &b), -EINVAL);
}

static void test_xoauth2(void **state)
{
	struct bearer b;

	/* Google's own example. */
	assert_int_equal(xoauth2_parse(SLICE("user=someuser@example.com\1auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\1\1"), &b), 0);
	assert_string_equal(b.user, "someuser@example.com");
	assert_true(slice_eq_str(b.token, "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"));
	assert_int_equal(xoauth2_parse(SLICE("user=\1auth=Bearer x\1\1"), &b), -EINVAL);
	assert_int_equal(xoauth2_parse(SLICE("user=a\1auth=Bearer x\1"), &b), -EINVAL);
	assert_int_equal(xoauth2_parse(SLICE(""), &b), -EINVAL);
}

static int introspect(const char *json, const char *scope, const char *want, uint64_t want_expires)
{
	const struct users_oauth_config config = { .user_claim = "username", .scope = scope };
	char *user = NULL;
	uint64_t expires;
	int r = introspection_parse(slice_from(json), &config, &user, &expires);

	if (r == 0) {
		assert_string_equal(user, want);
		assert_true(expires == want_expires);
	} else {
		assert_null(user);
	}
	free(user);
	return r;
}

static void test_answers_of_rfc_7662(void **state)
{
	/* section 2.2 */
	assert_int_equal(introspect("{\"active\": true, \"client_id\": \"l238j323ds-23ij4\", \"username\": \"jdoe\", \"scope\": \"read write dolphin\","
				    "\"sub\": \"Z5O3upPC88QrAjx00dis\", \"exp\": 1419356238}", "dolphin", "jdoe", 1419356238), 0);
	assert_int_equal(introspect("{\"active\": false}", NULL, NULL, 0), -EACCES);
	assert_int_equal(introspect("{\"active\": true, \"username\": \"a\"}", NULL, "a", 0), 0);
	assert_int_equal(introspect("{\"active\": true, \"username\": \"a\", \"scope\": \"mailx\"}", "mail", NULL, 0), -EACCES);
	assert_int_equal(introspect("{\"active\": true, \"username\": \"a\"}", "mail", NULL, 0), -EACCES);
	assert_int_equal(introspect("{\"active\": true}", NULL, NULL, 0), -EACCES);
	assert_int_equal(introspect("{\"active\": true, \"username\": 5}", NULL, NULL, 0), -EACCES);
	assert_int_equal(introspect("{\"active\": true, \"username\": \"\"}", NULL, NULL, 0), -EACCES);
	assert_int_equal(introspect("{\"active\": \"true\", \"username\": \"a\"}", NULL, NULL, 0), -EPROTO);
	assert_int_equal(introspect("{\"active\": false, \"active\": true, \"username\": \"a\"}", NULL, NULL, 0), -EPROTO);
	assert_int_equal(introspect("[]", NULL, NULL, 0), -EPROTO);
	assert_int_equal(introspect("", NULL, NULL, 0), -EPROTO);
	assert_int_equal(introspect("{\"active\": true, \"username\": \"a\", \"exp\": -5}", NULL, "a", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_editing),
		cmocka_unit_test_setup_teardown(test_a_file_is_read_again_when_it_has_changed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_third_failure_locks_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_account_is_locked_from_everywhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_window_moves_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_successes_and_what_is_under_way, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ipv6_is_counted_by_64, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_table_is_bounded, setup, teardown),
		cmocka_unit_test(test_senders),
		cmocka_unit_test(test_lines_of_dovecot),
		cmocka_unit_test(test_oauthbearer),
		cmocka_unit_test(test_what_is_not_oauthbearer),
		cmocka_unit_test(test_xoauth2),
		cmocka_unit_test(test_answers_of_rfc_7662),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
