/* All that is asked about one message, and when: each answer takes a second of the simulation. */
#include "dns/cache.h"
#include "dns/zone.h"
#include "identity/judge.h"
#include "unit/identity_fixture.h"
#include "world/sim.h"

static const char zone_text[] =
	"$ORIGIN example.\n"
	"sender 60 IN TXT \"v=spf1 ip4:192.0.2.7 -all\"\n"
	"_dmarc.bank 60 IN TXT \"v=DMARC1; p=reject; psd=n\"\n"
	"_dmarc.sender 60 IN TXT \"v=DMARC1; p=reject; psd=n\"\n"
	"s1._domainkey.sender 60 IN TXT \"v=DKIM1; p=\"\n"
	"s2._domainkey.sender 60 IN TXT \"v=DKIM1; p=\"\n";
static const char header[] =
	"DKIM-Signature: v=1; a=rsa-sha256; d=sender.example; s=s1; h=from; bh=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=; b=MTIz\r\n"
	"DKIM-Signature: v=1; a=rsa-sha256; d=sender.example; s=s2; h=from; bh=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=; b=MTIz\r\n"
	"From: a@sender.example\r\n\r\n";

struct slow {
	struct resolver resolver; /* first */
	struct resolver *zone;
	unsigned asked;
};

static int ask_slowly(struct resolver *r, const char *name, enum dns_type type, usec_t deadline, struct arena *a, struct dns_answer *ret)
{
	struct slow *s = (struct slow *) r;
	int error = fiber_sleep_until(now() + USEC_SEC);

	s->asked++;
	return error < 0 ? error : s->zone->ops->query(s->zone, name, type, deadline, a, ret);
}

static void free_nothing(struct resolver *r)
{
}

struct scene {
	struct slow slow;
	bool ahead, done;
	const char *header; /* NULL: that above, which passes */
	usec_t body, took; /* how long the body takes, and the judging behind it */
	struct judge_result result;
	struct arena *arena;
};

static void judge_fiber(void *arg)
{
	struct scene *s = arg;
	const struct ip client = { .family = 4, .bytes = { 192, 0, 2, 7 } };
	const struct judge_input in = { .client = &client, .helo = "h.example", .mail_from = "a@sender.example" };
	struct fiber_group group;
	struct content *m;
	usec_t end;

	fiber_group_init(&group);
	assert_int_equal(content_new(s->arena, NULL, false, &m), 0);
	assert_int_equal(content_feed(m, slice_from(s->header ? s->header : header)), 0);
	if (s->ahead)
		judge_ahead(&s->slow.resolver, m, DEADLINE_NEVER, s->arena, &group);
	(void) fiber_sleep_until(now() + s->body);
	assert_int_equal(content_feed(m, SLICE("hello\r\n")), 0);
	assert_int_equal(content_end(m), 0);
	end = now();
	assert_int_equal(fiber_group_wait(&group, DEADLINE_NEVER), 0);
	assert_int_equal(judge_message(&s->slow.resolver, m, &in, NULL, DEADLINE_NEVER, s->arena, &s->result), 0);
	s->took = now() - end;
	fiber_group_done(&group);
	content_free(m);
	s->done = true;
}

static void play(struct scene *s)
{
	static const struct resolver_ops ops = { .query = ask_slowly, .free = free_nothing };
	struct zone *zone;
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
	char *why;

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &sim), 0);
	assert_int_equal(sim_host_new(sim, "host", "192.0.2.25", &host, &world), 0);
	assert_int_equal(loop_new(world, "loop", 0, 0, &loop), 0);
	assert_int_equal(loop_start(loop), 0);
	assert_int_equal(zone_parse(slice_from(zone_text), "z", &zone, &why), 0);
	assert_int_equal(zone_resolver_new(world, zone, 0, &s->slow.zone), 0);
	s->slow.resolver = (struct resolver) { .ops = &ops, .world = world };
	assert_int_equal(dns_cache_new(world, 100, &s->slow.resolver.cache), 0);
	assert_int_equal(arena_new(0, &s->arena), 0);
	assert_int_equal(loop_spawn(loop, "judge", judge_fiber, s), 0);
	sim_run(sim, sim_now(sim) + USEC_MIN);
	assert_true(s->done);
	assert_int_equal(s->result.spf.word, SPF_PASS);
	if (!s->header) {
		assert_int_equal(s->result.dmarc.word, DMARC_PASS);
		assert_int_equal(s->result.n_dkim, 2);
	}
	arena_free(s->arena);
	dns_cache_free(s->slow.resolver.cache);
	resolver_free(s->slow.zone);
	loop_stop(loop);
	loop_free(loop);
	world_free(world);
	sim_free(sim);
}

static void test_what_does_not_depend_on_each_other_is_asked_for_at_the_same_time(void **state)
{
	struct scene s = { .ahead = false };

	play(&s);
	assert_int_equal(s.slow.asked, 4); /* SPF, two keys, the policy: each once */
	assert_in_range(s.took, USEC_SEC, USEC_SEC + 10 * USEC_MS);
}

static void test_what_the_header_names_is_asked_for_while_the_body_comes(void **state)
{
	struct scene s = { .ahead = true, .body = 5 * USEC_SEC };

	play(&s);
	assert_int_equal(s.slow.asked, 4);
	assert_in_range(s.took, USEC_SEC, USEC_SEC + 10 * USEC_MS); /* SPF is the caller's to begin with */
	s = (struct scene) { .ahead = true, .body = USEC_SEC / 2 };
	play(&s);
	assert_int_equal(s.slow.asked, 4); /* not again what is under way */
}

/* RFC 9989 section 11.5. */
static void test_a_broken_from_does_not_get_past_the_policy_of_whom_it_names(void **state)
{
	static const struct {
		const char *header;
		enum dmarc_word word;
	} cases[] = {
		{ "From: a@bank.example\r\n\r\n", DMARC_FAIL },
		{ "From: a@sender.example\r\nFrom: ceo@bank.example\r\n\r\n", DMARC_FAIL },
		{ "From: ceo@bank.example\r\nSubject: x\r\nFrom : a@sender.example\r\n\r\n", DMARC_FAIL },
		{ "From: ceo@bank.example\r\nno field\r\n\r\n", DMARC_FAIL },
		{ "From: a@sender.example\r\nno field\r\nFrom: ceo@bank.example\r\n\r\n", DMARC_FAIL },
		{ "From: ceo@bank.example, a@a.example, a@b.example, a@c.example, a@d.example, a@e.example\r\n\r\n", DMARC_FAIL },
		{ "From: ceo@bank.example, a@a.b, a@b.b, a@c.b, a@d.b, a@e.b, a@f.b, a@g.b, a@h.b, a@i.b, a@j.b, a@k.b, a@l.b, a@m.b,"
		  " a@n.b, a@o.b, a@p.b, a@q.b\r\n\r\n", DMARC_FAIL },
		/* What would pass is nothing to rely on. */
		{ "From: a@sender.example\r\nFrom: a@sender.example\r\n\r\n", DMARC_PERMERROR },
		{ "From: a@sender.example\r\nno field\r\n\r\n", DMARC_PERMERROR },
		{ "Subject: x\r\n\r\n", DMARC_PERMERROR },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct scene s = { .header = cases[i].header };

		play(&s);
		if (s.result.dmarc.word != cases[i].word)
			fail_msg("\"%s\": %s", cases[i].header, dmarc_word_text(s.result.dmarc.word));
	}
}

static void test_too_many_fields_hide_no_from(void **state)
{
	struct buffer header = { 0 };
	struct scene s = { 0 };

	for (unsigned i = 0; i < 3000; i++)
		buffer_append_str(&header, "A:\r\n");
	buffer_append_str(&header, "From: ceo@bank.example\r\n\r\n");
	s.header = header.data;
	play(&s);
	assert_int_equal(s.result.dmarc.word, DMARC_FAIL);
	assert_int_equal(s.result.dmarc.policy, DMARC_POLICY_REJECT);
	buffer_done(&header);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_does_not_depend_on_each_other_is_asked_for_at_the_same_time),
		cmocka_unit_test(test_what_the_header_names_is_asked_for_while_the_body_comes),
		cmocka_unit_test(test_a_broken_from_does_not_get_past_the_policy_of_whom_it_names),
		cmocka_unit_test(test_too_many_fields_hide_no_from),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
