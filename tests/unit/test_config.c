#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "main/config.h"
#include "world/linux.h"

struct scene {
	struct world *world;
	struct config_errors errors;
	struct config *config;
	char directory[64];
};

static int set_up(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	assert_int_equal(world_linux_new(NULL, &s->world), 0);
	strcpy(s->directory, "/tmp/test-config-XXXXXX");
	assert_non_null(mkdtemp(s->directory));
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *s = *state;
	char command[128];

	config_free(s->config);
	config_errors_done(&s->errors);
	world_free(s->world);
	snprintf(command, sizeof(command), "rm -rf %s", s->directory);
	assert_int_equal(system(command), 0);
	free(s);
	return 0;
}

static int parse(struct scene *s, const char *text)
{
	config_free(TAKE_PTR(s->config));
	config_errors_done(&s->errors);
	return config_parse(s->world, slice_from(text), "y.yaml", &s->errors, &s->config);
}

static void parses(struct scene *s, const char *text)
{
	if (parse(s, text) < 0)
		fail_msg("refused: %s", s->errors.text.data);
}

/* The text is refused, and these are the lines that say why. */
static void is_refused(struct scene *s, const char *text, const char *lines)
{
	assert_int_equal(parse(s, text), -EBADMSG);
	assert_string_equal(s->errors.text.data, lines);
}

/* Among other words. */
static void is_refused_saying(struct scene *s, const char *text, const char *words)
{
	assert_int_equal(parse(s, text), -EBADMSG);
	if (!strstr(s->errors.text.data, words))
		fail_msg("said: %s", s->errors.text.data);
}

static void put_file(struct scene *s, const char *name, const char *text, char *ret_path, size_t size)
{
	FILE *f;

	snprintf(ret_path, size, "%s/%s", s->directory, name);
	f = fopen(ret_path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* --- what is read ------------------------------------------------------------------------------------------- */

static void test_a_hostname_is_enough_and_the_rest_is_safe(void **state)
{
	struct scene *s = *state;
	const struct config *c;

	parses(s, "hostname: MX1.Example.org\n");
	c = s->config;
	assert_string_equal(c->hostname, "mx1.example.org");
	assert_string_equal(c->receive.hostname, "mx1.example.org");
	assert_string_equal(c->spool.path, "/var/lib/yizhan");
	assert_int_equal(c->receive.n_trusted, 2); /* this machine and nobody else */
	assert_int_equal(c->receive.limits.message_size, 50 << 20);
	assert_int_equal(c->receive.limits.connections, 10000);
	assert_int_equal(c->queue.n_retry, 6);
	assert_true(c->queue.retry[5] == 4 * USEC_HOUR);
	assert_true(c->queue.expire == 5 * USEC_DAY);
	assert_int_equal(c->route.mx_port, 25);
	assert_int_equal(c->route.n_domains, 0);
	assert_true(c->receive.n_listeners >= 1);
	assert_int_equal(c->receive.listeners[0].address.port, 25);
	assert_false(c->spool.no_sync);
	assert_false(c->deliver.no_chunking);
	assert_false(c->receive.has_tls);
	assert_int_equal(c->admin.listen.kind, ENDPOINT_NONE);
}

static void test_every_kind_of_value_finds_its_place(void **state)
{
	struct scene *s = *state;
	const struct config *c;

	parses(s, "hostname: a.example\n"
		  "spool: {path: /s, segment_size: 8M, sync: no}\n"
		  "trusted: [10.0.0.0/8, \"2001:db8::/32\"]\n"
		  "threads: 3\n"
		  "listen:\n"
		  "  - {address: \"127.0.0.1:2525\"}\n"
		  "  - {address: [\"[::1]:24\", \"unix:/run/l\"], role: lmtp}\n"
		  "tls: {certificate: c.pem, key: /k.pem, min_version: 1.3}\n"
		  "queue: {retry: [90s, 1h30m], warn: never}\n"
		  "limits: {message_size: 10 MiB, recipients: 5}\n"
		  "deliver: {port: 2500, chunking: off}\n"
		  "admin: {listen: \"127.0.0.1:8025\"}\n"
		  "log: {format: json, level: warning}\n");
	c = s->config;
	assert_string_equal(c->spool.path, "/s");
	assert_int_equal(c->spool.segment_size, 8 << 20);
	assert_true(c->spool.no_sync);
	assert_int_equal(c->receive.n_trusted, 2);
	assert_int_equal(c->receive.trusted[1].bits, 32);
	assert_int_equal(c->threads, 3);
	assert_int_equal(c->receive.n_listeners, 3);
	assert_int_equal(c->receive.listeners[1].role, ROLE_LMTP);
	assert_int_equal(c->receive.listeners[2].address.kind, ENDPOINT_UNIX);
	assert_true(c->receive.has_tls);
	assert_string_equal(c->receive.tls.certificate, "c.pem");
	assert_string_equal(c->receive.tls.min_version, "1.3");
	assert_int_equal(c->queue.n_retry, 2);
	assert_true(c->queue.retry[1] == 90 * USEC_MIN);
	assert_true(c->queue.warn == DEADLINE_NEVER);
	assert_int_equal(c->receive.limits.message_size, 10 << 20);
	assert_int_equal(c->route.mx_port, 2500);
	assert_true(c->deliver.no_chunking);
	assert_int_equal(c->admin.listen.port, 8025);
	assert_int_equal(c->log_level, LOG_WARNING);
	assert_int_equal(c->log_format, 1);
}

static void test_domains_become_mailboxes(void **state)
{
	struct scene *s = *state;
	const struct route_domain *d;

	parses(s, "hostname: a.example\n"
		  "domains:\n"
		  "  Example.org: {deliver: \"maildir:/m/{domain}/{local}\", recipients: [Alice, bob]}\n"
		  "  \"*.example.net\": {deliver: \"lmtp:unix:/run/lmtp\"}\n"
		  "  b\xc3\xbc" "cher.example: {deliver: \"lmtp:mail.example.org:2003\"}\n"
		  "  c.example: {deliver: \"lmtp:[::1]:24\"}\n");
	d = s->config->route.domains;
	assert_int_equal(s->config->route.n_domains, 4);
	assert_string_equal(d[0].name, "example.org");
	assert_int_equal(d[0].deliver.kind, HOP_MAILDIR);
	assert_string_equal(d[0].deliver.maildir, "/m/{domain}/{local}");
	assert_int_equal(d[0].n_recipients, 2);
	assert_string_equal(d[0].recipients[0], "alice");
	assert_string_equal(d[1].name, "*.example.net");
	assert_int_equal(d[1].deliver.lmtp.kind, ENDPOINT_UNIX);
	assert_null(d[1].recipients);
	assert_string_equal(d[2].name, "xn--bcher-kva.example");
	assert_string_equal(d[2].deliver.lmtp_host.name, "mail.example.org");
	assert_int_equal(d[2].deliver.lmtp_host.port, 2003);
	assert_int_equal(d[3].deliver.lmtp.ip.family, 6);
}

static void test_routes_have_conditions(void **state)
{
	struct scene *s = *state;
	const struct route_rule *r;

	parses(s, "hostname: a.example\nroutes:\n"
		  "  - {user: [shop@x, \"\"], size: \">10M\", via: mx}\n"
		  "  - {size: [\">=1K\", \"< 2K\"], header: {X-Campaign: [\"spring*\", \"\"], X-Tenant: seven}, via: mx}\n"
		  "  - {header: {x-campaign: autumn}, via: mx}\n");
	r = s->config->route.rules;
	assert_int_equal(r[0].n_user, 2);
	assert_true(r[0].size_min == (10 << 20) + 1 && r[0].size_max == 0);
	assert_string_equal(r[0].ladder.rule, "routes[0]: user shop@x, \"\" size >10M");
	assert_true(r[1].size_min == 1024 && r[1].size_max == 2047);
	assert_int_equal(r[1].n_headers, 2);
	assert_int_equal(r[1].headers[0].n_values, 2);
	assert_string_equal(r[1].ladder.rule, "routes[1]: size >=1K, < 2K X-Campaign spring*, \"\" X-Tenant seven");
	/* Of all routes together, each once. */
	assert_int_equal(s->config->route.n_headers, 2);
	assert_string_equal(s->config->route.headers[1], "X-Tenant");
	is_refused_saying(s, "hostname: a.example\nroutes: [{size: 10M, via: mx}]\n", "y.yaml:2:17: size: expected something like \">10M\"");
	is_refused_saying(s, "hostname: a.example\nroutes: [{size: [\">2M\", \"<1M\"], via: mx}]\n", "so the route would never be used");
	is_refused_saying(s, "hostname: a.example\nroutes: [{header: X-Campaign, via: mx}]\n", "header: expected names of fields with patterns");
	is_refused_saying(s, "hostname: a.example\nroutes: [{header: {\"X Campaign\": x}, via: mx}]\n", "is no name of a header field");
	is_refused_saying(s, "hostname: a.example\nroutes: [{header: {X-Campaign: []}, via: mx}]\n", "X-Campaign: the list is empty");
}

static void test_relays_have_weights_or_an_srv_name(void **state)
{
	struct scene *s = *state;
	const struct relay *r;

	parses(s, "hostname: a.example\n"
		  "relays:\n"
		  "  farm: {hosts: [{host: \"a:587\", weight: 9}, {host: \"b:587\"}, \"c:25\"]}\n"
		  "  provider: {srv: _submissions._tcp.example.org}\n"
		  "routes: [{via: [{srv: _smtp._tcp.example.org, tls: verify}, {relay: provider}]}]\n");
	r = s->config->route.relays;
	assert_int_equal(r[0].n_hosts, 3);
	assert_int_equal(r[0].weights[0], 9);
	assert_int_equal(r[0].weights[1], 1);
	assert_int_equal(r[0].weights[2], 0);
	assert_string_equal(r[1].srv, "_submissions._tcp.example.org");
	assert_true(r[1].implicit_tls);
	assert_int_equal(s->config->route.rules[0].ladder.hops[0].kind, HOP_SRV);
	assert_int_equal(s->config->route.rules[0].ladder.hops[0].tls, TLS_VERIFY);
	is_refused_saying(s, "hostname: a.example\nrelays: {b: {tls: required}}\n", "relays: b needs \"hosts\", or \"srv\"");
	is_refused_saying(s, "hostname: a.example\nrelays: {b: {hosts: h, srv: _smtp._tcp.x}}\n", "relays: b has either hosts or srv");
	is_refused_saying(s, "hostname: a.example\nrelays: {b: {srv: smtp.example.org}}\n", "srv: expected a name like _submission._tcp.example.org");
	is_refused_saying(s, "hostname: a.example\nrelays: {b: {hosts: [{host: h, weight: 0}]}}\n", "weight");
}

static void test_programs_take_mail(void **state)
{
	struct scene *s = *state;
	const struct pipe_command *c;

	parses(s, "hostname: a.example\n"
		  "domains:\n"
		  "  a.example: {deliver: {pipe: [/usr/bin/filter, -f, \"{sender}\", \"an argument\"], user: vmail, timeout: 1m}}\n"
		  "  b.example: {deliver: \"pipe:/usr/bin/filter  {local}\"}\n"
		  "routes: [{via: [mx, {pipe: [/bin/cat], when: {delayed: 1h}}]}]\n");
	c = s->config->route.domains[0].deliver.pipe;
	assert_int_equal(c->n_args, 4);
	assert_string_equal(c->args[3], "an argument");
	assert_null(c->args[4]);
	assert_string_equal(c->user, "vmail");
	assert_true(c->timeout == USEC_MIN);
	c = s->config->route.domains[1].deliver.pipe;
	assert_int_equal(c->n_args, 2);
	assert_string_equal(c->args[1], "{local}");
	assert_true(!c->user && c->timeout == 5 * USEC_MIN);
	assert_int_equal(s->config->route.rules[0].ladder.hops[1].kind, HOP_PIPE);
	is_refused_saying(s, "hostname: a.example\nroutes: [{via: [{pipe: cat}]}]\n", "pipe: the program needs its whole path");
	is_refused_saying(s, "hostname: a.example\nroutes: [{via: [{pipe: [/bin/cat, \"{host}\"]}]}]\n", "pipe: {host} is none of {recipient}");
	is_refused_saying(s, "hostname: a.example\nroutes: [{via: [{pipe: [\"/bin/{local}\"]}]}]\n", "into the name of the program itself");
	is_refused_saying(s, "hostname: a.example\nroutes: [{via: [{pipe: \"/bin/sh -c 'rm x'\"}]}]\n", "pipe: there is no shell");
	is_refused_saying(s, "hostname: a.example\nroutes: [{via: [{pipe: [/bin/cat], user: root}]}]\n", "must not be root");
	is_refused_saying(s, "hostname: a.example\nroutes: [{via: [{mx: true, user: bob}]}]\n", "user: only for pipe");
	is_refused_saying(s, "hostname: a.example\ndomains: {a.example: {deliver: {user: bob}}}\n", "pipe");
}

static void test_rungs_that_nothing_leads_to_are_refused(void **state)
{
	struct scene *s = *state;

	is_refused_saying(s, "hostname: a.example\nroutes: [{via: [{maildir: /m}, {mx: true, when: [unreachable, blocked]}]}]\n",
			  "y.yaml:2:32: via: this rung would never be used: none of those before it can be found unreachable, blocked");
	is_refused_saying(s, "hostname: a.example\nroutes: [{via: [{host: h, tls: none}, {mx: true, when: tls}]}]\n",
			  "none of those before it can be found tls");
	parses(s, "hostname: a.example\nroutes: [{via: [{host: h, tls: none}, {mx: true, when: [tls, blocked]}]}]\n");
	parses(s, "hostname: a.example\nroutes: [{via: [{host: h, tls: none}, mx, {host: i, when: tls}]}]\n");
	parses(s, "hostname: a.example\nroutes: [{via: [{maildir: /m}, {mx: true, when: {delayed: 1h}}, {host: h, when: throttled}]}]\n");
	parses(s, "hostname: a.example\nroutes: [{to: \"*\", via: mx}, {to: b, via: hold}, {to: c, via: hold}]\n");
	assert_non_null(strstr(s->errors.warnings.data, "routes: this one and those after it are never used, because routes[0] takes everything"));
}

static void test_routes_become_ladders(void **state)
{
	struct scene *s = *state;
	const struct route_rule *r;

	parses(s, "hostname: a.example\n"
		  "relays: {backup: {hosts: [\"r.example:587\", 192.0.2.1], tls: required}, old: {hosts: r.example:465}}\n"
		  "routes:\n"
		  "  - {to: \"*.lan\", from: [a@x, \"*.y\"], via: [{host: \"10.0.0.7:2525\", tls: none}]}\n"
		  "  - {via: [mx, {relay: backup, when: [unreachable, {delayed: 30m}]}, {relay: old}]}\n"
		  "  - {to: h, via: hold}\n"
		  "  - {to: r, via: [reject: \"go away\"]}\n"
		  "  - {to: q, reject: \"no\"}\n"
		  "  - {to: m, via: [{maildir: \"/m/{user}\"}]}\n");
	r = s->config->route.rules;
	assert_int_equal(s->config->route.n_rules, 6);
	assert_int_equal(r[0].n_from, 2);
	assert_int_equal(r[0].ladder.hops[0].kind, HOP_HOST);
	assert_int_equal(r[0].ladder.hops[0].host.port, 2525);
	assert_int_equal(r[0].ladder.hops[0].tls, TLS_NONE);
	assert_string_equal(r[0].ladder.rule, "routes[0]: to *.lan from a@x, *.y");
	assert_null(r[1].to);
	assert_int_equal(r[1].ladder.n_hops, 3);
	assert_int_equal(r[1].ladder.hops[0].kind, HOP_MX);
	assert_int_equal(r[1].ladder.hops[0].when, 0);
	assert_int_equal(r[1].ladder.hops[1].when, WHEN_UNREACHABLE | WHEN_DELAYED);
	assert_true(r[1].ladder.hops[1].delayed == 30 * USEC_MIN);
	assert_string_equal(r[1].ladder.hops[1].relay->name, "backup");
	assert_int_equal(r[1].ladder.hops[1].relay->n_hosts, 2);
	assert_int_equal(r[1].ladder.hops[1].relay->hosts[1].port, 25);
	assert_int_equal(r[1].ladder.hops[1].relay->tls, TLS_REQUIRED);
	assert_int_equal(r[1].ladder.hops[2].when, WHEN_ANY);
	assert_true(r[1].ladder.hops[2].relay->implicit_tls);
	assert_int_equal(r[2].ladder.hops[0].kind, HOP_HOLD);
	assert_int_equal(r[3].ladder.hops[0].kind, HOP_REJECT);
	assert_string_equal(r[3].ladder.hops[0].text, "go away");
	assert_int_equal(r[4].ladder.hops[0].kind, HOP_REJECT);
	assert_int_equal(r[5].ladder.hops[0].kind, HOP_MAILDIR);
}

static void test_a_password_comes_from_the_first_line_of_its_file(void **state)
{
	struct scene *s = *state;
	char path[128], text[512];

	put_file(s, "secret", "open sesame\r\nnot this\n", path, sizeof(path));
	chmod(path, 0644);
	snprintf(text, sizeof(text), "hostname: a.example\nrelays: {b: {hosts: [h.example], tls: verify, "
				     "login: {user: u, password_file: %s}}}\n", path);
	parses(s, text);
	assert_string_equal(s->config->route.relays[0].password, "open sesame");
	assert_non_null(strstr(s->errors.warnings.data, "everybody on this machine may read"));
	assert_null(strstr(s->errors.warnings.data, "sesame"));

	snprintf(text, sizeof(text), "hostname: a.example\nrelays: {b: {hosts: [h.example], login: {user: u, password_file: %s}}}\n", path);
	assert_int_equal(parse(s, text), -EBADMSG);
	assert_non_null(strstr(s->errors.text.data, "would travel in the clear"));
}

static void test_pools_of_source_addresses(void **state)
{
	const struct source_pool *pools;
	const struct route_rule *rules;
	const struct relay *relays;
	struct scene *s = *state;
	char path[200], text[1200];

	put_file(s, "proxy-password", "open sesame\n", path, sizeof(path));
	snprintf(text, sizeof(text),
		 "hostname: a.example\n"
		 "deliver: {source: 192.0.2.9, source6: \"2001:db8::9\"}\n"
		 "sources:\n"
		 "  bulk: [{address: 192.0.2.1, ehlo: MTA1.example.org, weight: 3}, {address: \"2001:db8::1\", weight: 0}]\n"
		 "  far: {proxy: \"socks5h://proxy.example\", proxy_user: u, proxy_password_file: %s}\n"
		 "  near: [{address: 192.0.2.2, proxy: \"socks5://[::1]:9050\"}]\n"
		 "relays: {r: {hosts: h.example, source: bulk}, p: {hosts: h.example, proxy: \"socks5://10.0.0.1\"}}\n"
		 "routes: [{via: [{mx: true, source: far}, {relay: r}, {relay: r, source: near}, {relay: p}, mx]}]\n", path);
	parses(s, text);
	assert_int_equal(s->config->deliver.source.family, 4);
	assert_int_equal(s->config->deliver.source6.bytes[15], 9);
	pools = s->config->route.sources;
	assert_int_equal(s->config->route.n_sources, 3);
	assert_string_equal(pools[0].name, "bulk");
	assert_int_equal(pools[0].n_sources, 2);
	assert_string_equal(pools[0].sources[0].ehlo, "mta1.example.org");
	assert_int_equal(pools[0].sources[0].weight, 3);
	assert_string_equal(pools[0].sources[1].text, "2001:db8::1");
	assert_int_equal(pools[0].sources[1].weight, 0);
	assert_true(pools[1].sources[0].proxy->resolves);
	assert_string_equal(pools[1].sources[0].proxy->at.name, "proxy.example");
	assert_int_equal(pools[1].sources[0].proxy->at.port, 1080);
	assert_string_equal(pools[1].sources[0].proxy->password, "open sesame");
	assert_string_equal(pools[2].sources[0].text, "192.0.2.2 through socks5://[::1]:9050");
	assert_int_equal(pools[2].sources[0].proxy->at.ip.family, 6);
	assert_null(strstr(pools[1].sources[0].text, "sesame"));
	relays = s->config->route.relays;
	assert_ptr_equal(relays[0].source, &pools[0]);
	assert_int_equal(relays[1].source->n_sources, 1);
	rules = s->config->route.rules;
	assert_ptr_equal(rules[0].ladder.hops[0].source, &pools[1]);
	assert_ptr_equal(rules[0].ladder.hops[1].source, &pools[0]);
	assert_ptr_equal(rules[0].ladder.hops[2].source, &pools[2]);
	assert_ptr_equal(rules[0].ladder.hops[3].source, relays[1].source);
	assert_null(rules[0].ladder.hops[4].source);
}

static void test_what_is_wrong_with_sources_is_said(void **state)
{
	is_refused(*state, "hostname: a.example\nsources: {bulk: [{address: here}]}\n",
		   "y.yaml:2:28: address: expected an IP address like 192.0.2.1 or 2001:db8::1, found \"here\"\n");
	is_refused(*state, "hostname: a.example\nsources: {bulk: [{ehlo: b.example}]}\n",
		   "y.yaml:2:18: sources: this one needs an address of this machine, or a proxy\n");
	is_refused(*state, "hostname: a.example\nsources: {bulk: [{address: 192.0.2.1, weight: 0}]}\n",
		   "y.yaml:2:11: sources: all weights of bulk are 0, so that nothing could leave\n");
	is_refused(*state, "hostname: a.example\nsources: {bulk: [{proxy: \"http://10.0.0.1\"}]}\n",
		   "y.yaml:2:26: proxy: expected socks5://HOST:PORT or socks5h://HOST:PORT, found \"http://10.0.0.1\"\n");
	is_refused(*state, "hostname: a.example\nsources: {bulk: [{proxy: \"socks5://10.0.0.1\", proxy_user: u}]}\n",
		   "y.yaml:2:59: proxy: to log in there it needs both proxy_user and proxy_password_file\n");
	is_refused(*state, "hostname: a.example\nsources: {bulk: [{address: 192.0.2.1}]}\nroutes: [{via: [{mx: true, source: bukl}]}]\n",
		   "y.yaml:3:36: source: there is no \"bukl\" under sources, did you mean \"bulk\"?\n");
	is_refused(*state, "hostname: a.example\nsources: {bulk: [{address: 192.0.2.1}]}\nroutes: [{via: [{lmtp: \"h:24\", source: bulk}]}]\n",
		   "y.yaml:3:40: source: only for mx, host, srv and relay\n");
	is_refused(*state, "hostname: a.example\ndeliver: {source: \"2001:db8::9\"}\n",
		   "y.yaml:2:19: source: this is no IPv4 address; the other key is deliver.source6\n");
}

static void test_own_addresses_are_those_that_listen_on_the_mx_port(void **state)
{
	struct scene *s = *state;

	parses(s, "hostname: a.example\nown_addresses: [192.0.2.9]\ndeliver: {port: 2525}\n"
		  "listen: [{address: [\"127.0.0.1:2525\", \"127.0.0.2:26\"]}]\n");
	assert_int_equal(s->config->route.n_own_addresses, 2);
	assert_int_equal(s->config->route.own_addresses[1].bytes[0], 127);
	assert_int_equal(s->config->route.own_addresses[1].bytes[3], 1);
}

/* --- what is refused ------------------------------------------------------------------------------------------ */

static void test_every_mistake_is_told_with_its_place(void **state)
{
	is_refused(*state,
		   "hostname: a.example\n"
		   "spol: /x\n"
		   "limits:\n"
		   "  recipients: many\n"
		   "  messagesize: 5M\n"
		   "log: {level: loud}\n",
		   "y.yaml:2:1: unknown key \"spol\", did you mean \"spool\"?\n"
		   "y.yaml:4:15: recipients: expected a number, found \"many\"\n"
		   "y.yaml:5:3: unknown key \"messagesize\" in limits, did you mean \"message_size\"?\n"
		   "y.yaml:6:14: level: expected one of debug, info, notice, warning, error, critical, found \"loud\"\n");
}

static void test_the_word_that_was_probably_meant_is_named(void **state)
{
	is_refused(*state, "hostname: a.example\nroutes: [{to: x, via: [{relay: bakcup}]}]\nrelays: {backup: {hosts: [h.example]}}\n",
		   "y.yaml:2:32: relay: there is no \"bakcup\" under relays, did you mean \"backup\"?\n");
	is_refused(*state, "hostname: a.example\nlisten: [{address: \"1.2.3.4:25\", role: submision}]\n",
		   "y.yaml:2:40: role: expected one of mx, submission, lmtp, found \"submision\", did you mean \"submission\"?\n");
	is_refused(*state, "hostname: a.example\ndomains: {d.example: {deliver: \"maildir:/m/{lokal}\"}}\n",
		   "y.yaml:2:32: {lokal} is none of {domain}, {local} and {user}, did you mean \"local\"?\n");
}

static void test_numbers_outside_their_range_are_refused_with_the_limit(void **state)
{
	is_refused(*state, "hostname: a.example\nlimits: {recipients: 0}\nthreads: 17\nspool: {segment_size: 1K}\n",
		   "y.yaml:2:22: recipients: 0 is too small, the least is 1\n"
		   "y.yaml:3:10: threads: 17 is too large, the most is 16\n"
		   "y.yaml:4:23: segment_size: 1K is too small, the least is 64K\n");
}

static void test_a_missing_hostname_is_told(void **state)
{
	struct scene *s = *state;

	assert_int_equal(parse(s, ""), -EBADMSG);
	assert_non_null(strstr(s->errors.text.data, "\"hostname\" is missing"));
	assert_int_equal(parse(s, "hostname:\n"), -EBADMSG);
	assert_non_null(strstr(s->errors.text.data, "y.yaml:1:1: hostname has no value"));
}

static void test_things_that_do_not_go_together_are_refused(void **state)
{
	struct scene *s = *state;

	is_refused(s, "hostname: a.example\nlisten: [{address: \"1.2.3.4:465\", tls: implicit}]\n",
		   "y.yaml:2:10: listen: \"tls: implicit\" needs tls.certificate and tls.key\n");
	is_refused(s, "hostname: a.example\ntls: {key: k}\n", "y.yaml:2:6: tls: needs both certificate and key\n");
	is_refused(s, "hostname: a.example\nroutes: [{via: [{relay: b, host: h}]}]\nrelays: {b: {hosts: [h]}}\n",
		   "y.yaml:2:17: via: a rung is one of mx, host, srv, relay, lmtp, maildir, pipe and reject, not several\n");
	is_refused(s, "hostname: a.example\nroutes: [{via: [hold, mx]}]\n",
		   "y.yaml:2:23: via: nothing comes after hold, discard or reject\n");
	is_refused(s, "hostname: a.example\ndomains: {D.example: {deliver: \"maildir:/m\"}, d.example: {deliver: \"maildir:/m\"}}\n",
		   "y.yaml:2:47: domains: d.example is given twice\n");
}

static void test_limits_of_receivers_have_two_levels(void **state)
{
	struct scene *s = *state;
	const struct shaping_config *c;

	parses(s, "hostname: a.example\nshaping:\n  providers:\n    google: {all_connections: 10, all_rate: 1000/1h}\n"
		  "  sites:\n    - {hosts: [\"mx?.one.example\", \"relay:b\"], connections: 1, rate: 10/m}\n");
	c = &s->config->queue.shaping;
	assert_int_equal(c->n_providers, 1);
	assert_string_equal(c->providers[0].name, "google");
	assert_int_equal(c->providers[0].n_hosts, 0);
	assert_int_equal(c->providers[0].limits.all_connections, 10);
	assert_int_equal(c->providers[0].limits.all_rate.count, 1000);
	assert_true(c->providers[0].limits.all_rate.per == USEC_HOUR);
	assert_int_equal(c->n_sites, 1);
	assert_int_equal(c->sites[0].n_hosts, 2);
	assert_int_equal(c->sites[0].limits.connections, 1);
	assert_int_equal(c->sites[0].limits.rate.count, 10);
	is_refused(s, "hostname: a.example\nshaping: {sites: [{hosts: [\"*.b\"]}]}\n",
		   "y.yaml:2:19: shaping: a rule needs a limit: connections, messages_per_connection, recipients_per_transaction or rate\n");
	is_refused(s, "hostname: a.example\nshaping: {sites: [{hosts: [\"*.b\"], rate: often}]}\n",
		   "y.yaml:2:42: rate: expected a rate like 1000/1h\n");
	is_refused(s, "hostname: a.example\nshaping: {providers: {b: {all_rate: 0/1h}}}\n",
		   "y.yaml:2:37: all_rate: a rate is at least one message and at most a million, in at most 31d\n");
}

static void test_a_route_may_have_a_deadline(void **state)
{
	struct scene *s = *state;

	parses(s, "hostname: a.example\nqueue: {turns: user, greylist: [1m, 2m]}\n"
		  "routes: [{from: code@a.example, deadline: 60s, via: [mx]}, {to: \"*\", via: [mx]}]\n");
	assert_true(s->config->route.rules[0].ladder.deadline == USEC_MIN);
	assert_true(s->config->route.rules[1].ladder.deadline == 0);
	assert_int_equal(s->config->queue.turns, TURNS_USER);
	assert_int_equal(s->config->queue.n_greylist, 2);
	assert_true(s->config->queue.greylist[1] == 2 * USEC_MIN);
	parses(s, "hostname: a.example\nqueue: {turns: header, tenant_header: X-Tenant}\n");
	assert_int_equal(s->config->queue.turns, TURNS_HEADER);
	assert_int_equal(s->config->route.n_headers, 1);
	assert_string_equal(s->config->route.headers[0], "X-Tenant");
	is_refused(s, "hostname: a.example\nqueue: {turns: header}\n",
		   "y.yaml:2:8: queue: \"turns: header\" and tenant_header need each other\n");
	is_refused(s, "hostname: a.example\nqueue: {tenant_header: X-Tenant}\n",
		   "y.yaml:2:8: queue: \"turns: header\" and tenant_header need each other\n");
	parses(s, "hostname: a.example\n");
	assert_string_equal(s->config->queue.learned, "/var/lib/yizhan/learned");
}

static void test_a_key_given_twice_is_refused(void **state)
{
	is_refused(*state, "hostname: a.example\nlog: {level: info}\nlog: {level: debug}\n",
		   "y.yaml:3:1: \"log\" is given twice (first at y.yaml:2:1)\n");
}

static void test_broken_yaml_is_told_with_its_place(void **state)
{
	struct scene *s = *state;

	assert_int_equal(parse(s, "hostname: [a\nspool: /x\n"), -EBADMSG);
	assert_memory_equal(s->errors.text.data, "y.yaml:2:", 9);
	assert_int_equal(parse(s, "--- {hostname: a.example}\n--- {}\n"), -EBADMSG);
	assert_non_null(strstr(s->errors.text.data, "a second document begins here"));
	assert_int_equal(parse(s, "hostname: \"a\\0b\"\n"), -EBADMSG);
	assert_int_equal(parse(s, "- a list\n"), -EBADMSG);
}

/* Ten levels of ten aliases each: 10^10 values from a few lines. */
static void test_aliases_cannot_make_a_bomb(void **state)
{
	struct scene *s = *state;
	struct buffer text = { 0 };

	buffer_append_str(&text, "hostname: a.example\nx0: &x0 [1,1,1,1,1,1,1,1,1,1]\n");
	for (unsigned i = 1; i < 10; i++) {
		buffer_printf(&text, "x%u: &x%u [", i, i);
		for (unsigned k = 0; k < 10; k++)
			buffer_printf(&text, "%s*x%u", k ? "," : "", i - 1);
		buffer_append_str(&text, "]\n");
	}
	assert_int_equal(parse(s, text.data), -EBADMSG);
	assert_non_null(strstr(s->errors.text.data, "the configuration is too large"));
	buffer_done(&text);
	assert_int_equal(parse(s, "x: &a [*a]\n"), -EBADMSG);
	assert_non_null(strstr(s->errors.text.data, "*a is used inside of itself"));
}

static void test_nesting_has_a_limit(void **state)
{
	struct scene *s = *state;
	char text[512];

	memset(text, '[', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(parse(s, text), -EBADMSG);
	assert_non_null(strstr(s->errors.text.data, "nested too deeply"));
}

static void test_an_alias_is_as_good_as_what_it_stands_for(void **state)
{
	struct scene *s = *state;

	parses(s, "hostname: a.example\ndomains:\n  b.example: &b {deliver: \"maildir:/m/{local}\"}\n  c.example: *b\n");
	assert_string_equal(s->config->route.domains[1].deliver.maildir, "/m/{local}");
}

static void test_errors_are_counted_but_not_without_end(void **state)
{
	struct scene *s = *state;
	struct buffer text = { 0 };
	unsigned lines = 0;

	for (unsigned i = 0; i < 500; i++)
		buffer_printf(&text, "unknown%u: x\n", i);
	assert_int_equal(parse(s, text.data), -EBADMSG);
	for (const char *c = s->errors.text.data; *c; c++)
		lines += *c == '\n';
	assert_int_equal(lines, CONFIG_ERRORS_MAX + 1);
	assert_int_equal(s->errors.count, 501); /* and no hostname */
	buffer_done(&text);
}

/* --- files that include files ----------------------------------------------------------------------------------- */

static void test_included_files_add_their_keys(void **state)
{
	struct scene *s = *state;
	char path[128], other[256];

	put_file(s, "domains.yaml", "domains: {b.example: {deliver: \"maildir:mail/{local}\"}}\nroutes: [{to: b, via: hold}]\n", other, sizeof(other));
	put_file(s, "main.yaml", "include: domains.yaml\nhostname: a.example\ndomains: {c.example: {deliver: discard}}\n"
				 "routes: [{to: a, via: mx}]\n", path, sizeof(path));
	if (config_load(s->world, path, &s->errors, &s->config) < 0)
		fail_msg("%s", s->errors.text.data);
	assert_int_equal(s->config->route.n_domains, 2);
	assert_int_equal(s->config->route.n_rules, 2);
	assert_string_equal(s->config->route.rules[0].to[0], "a"); /* the including file comes first */
	snprintf(other, sizeof(other), "%s/mail/{local}", s->directory);
	assert_string_equal(s->config->route.domains[1].deliver.maildir, other);
}

static void test_mistakes_in_included_files_name_that_file(void **state)
{
	struct scene *s = *state;
	char path[128], other[128], line[512];

	put_file(s, "more.yaml", "hostname: b.example\nlog: {levl: info}\n", other, sizeof(other));
	put_file(s, "main.yaml", "include: [more.yaml, absent.yaml]\nhostname: a.example\n", path, sizeof(path));
	assert_int_equal(config_load(s->world, path, &s->errors, &s->config), -EBADMSG);
	snprintf(line, sizeof(line), "%s:1:1: \"hostname\" is given twice (first at %s:2:1)", other, path);
	assert_non_null(strstr(s->errors.text.data, line));
	snprintf(line, sizeof(line), "%s:1:22: cannot read %s/absent.yaml: No such file", path, s->directory);
	assert_non_null(strstr(s->errors.text.data, line));
	snprintf(line, sizeof(line), "%s:2:7: unknown key \"levl\" in log, did you mean \"level\"?", other);
	assert_non_null(strstr(s->errors.text.data, line));
}

static void test_files_that_include_each_other_come_to_an_end(void **state)
{
	struct scene *s = *state;
	char path[128];

	put_file(s, "main.yaml", "include: [main.yaml, main.yaml, main.yaml]\nhostname: a.example\n", path, sizeof(path));
	assert_int_equal(config_load(s->world, path, &s->errors, &s->config), -EBADMSG);
	assert_non_null(strstr(s->errors.text.data, "do they include each other?"));
}

static void test_places_are_found_in_a_file_with_mistakes(void **state)
{
	struct scene *s = *state;
	char path[128];

	put_file(s, "main.yaml", "hostnam: x\nspool: /s\nqueue: {x: y}\n", path, sizeof(path));
	assert_int_equal(config_load_places(s->world, path, &s->errors, &s->config), 0);
	assert_string_equal(s->config->spool.path, "/s");
}

/* --- the table ------------------------------------------------------------------------------------------------------ */

static void test_the_schema_is_json_and_knows_every_key(void **state)
{
	char *text = config_json_schema();
	json_t *schema, *properties;

	assert_non_null(text);
	schema = json_loads(text, 0, NULL);
	assert_non_null(schema);
	properties = json_object_get(schema, "properties");
	for (size_t i = 0; i < config_n_keys; i++) {
		assert_non_null(config_keys[i].doc);
		if (!strchr(config_keys[i].path, '.'))
			assert_non_null(json_object_get(properties, config_keys[i].path));
	}
	json_decref(schema);
	free(text);
}

static void test_sizes_have_units(void **state)
{
	uint64_t n;

	assert_int_equal(config_size_parse(SLICE("50M"), &n), 0);
	assert_int_equal(n, 50 << 20);
	assert_int_equal(config_size_parse(SLICE("1 KiB"), &n), 0);
	assert_int_equal(n, 1024);
	assert_int_equal(config_size_parse(SLICE("7"), &n), 0);
	assert_int_equal(n, 7);
	assert_int_equal(config_size_parse(SLICE("7b"), &n), 0);
	assert_int_equal(config_size_parse(SLICE("5Q"), &n), -EINVAL);
	assert_int_equal(config_size_parse(SLICE("M"), &n), -EINVAL);
	assert_int_equal(config_size_parse(SLICE("-1"), &n), -EINVAL);
	assert_int_equal(config_size_parse(SLICE("99999999999T"), &n), -ERANGE);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

static void test_a_recipient_given_twice_is_a_warning(void **state)
{
	struct scene *s = *state;

	parses(s, "hostname: a.example\n"
		  "domains:\n"
		  "  example.org:\n"
		  "    deliver: \"maildir:/m/{local}\"\n"
		  "    recipients: [bob, alice, Bob,\n"
		  "      carol, bob]\n");
	assert_int_equal(s->config->route.domains[0].n_recipients, 5);
	assert_string_equal(s->errors.warnings.data, "y.yaml:5:30: recipients: \"bob\" is there already\n"
						     "y.yaml:6:14: recipients: \"bob\" is there already\n");
}

static void test_no_key_stands_twice_in_the_table(void **state)
{
	for (size_t i = 0; i < config_n_keys; i++)
		if (config_key_find(config_keys[i].path) != &config_keys[i])
			fail_msg("%s", config_keys[i].path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_hostname_is_enough_and_the_rest_is_safe),
		T(test_every_kind_of_value_finds_its_place),
		T(test_domains_become_mailboxes),
		T(test_no_key_stands_twice_in_the_table),
		T(test_a_recipient_given_twice_is_a_warning),
		T(test_routes_have_conditions),
		T(test_relays_have_weights_or_an_srv_name),
		T(test_programs_take_mail),
		T(test_rungs_that_nothing_leads_to_are_refused),
		T(test_routes_become_ladders),
		T(test_a_password_comes_from_the_first_line_of_its_file),
		T(test_pools_of_source_addresses),
		T(test_what_is_wrong_with_sources_is_said),
		T(test_own_addresses_are_those_that_listen_on_the_mx_port),
		T(test_every_mistake_is_told_with_its_place),
		T(test_the_word_that_was_probably_meant_is_named),
		T(test_numbers_outside_their_range_are_refused_with_the_limit),
		T(test_a_missing_hostname_is_told),
		T(test_things_that_do_not_go_together_are_refused),
		T(test_limits_of_receivers_have_two_levels),
		T(test_a_route_may_have_a_deadline),
		T(test_a_key_given_twice_is_refused),
		T(test_broken_yaml_is_told_with_its_place),
		T(test_aliases_cannot_make_a_bomb),
		T(test_nesting_has_a_limit),
		T(test_an_alias_is_as_good_as_what_it_stands_for),
		T(test_errors_are_counted_but_not_without_end),
		T(test_included_files_add_their_keys),
		T(test_mistakes_in_included_files_name_that_file),
		T(test_files_that_include_each_other_come_to_an_end),
		T(test_places_are_found_in_a_file_with_mistakes),
		cmocka_unit_test(test_the_schema_is_json_and_knows_every_key),
		cmocka_unit_test(test_sizes_have_units),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
