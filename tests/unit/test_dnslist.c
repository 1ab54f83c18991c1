/* DNS lists: filters, IPv6, the test of each list, and trouble with the DNS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns/zone.h"
#include "receive/dnslist.h"
#include "world/sim.h"

static bool passes(const char *filter, const char *address)
{
	struct list_reply f;
	struct ip ip;

	if (list_reply_parse(slice_from(filter), &f) < 0)
		fail_msg("%s was refused", filter);
	assert_int_equal(ip_parse(slice_from(address), &ip), 0);
	return list_reply_matches(&f, &ip);
}

static void filters_take_numbers_spans_lists_and_networks(void **state)
{
	assert_true(passes("127.0.0.2", "127.0.0.2"));
	assert_false(passes("127.0.0.2", "127.0.0.3"));
	assert_true(passes("127.0.0.[2..11]", "127.0.0.2") && passes("127.0.0.[2..11]", "127.0.0.11"));
	assert_false(passes("127.0.0.[2..11]", "127.0.0.12") || passes("127.0.0.[2..11]", "127.0.0.1"));
	assert_true(passes("127.0.[0..255].[1;3..5]", "127.0.9.4") && passes("127.0.[0..255].[1;3..5]", "127.0.200.1"));
	assert_false(passes("127.0.[0..255].[1;3..5]", "127.0.9.2") || passes("127.0.[0..255].[1;3..5]", "127.1.9.3"));
	assert_true(passes("127.0.0.0/8", "127.9.9.9") && passes("127.0.0.4/30", "127.0.0.7"));
	assert_false(passes("127.0.0.4/30", "127.0.0.8") || passes("127.0.0.0/8", "::1"));
}

static void other_filters_are_refused(void **state)
{
	static const char *const wrong[] = { "", "127", "127.0.0", "127.0.0.", "127.0.0.256", "127.0.0.[2..]", "127.0.0.[3..2]", "127.0.0.[2",
					     "127.0.0.[]", "127.0.0.2]", "127.0.0.2.3", "127.0.0.2 ", "127.0.0.[1;]", "::1", "127.0.0.0000002" };
	struct list_reply f;

	for (unsigned i = 0; i < ARRAY_LEN(wrong); i++)
		if (list_reply_parse(slice_from(wrong[i]), &f) == 0)
			fail_msg("\"%s\" was taken", wrong[i]);
}

/* --- with a DNS ---------------------------------------------------------------------------------------------- */

static const char zone_text[] =
	"2.0.0.127.bl.example. 60 IN A 127.0.0.2\n"
	"7.2.0.192.bl.example. 60 IN A 127.0.0.3\n"
	"7.2.0.192.bl.example. 60 IN TXT \"because \" \"of\\013\\010that \\233\"\n"
	"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example. 60 IN A 127.0.0.2\n"
	"8.2.0.192.bl.example. 60 IN A 127.0.0.1\n"
	"9.2.0.192.bl.example. 60 IN A 192.0.2.1\n"
	"2.0.0.127.wl.example. 60 IN A 127.0.0.2\n"
	"7.2.0.192.wl.example. 60 IN A 127.0.0.2\n"
	"*.all.example. 60 IN A 127.0.0.2\n"
	"; SERVFAIL 7.2.0.192.slow.example\n"
	"2.0.0.127.slow.example. 60 IN A 127.0.0.2\n";

struct scene {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
	struct resolver *resolver;
	struct lists *lists;
	struct arena *arena;
	/* the question */
	const char *client;
	bool done;
	unsigned n, questions;
	const struct gate_list_hit *hits;
	bool temporary, breaks;
	int result;
	char report[1000];
};

static const struct list_config config[] = {
	{ .zone = "bl.example", .weight = 2 },
	{ .zone = "wl.example", .weight = -1 },
	{ .zone = "all.example", .weight = 50 },
	{ .zone = "slow.example", .weight = 1 },
};

static void count_question(void *context, const char *name, enum dns_type type, enum dns_status *status, usec_t *delay)
{
	struct scene *s = context;

	s->questions++;
	*delay = USEC_SEC;
	if (s->breaks)
		*status = DNS_SERVFAIL;
}

static int set_up(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));
	char *why = NULL;
	struct zone *zone;

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &s->sim), 0);
	assert_int_equal(sim_host_new(s->sim, "host", "192.0.2.25", &s->host, &s->world), 0);
	assert_int_equal(loop_new(s->world, "loop", 0, 0, &s->loop), 0);
	assert_int_equal(loop_start(s->loop), 0);
	assert_int_equal(zone_parse(SLICE(zone_text), "zone", &zone, &why), 0);
	assert_int_equal(zone_resolver_new(s->world, zone, 0, &s->resolver), 0);
	zone_resolver_set_hook(s->resolver, count_question, s);
	assert_int_equal(lists_new(s->world, NULL, config, ARRAY_LEN(config), &s->lists), 0);
	assert_int_equal(arena_new(0, &s->arena), 0);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *s = *state;

	lists_free(s->lists);
	arena_free(s->arena);
	loop_stop(s->loop);
	resolver_free(s->resolver);
	loop_free(s->loop);
	world_free(s->world);
	sim_free(s->sim);
	free(s);
	return 0;
}

static void ask_fiber(void *arg)
{
	struct scene *s = arg;
	struct ip ip;

	assert_int_equal(ip_parse(slice_from(s->client), &ip), 0);
	s->result = lists_ask(s->lists, s->resolver, &ip, deadline_after(now(), USEC_MIN), s->arena, &s->n, &s->hits, &s->temporary);
	s->done = true;
}

static void ask(struct scene *s, const char *client)
{
	s->client = client;
	s->done = false;
	s->questions = 0;
	assert_int_equal(loop_spawn(s->loop, "ask", ask_fiber, s), 0);
	sim_run(s->sim, deadline_after(world_now(s->world), USEC_MIN));
	assert_true(s->done);
	assert_int_equal(s->result, 0);
}

static void note_report(void *context, const char *text)
{
	struct scene *s = context;

	strncat(s->report, text, sizeof(s->report) - strlen(s->report) - 1);
}

static void hits_have_their_answer_weight_and_words(void **state)
{
	struct scene *s = *state;

	ask(s, "192.0.2.7");
	assert_int_equal(s->n, 2);
	assert_string_equal(s->hits[0].zone, "bl.example");
	assert_int_equal(s->hits[0].weight, 2);
	assert_int_equal(s->hits[0].answer.bytes[3], 3);
	assert_string_equal(s->hits[0].text, "because of??that ?");
	assert_string_equal(s->hits[1].zone, "wl.example");
	assert_null(s->hits[1].text);
	assert_true(s->temporary); /* slow.example */
}

static void ipv6_clients_are_asked_for_by_nibbles(void **state)
{
	struct scene *s = *state;

	ask(s, "2001:db8::1");
	assert_int_equal(s->n, 1);
	ask(s, "2001:db8::2");
	assert_int_equal(s->n, 0);
}

/* RFC 5782 section 2.1: values lie in 127.0.0.0/8, and 127.0.0.1 is none. */
static void answers_that_are_no_entries_do_not_count(void **state)
{
	struct scene *s = *state;

	ask(s, "192.0.2.8");
	assert_int_equal(s->n, 0);
	ask(s, "192.0.2.9");
	assert_int_equal(s->n, 0);
}

static void a_list_that_has_everybody_is_switched_off(void **state)
{
	struct scene *s = *state;

	ask(s, "192.0.2.7");
	lists_report(s->lists, note_report, s);
	assert_non_null(strstr(s->report, "all.example: it lists every address"));
	assert_null(strstr(s->report, "bl.example"));
}

/* Each question takes a second: four lists with two tests and a question each cost three seconds, not twelve. */
static void lists_are_asked_at_the_same_time(void **state)
{
	struct scene *s = *state;
	usec_t began = world_now(s->world);
	usec_t seconds = 0;

	s->client = "192.0.2.55";
	assert_int_equal(loop_spawn(s->loop, "ask", ask_fiber, s), 0);
	while (!s->done && seconds < 60)
		sim_run(s->sim, deadline_after(began, ++seconds * USEC_SEC));
	assert_true(s->done);
	assert_in_range(seconds, 1, 4);
}

static void trouble_with_the_dns_switches_nothing_off_and_lists_nobody(void **state)
{
	struct scene *s = *state;

	s->breaks = true;
	ask(s, "192.0.2.7");
	assert_int_equal(s->n, 0);
	assert_true(s->temporary);
	lists_report(s->lists, note_report, s);
	assert_string_equal(s->report, "");
}

#define WITH_SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filters_take_numbers_spans_lists_and_networks),
		cmocka_unit_test(other_filters_are_refused),
		WITH_SCENE(hits_have_their_answer_weight_and_words),
		WITH_SCENE(ipv6_clients_are_asked_for_by_nibbles),
		WITH_SCENE(answers_that_are_no_entries_do_not_count),
		WITH_SCENE(a_list_that_has_everybody_is_switched_off),
		WITH_SCENE(lists_are_asked_at_the_same_time),
		WITH_SCENE(trouble_with_the_dns_switches_nothing_off_and_lists_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
