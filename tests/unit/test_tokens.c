/* Access tokens for relays, in a simulated world with an endpoint of ours: when it is asked, what is said to it, and what becomes
 * of its answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "deliver/token_answer.h"
#include "deliver/tokens.h"
#include "smtp/bearer.h"
#include "world/fiber.h"
#include "world/file.h"
#include "world/sim.h"

/* --- the endpoint -------------------------------------------------------------------------------------------------- */

static struct {
	const char *answer; /* NULL: there is none. %u is the number of the question */
	long status;
	unsigned asked;
	char form[2000];
} endpoint;

static int fake_post(struct https_post *p)
{
	endpoint.asked++;
	(void) slice_copy(p->form, endpoint.form, sizeof(endpoint.form));
	if (!endpoint.answer) {
		snprintf(p->why, sizeof(p->why), "nobody is there");
		return -EAGAIN;
	}
	p->status = endpoint.status;
	/* The text of a test, not of a stranger. */
	for (const char *c = endpoint.answer; *c; c++)
		if (*c == '#')
			buffer_printf(&p->answer, "%u", endpoint.asked);
		else
			buffer_append_char(&p->answer, *c);
	return buffer_error(&p->answer);
}

/* --- the scene ------------------------------------------------------------------------------------------------------ */

struct scene {
	struct sim_host *host;
	struct sim *sim;
	struct world *world;
	struct loop *loop;
	struct tokens *tokens;
	struct relay_oauth account;
	struct arena *arena;
	/* of one question */
	const char *token, *why;
	int result;
	unsigned done;
};

static int setup(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));

	memset(&endpoint, 0, sizeof(endpoint));
	endpoint.status = 200;
	endpoint.answer = "{\"access_token\":\"token#\",\"token_type\":\"bearer\",\"expires_in\":3600}";
	assert_int_equal(sim_new(&(struct sim_options) { .seed = 3 }, &s->sim), 0);
	assert_int_equal(sim_host_new(s->sim, "host", "192.0.2.1", &s->host, &s->world), 0);
	assert_int_equal(loop_new(s->world, "loop", 0, 0, &s->loop), 0);
	assert_int_equal(loop_start(s->loop), 0);
	assert_int_equal(arena_new(0, &s->arena), 0);
	assert_int_equal(tokens_new(s->world, NULL, fake_post, &s->tokens), 0);
	s->account = (struct relay_oauth) { .token_url = "https://t.example/", .client_id = "me", .client_secret = "a&b", .timeout = USEC_SEC };
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct scene *s = *state;

	tokens_free(s->tokens);
	loop_stop(s->loop);
	loop_free(s->loop);
	world_free(s->world);
	sim_free(s->sim);
	arena_free(s->arena);
	free(s);
	return 0;
}

static void get_main(void *arg)
{
	struct scene *s = arg;

	s->token = s->why = NULL;
	s->result = tokens_get(s->tokens, &s->account, s->arena, &s->token, &s->why);
	s->done++;
}

static bool is_done(void *context)
{
	return ((struct scene *) context)->done > 0;
}

static void get(struct scene *s, int want, const char *words)
{
	s->done = 0;
	assert_int_equal(loop_spawn(s->loop, "get", get_main, s), 0);
	assert_true(sim_run_until(s->sim, is_done, s, sim_now(s->sim) + USEC_MIN));
	assert_int_equal(s->result, want);
	if (want == 0)
		assert_string_equal(s->token, words);
	else if (!s->why || !strstr(s->why, words))
		fail_msg("\"%s\" where \"%s\" was expected", s->why, words);
}

static bool never(void *context)
{
	return false;
}

static void wait(struct scene *s, usec_t time)
{
	(void) sim_run_until(s->sim, never, NULL, sim_now(s->sim) + time);
}

/* --- when it is asked ------------------------------------------------------------------------------------------------- */

static void test_a_token_serves_until_shortly_before_its_end(void **state)
{
	struct scene *s = *state;

	get(s, 0, "token1");
	assert_string_equal(endpoint.form, "grant_type=client_credentials&client_id=me&client_secret=a%26b");
	wait(s, 58 * USEC_MIN);
	get(s, 0, "token1");
	wait(s, 2 * USEC_MIN);
	get(s, 0, "token2");
	endpoint.answer = "{\"access_token\":\"x#\"}"; /* how long it lives, isn't said */
	wait(s, USEC_HOUR);
	get(s, 0, "x3");
	wait(s, 4 * USEC_MIN);
	get(s, 0, "x3");
	wait(s, USEC_MIN);
	get(s, 0, "x4");
}

static void test_an_endpoint_that_does_not_answer_is_left_in_peace(void **state)
{
	struct scene *s = *state;
	static const unsigned rests[] = { 5, 10, 20, 40, 80, 160, 300, 300 };
	const char *answer = endpoint.answer;

	endpoint.answer = NULL;
	for (unsigned i = 0; i < ARRAY_LEN(rests); i++) {
		get(s, -EAGAIN, "nobody is there");
		assert_int_equal(endpoint.asked, i + 1);
		wait(s, (rests[i] - 1) * USEC_SEC);
		get(s, -EAGAIN, "asked again in 1 s");
		assert_int_equal(endpoint.asked, i + 1);
		wait(s, USEC_SEC);
	}
	endpoint.answer = answer;
	get(s, 0, "token9");
}

static void test_a_refusal_rests_longer_unless_the_secret_changes(void **state)
{
	struct scene *s = *state;
	struct relay_oauth old = s->account;

	endpoint.answer = "{\"error\":\"invalid_client\",\"error_description\":\"no\"}";
	endpoint.status = 401;
	get(s, -EAGAIN, "it refuses: invalid_client: no (asked again in 60 s)");
	wait(s, 59 * USEC_SEC);
	get(s, -EAGAIN, "invalid_client");
	assert_int_equal(endpoint.asked, 1);
	/* A reload has other memory; the same secret in it changes nothing. */
	s->account.client_secret = "a&b";
	get(s, -EAGAIN, "invalid_client");
	assert_int_equal(endpoint.asked, 1);
	tokens_free(s->tokens);
	assert_int_equal(tokens_new(s->world, NULL, fake_post, &s->tokens), 0);
	endpoint.asked = 0;
	get(s, -EAGAIN, "invalid_client");
	old.client_secret = "other";
	{
		struct relay_oauth *new = arena_new_type(s->arena, struct relay_oauth);
		struct tokens *t = s->tokens;
		const char *token = NULL, *why = NULL;

		*new = old;
		endpoint.answer = "{\"access_token\":\"good\"}";
		endpoint.status = 200;
		/* Outside of fibers work is done at once. */
		assert_int_equal(tokens_get(t, new, s->arena, &token, &why), 0);
		assert_string_equal(token, "good");
	}
	assert_int_equal(endpoint.asked, 2);
}

static void test_a_token_that_is_refused_is_changed_once_a_minute(void **state)
{
	struct scene *s = *state;

	assert_false(tokens_refused(s->tokens, &s->account, "x"));
	get(s, 0, "token1");
	assert_false(tokens_refused(s->tokens, &s->account, "token1")); /* it is fresh */
	get(s, 0, "token1");
	assert_true(tokens_refused(s->tokens, &s->account, "an older one")); /* there is another already */
	wait(s, TOKEN_REFUSED_REST);
	assert_true(tokens_refused(s->tokens, &s->account, "token1"));
	get(s, 0, "token2");
	assert_false(tokens_refused(s->tokens, &s->account, "token2"));
}

/* --- refresh tokens -------------------------------------------------------------------------------------------------- */

static void expect_file(struct scene *s, const char *text)
{
	_cleanup_(freep) char *found = NULL;
	size_t len;

	assert_int_equal(file_read_all(s->world, "/refresh", 1000, &found, &len), 0);
	assert_string_equal(found, text);
}

static void test_a_refresh_token_is_read_and_written(void **state)
{
	struct scene *s = *state;

	s->account.grant = GRANT_REFRESH_TOKEN;
	s->account.refresh_token_file = "/refresh";
	s->account.client_secret = NULL;
	s->account.scope = "a b";
	get(s, -EAGAIN, "/refresh: No such file");
	assert_int_equal(endpoint.asked, 0);
	assert_int_equal(file_write_atomically(s->world, "/refresh", SLICE("first\r\nsecond\n"), 0600), 0);
	wait(s, USEC_MIN);
	endpoint.answer = "{\"access_token\":\"t#\",\"expires_in\":\"60\",\"refresh_token\":\"new#\"}";
	get(s, 0, "t1");
	assert_string_equal(endpoint.form, "grant_type=refresh_token&refresh_token=first&scope=a%20b&client_id=me");
	expect_file(s, "new1\n");
	wait(s, USEC_MIN);
	get(s, 0, "t2");
	assert_non_null(strstr(endpoint.form, "refresh_token=new1&"));
	expect_file(s, "new2\n");
	/* The same one again is not written. */
	endpoint.answer = "{\"access_token\":\"t#\",\"expires_in\":60,\"refresh_token\":\"by-hand\"}";
	assert_int_equal(file_write_atomically(s->world, "/refresh", SLICE("by-hand"), 0600), 0);
	wait(s, USEC_MIN);
	get(s, 0, "t3");
	expect_file(s, "by-hand");
	assert_int_equal(file_write_atomically(s->world, "/refresh", SLICE("\n"), 0600), 0);
	wait(s, USEC_MIN);
	get(s, -EAGAIN, "the first line is empty");
}

static void test_a_refresh_token_that_cant_be_written_is_kept(void **state)
{
	struct scene *s = *state;
	const struct sim_fault fault = { .ops = SIM_RENAME, .path = "refresh", .error = -EROFS };

	s->account.grant = GRANT_REFRESH_TOKEN;
	s->account.refresh_token_file = "/refresh";
	assert_int_equal(file_write_atomically(s->world, "/refresh", SLICE("first\n"), 0600), 0);
	sim_host_add_fault(s->host, &fault);
	endpoint.answer = "{\"access_token\":\"t#\",\"expires_in\":60,\"refresh_token\":\"new#\"}";
	get(s, 0, "t1");
	expect_file(s, "first\n");
	wait(s, USEC_MIN);
	get(s, 0, "t2");
	assert_non_null(strstr(endpoint.form, "refresh_token=new1&"));
	expect_file(s, "first\n");
	/* The endpoint is down, but the disk is well again. */
	sim_host_clear_faults(s->host);
	endpoint.answer = NULL;
	wait(s, USEC_MIN);
	get(s, -EAGAIN, "nobody is there");
	expect_file(s, "new2\n");
}

/* --- answers ---------------------------------------------------------------------------------------------------------- */

static void test_answers(void **state)
{
	static const struct {
		const char *text;
		long status;
		int result;
		const char *words; /* the token, or what is said */
		usec_t lifetime;
	} cases[] = {
		{ "{\"access_token\":\"a\",\"token_type\":\"BEARER\",\"expires_in\":10}", 200, 0, "a", 10 * USEC_SEC },
		{ "{\"access_token\":\"a\",\"expires_in\":\"10\"}", 200, 0, "a", 10 * USEC_SEC },
		{ "{\"access_token\":\"a\",\"expires_in\":0}", 200, 0, "a", 1 },
		{ "{\"access_token\":\"a\",\"expires_in\":-5}", 200, 0, "a", 1 },
		{ "{\"access_token\":\"a\",\"expires_in\":1e300}", 200, 0, "a", 366 * USEC_DAY },
		{ "{\"access_token\":\"a\",\"expires_in\":\"nan\"}", 200, 0, "a", 0 },
		{ "{\"access_token\":\"a\"}", 200, 0, "a", 0 },
		{ "{\"access_token\":\"a b\"}", 200, -EPROTO, "no access_token", 0 },
		{ "{\"access_token\":\"a\\u0001\\u0001\"}", 200, -EPROTO, "no access_token", 0 },
		{ "{\"access_token\":\"\"}", 200, -EPROTO, "no access_token", 0 },
		{ "{\"access_token\":5}", 200, -EPROTO, "no access_token", 0 },
		{ "{\"access_token\":\"a\",\"token_type\":\"mac\"}", 200, -EPROTO, "another type", 0 },
		{ "{\"access_token\":\"a\",\"token_type\":7}", 200, -EPROTO, "another type", 0 },
		{ "[]", 200, -EPROTO, "no JSON object", 0 },
		{ "", 200, -EPROTO, "no JSON object", 0 },
		{ "{", 200, -EPROTO, "no JSON object", 0 },
		{ "{\"error\":\"invalid_grant\",\"error_description\":\"line\\nbreak\"}", 400, -EACCES, "invalid_grant: line\\x0abreak", 0 },
		{ "{\"error\":\"invalid_grant\"}", 200, -EACCES, "it refuses: invalid_grant", 0 },
		{ "{\"error\":\"temporarily_unavailable\"}", 400, -EAGAIN, "status 400: temporarily_unavailable", 0 },
		{ "{\"error\":\"slow_down\"}", 429, -EAGAIN, "status 429: slow_down", 0 },
		{ "{\"error\":{\"code\":7}}", 500, -EAGAIN, "status 500", 0 },
		{ "<html>", 404, -EACCES, "status 404", 0 },
		{ "<html>", 503, -EAGAIN, "status 503", 0 },
		{ "", 302, -EAGAIN, "status 302", 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct token_answer a;
		int r = token_answer_parse(slice_from(cases[i].text), cases[i].status, &a);

		if (r != cases[i].result || a.lifetime != cases[i].lifetime || (r == 0 && strcmp(a.access, cases[i].words) != 0) ||
		    (r < 0 && (a.access || a.refresh || !strstr(a.why, cases[i].words))))
			fail_msg("%s: %d, %s, %s, %llu", cases[i].text, r, a.access, a.why, (unsigned long long) a.lifetime);
		token_answer_done(&a);
	}
}

static void test_words_of_a_challenge(void **state)
{
	char out[TOKEN_WHY];

	/* RFC 7628 section 4.3 */
	bearer_error_describe(SLICE("{\"status\":\"invalid_token\",\"scope\":\"example_scope\",\"openid-configuration\":\"https://x/\"}"), out);
	assert_string_equal(out, "invalid_token, scope example_scope");
	bearer_error_describe(SLICE("{\"scope\":\"a\\u0007\"}"), out);
	assert_string_equal(out, "scope a\\x07");
	bearer_error_describe(SLICE("{\"status\":401}"), out);
	assert_string_equal(out, "");
	bearer_error_describe(SLICE("nonsense"), out);
	assert_string_equal(out, "");
}

static void test_messages_are_read_as_they_are_written(void **state)
{
	struct buffer text = { 0 };
	struct bearer b;

	oauthbearer_format("a,b=c@example.org", "mx.example.org", 587, "t/o+k=", &text);
	assert_string_equal(text.data, "n,a=a=2Cb=3Dc@example.org,\1host=mx.example.org\1port=587\1auth=Bearer t/o+k=\1\1");
	assert_int_equal(oauthbearer_parse(buffer_slice(&text), &b), 0);
	assert_string_equal(b.user, "a,b=c@example.org");
	assert_true(slice_eq_str(b.token, "t/o+k="));
	buffer_clear(&text);
	oauthbearer_format("u", NULL, 587, "t", &text);
	assert_string_equal(text.data, "n,a=u,\1auth=Bearer t\1\1");
	buffer_clear(&text);
	xoauth2_format("a,b=c", "t", &text);
	assert_int_equal(xoauth2_parse(buffer_slice(&text), &b), 0);
	assert_string_equal(b.user, "a,b=c");
	buffer_done(&text);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_a_token_serves_until_shortly_before_its_end),
		T(test_an_endpoint_that_does_not_answer_is_left_in_peace),
		T(test_a_refusal_rests_longer_unless_the_secret_changes),
		T(test_a_token_that_is_refused_is_changed_once_a_minute),
		T(test_a_refresh_token_is_read_and_written),
		T(test_a_refresh_token_that_cant_be_written_is_kept),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_words_of_a_challenge),
		cmocka_unit_test(test_messages_are_read_as_they_are_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
