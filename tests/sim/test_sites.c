/* Many messages to many sites, of which some are down, some throttle and some block our address: nothing is lost, nothing
 * comes twice, no healthy site waits for a sick one, and a dead one is left alone.
 *
 * The whole queue with its spool, router and zone on two loops of a simulated machine; the courier plays the receivers. It
 * runs twice with the same messages at the same times, the second time without those to sick sites, and compares how long
 * the others took. MESSAGES=n and SITES=n make it larger or smaller (docs/SHAPING.md). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory_check.h"
#include "dns/zone.h"
#include "queue/queue.h"
#include "world/fiber.h"
#include "world/sim.h"

#define SUBMITTERS 16u              /* fibers that hand messages in, on two loops */
#define SPREAD (10 * USEC_MIN)      /* in which all come */
#define BURST 10u                   /* messages for one site, one behind the other */
#define COMES_BACK (6 * USEC_HOUR)  /* every second dead site */
#define PROBES_MOST 300u            /* of a site that stays dead: five days, half an hour apart, and the first ones */

enum health { WELL, DEAD, THROTTLES, BLOCKS };

struct tally {
	usec_t taken, took; /* by us; how long it was in the queue */
	uint8_t deliveries, reports;
};
struct receiver {
	unsigned attempts, early;
	usec_t last; /* that it took */
	usec_t delay;
	unsigned delivered;
};

struct world_of_sites {
	unsigned n_messages, n_sites;
	unsigned connections; /* of all together; 0: as usual */
	bool only_well;
	struct tally *messages;
	struct receiver *sites;
	struct receiver relay;
	struct sim *sim;
	struct world *world;
	struct loop *loops[2];
	struct resolver *resolver;
	struct router *router;
	struct spool *spool;
	struct queue *queue;
	struct courier courier;
	struct log log;
	unsigned submitters, submitted;
	usec_t began;
	bool done;
};

struct submitter {
	struct world_of_sites *w;
	unsigned first;
};

static unsigned number(const char *name, unsigned usual)
{
	const char *value = getenv(name);

	return value && atoi(value) > 0 ? (unsigned) atoi(value) : usual;
}

static enum health health_of(unsigned site)
{
	unsigned n = site % 100;

	return n < 5 ? DEAD : n < 10 ? THROTTLES : n < 12 ? BLOCKS : WELL;
}

static unsigned site_of(const struct world_of_sites *w, unsigned message)
{
	return message / BURST % w->n_sites;
}

static bool comes_back(unsigned site)
{
	return site % 2 == 0;
}

/* --- receivers -------------------------------------------------------------------------------- */

static void say(struct delivery_recipient *r, enum outcome_kind kind, enum stage stage, int code, int subject, int detail, const char *text)
{
	r->outcome = (struct outcome) { .kind = kind, .from_remote = true, .stage = stage, .host = "mx.example",
					.reply = { code, { code / 100, subject, detail }, text } };
}

static void accept_it(struct world_of_sites *w, struct receiver *site, struct delivery_recipient *r)
{
	unsigned n = (unsigned) strtoul(r->address + 1, NULL, 10);
	struct tally *m = &w->messages[n];

	assert_true(n < w->n_messages);
	say(r, OUTCOME_DELIVERED, STAGE_DOT, 250, 0, 0, "OK");
	if (r->address[0] == 's') { /* the sender is told */
		m->reports++;
		return;
	}
	m->deliveries++;
	m->took = now() - m->taken;
	site->delay += m->took;
	site->delivered++;
}

static void answer(struct world_of_sites *w, unsigned index, struct receiver *site, struct delivery_recipient *r)
{
	site->attempts++;
	switch (health_of(index)) {
	case THROTTLES: /* one message a second */
		if (site->last > 0 && now() < site->last + USEC_SEC) {
			site->early++;
			say(r, OUTCOME_DEFERRED, STAGE_MAIL, 451, 7, 0, "too many messages, slow down");
			return;
		}
		site->last = now();
		break;
	case BLOCKS:
		say(r, OUTCOME_FAILED, STAGE_MAIL, 550, 7, 1, "Client host [192.0.2.99] blocked using zen.spamhaus.org");
		return;
	default:
		break;
	}
	accept_it(w, site, r);
}

static bool is_down(const struct world_of_sites *w, unsigned index)
{
	return health_of(index) == DEAD && !(comes_back(index) && now() > w->began + COMES_BACK);
}

static void no_connection(struct receiver *site, struct delivery *d)
{
	site->attempts++;
	fiber_sleep_until(now() + 30 * USEC_SEC);
	for (unsigned i = 0; i < d->n_recipients && !fiber_cancelled(); i++)
		d->recipients[i].outcome = (struct outcome) { .kind = OUTCOME_DEFERRED, .stage = STAGE_CONNECT,
							      .class = CLASS_UNREACHABLE, .site_fault = true,
							      .reply = { 0, { 4, 4, 1 }, "no answer" } };
}

static void carry(struct courier *c, struct slot *slot)
{
	struct world_of_sites *w = container_of(c, struct world_of_sites, courier);
	const struct slot_info *info = slot_info(slot);
	bool relay = info->hop->kind == HOP_RELAY, home = strcmp(info->site, "mx:mx.home.example") == 0, connected = false;
	unsigned index = relay || home ? WELL + 99 : (unsigned) strtoul(info->site + strlen("mx:m"), NULL, 10);
	struct receiver *site = relay || home ? &w->relay : &w->sites[index];
	struct delivery *d;

	while (slot_next(slot, now() + 2 * USEC_SEC, &d) == 0) {
		if (!connected && is_down(w, index)) {
			no_connection(site, d);
			slot_done(slot, d);
			continue;
		}
		fiber_sleep_until(now() + (connected ? 0 : 50 * USEC_MS) + (100 + index % 7 * 50) * USEC_MS);
		connected = true;
		for (unsigned i = 0; i < d->n_recipients && !fiber_cancelled(); i++)
			answer(w, index, site, &d->recipients[i]);
		slot_done(slot, d);
	}
}

/* --- handing in ------------------------------------------------------------------------------- */

static void submit(struct world_of_sites *w, unsigned n)
{
	static const char content[] = "Subject: test\r\n\r\nHello\r\n";
	char from[40], to[60];
	struct envelope_recipient recipient = { .address = to };
	struct envelope e = { .id = queue_new_id(w->queue), .arrival = world_wall(w->world), .reverse_path = from,
			      .protocol = "ESMTP", .n_recipients = 1, .recipients = &recipient };
	struct spool_writer *writer = NULL;

	snprintf(from, sizeof(from), "s%u@home.example", n);
	snprintf(to, sizeof(to), "m%u@d%u.example", n, site_of(w, n));
	assert_int_equal(spool_writer_new(w->spool, e.id, &writer), 0);
	assert_int_equal(spool_writer_append(writer, slice_new(content, sizeof(content) - 1)), 0);
	w->messages[n].taken = now();
	assert_int_equal(queue_submit(w->queue, writer, &e), 0);
	w->submitted++;
}

static void hand_in(void *arg)
{
	struct submitter *s = arg;
	struct world_of_sites *w = s->w;

	for (unsigned n = s->first; n < w->n_messages; n += SUBMITTERS) {
		if (w->only_well && health_of(site_of(w, n)) != WELL)
			continue;
		fiber_sleep_until(w->began + SPREAD / w->n_messages * n);
		submit(w, n);
	}
	w->submitters--;
}

static void play(void *arg)
{
	struct world_of_sites *w = arg;
	struct submitter submitters[SUBMITTERS];
	struct queue_summary sum;

	w->began = now();
	w->submitters = SUBMITTERS;
	for (unsigned i = 0; i < SUBMITTERS; i++) {
		submitters[i] = (struct submitter) { w, i };
		assert_int_equal(loop_spawn(w->loops[i % 2], "submitter", hand_in, &submitters[i]), 0);
	}
	do {
		fiber_sleep_until(now() + USEC_MIN);
		assert_int_equal(queue_summarize(w->queue, &sum), 0);
	} while (w->submitters > 0 || sum.messages > 0);
	queue_stop(w->queue, now() + USEC_MIN);
	w->done = true;
}

static bool is_done(void *context)
{
	return ((struct world_of_sites *) context)->done;
}

/* --- the machine ------------------------------------------------------------------------------ */

static void write_line(void *context, const char *line, size_t len)
{
	if (getenv("LOG"))
		print_message("%.*s", (int) len, line);
}

static wall_t no_wall(void *context)
{
	return 0;
}

static struct zone *make_zone(unsigned n_sites)
{
	_cleanup_buffer_ struct buffer text = { 0 };
	struct zone *zone;
	char *why;

	buffer_append_str(&text, "$ORIGIN example.\nhome MX 10 mx.home\nmx.home A 192.0.2.9\n");
	for (unsigned i = 0; i < n_sites; i++)
		buffer_printf(&text, "d%u MX 10 m%u.many\n", i, i);
	buffer_append_str(&text, "*.many A 192.0.2.6\n");
	assert_int_equal(zone_parse(buffer_slice(&text), "z", &zone, &why), 0);
	return zone;
}

static int none_found(const struct spool_found *m, void *context)
{
	fail_msg("a fresh spool has messages");
	return 0;
}

static void run(struct world_of_sites *w)
{
	static const struct host_port relay_hosts[] = { { .name = "smtp.provider.example", .port = 587 } };
	static const struct relay backup = { .name = "backup", .n_hosts = 1, .hosts = relay_hosts };
	static const struct hop ladder[] = { { .kind = HOP_MX }, { .kind = HOP_RELAY, .relay = &backup, .when = WHEN_BLOCKED } };
	static const struct route_rule rule = { .ladder = { "routes[0]", 2, ladder, 0 } };
	const struct route_config routes = { .hostname = "us.example", .rules = &rule, .n_rules = 1, .mx_port = 25 };
	const struct queue_config config = { .hostname = "us.example", .warn = DEADLINE_NEVER,
					    .connections = w->connections };
	const struct spool_config spool = { .path = "/spool", .reserve = 1 };
	struct spool_recovery recovery;
	struct sim_host *host;

	w->messages = calloc(w->n_messages, sizeof(*w->messages));
	w->sites = calloc(w->n_sites, sizeof(*w->sites));
	assert_true(w->messages && w->sites);
	w->courier.run = carry;
	w->log = (struct log) { .level = LOG_NOTICE, .now = no_wall, .write = write_line, .context = w };
	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &w->sim), 0);
	assert_int_equal(sim_host_new(w->sim, "us", "192.0.2.99", &host, &w->world), 0);
	assert_int_equal(zone_resolver_new(w->world, make_zone(w->n_sites), 0, &w->resolver), 0);
	assert_int_equal(router_new(w->world, &w->log, w->resolver, &routes, &w->router), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(loop_new(w->world, "queue", 0, 0, &w->loops[i]), 0);
		assert_int_equal(loop_start(w->loops[i]), 0);
	}
	assert_int_equal(queue_new(w->world, &w->log, NULL, &config, w->router, &w->courier, w->loops, 2, &w->queue), 0);
	assert_int_equal(spool_open(w->world, &w->log, &spool, none_found, w, &recovery, &w->spool), 0);
	assert_int_equal(queue_start(w->queue, w->spool), 0);
	assert_int_equal(loop_spawn(w->loops[0], "play", play, w), 0);
	assert_true(sim_run_until(w->sim, is_done, w, sim_now(w->sim) + 12 * USEC_DAY));
	for (unsigned i = 0; i < 2; i++)
		loop_stop(w->loops[i]);
	spool_close(w->spool);
	queue_free(w->queue);
	for (unsigned i = 0; i < 2; i++)
		loop_free(w->loops[i]);
	router_free(w->router);
	resolver_free(w->resolver);
	world_free(w->world);
	sim_free(w->sim);
}

static void forget(struct world_of_sites *w)
{
	free(w->messages);
	free(w->sites);
}

/* --- what must hold --------------------------------------------------------------------------- */

static void check_messages(const struct world_of_sites *w)
{
	for (unsigned n = 0; n < w->n_messages; n++) {
		const struct tally *m = &w->messages[n];
		unsigned site = site_of(w, n);
		bool is_lost_cause = health_of(site) == DEAD && !comes_back(site);

		if (m->deliveries != !is_lost_cause || m->reports != is_lost_cause)
			fail_msg("message %u to site %u was delivered %u times, and its sender was told %u times", n, site,
				 m->deliveries, m->reports);
	}
}

static void check_sites(const struct world_of_sites *w)
{
	unsigned probes = 0, throttled = 0, early = 0, blocked = 0, per_site = w->n_messages / w->n_sites;

	for (unsigned i = 0; i < w->n_sites; i++) {
		const struct receiver *s = &w->sites[i];

		if (health_of(i) == DEAD && !comes_back(i))
			probes = MAX(probes, s->attempts);
		if (health_of(i) == BLOCKS)
			blocked = MAX(blocked, s->attempts);
		if (health_of(i) == THROTTLES) {
			throttled += s->delivered;
			early += s->early;
		}
	}
	print_message("# a dead site was tried %u times at most, one that blocks us %u times (%u messages each); sites that throttle "
		      "took %u messages and refused %u attempts\n", probes, blocked, per_site, throttled, early);
	assert_true(probes <= PROBES_MOST);
	assert_true(blocked <= per_site);
	assert_true(early <= throttled);
}

static void compare(const struct world_of_sites *all, const struct world_of_sites *alone, double most)
{
	double worst = 0, sum_all = 0, sum_alone = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < all->n_sites; i++) {
		double with, without;

		if (health_of(i) != WELL)
			continue;
		assert_int_equal(all->sites[i].delivered, alone->sites[i].delivered);
		with = (double) all->sites[i].delay / all->sites[i].delivered;
		without = (double) alone->sites[i].delay / alone->sites[i].delivered;
		worst = MAX(worst, with / without);
		sum_all += with;
		sum_alone += without;
		n++;
	}
	print_message("# %u healthy sites: %.1f ms for a message beside sick ones, %.1f ms alone; the worst site %.1f %% more\n", n,
		      sum_all / n / 1e3, sum_alone / n / 1e3, (worst - 1) * 100);
	assert_true(sum_all <= 1.1 * sum_alone);
	assert_true(worst <= most);
}

/* most: how much longer a message to the worst of the healthy sites may take. */
static void play_twice(unsigned connections, double most)
{
	unsigned messages = number("MESSAGES", RUNNING_ON_VALGRIND ? 1000 : 100000);
	unsigned sites = number("SITES", RUNNING_ON_VALGRIND ? 100 : 2000);
	struct world_of_sites all = { .n_messages = messages, .n_sites = sites, .connections = connections };
	struct world_of_sites alone = { .n_messages = messages, .n_sites = sites, .connections = connections, .only_well = true };

	run(&all);
	check_messages(&all);
	check_sites(&all);
	run(&alone);
	compare(&all, &alone, most);
	forget(&all);
	forget(&alone);
}

static void test_no_healthy_site_waits_for_a_sick_one_and_nothing_is_lost(void **state)
{
	play_twice(0, 1.1);
}

static void test_nor_does_it_when_connections_are_few(void **state)
{
	/* So few that the dead sites alone could have them all. */
	play_twice(number("SITES", 2000) / 5, 1.25);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_healthy_site_waits_for_a_sick_one_and_nothing_is_lost),
		cmocka_unit_test(test_nor_does_it_when_connections_are_few),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
