/* The rules of the gate: what conditions mean, and which rule decides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "receive/gate_dns.h"
#include "receive/gate_rules.h"

#define VALUES_MAX 4

struct made {
	struct gate_condition condition;
	struct gate_value values[VALUES_MAX];
};

/* A condition of one key with up to four values. */
static struct gate_condition condition(struct made *m, const char *key, ...)
{
	const char *text;
	va_list args;

	*m = (struct made) { .condition = { .key = gate_key_find(slice_from(key)), .values = m->values } };
	assert_non_null(m->condition.key);
	va_start(args, key);
	while ((text = va_arg(args, const char *))) {
		struct gate_value *v = &m->values[m->condition.n++];

		v->text = text;
		if (gate_value_parse(m->condition.key, slice_from(text), v) < 0)
			fail_msg("%s: \"%s\" was refused", key, text);
	}
	va_end(args);
	return m->condition;
}

static bool holds(const struct gate_facts *f, const char *key, const char *value)
{
	struct made m;
	struct gate_condition c = condition(&m, key, value, NULL);

	return gate_condition_holds(&c, f);
}

static bool is_refused(const char *key, const char *value)
{
	struct gate_value v = { .text = value };

	return gate_value_parse(gate_key_find(slice_from(key)), slice_from(value), &v) < 0;
}

static struct gate_facts somebody(void)
{
	struct gate_facts f = { .listener = "mx", .minute = 9 * 60 + 30, .weekday = 3, .helo = "mail.dyn.example", .is_mail = true, .is_rcpt = true };

	ip_parse(SLICE("192.0.2.7"), &f.client);
	address_parse(SLICE("News@List.Example"), ADDRESS_OF_ENVELOPE, &f.sender);
	f.sender_domain = "list.example";
	address_parse(SLICE("bob@example.org"), ADDRESS_OF_ENVELOPE, &f.recipient);
	f.recipient_domain = "example.org";
	return f;
}

static void a_client_matches_by_address_or_network(void **state)
{
	struct gate_facts f = somebody(), unix_socket = { .listener = "mx" };
	struct made m;
	struct gate_condition c = condition(&m, "client", "10.0.0.0/8", "192.0.2.7", NULL);

	assert_true(holds(&f, "client", "192.0.2.0/24"));
	assert_false(holds(&f, "client", "192.0.3.0/24"));
	assert_false(holds(&f, "client", "::/0"));
	assert_true(gate_condition_holds(&c, &f));
	assert_false(holds(&unix_socket, "client", "0.0.0.0/0"));
	assert_true(is_refused("client", "192.0.2"));
	assert_true(is_refused("client", ""));
}

static void addresses_match_as_in_routes(void **state)
{
	struct gate_facts f = somebody();

	assert_true(holds(&f, "sender", "list.example"));
	assert_true(holds(&f, "sender", "news@*"));
	assert_true(holds(&f, "sender", "*"));
	assert_false(holds(&f, "sender", "*.list.example"));
	assert_false(holds(&f, "sender", ""));
	assert_true(holds(&f, "recipient", "bob@example.org"));
	address_parse(SLICE(""), ADDRESS_OF_ENVELOPE, &f.sender);
	f.sender_domain = "";
	assert_true(holds(&f, "sender", ""));
	assert_false(holds(&f, "sender", "list.example"));
}

static void what_has_not_been_said_yet_matches_nothing(void **state)
{
	struct gate_facts f = { .listener = "mx", .minute = -1, .weekday = -1 };

	assert_false(holds(&f, "sender", "*"));
	assert_false(holds(&f, "recipient", "*"));
	assert_false(holds(&f, "helo", "*"));
	assert_false(holds(&f, "time", "00:00-24:00"));
	assert_false(holds(&f, "weekday", "Mon-Sun"));
	assert_false(holds(&f, "size", "<10M"));
	assert_false(holds(&f, "score", "<10"));
	assert_false(holds(&f, "list", "*"));
	assert_false(holds(&f, "list", "none"));
	assert_false(holds(&f, "reverse", "none"));
	assert_true(holds(&f, "user", "none"));
}

/* The results that nothing has computed yet. */
static void no_result_is_none_and_never_a_pass(void **state)
{
	static const char *const keys[] = { "spf", "dkim", "dmarc" };
	struct gate_facts f = somebody();

	for (unsigned i = 0; i < ARRAY_LEN(keys); i++) {
		assert_false(holds(&f, keys[i], "pass"));
		assert_false(holds(&f, keys[i], "fail"));
		assert_true(holds(&f, keys[i], "none"));
	}
	f.spf = "pass";
	assert_true(holds(&f, "spf", "pass"));
	assert_false(holds(&f, "spf", "none"));
	assert_true(is_refused("spf", "passed"));
}

static void a_reverse_name_counts_when_it_is_confirmed(void **state)
{
	struct gate_facts f = somebody();

	f.known = GATE_NEEDS_REVERSE;
	f.reverse = GATE_REVERSE_UNCONFIRMED;
	f.reverse_name = "mail.bank.example";
	assert_false(holds(&f, "reverse", "*.bank.example"));
	assert_true(holds(&f, "reverse", "none"));
	assert_true(holds(&f, "reverse_claimed", "*.bank.example"));
	assert_true(holds(&f, "reverse_state", "unconfirmed"));
	f.reverse = GATE_REVERSE_CONFIRMED;
	assert_true(holds(&f, "reverse", "*.bank.example"));
	f.reverse = GATE_REVERSE_TEMPORARY;
	assert_false(holds(&f, "reverse", "*"));
	assert_false(holds(&f, "reverse", "none"));
	assert_true(holds(&f, "reverse_state", "temporary"));
}

static void numbers_and_sizes_are_compared(void **state)
{
	struct gate_facts f = somebody();

	f.size = 10 * 1024 * 1024;
	f.known = GATE_NEEDS_LISTS;
	f.score = -3;
	assert_true(holds(&f, "size", ">=10M"));
	assert_false(holds(&f, "size", ">10M"));
	assert_true(holds(&f, "size", "<= 10M"));
	assert_false(holds(&f, "size", "<10M"));
	assert_true(holds(&f, "size", "10485760"));
	assert_true(holds(&f, "size", "1M..1G"));
	assert_true(holds(&f, "score", "<0"));
	assert_true(holds(&f, "score", "-3"));
	assert_true(holds(&f, "score", "-5..-1"));
	assert_false(holds(&f, "score", ">=1"));
	assert_true(holds(&f, "recipients", "0"));
	for (unsigned i = 0; i < 10; i++) {
		static const char *const wrong[] = { "", "x", ">", "5..", "..5", "7..3", "10X", "99999999999999999999", "8388608T", ">=" };

		if (!is_refused("size", wrong[i]))
			fail_msg("\"%s\" was taken", wrong[i]);
	}
}

static void times_end_before_their_end_and_may_pass_midnight(void **state)
{
	struct gate_facts f = somebody();

	assert_true(holds(&f, "time", "09:30-09:31"));
	assert_false(holds(&f, "time", "08:00-09:30"));
	assert_false(holds(&f, "time", "22:00-06:00"));
	f.minute = 23 * 60 + 59;
	assert_true(holds(&f, "time", "22:00-06:00"));
	assert_true(holds(&f, "time", "22:00-24:00"));
	assert_true(holds(&f, "time", "22:00-00:00"));
	f.minute = 0;
	assert_true(holds(&f, "time", "22:00-06:00"));
	assert_true(holds(&f, "weekday", "Wed"));
	assert_true(holds(&f, "weekday", "mon-friday"));
	assert_false(holds(&f, "weekday", "Sat-Sun"));
	f.weekday = 0;
	assert_true(holds(&f, "weekday", "Sat-Sun"));
	assert_true(holds(&f, "weekday", "Fri-Mon"));
	assert_true(is_refused("time", "25:00-26:00"));
	assert_true(is_refused("time", "9-17"));
	assert_true(is_refused("time", "09:00-09:00"));
	assert_true(is_refused("weekday", "Today"));
}

static void faults_of_the_helo_name_are_seen(void **state)
{
	struct ip client;

	ip_parse(SLICE("192.0.2.7"), &client);
	assert_int_equal(gate_helo_faults("mail.example.org", "mx.here.example", &client), 0);
	assert_int_equal(gate_helo_faults("MX.here.example", "mx.here.example", &client), GATE_HELO_OWN_NAME);
	assert_int_equal(gate_helo_faults("localhost", "mx.here.example", &client), GATE_HELO_NOT_FQDN);
	assert_int_equal(gate_helo_faults("192.0.2.7", "mx.here.example", &client), GATE_HELO_BARE_ADDRESS);
	assert_int_equal(gate_helo_faults("192.0.2.8", "mx.here.example", &client), GATE_HELO_BARE_ADDRESS | GATE_HELO_WRONG_LITERAL);
	assert_int_equal(gate_helo_faults("[192.0.2.7]", "mx.here.example", &client), 0);
	assert_int_equal(gate_helo_faults("[192.0.2.8]", "mx.here.example", &client), GATE_HELO_WRONG_LITERAL);
	assert_int_equal(gate_helo_faults("[IPv6:2001:db8::1]", "mx.here.example", &client), GATE_HELO_WRONG_LITERAL);
	assert_int_equal(gate_helo_faults("[nonsense]", "mx.here.example", &client), GATE_HELO_SYNTAX);
	assert_int_equal(gate_helo_faults("under..dots", "mx.here.example", &client), GATE_HELO_SYNTAX);
}

/* --- the walk -------------------------------------------------------------------------------------------------- */

static void conditions_say_at_which_stage_a_rule_stands(void **state)
{
	struct made m[3];
	struct gate_condition c[] = { condition(&m[0], "client", "::/0", NULL), condition(&m[1], "size", ">1", NULL),
				      condition(&m[2], "recipient", "*", NULL) };

	assert_int_equal(gate_conditions_stage(c, 0), GATE_CONNECT);
	assert_int_equal(gate_conditions_stage(c, 1), GATE_CONNECT);
	assert_int_equal(gate_conditions_stage(c, 2), GATE_DATA);
	assert_int_equal(gate_conditions_earliest(c, 2), GATE_MAIL);
	assert_int_equal(gate_conditions_earliest(c, 3), GATE_RCPT);
}

static void rules_are_looked_at_in_their_order_and_at_their_stage(void **state)
{
	struct made m[2];
	const struct gate_condition client = condition(&m[0], "client", "192.0.2.0/24", NULL), other = condition(&m[1], "client", "10.0.0.0/8", NULL);
	const struct gate_rule list[] = {
		{ .name = "other", .stage = GATE_CONNECT, .action = GATE_REJECT, .match = &other, .n_match = 1 },
		{ .name = "later", .stage = GATE_RCPT, .action = GATE_REJECT },
		{ .name = "note", .stage = GATE_CONNECT, .action = GATE_CONTINUE, .match = &client, .n_match = 1 },
		{ .name = "spared", .stage = GATE_CONNECT, .action = GATE_REJECT, .match = &client, .n_match = 1, .unless = &client, .n_unless = 1 },
		{ .name = "always", .stage = GATE_CONNECT, .action = GATE_ACCEPT },
	};
	const struct gate_rules rules = { .n = ARRAY_LEN(list), .rules = list };
	struct gate_walk walk = { .stage = GATE_CONNECT };
	struct gate_facts f = somebody();
	const struct gate_rule *rule;

	assert_int_equal(gate_rules_next(&rules, &walk, &f, &rule), 1);
	assert_string_equal(rule->name, "note");
	assert_int_equal(gate_rules_next(&rules, &walk, &f, &rule), 1);
	assert_string_equal(rule->name, "always");
	assert_int_equal(gate_rules_next(&rules, &walk, &f, &rule), 0);
	walk = (struct gate_walk) { .stage = GATE_HELO };
	assert_int_equal(gate_rules_next(&rules, &walk, &f, &rule), 0);
}

/* Nobody is asked when what is known decides already. */
static void only_what_is_needed_is_asked_for(void **state)
{
	struct made m[3];
	const struct gate_condition both[] = { condition(&m[0], "list", "bl.example", NULL), condition(&m[1], "client", "10.0.0.0/8", NULL) };
	const struct gate_condition lists[] = { condition(&m[2], "list", "bl.example", NULL) };
	const struct gate_list_hit hit = { .zone = "bl.example", .weight = 1 };
	const struct gate_rule list[] = {
		{ .name = "cheap", .stage = GATE_CONNECT, .action = GATE_REJECT, .match = both, .n_match = 2 },
		{ .name = "listed", .stage = GATE_CONNECT, .action = GATE_REJECT, .match = lists, .n_match = 1 },
	};
	const struct gate_rules rules = { .n = ARRAY_LEN(list), .rules = list };
	struct gate_walk walk = { .stage = GATE_CONNECT };
	struct gate_facts f = somebody();
	const struct gate_rule *rule;

	assert_int_equal(gate_rules_next(&rules, &walk, &f, &rule), -EAGAIN);
	assert_int_equal(walk.needs, GATE_NEEDS_LISTS);
	assert_int_equal(walk.next, 1);
	f.known = GATE_NEEDS_LISTS;
	f.hits = &hit;
	f.n_hits = 1;
	assert_int_equal(gate_rules_next(&rules, &walk, &f, &rule), 1);
	assert_string_equal(rule->name, "listed");
}

static void rules_are_described_for_people(void **state)
{
	struct made m[2];
	const struct gate_condition match[] = { condition(&m[0], "client", "192.0.2.0/24", "::1", NULL), condition(&m[1], "sender", "", NULL) };
	const struct gate_rule rule = { .name = "x", .stage = GATE_MAIL, .action = GATE_DEFER, .match = match, .n_match = 2, .code = 450,
					.enhanced = { 4, 7, 1 }, .text = "not now" };
	const struct gate_rule tarpit = { .name = "y", .stage = GATE_CONNECT, .action = GATE_TARPIT, .delay = 10 * USEC_SEC };
	char text[300], small[20];

	assert_string_equal(gate_rule_describe(&rule, text, sizeof(text)), "mail: defer when client in 192.0.2.0/24, ::1 and sender in <>: 450 4.7.1 not now");
	assert_string_equal(gate_rule_describe(&tarpit, text, sizeof(text)), "connect: tarpit for 10s always");
	assert_int_equal(strlen(gate_rule_describe(&rule, small, sizeof(small))), sizeof(small) - 1);
}

static void every_key_can_be_parsed_matched_and_described(void **state)
{
	static const char *const values[] = { "192.0.2.0/24", "*", "none", "", "true", ">=5", "08:00-18:00", "Mon", "mx", "pass", "confirmed", "syntax", "ok" };
	struct gate_facts full = somebody(), empty = { .minute = -1, .weekday = -1 };

	for (size_t i = 0; i < gate_n_keys; i++) {
		unsigned taken = 0;
		char text[300];

		assert_true(gate_keys[i].earliest <= gate_keys[i].stage);
		for (unsigned k = 0; k < ARRAY_LEN(values); k++) {
			struct gate_value v = { .text = values[k] };
			struct gate_condition c = { .key = &gate_keys[i], .n = 1, .values = &v };

			if (gate_value_parse(&gate_keys[i], slice_from(values[k]), &v) < 0)
				continue;
			taken++;
			(void) gate_condition_holds(&c, &full);
			(void) gate_condition_holds(&c, &empty);
			assert_true(strlen(gate_condition_describe(&c, text, sizeof(text))) > 0);
		}
		if (!taken)
			fail_msg("%s takes none of the values", gate_keys[i].name);
		assert_true(strlen(gate_fact_describe(&gate_keys[i], &full, text, sizeof(text))) > 0);
		assert_true(strlen(gate_fact_describe(&gate_keys[i], &empty, text, sizeof(text))) > 0);
		assert_true(strlen(gate_kind_describe(&gate_keys[i], text, sizeof(text))) > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_client_matches_by_address_or_network),
		cmocka_unit_test(addresses_match_as_in_routes),
		cmocka_unit_test(what_has_not_been_said_yet_matches_nothing),
		cmocka_unit_test(no_result_is_none_and_never_a_pass),
		cmocka_unit_test(a_reverse_name_counts_when_it_is_confirmed),
		cmocka_unit_test(numbers_and_sizes_are_compared),
		cmocka_unit_test(times_end_before_their_end_and_may_pass_midnight),
		cmocka_unit_test(faults_of_the_helo_name_are_seen),
		cmocka_unit_test(conditions_say_at_which_stage_a_rule_stands),
		cmocka_unit_test(rules_are_looked_at_in_their_order_and_at_their_stage),
		cmocka_unit_test(only_what_is_needed_is_asked_for),
		cmocka_unit_test(rules_are_described_for_people),
		cmocka_unit_test(every_key_can_be_parsed_matched_and_described),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
