#include "unit/queue_office.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns/zone.h"

static const char zone_text[] =
	"$ORIGIN example.\n"
	"one    MX 10 mx1.one\n"
	"two    MX 10 mx1.two\n"
	"twin   MX 10 mx1.two\n"
	"dead   MX 10 mx.dead\n"
	"blocks MX 10 mx.blocks\n"
	"sender MX 10 mx.sender\n"
	"null   MX 0 .\n"
	"; SERVFAIL broken\n"
	"mx1.one A 192.0.2.1\n"
	"mx1.two A 192.0.2.2\n"
	"mx.dead A 192.0.2.3\n"
	"mx.blocks A 192.0.2.4\n"
	"mx.sender A 192.0.2.5\n"
	"*.many A 192.0.2.6\n"
	"p1 MX 10 mx1.big\n"
	"p2 MX 10 mx2.big\n"
	"p3 MX 10 mx3.big\n"
	"p4 MX 10 mx4.big\n"
	"p5 MX 10 mx5.big\n"
	"p6 MX 10 mx6.big\n"
	"*.big A 192.0.2.7\n";

static const char *const kinds[] = {
	EVENT_RECEIVED, EVENT_ROUTED, EVENT_ATTEMPT, EVENT_DELIVERED, EVENT_DEFERRED, EVENT_FAILED, EVENT_STEPPED, EVENT_BOUNCED,
	EVENT_HELD, EVENT_RELEASED, EVENT_REMOVED, EVENT_DONE,
};

static void emit(void *context, msgid_t id, const char *kind, const struct field *fields, size_t n)
{
	struct office *s = context;

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		s->event_counts[i] += strcmp(kinds[i], kind) == 0;
	if (s->journal)
		journal_sink(s->journal)->emit(journal_sink(s->journal)->context, id, kind, fields, n);
	if (getenv("OFFICE_LOG")) {
		_cleanup_buffer_ struct buffer b = { 0 };
		char text[MSGID_TEXT];

		fields_to_json(&b, fields, n);
		print_message("%10.3f %s %s%s\n", (double) sim_now(s->sim) / 1e6, id_format(id, text), kind, b.data ? b.data : "");
	}
}

unsigned office_events(const struct office *s, const char *kind)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(kinds[i], kind) == 0)
			return s->event_counts[i];
	fail_msg("no event %s", kind);
	return 0;
}

static wall_t office_wall(void *context)
{
	return 0;
}

static void write_line(void *context, const char *line, size_t len)
{
	if (getenv("OFFICE_LOG"))
		print_message("%.*s", (int) len, line);
}

/* --- the courier ------------------------------------------------------------------------------ */

static void deliver_all(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	r->outcome = (struct outcome) { .kind = OUTCOME_DELIVERED, .from_remote = true, .stage = STAGE_DOT, .host = "mx.example",
					.reply = { 250, { 2, 0, 0 }, "OK" } };
}

void answer_reply(struct delivery_recipient *r, enum stage stage, int code, int subject, int detail, const char *text)
{
	r->outcome = (struct outcome) { .kind = code >= 500 ? OUTCOME_FAILED : OUTCOME_DEFERRED, .from_remote = true, .stage = stage,
					.host = "mx.example", .reply = { code, { code / 100, subject, detail }, text } };
}

void answer_fault(struct delivery_recipient *r, enum stage stage, const char *text)
{
	r->outcome = (struct outcome) { .kind = OUTCOME_DEFERRED, .stage = stage, .class = CLASS_UNREACHABLE, .site_fault = true,
					.reply = { 0, { 4, 4, 1 }, text } };
}

static void carry(struct courier *c, struct slot *slot)
{
	struct office *s = container_of(c, struct office, courier);
	const struct slot_info *info = slot_info(slot);
	struct delivery *d;

	while (slot_next(slot, now() + 2 * USEC_SEC, &d) == 0) {
		s->running++;
		s->most_running = MAX(s->most_running, s->running);
		fiber_sleep_until(now() + s->service);
		for (unsigned i = 0; i < d->n_recipients; i++) {
			struct delivery_recipient *r = &d->recipients[i];
			struct attempt *a = &s->attempts[s->n_attempts++];

			assert_true(s->n_attempts < OFFICE_DELIVERIES);
			if (!fiber_cancelled())
				s->answer(s, info, d, r);
			*a = (struct attempt) { .id = d->id, .at = now(), .group = d->n_recipients, .attempts = d->attempts, .kind = r->outcome.kind };
			slice_copy(slice_from(r->address), a->address, sizeof(a->address));
			slice_copy(slice_from(info->site), a->site, sizeof(a->site));
		}
		s->running--;
		slot_done(slot, d);
	}
}

/* --- the machine ------------------------------------------------------------------------------ */

static int found(const struct spool_found *m, void *context)
{
	return queue_recover(((struct office *) context)->queue, m);
}

static void start(struct office *s)
{
	struct spool_recovery recovery;

	assert_int_equal(queue_new(s->world, &s->log, &s->events, &s->config, s->router, &s->courier, s->loops, 2, &s->queue), 0);
	assert_int_equal(spool_open(s->world, &s->log, &s->spool_config, found, s, &recovery, &s->spool), 0);
	assert_int_equal(queue_start(s->queue, s->spool), 0);
}

static void play(void *arg)
{
	struct office *s = arg;

	s->body(s);
	queue_stop(s->queue, now() + 30 * USEC_SEC);
	s->done = true;
}

static bool is_done(void *context)
{
	return ((struct office *) context)->done;
}

static void open_journal(struct office *s)
{
	assert_int_equal(loop_new(s->world, "journal", LOOP_BLOCKING, 0, &s->journal_loop), 0);
	assert_int_equal(loop_start(s->journal_loop), 0);
	assert_int_equal(journal_new(s->world, &s->log, &(struct journal_config) { 0 }, "/spool/journal", &s->journal), 0);
	assert_int_equal(journal_start(s->journal, s->journal_loop), 0);
}

static void close_journal(struct office *s)
{
	journal_stop(s->journal);
	loop_stop(s->journal_loop);
	journal_free(TAKE_PTR(s->journal));
	loop_free(TAKE_PTR(s->journal_loop));
}

/* A machine that is up, with a fresh program on it. */
static void boot(struct office *s)
{
	struct zone *zone;
	char *why;

	if (s->wants_journal)
		open_journal(s);

	assert_int_equal(zone_parse(slice_from(zone_text), "z", &zone, &why), 0);
	assert_int_equal(zone_resolver_new(s->world, zone, 0, &s->resolver), 0);
	assert_int_equal(router_new(s->world, &s->log, s->resolver, &s->routes, &s->router), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(loop_new(s->world, "queue", 0, 0, &s->loops[i]), 0);
		assert_int_equal(loop_start(s->loops[i]), 0);
	}
	start(s);
}

static void halt(struct office *s)
{
	for (unsigned i = 0; i < 2; i++)
		loop_stop(s->loops[i]);
	if (s->halted)
		s->halted(s);
	if (s->journal)
		close_journal(s);
	spool_close(s->spool);
	queue_free(s->queue);
	for (unsigned i = 0; i < 2; i++)
		loop_free(s->loops[i]);
	router_free(s->router);
	resolver_free(s->resolver);
	world_free(s->world);
}

static void run(struct office *s, void (*body)(struct office *s))
{
	s->body = body;
	s->done = false;
	assert_int_equal(loop_spawn(s->loops[0], "body", play, s), 0);
	assert_true(sim_run_until(s->sim, is_done, s, sim_now(s->sim) + 30 * USEC_DAY));
}

static const struct route_rule *the_rules(unsigned *ret_n)
{
	static const struct host_port relay_hosts[] = { { .name = "smtp.provider.example", .port = 587 } };
	static const struct relay backup = { .name = "backup", .n_hosts = 1, .hosts = relay_hosts };
	static const struct hop direct[] = { { .kind = HOP_MX }, { .kind = HOP_RELAY, .relay = &backup, .when = WHEN_UNREACHABLE | WHEN_BLOCKED } };
	static const struct hop late[] = { { .kind = HOP_MX }, { .kind = HOP_RELAY, .relay = &backup, .when = WHEN_DELAYED, .delayed = 30 * USEC_MIN } };
	static const struct hop hold[] = { { .kind = HOP_HOLD } }, discard[] = { { .kind = HOP_DISCARD } };
	static const struct hop reject[] = { { .kind = HOP_REJECT, .text = "We do not write to them" } };
	static const struct source_pool first = { .name = "first" }, second = { .name = "second" };
	static const struct hop pools[] = { { .kind = HOP_MX, .source = &first },
					    { .kind = HOP_MX, .source = &second, .when = WHEN_BLOCKED },
					    { .kind = HOP_RELAY, .relay = &backup, .when = WHEN_UNREACHABLE | WHEN_BLOCKED } };
	static const char *const pooled[] = { "pools*@*" };
	static const char *const laddered[] = { "ladder*@*" }, *const later[] = { "late*@*" }, *const held[] = { "held*@*" };
	static const char *const dropped[] = { "drop*@*" }, *const rejected[] = { "reject*@*" };
	static const struct route_rule rules[] = {
		{ .to = pooled, .n_to = 1, .ladder = { "pools", 3, pools } },
		{ .to = laddered, .n_to = 1, .ladder = { "routes[0]", 2, direct } }, { .to = later, .n_to = 1, .ladder = { "routes[1]", 2, late } },
		{ .to = held, .n_to = 1, .ladder = { "routes[2]", 1, hold } },	     { .to = dropped, .n_to = 1, .ladder = { "routes[3]", 1, discard } },
		{ .to = rejected, .n_to = 1, .ladder = { "routes[4]", 1, reject } },
	};

	*ret_n = ARRAY_LEN(rules);
	return rules;
}

static struct office *open_office(uint64_t seed, void (*prepare)(struct office *s))
{
	static const struct route_domain domains[] = { { .name = "local.example", .deliver = { .kind = HOP_MAILDIR, .maildir = "/mail" } } };
	struct office *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->attempts = calloc(OFFICE_DELIVERIES, sizeof(*s->attempts));
	assert_non_null(s->attempts);
	s->answer = deliver_all;
	s->service = 10 * USEC_MS;
	s->courier.run = carry;
	s->log = (struct log) { .level = LOG_DEBUG, .now = office_wall, .write = write_line, .context = s };
	s->events = (struct event_sink) { .emit = emit, .context = s };
	s->routes = (struct route_config) { .hostname = "us.example", .domains = domains, .n_domains = 1, .mx_port = 25 };
	s->routes.rules = the_rules(&s->routes.n_rules);
	s->config = (struct queue_config) { .hostname = "us.example" };
	s->spool_config = (struct spool_config) { .path = "/spool", .reserve = 1 };
	if (prepare)
		prepare(s);
	assert_int_equal(arena_new(0, &s->arena), 0);
	assert_int_equal(sim_new(&(struct sim_options) { .seed = seed }, &s->sim), 0);
	assert_int_equal(sim_host_new(s->sim, "us", "192.0.2.99", &s->host, &s->world), 0);
	return s;
}

static void close_office(struct office *s)
{
	sim_free(s->sim);
	arena_free(s->arena);
	free(s->attempts);
	free(s);
}

void office_play(void (*prepare)(struct office *s), void (*body)(struct office *s), void (*afterwards)(struct office *s))
{
	struct office *s = open_office(1, prepare);

	boot(s);
	run(s, body);
	if (afterwards) {
		spool_close(s->spool);
		queue_free(s->queue);
		start(s);
		run(s, afterwards);
	}
	halt(s);
	close_office(s);
}

static void spawned_body(void *arg)
{
	struct office *s = arg;

	s->body(s);
	s->done = true;
}

void office_play_and_cut(void (*prepare)(struct office *s), void (*body)(struct office *s), void (*afterwards)(struct office *s))
{
	struct office *s = open_office(1, prepare);

	boot(s);
	s->body = body;
	assert_int_equal(loop_spawn(s->loops[0], "body", spawned_body, s), 0);
	assert_true(sim_run_until(s->sim, is_done, s, sim_now(s->sim) + USEC_DAY));
	sim_host_crash(s->host);
	halt(s);
	assert_int_equal(sim_host_restart(s->host, &s->world), 0);
	boot(s);
	run(s, afterwards);
	halt(s);
	close_office(s);
}

void office_crash(uint64_t seed, unsigned crashes, void (*prepare)(struct office *s), void (*body)(struct office *s),
		  void (*check)(struct office *s))
{
	struct office *s = open_office(seed, prepare);

	for (unsigned i = 0; i < crashes; i++) {
		boot(s);
		s->body = body;
		assert_int_equal(loop_spawn(s->loops[i % 2], "body", spawned_body, s), 0);
		sim_run(s->sim, sim_now(s->sim) + sim_random_below(s->sim, 3 * USEC_SEC));
		s->crashes[s->n_crashes++] = sim_now(s->sim);
		if (sim_random_below(s->sim, 2))
			sim_host_crash(s->host);
		else
			sim_host_kill(s->host);
		halt(s);
		assert_int_equal(sim_host_restart(s->host, &s->world), 0);
	}
	boot(s);
	run(s, check);
	halt(s);
	close_office(s);
}

/* --- for the body ----------------------------------------------------------------------------- */

int office_try_submit(struct office *s, const char *from, const char *recipients, msgid_t *ret_id)
{
	static const char content[] = "Subject: test\r\n\r\nHello\r\n";
	struct envelope_recipient *list = arena_new_array(s->arena, struct envelope_recipient, 1000);
	struct envelope e = { .id = queue_new_id(s->queue), .arrival = world_wall(s->world), .reverse_path = from, .recipients = list, .protocol = "ESMTP" };
	struct slice rest = slice_from(recipients);
	struct spool_writer *w = NULL;
	int r;

	assert_non_null(list);
	while (rest.len > 0) {
		struct slice notify, word = slice_cut(rest, ' ', &rest);
		struct envelope_recipient *rcpt = &list[e.n_recipients++];

		word = slice_cut(word, '/', &notify);
		rcpt->address = arena_slice(s->arena, word);
		rcpt->notify = notify.data ? (unsigned) atoi(notify.data) : 0;
	}
	r = spool_writer_new(s->spool, e.id, &w);
	if (r < 0)
		return r;
	r = spool_writer_append(w, slice_new(content, sizeof(content) - 1));
	if (r < 0) {
		spool_writer_abort(w);
		return r;
	}
	e.flags |= s->wish.flags;
	e.hold_until = s->wish.hold_until;
	e.deliver_by = s->wish.deliver_by;
	e.by_mode = s->wish.by_mode;
	e.priority = s->wish.priority;
	*ret_id = e.id;
	return queue_submit(s->queue, w, &e);
}

msgid_t office_submit(struct office *s, const char *from, const char *recipients)
{
	msgid_t id = MSGID_NONE;

	assert_int_equal(office_try_submit(s, from, recipients, &id), 0);
	return id;
}

void office_wait(usec_t time)
{
	fiber_sleep_until(now() + time);
}

struct queue_summary office_summary(struct office *s)
{
	struct queue_summary sum;
	struct spool_stats stats;

	assert_int_equal(queue_summarize(s->queue, &sum), 0);
	spool_stats(s->spool, &stats);
	assert_int_equal(stats.messages, sum.messages);
	return sum;
}

unsigned office_count(const struct office *s, const char *address, const char *site)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n_attempts; i++)
		n += (!address || strcmp(s->attempts[i].address, address) == 0) && (!site || strcmp(s->attempts[i].site, site) == 0);
	return n;
}

const struct attempt *office_last(const struct office *s, const char *address)
{
	for (unsigned i = s->n_attempts; i-- > 0;)
		if (strcmp(s->attempts[i].address, address) == 0)
			return &s->attempts[i];
	fail_msg("no attempt for %s", address);
	return NULL;
}

const char *office_content(struct office *s, msgid_t id)
{
	struct spool_reader *r = NULL;
	char *text = arena_zalloc(s->arena, 65536);

	assert_non_null(text);
	assert_int_equal(spool_reader_open(s->spool, id, &r), 0);
	assert_true(spool_reader_read(r, 0, text, 65535) > 0);
	spool_reader_close(r);
	return text;
}
