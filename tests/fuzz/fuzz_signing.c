/* A message of our own, in pieces of any size: what can be signed at all is verified as pass, by the same key and by
 * whoever reads it in other pieces; and the author's address is one, or none. */
#include <stdlib.h>

#include "dns/zone.h"
#include "identity/own_key.h"
#include "identity/signing.h"
#include "mail/from.h"
#include "world/linux.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW (1528640000 * (wall_t) USEC_SEC)

static struct {
	struct world *world;
	struct resolver *resolver;
	struct arena *arena;
	struct signing_key key;
	struct signing_domain domain;
	struct signing_config config;
} it;

static void prepare(void)
{
	static const char *const everybody[] = { "*" };
	struct buffer text = { 0 };
	const char *record;
	struct zone *zone;
	char *why;

	if (world_linux_new(NULL, &it.world) < 0 || arena_new(0, &it.arena) < 0 || crypto_generate(true, 0, &it.key.key) < 0 ||
	    own_key_record(it.key.key, it.arena, &record) < 0)
		abort();
	own_key_zone_line("s._domainkey.a.example", record, &text);
	if (zone_parse(buffer_slice(&text), "fuzz", &zone, &why) < 0 || zone_resolver_new(it.world, zone, 0, &it.resolver) < 0)
		abort();
	buffer_done(&text);
	it.key.selector = "s";
	it.domain = (struct signing_domain) { .domain = "a.example", .from = everybody, .n_from = 1, .keys = &it.key, .n_keys = 1 };
	it.config = (struct signing_config) { .domains = &it.domain, .n_domains = 1 };
}

static void verify(struct slice front, struct slice text, size_t piece)
{
	struct dkim_result result;
	struct content *m;
	int r = content_new(it.arena, NULL, false, &m);

	assert(r == 0);
	r = content_feed(m, front);
	for (size_t i = 0; i < text.len && r >= 0; i += piece)
		r = content_feed(m, slice_head(slice_skip(text, i), MIN(piece, text.len - i)));
	assert(r == 0);
	r = content_end(m);
	assert(r == 0 && m->n_signatures >= 1);
	r = dkim_verify(it.resolver, m, 0, NULL, NOW, DEADLINE_NEVER, it.arena, &result);
	/* What the signer kept and the verifier doesn't, because our field came on top. */
	assert(r == 0 && (result.word == DKIM_PASS || m->malformed));
	content_free(m);
}

static void sign(struct slice text, size_t piece)
{
	struct buffer out = { 0 };
	const char *why = NULL;
	struct signing *s;
	unsigned n = 99;
	int r = signing_begin(&it.config, "joe@a.example", NOW, it.arena, &s);

	assert(r == 0);
	for (size_t i = 0; i < text.len && r >= 0; i += piece)
		r = signing_feed(s, slice_head(slice_skip(text, i), MIN(piece, text.len - i)));
	assert(r == 0);
	r = signing_finish(s, it.world, SLICE_NULL, &out, &n, &why);
	assert(r == 0 ? n == 1 : r == -EINVAL && why);
	if (r == 0)
		verify(buffer_slice(&out), text, piece % 13 + 1);
	buffer_done(&out);
	signing_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_new((const char *) data, size);
	const char *address = NULL;
	int r;

	if (!it.world)
		prepare();
	it.domain.header = size & 1 ? CANON_SIMPLE : CANON_RELAXED;
	it.domain.body = size & 2 ? CANON_SIMPLE : CANON_RELAXED;
	r = from_first(it.arena, text, &address);
	assert(r == 0 ? strchr(address, '@') != NULL : !address);
	sign(text, size + 1);
	sign(text, size % 7 + 1);
	arena_reset(it.arena);
	return 0;
}
