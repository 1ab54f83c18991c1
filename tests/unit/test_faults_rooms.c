/* What the lower rooms do with memory: each allocation of each scenario fails once, alone and with all that follow.
 * What returns success has done what it promises, what fails says -ENOMEM and leaves its results as they were. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/heap.h"
#include "dns/cache.h"
#include "dns/mx.h"
#include "dns/zone.h"
#include "faults/faults.h"
#include "mail/dsn.h"
#include "mail/encoding.h"
#include "mail/header.h"
#include "mail/received.h"
#include "mail/xtext.h"
#include "main/config.h"
#include "queue/classify.h"
#include "queue/note.h"
#include "route/route.h"
#include "smtp/command.h"
#include "smtp/parameters.h"
#include "world/file.h"
#include "world/sim.h"

/* The call counts and may fail. */
#define FAULTY(call)                              \
	({                                        \
		__typeof__(call) _result;         \
		faults_begin(NULL, NULL);         \
		_result = (call);                 \
		faults_end();                     \
		_result;                          \
	})

/* It has worked, or a failure of memory is the reason why not. */
static bool worked(int r)
{
	faults_check(r >= 0 || (r == -ENOMEM && faults_fired()));
	return r >= 0;
}

/* --- base ------------------------------------------------------------------------------------------------ */

static int fill_buffer(struct buffer *b)
{
	for (unsigned i = 0; i < 500; i++)
		buffer_printf(b, "line %u\n", i);
	buffer_append_json(b, SLICE("\"quoted\"\n"));
	buffer_put_varint(b, 1u << 20);
	return buffer_error(b);
}

static void a_buffer(void *context)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	char *text;

	if (worked(FAULTY(fill_buffer(&b))))
		faults_check(b.len > 4000 && memcmp(b.data, "line 0\nline 1\n", 14) == 0);
	text = FAULTY(buffer_take(&b));
	faults_check(text || faults_fired());
	free(text);
}

static int fill_arena(struct arena *a)
{
	const char *text = arena_printf(a, "%s %d", "text", 1), *copy = arena_strdup(a, "copy");
	int *numbers = arena_new_array(a, int, 100000);

	if (!text || !copy || !numbers)
		return -ENOMEM;
	faults_check(strcmp(text, "text 1") == 0 && strcmp(copy, "copy") == 0 && numbers[99999] == 0);
	return 0;
}

static void an_arena(void *context)
{
	struct arena *a = NULL;

	if (!worked(FAULTY(arena_new(64, &a)))) {
		faults_check(!a);
		return;
	}
	(void) worked(FAULTY(fill_arena(a)));
	arena_reset(a);
	arena_free(a);
}

static void a_table_and_a_heap(void *context)
{
	static struct hash_node nodes[300];
	static struct heap_node timers[300];
	struct hash table = { 0 };
	struct heap heap = { 0 };
	unsigned in_table = 0, in_heap = 0;

	for (unsigned i = 0; i < ARRAY_LEN(nodes); i++) {
		int r = FAULTY(hash_insert(&table, &nodes[i], hash_u64(i)));

		in_table += worked(r);
		faults_check((hash_find(&table, hash_u64(i)) != NULL) == (r >= 0));
		heap_node_init(&timers[i]);
		in_heap += worked(FAULTY(heap_insert(&heap, &timers[i], 1000 - i)));
	}
	faults_check(table.len == in_table && heap.len == in_heap);
	hash_done(&table);
	heap_done(&heap);
}

/* --- mail ------------------------------------------------------------------------------------------------- */

static struct envelope_recipient recipients[] = { { .address = "bob@b.example", .orcpt = "rfc822;bob@b.example", .notify = NOTIFY_FAILURE }, { .address = "eve@b.example" } };
static const struct envelope letter = {
	.id = 77, .arrival = 1767225600000000, .reverse_path = "alice@a.example", .envid = "QQ", .client_ip = "192.0.2.1", .helo = "c.example",
	.protocol = "ESMTP", .size = 500, .n_recipients = 2, .recipients = recipients,
};

static void an_envelope(void *context)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	_cleanup_buffer_ struct buffer packed = { 0 };
	struct envelope back = { .id = 5 }, copy = { .id = 5 };

	assert_int_equal(arena_new(100, &a), 0); /* small, so that it grows often */
	if (!worked(FAULTY(envelope_pack(&letter, &packed))) || !worked(buffer_error(&packed)))
		return;
	if (worked(FAULTY(envelope_unpack(buffer_slice(&packed), a, &back))))
		faults_check(back.n_recipients == 2 && strcmp(back.recipients[1].address, "eve@b.example") == 0);
	else
		faults_check(back.id == 5 && !back.recipients);
	if (worked(FAULTY(envelope_copy(&letter, a, &copy))))
		faults_check(strcmp(copy.recipients[0].orcpt, "rfc822;bob@b.example") == 0 && strcmp(copy.helo, "c.example") == 0);
	else
		faults_check(copy.id == 5);
}

static ssize_t read_original(void *context, uint64_t offset, void *data, size_t len)
{
	static const char text[] = "Subject: letter\r\nFrom: <alice@a.example>\r\n\r\nbody\r\n";
	size_t n = offset < sizeof(text) - 1 ? MIN(len, sizeof(text) - 1 - (size_t) offset) : 0;

	memcpy(data, text + offset, n);
	return (ssize_t) n;
}

static void a_notification(void *context)
{
	_cleanup_buffer_ struct buffer text = { 0 };
	const struct dsn_recipient lost[] = {
		{ .final = "bob@b.example", .orcpt = "rfc822;bob@b.example", .action = DSN_FAILED, .status = { 5, 1, 1 }, .remote_mta = "mx.b.example",
		  .diagnostic = "550 5.1.1 No such user" },
		{ .final = "b\xc3\xb6" "b@b.example", .action = DSN_FAILED, .reason = "Connection timed out" },
	};
	const struct dsn_input in = {
		.host = "mx.a.example", .original = &letter, .recipients = lost, .n_recipients = 2, .id = 78, .now = letter.arrival + 1,
		.read = read_original, .contact = "postmaster@a.example",
	};
	struct dsn_result how = { 0 };
	int r = FAULTY(dsn_write(&in, &text, &how));

	if (!worked(r) || !worked(buffer_error(&text)))
		return;
	faults_check(strstr(text.data, "Final-Recipient: rfc822; bob@b.example") && strstr(text.data, "Connection timed out"));
	faults_check(strstr(text.data, "Subject: letter\r\n") && how.full);
}

static void fields_and_addresses(void *context)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	_cleanup_buffer_ struct buffer out = { 0 };
	const struct received received = { .helo = "c.example", .host = "mx.a.example", .protocol = "ESMTP", .id = "0p1gwy42rg000", .when = 1 };
	struct slice plain = SLICE("before");
	const char *ascii = "before", *orcpt = "before";
	struct address address;
	char *text;
	int r;

	assert_int_equal(arena_new(64, &a), 0);
	faults_begin(NULL, NULL);
	received_format(&received, &out);
	return_path_format("alice@a.example", &out);
	base64_encode_lines(SLICE("some octets that fill more than one line when they are encoded, which makes it grow"), &out);
	faults_end();
	if (worked(buffer_error(&out)))
		faults_check(strncmp(out.data, "Received: from c.example", 24) == 0 && strstr(out.data, "Return-Path: <alice@a.example>"));
	assert_int_equal(address_parse(SLICE("\"al ice\"@b\xc3\xbc" "cher.example"), ADDRESS_ALLOW_UTF8, &address), 0);
	text = FAULTY(address_local_plain(a, &address));
	faults_check(text ? strcmp(text, "al ice") == 0 : faults_fired());
	r = FAULTY(domain_to_ascii(a, address.domain, &ascii));
	faults_check(strcmp(ascii, worked(r) ? "xn--bcher-kva.example" : "before") == 0);
	r = FAULTY(xtext_decode(a, SLICE("a+2Bb"), &plain));
	faults_check(slice_eq_str(plain, worked(r) ? "a+b" : "before"));
	r = FAULTY(orcpt_decode(a, SLICE("rfc822;bob+2Bx@b.example"), false, &orcpt));
	faults_check(strcmp(orcpt, worked(r) ? "rfc822;bob+x@b.example" : "before") == 0);
	text = FAULTY(header_unfold(a, SLICE(" a\r\n b")));
	faults_check(text || faults_fired());
}

/* --- smtp --------------------------------------------------------------------------------------------------- */

static void parameters_of_a_command(void *context)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	struct mail_parameters mail = { .size = 9 };
	struct rcpt_parameters rcpt = { .notify = 99 };
	struct path_args args;
	struct reply refusal = { 0 };
	unsigned all = EXT_SIZE | EXT_DSN | EXT_8BITMIME;

	assert_int_equal(arena_new(64, &a), 0);
	assert_int_equal(mail_args_parse(SLICE("FROM:<a@a.example> SIZE=100 ENVID=Q+2BQ RET=HDRS"), false, &args), 0);
	if (worked(FAULTY(mail_parameters_parse(&args, all, 0, a, &mail, &refusal))))
		faults_check(mail.size == 100 && strcmp(mail.envid, "Q+Q") == 0);
	else
		faults_check(mail.size == 9);
	assert_int_equal(rcpt_args_parse(SLICE("TO:<b@b.example> NOTIFY=NEVER ORCPT=rfc822;b@b.example"), false, &args), 0);
	if (worked(FAULTY(rcpt_parameters_parse(&args, all, false, a, &rcpt, &refusal))))
		faults_check(rcpt.notify == NOTIFY_NEVER && strcmp(rcpt.orcpt, "rfc822;b@b.example") == 0);
	else
		faults_check(rcpt.notify == 99);
}

static int read_reply(struct reply_parser *p)
{
	static const char *const lines[] = { "250-2.0.0 first", "250-2.0.0 second line, which is longer than the first one was", "250 2.0.0 last" };

	for (unsigned i = 0; i < ARRAY_LEN(lines); i++) {
		int r = reply_parser_line(p, slice_from(lines[i]));

		if (r < 0)
			return r;
	}
	return 0;
}

static void a_reply(void *context)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	_cleanup_buffer_ struct buffer wire = { 0 };
	struct reply_parser p;
	char *line;

	assert_int_equal(arena_new(64, &a), 0);
	reply_parser_init(&p, a);
	if (!worked(FAULTY(read_reply(&p))))
		return;
	faults_check(p.done && strncmp(p.reply.text, "first\nsecond line", 17) == 0);
	line = FAULTY(reply_to_line(&p.reply, a));
	faults_check(line ? strncmp(line, "250 2.0.0 first / second", 24) == 0 : faults_fired());
	faults_begin(NULL, NULL);
	reply_format(&p.reply, &wire);
	faults_end();
	if (worked(buffer_error(&wire)))
		faults_check(strncmp(wire.data, "250-2.0.0 first\r\n250-2.0.0 second", 33) == 0);
}

/* --- world ------------------------------------------------------------------------------------------------- */

static void count_birth(void *arg)
{
	unsigned *births = arg;

	(*births)++;
}

/* A fiber that was ordered from another loop lives, though its stack can't be had at first. */
static void fibers_of_others(void *context)
{
	struct sim *sim;
	struct sim_host *host;
	struct world *w;
	struct loop *l = NULL;
	unsigned births = 0, ordered = 0;

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &sim), 0);
	assert_int_equal(sim_host_new(sim, "h", "", &host, &w), 0);
	faults_begin(NULL, NULL);
	if (loop_new(w, "l", 0, 0, &l) >= 0 && loop_start(l) >= 0) {
		for (unsigned i = 0; i < 3; i++)
			ordered += loop_spawn(l, "test", count_birth, &births) >= 0;
		sim_run(sim, sim_now(sim) + USEC_SEC);
	}
	faults_end();
	faults_check(l || faults_fired());
	if (l) {
		sim_run(sim, sim_now(sim) + USEC_SEC);
		faults_check(births == ordered);
		loop_stop(l);
		loop_free(l);
	}
	world_free(w);
	sim_free(sim);
}

/* --- dns and route, in a fiber of a small machine --------------------------------------------------------------- */

static const char zone_text[] = "$ORIGIN example.\n"
				"two   MX 20 b.mx\n"
				"two   MX 10 a.mx\n"
				"odd   MX 5 192.0.2.9.\n"
				"odd   MX 10 a.mx\n"
				"null  MX 0 .\n"
				"text  TXT \"some\" \"text\"\n"
				"alias CNAME two\n"
				"a.mx  A 192.0.2.10\n"
				"a.mx  AAAA 2001:db8::10\n"
				"b.mx  A 192.0.2.20\n"
				"$ORIGIN in-addr.arpa.\n"
				"10.2.0.192 PTR a.mx.example.\n";

static const struct hop by_mx[] = { { .kind = HOP_MX } };
static const char *const everybody[] = { "*" }, *const alice[] = { "alice" };
static const struct route_domain domains[] = { { .name = "here.example", .deliver = { .kind = HOP_MAILDIR, .maildir = "/mail/{local}" }, .recipients = alice, .n_recipients = 1 } };
static const struct route_rule rules[] = { { .to = everybody, .n_to = 1, .ladder = { .rule = "routes[0]", .n_hops = 1, .hops = by_mx } } };
static const struct route_config routes = { .hostname = "us.example", .domains = domains, .n_domains = 1, .rules = rules, .n_rules = 1, .mx_port = 25 };

struct machine {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
	struct resolver *resolver;
	struct router *router;
	struct arena *arena;
	void (*fn)(struct machine *m);
	bool done;
};

static int make_resolver(struct machine *m)
{
	struct zone *zone = NULL;
	char *why = NULL;
	int r = zone_parse(slice_from(zone_text), "z", &zone, &why);

	free(why);
	if (r < 0)
		return r;
	r = zone_resolver_new(m->world, zone, 100, &m->resolver);
	return r < 0 ? r : router_new(m->world, NULL, m->resolver, &routes, &m->router);
}

static void machine_main(void *arg)
{
	struct machine *m = arg;

	m->fn(m);
	m->done = true;
}

static void in_a_machine(void *fn)
{
	struct machine m = { .fn = ((struct machine *) fn)->fn };

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &m.sim), 0);
	assert_int_equal(sim_host_new(m.sim, "h", "", &m.host, &m.world), 0);
	assert_int_equal(arena_new(64, &m.arena), 0);
	if (worked(FAULTY(make_resolver(&m)))) {
		assert_int_equal(loop_new(m.world, "l", 0, 0, &m.loop), 0);
		assert_int_equal(loop_start(m.loop), 0);
		assert_int_equal(loop_spawn(m.loop, "test", machine_main, &m), 0);
		sim_run(m.sim, DEADLINE_NEVER);
		faults_check(m.done);
		loop_stop(m.loop);
		loop_free(m.loop);
	}
	router_free(m.router);
	resolver_free(m.resolver);
	arena_free(m.arena);
	world_free(m.world);
	sim_free(m.sim);
}

/* Twice: from the zone, and from the cache, which keeps an answer whole or not at all. */
static void ask_for_exchangers(struct machine *m)
{
	static const char *const names[] = { "two.example", "odd.example", "null.example", "alias.example", "nowhere.example" };
	static const enum mx_status statuses[] = { MX_OK, MX_OK, MX_NULL, MX_OK, MX_NO_DOMAIN };

	for (unsigned i = 0; i < 2 * ARRAY_LEN(names); i++) {
		struct mx_set set = { .status = MX_TEMPORARY };
		unsigned k = i / 2;

		if (!worked(FAULTY(dns_mx(m->resolver, names[k], now() + USEC_MIN, m->arena, &set))))
			continue;
		faults_check(set.status == statuses[k]);
		if (k == 0 || k == 3)
			faults_check(set.n_hosts == 2 && strcmp(set.hosts[0].name, "a.mx.example") == 0 && set.hosts[1].preference == 20);
		if (k == 1)
			faults_check(set.n_hosts == 1 && set.n_skipped == 1);
	}
}

static void ask_for_addresses(struct machine *m)
{
	struct ip ip = { .family = 4, .bytes = { 192, 0, 2, 10 } };
	struct dns_address_list list = { 0 };
	struct dns_answer text = { 0 };
	const char *name = NULL;
	int r = FAULTY(dns_addresses(m->resolver, "a.mx.example", DNS_IPV4_AND_IPV6, now() + USEC_MIN, m->arena, &list));

	if (worked(r))
		faults_check(list.n_ips == 2 && !list.temporary && list.ips[0].family == 6);
	if (worked(FAULTY(dns_query(m->resolver, "text.example", DNS_TXT, now() + USEC_MIN, m->arena, &text))))
		faults_check(text.n_records == 1 && slice_eq_str(text.records[0].data, "sometext"));
	if (worked(FAULTY(dns_reverse(m->resolver, &ip, now() + USEC_MIN, m->arena, &name))))
		faults_check(strcmp(name, "a.mx.example") == 0);
	else
		faults_check(!name);
}

static int find_the_way(struct machine *m, const char *to, struct ladder *ret_ladder, struct target *ret)
{
	const struct route_facts facts = { 0 };
	struct address address;
	int r;

	assert(address_parse(slice_from(to), 0, &address) == 0);
	r = route_find(m->router, &address, &facts, m->arena, ret_ladder);
	return r < 0 ? r : route_target(m->router, &ret_ladder->hops[0], address.domain, now() + USEC_MIN, m->arena, ret);
}

static void find_ways(struct machine *m)
{
	for (unsigned i = 0; i < 2; i++) {
		struct ladder ladder = { 0 };
		struct target target = { .status = TARGET_LOOP };

		if (worked(FAULTY(find_the_way(m, "bob@two.example", &ladder, &target))))
			faults_check(target.status == TARGET_OK && target.n_hosts == 2 && strcmp(target.site, "mx:a.mx.example>b.mx.example") == 0);
		if (worked(FAULTY(find_the_way(m, "alice@here.example", &ladder, &target))))
			faults_check(ladder.hops[0].kind == HOP_MAILDIR);
		if (worked(FAULTY(find_the_way(m, "x@null.example", &ladder, &target))))
			faults_check(target.status == TARGET_NULL_MX);
	}
}

/* --- queue ---------------------------------------------------------------------------------------------------------- */

static void a_note(void *context)
{
	struct outcome o = { .kind = OUTCOME_DEFERRED, .from_remote = true, .stage = STAGE_DOT, .host = "mx.b.example", .reply = { 450, { 4, 2, 0 }, "later" } };
	struct recipient before[3] = { 0 }, after[3] = { 0 };
	_cleanup_buffer_ struct buffer note = { 0 };

	for (unsigned i = 0; i < 3; i++) {
		before[i].attempts = i;
		before[i].last = last_reply_new(&o);
		assert_non_null(before[i].last);
	}
	faults_begin(NULL, NULL);
	note_encode(before, 3, 0, &note);
	faults_end();
	if (worked(buffer_error(&note))) {
		if (worked(FAULTY(note_decode(buffer_slice(&note), 0, after, 3))))
			faults_check(after[2].attempts == 2 && strcmp(last_text(after[1].last), "later") == 0);
		else
			faults_check(after[2].attempts == 0 && !after[0].last && !after[1].last);
	}
	for (unsigned i = 0; i < 3; i++) {
		free(before[i].last);
		free(after[i].last);
	}
}

static const char classes_text[] = "rules:\n"
				   "  - {name: ours, code: 421, text: \"too many\", class: throttled}\n";

static void reply_classes(void *context)
{
	struct machine m = { 0 };
	struct classifier *c = NULL;
	char *why = NULL;
	int r;

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &m.sim), 0);
	assert_int_equal(sim_host_new(m.sim, "h", "", &m.host, &m.world), 0);
	assert_int_equal(file_write_atomically(m.world, "/classes", slice_from(classes_text), 0600), 0);
	r = FAULTY(classifier_new(m.world, "/classes", &c, &why));
	if (r < 0 && !faults_fired())
		fail_msg("%s", why);
	faults_check(r >= 0 ? c != NULL : faults_fired() && !c);
	classifier_free(c);
	free(why);
	world_free(m.world);
	sim_free(m.sim);
}

/* --- configuration ---------------------------------------------------------------------------------------------------- */

static const char config_text[] =
	"hostname: mx.example.org\n"
	"include: [/etc/yizhan.d/more.yaml]\n"
	"trusted: [192.0.2.0/24, \"2001:db8::/32\"]\n"
	"listen:\n"
	"  - {address: \"192.0.2.1:25\"}\n"
	"  - {address: \"192.0.2.1:24\", role: lmtp}\n"
	"domains:\n"
	"  example.org: {deliver: \"maildir:/var/mail/{domain}/{local}\", recipients: [bob, alice]}\n"
	"  example.net: {deliver: \"lmtp:unix:/run/lmtp\"}\n"
	"relays:\n"
	"  provider: {hosts: [\"smtp.provider.example:587\"], tls: required, login: {user: me, password_file: /etc/secret}}\n"
	"routes:\n"
	"  - {to: \"*.lan.example\", via: {host: 10.0.0.7}}\n"
	"  - {to: \"*\", via: [mx, {relay: provider, when: [unreachable, blocked]}]}\n"
	"dns: {zone: /etc/zone}\n"
	"gate:\n"
	"  - {match: {client: [10.0.0.0/8, \"::1\"], sender: \"\"}, unless: {size: \">1M\"}, action: reject, text: \"{client}\", enhanced: 5.7.2}\n"
	"  - {action: limit, limit: {recipients: 5}}\n"
	"checks: {lists: [a.example, {zone: b.example, weight: -2, replies: [127.0.0.2]}], helo: own_name}\n"
	"replies: {goodbye: \"Bye {client}\"}\n"
	"queue: {retry: [1m, 5m], warn: never}\n";

static void write_files(struct world *w, const char *text)
{
	assert_int_equal(path_make_directories(w, "/etc/yizhan.d", 0755), 0);
	assert_int_equal(file_write_atomically(w, "/etc/yizhan.yaml", slice_from(text), 0600), 0);
	assert_int_equal(file_write_atomically(w, "/etc/yizhan.d/more.yaml", SLICE("limits: {message_size: 1M}\n"), 0600), 0);
	assert_int_equal(file_write_atomically(w, "/etc/secret", SLICE("password\n"), 0600), 0);
}

/* A configuration that could not be read for want of memory must never be told to be wrong. */
static void a_configuration(void *context)
{
	struct machine m = { 0 };
	struct config_errors errors = { 0 };
	struct config *c = NULL;
	int r;

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &m.sim), 0);
	assert_int_equal(sim_host_new(m.sim, "h", "", &m.host, &m.world), 0);
	write_files(m.world, context);
	r = FAULTY(config_load(m.world, "/etc/yizhan.yaml", &errors, &c));
	if (!faults_fired() && r < 0 && context == config_text)
		fail_msg("%s", errors.text.data);
	if (r >= 0) {
		faults_check(context == config_text);
		faults_check(c->route.n_domains == 2 && c->route.n_relays == 1 && c->route.n_rules == 2 && c->receive.n_listeners == 2);
		faults_check(c->receive.n_trusted == 2 && c->receive.limits.message_size == 1u << 20);
		faults_check(c->gate.rules.n == 2 && c->gate.rules.rules[0].n_match == 2 && c->gate.checks.n_lists == 2 && c->receive.replies);
		faults_check(strcmp(c->route.relays[0].password, "password") == 0 && strcmp(c->dns.zone, "/etc/zone") == 0);
	} else if (r != -ENOMEM) {
		faults_check(context != config_text && r == -EBADMSG);
	}
	config_free(c);
	config_errors_done(&errors);
	world_free(m.world);
	sim_free(m.sim);
}

/* --- the walks ------------------------------------------------------------------------------------------------------------ */

static void test_base(void **state)
{
	uint64_t n = faults_walk_both("a buffer", a_buffer, NULL, 0) + faults_walk_both("an arena", an_arena, NULL, 0) +
		     faults_walk_both("a table and a heap", a_table_and_a_heap, NULL, 0);

	assert_true(faults_enough(n, 31));
}

static void test_mail(void **state)
{
	uint64_t n = faults_walk_both("an envelope", an_envelope, NULL, 0) + faults_walk_both("a notification", a_notification, NULL, 0) +
		     faults_walk_both("fields and addresses", fields_and_addresses, NULL, 0);

	assert_true(faults_enough(n, 31));
}

static void test_smtp(void **state)
{
	uint64_t n = faults_walk_both("parameters", parameters_of_a_command, NULL, 0) + faults_walk_both("a reply", a_reply, NULL, 0);

	assert_true(faults_enough(n, 10));
}

static void test_world(void **state)
{
	assert_true(faults_enough(faults_walk_both("fibers", fibers_of_others, NULL, 0), 11));
}

static void test_dns_and_route(void **state)
{
	struct machine exchangers = { .fn = ask_for_exchangers }, addresses = { .fn = ask_for_addresses }, ways = { .fn = find_ways };
	uint64_t n = faults_walk_both("exchangers", in_a_machine, &exchangers, 0) + faults_walk_both("addresses", in_a_machine, &addresses, 0) +
		     faults_walk_both("routes", in_a_machine, &ways, 0);

	assert_true(faults_enough(n, 101));
}

static void test_queue(void **state)
{
	uint64_t n = faults_walk_both("a note", a_note, NULL, 0) + faults_walk_both("reply classes", reply_classes, NULL, 200);

	assert_true(faults_enough(n, 101));
}

static void test_configuration(void **state)
{
	static const char wrong[] = "hostnam: mx.example.org\nlisten: [{address: \"nowhere\"}]\nroutes: [{to: \"*\", via: {relay: no}}]\n";
	uint64_t n = faults_walk_both("a configuration", a_configuration, (void *) (uintptr_t) config_text, 300) +
		     faults_walk_both("a wrong configuration", a_configuration, (void *) (uintptr_t) wrong, 0);

	assert_true(faults_enough(n, 101));
}

int main(void)
{
#define T(name) cmocka_unit_test_teardown(name, faults_teardown)
	const struct CMUnitTest tests[] = {
		T(test_base), T(test_mail), T(test_smtp), T(test_world), T(test_dns_and_route), T(test_queue), T(test_configuration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
