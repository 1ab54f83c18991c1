/* Providers to be played: the shipped file, the reader's complaints, changes; and what a simulation remembers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "simulate/memory.h"
#include "simulate/provider.h"

static struct arena *arena;

static int set_up(void **state)
{
	return arena_new(0, &arena);
}

static int tear_down(void **state)
{
	arena_free(arena);
	return 0;
}

static struct provider *shipped(const char *name)
{
	struct provider *p = NULL;
	char *why = NULL;

	if (provider_read("providers.yaml", slice_new(providers_builtin, providers_builtin_len), name, arena, &p, &why) < 0)
		fail_msg("%s: %s", name, why ? why : "not there");
	return p;
}

static struct behaviour *rule_of(struct provider *p, const char *name)
{
	for (struct behaviour *b = p->rules; b; b = b->next)
		if (strcmp(b->name, name) == 0)
			return b;
	fail_msg("%s has no rule %s", p->name, name);
	return NULL;
}

static void read_one(const char *name, const char *about, void *context)
{
	struct provider *p = shipped(name);

	assert_string_equal(p->name, name);
	assert_true(strlen(about) > 10);
	assert_true(p->n_rules > 0);
	for (struct behaviour *b = p->rules; b; b = b->next)
		for (struct behaviour *other = b->next; other; other = other->next)
			if (strcmp(b->name, other->name) == 0)
				fail_msg("%s has two rules called %s", name, b->name);
	(*(unsigned *) context)++;
}

static void test_every_shipped_provider_can_be_read_and_names_its_rules_once(void **state)
{
	unsigned n = 0;
	char *why = NULL;

	assert_int_equal(provider_names("providers.yaml", slice_new(providers_builtin, providers_builtin_len), read_one, &n, &why), 0);
	assert_int_equal(n, 9);
}

static void test_all_that_a_rule_may_say_is_kept(void **state)
{
	static const char text[] =
		"mine:\n"
		"  host: mx.mine.example\n"
		"  extensions: [SIZE 1000, PIPELINING]\n"
		"  tarpit: 5s\n"
		"  replies: {quit: 221 See you}\n"
		"  lists: {bad: [192.0.2.0/24, '2001:db8::/32']}\n"
		"  rules:\n"
		"    - {name: a, at: [mail, dot], client: bad, from: 'x@*', clear: yes, messages_above: 3, rate: 10 per 2m by domain,\n"
		"       chance: 7%, delay: 1s, drip: 10ms, say: \"451 4.7.1 One\\nTwo\", then: close}\n"
		"    - {at: rcpt, greylist: 1m, then: silence}\n";
	struct provider *p;
	const struct behaviour *b;
	char *why = NULL;

	assert_int_equal(provider_read("mine.yaml", slice_from(text), NULL, arena, &p, &why), 0);
	assert_string_equal(p->host, "mx.mine.example");
	assert_int_equal(p->n_extensions, 2);
	assert_int_equal(p->tarpit, 5 * USEC_SEC);
	assert_string_equal(p->replies.quit.text, "See you");
	assert_int_equal(p->replies.mail.code, 250);
	b = rule_of(p, "a");
	assert_int_equal(b->at, 1u << AT_MAIL | 1u << AT_DOT);
	assert_int_equal(b->client->n, 2);
	assert_true(b->clear && b->chance == 7 && b->messages_above == 3 && b->recipients_above == ABOVE_NOTHING);
	assert_true(b->rate == 10 && b->rate_per == 2 * USEC_MIN && b->rate_by == BY_DOMAIN);
	assert_true(b->delay == USEC_SEC && b->drip == 10 * USEC_MS && b->then == THEN_CLOSE);
	assert_int_equal(b->say.code, 451);
	assert_int_equal(b->say.enhanced[1], 7);
	assert_string_equal(b->say.text, "One\nTwo");
	b = rule_of(p, "line-10");
	assert_true(b->greylist == USEC_MIN && b->then == THEN_SILENCE && b->say.code == 0);
}

static void assert_refused(const char *text, const char *complaint)
{
	struct provider *p = NULL;
	char *why = NULL;

	assert_int_equal(provider_read("my.yaml", slice_from(text), NULL, arena, &p, &why), -EINVAL);
	assert_null(p);
	assert_non_null(why);
	if (!strstr(why, complaint))
		fail_msg("\"%s\" does not contain \"%s\"", why, complaint);
	free(why);
}

static void test_mistakes_are_named_with_their_place(void **state)
{
	assert_refused("a: 7\n", "my.yaml:1:4: expected keys");
	assert_refused("- a\n", "expected providers by name");
	assert_refused("a: [\n", "my.yaml:");
	assert_refused("a: {hosst: x}\n", "did you mean \"host\"");
	assert_refused("a: {greeting: hello}\n", "a reply begins with its code");
	assert_refused("a: {greeting: 150 x}\n", "a reply begins with its code");
	assert_refused("a: {tarpit: soon}\n", "is no time");
	assert_refused("a: {lists: {x: [all]}}\n", "is no network");
	assert_refused("a: {rules: 7}\n", "rules is a list");
	assert_refused("a: {rules: [{say: 550 x}]}\n", "does not say where it is asked");
	assert_refused("a: {rules: [{at: mail}]}\n", "does nothing");
	assert_refused("a: {rules: [{at: lunch, say: 550 x}]}\n", "no place in the dialogue");
	assert_refused("a: {rules: [{at: mail, client: x, say: 550 x}]}\n", "no list is called \"x\"");
	assert_refused("a: {rules: [{at: mail, rate: often, say: 550 x}]}\n", "a rate looks like");
	assert_refused("a: {rules: [{at: mail, rate: 5 per 1m by moon, say: 550 x}]}\n", "a rate is by");
	assert_refused("a: {rules: [{at: mail, chance: 101%, say: 550 x}]}\n", "a chance is between");
	assert_refused("a: {rules: [{at: mail, then: explode}]}\n", "then is close");
	assert_refused("a: {rules: [{at: mail, clear: perhaps, say: 550 x}]}\n", "yes or no");
	assert_refused("a: {rules: [{at: mail, errors_above: -1, say: 550 x}]}\n", "is no number");
}

static void test_who_is_not_there_is_not_found(void **state)
{
	struct provider *p = NULL;
	char *why = NULL;

	assert_int_equal(provider_read("my.yaml", slice_from("a: {}\n"), "b", arena, &p, &why), -ENOENT);
	assert_int_equal(provider_read("my.yaml", SLICE(""), "b", arena, &p, &why), -ENOENT);
}

static void test_a_rule_can_be_changed_and_a_wrong_change_leaves_it(void **state)
{
	struct provider *p = shipped("gmail");
	struct behaviour *b = rule_of(p, "unusual-rate");
	char *why = NULL;

	assert_int_equal(provider_set(p, "unusual-rate.rate=3 per 1s by sender", &why), 0);
	assert_true(b->rate == 3 && b->rate_per == USEC_SEC && b->rate_by == BY_SENDER && b->then == THEN_CLOSE);
	assert_int_equal(provider_set(p, "unusual-rate.rate=0 per 1s by sender", &why), -EINVAL);
	assert_non_null(strstr(why, "a rate looks like"));
	free(why);
	assert_int_equal(b->rate, 3);
	assert_int_equal(provider_set(p, "unusual-rate.name", &why), -ENOENT);
	assert_int_equal(provider_set(p, "nothing.rate=1 per 1s by all", &why), -ENOENT);
}

static void test_a_list_can_be_replaced(void **state)
{
	struct provider *p = shipped("gmail");
	struct client_list *l = rule_of(p, "blocked")->client;
	struct ip ip;

	assert_int_equal(provider_set_list(p, "blocked=192.0.2.1, 2001:db8::/32"), 0);
	assert_int_equal(l->n, 2);
	assert_int_equal(ip_parse(SLICE("2001:db8::7"), &ip), 0);
	assert_true(cidr_contains(&l->networks[1], &ip));
	assert_int_equal(provider_set_list(p, "blocked="), 0);
	assert_int_equal(l->n, 0);
	assert_int_equal(provider_set_list(p, "blocked=all"), -EINVAL);
	assert_int_equal(provider_set_list(p, "moon=192.0.2.1"), -ENOENT);
	assert_int_equal(provider_set_list(p, "blocked"), -ENOENT);
}

/* --- memory ------------------------------------------------------------------------------------------------------------- */

static const struct hash_key hash_key = { { 1, 2 } };

static void test_a_rate_lets_a_burst_pass_and_then_what_leaks(void **state)
{
	struct memory m;
	usec_t t = USEC_HOUR;
	unsigned passed = 0;

	memory_init(&m, &hash_key);
	for (unsigned i = 0; i < 30; i++)
		passed += !memory_is_above(&m, SLICE("a"), 10, USEC_SEC, t);
	assert_int_equal(passed, 10);
	assert_false(memory_is_above(&m, SLICE("b"), 10, USEC_SEC, t));
	assert_true(memory_is_above(&m, SLICE("a"), 10, USEC_SEC, t + 50 * USEC_MS));
	assert_false(memory_is_above(&m, SLICE("a"), 10, USEC_SEC, t + 110 * USEC_MS));
	assert_true(memory_is_above(&m, SLICE("a"), 10, USEC_SEC, t + 110 * USEC_MS));
	for (unsigned i = 0; i < 10; i++)
		assert_false(memory_is_above(&m, SLICE("a"), 10, USEC_SEC, t + 2 * USEC_SEC));
	memory_done(&m);
}

static void test_who_was_here_long_enough_is_not_new(void **state)
{
	struct memory m;
	usec_t t = USEC_HOUR;

	memory_init(&m, &hash_key);
	assert_true(memory_is_new(&m, SLICE("a"), USEC_MIN, t));
	assert_true(memory_is_new(&m, SLICE("a"), USEC_MIN, t + 59 * USEC_SEC));
	assert_false(memory_is_new(&m, SLICE("a"), USEC_MIN, t + 60 * USEC_SEC));
	assert_true(memory_is_new(&m, SLICE("a"), USEC_MIN, t + 2 * USEC_DAY));
	memory_done(&m);
}

static void test_memory_is_bounded_and_forgets_what_was_unused_longest(void **state)
{
	struct memory m;
	char name[20];

	memory_init(&m, &hash_key);
	assert_true(memory_is_new(&m, SLICE("first"), USEC_SEC, 1));
	assert_true(memory_is_new(&m, SLICE("second"), USEC_SEC, 1));
	for (unsigned i = 0; i < MEMORY_MAX - 1; i++) {
		(void) snprintf(name, sizeof(name), "%u", i);
		(void) memory_is_new(&m, slice_from(name), USEC_SEC, 2);
		if (i == 10)
			assert_true(memory_is_new(&m, SLICE("first"), USEC_SEC, 2));
	}
	assert_int_equal(m.table.len, MEMORY_MAX);
	assert_false(memory_is_new(&m, SLICE("first"), USEC_SEC, 1 + USEC_SEC));
	assert_true(memory_is_new(&m, SLICE("second"), USEC_SEC, 1 + USEC_SEC));
	memory_done(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_shipped_provider_can_be_read_and_names_its_rules_once),
		cmocka_unit_test(test_all_that_a_rule_may_say_is_kept),
		cmocka_unit_test(test_mistakes_are_named_with_their_place),
		cmocka_unit_test(test_who_is_not_there_is_not_found),
		cmocka_unit_test(test_a_rule_can_be_changed_and_a_wrong_change_leaves_it),
		cmocka_unit_test(test_a_list_can_be_replaced),
		cmocka_unit_test(test_a_rate_lets_a_burst_pass_and_then_what_leaks),
		cmocka_unit_test(test_who_was_here_long_enough_is_not_new),
		cmocka_unit_test(test_memory_is_bounded_and_forgets_what_was_unused_longest),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
