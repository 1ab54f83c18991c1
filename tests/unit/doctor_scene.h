/* A domain in order, and a doctor who looks at it in a simulated world. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns/zone.h"
#include "doctor/doctor.h"
#include "world/sim.h"

static const char zone_in_order[] = "; SECURE example.org\n"
				    "example.org. MX 10 mx.example.org.\n"
				    "mx.example.org. A 192.0.2.1\n"
				    "example.org. TXT \"v=spf1 mx -all\"\n"
				    "s._domainkey.example.org. TXT \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n"
				    "_dmarc.example.org. TXT \"v=DMARC1; p=reject; rua=mailto:d@example.org\"\n"
				    "_mta-sts.example.org. TXT \"v=STSv1; id=1\"\n"
				    "mta-sts.example.org. A 192.0.2.2\n"
				    "_smtp._tls.example.org. TXT \"v=TLSRPTv1; rua=mailto:t@example.org\"\n"
				    "_25._tcp.mx.example.org. TLSA 3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
				    "1.2.0.192.in-addr.arpa. PTR mx.example.org.\n"
				    "2.0.0.127.bl.example. A 127.0.0.2\n";

static const char pem_of_s[] = "-----BEGIN PRIVATE KEY-----\n"
			       "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
			       "-----END PRIVATE KEY-----\n";

struct scene {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
	struct resolver *resolver;
	struct arena *arena;
	EVP_PKEY *key;
	struct signing_key signing_key;
	struct signing_domain signing_domain;
	struct signing_config signing;
	struct doctor_input in;
	/* what came of it */
	struct doctor_report report;
	usec_t took;
	int result;
	bool done;
};

static const struct doctor_address scene_address = { .ip = { .family = 4, .bytes = { 192, 0, 2, 1 } }, .ehlo = "mx.example.org" };
static const struct ip scene_ip = { .family = 4, .bytes = { 192, 0, 2, 1 } };
static const struct list_config scene_list = { .zone = "bl.example", .weight = 1 };

static enum sts_trouble good_policy(struct sts_fetch *f)
{
	buffer_append_str(&f->body, "version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: 604800\n");
	return STS_FETCHED;
}

static void scene_open(struct scene *s, const char *zone_text)
{
	char *why = NULL;
	struct zone *zone;

	*s = (struct scene) { 0 };
	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &s->sim), 0);
	assert_int_equal(sim_host_new(s->sim, "host", "192.0.2.1", &s->host, &s->world), 0);
	assert_int_equal(loop_new(s->world, "loop", 0, 0, &s->loop), 0);
	assert_int_equal(loop_start(s->loop), 0);
	if (zone_parse(slice_from(zone_text), "zone", &zone, &why) < 0)
		fail_msg("%s", why);
	assert_int_equal(zone_resolver_new(s->world, zone, 0, &s->resolver), 0);
	assert_int_equal(arena_new(0, &s->arena), 0);
	assert_int_equal(crypto_private_key(slice_from(pem_of_s), &s->key), 0);
	s->signing_key = (struct signing_key) { .selector = "s", .file = "s.pem", .key = s->key };
	s->signing_domain = (struct signing_domain) { .domain = "example.org", .keys = &s->signing_key, .n_keys = 1 };
	s->signing = (struct signing_config) { .domains = &s->signing_domain, .n_domains = 1 };
	s->in = (struct doctor_input) { .domain = "example.org", .hostname = "mx.example.org", .own_addresses = &scene_ip, .n_own_addresses = 1,
					.local = true, .addresses = &scene_address, .n_addresses = 1, .signing = &s->signing,
					.lists = &scene_list, .n_lists = 1, .fetcher = good_policy };
}

static void scene_fiber(void *arg)
{
	struct scene *s = arg;
	usec_t begin = now();

	s->result = doctor_examine(s->world, s->resolver, &s->in, s->arena, &s->report);
	s->took = now() - begin;
	s->done = true;
}

static inline void scene_run(struct scene *s)
{
	assert_int_equal(loop_spawn(s->loop, "doctor", scene_fiber, s), 0);
	sim_run(s->sim, DEADLINE_NEVER);
	assert_true(s->done);
}

static void scene_close(struct scene *s)
{
	loop_stop(s->loop);
	loop_free(s->loop);
	resolver_free(s->resolver);
	arena_free(s->arena);
	EVP_PKEY_free(s->key);
	world_free(s->world);
	sim_free(s->sim);
}

/* The first finding of a check that isn't green; NULL. */
static inline const struct doctor_finding *fault_of(const struct scene *s, const char *check)
{
	for (unsigned i = 0; i < s->report.n; i++)
		if (strcmp(s->report.findings[i].check, check) == 0 && s->report.findings[i].state != DOCTOR_GREEN)
			return &s->report.findings[i];
	return NULL;
}
