/* A whole message with whatever signatures and ARC sets it claims to have, judged against a zone with a key or two:
 * in one piece and in small ones it gets the same verdicts. */
#include <stdlib.h>

#include "dns/zone.h"
#include "identity/arc.h"
#include "world/linux.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char zone_text[] =
	"brisbane._domainkey.football.example.com. TXT \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n"
	"s._domainkey.one.example. TXT \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n"
	"; TIMEOUT slow._domainkey.one.example\n";

struct verdicts {
	unsigned n;
	enum dkim_word dkim[DKIM_FIELDS_MAX];
	enum arc_word arc;
};

static struct resolver *open_zone(struct arena **ret)
{
	struct resolver *resolver;
	struct world *world;
	struct zone *zone;
	char *why;

	if (world_linux_new(NULL, &world) < 0 || zone_parse(slice_from(zone_text), "fuzz", &zone, &why) < 0 ||
	    zone_resolver_new(world, zone, 0, &resolver) < 0 || arena_new(0, ret) < 0)
		abort();
	return resolver;
}

static void judge(struct resolver *resolver, struct slice text, size_t piece, bool bare_lf, struct arena *a, struct verdicts *v)
{
	struct dkim_result dkim;
	struct arc_result arc;
	struct content *m;
	int r;

	if (content_new(a, NULL, bare_lf, &m) < 0)
		abort();
	while (text.len > 0) {
		struct slice head = slice_head(text, MIN(piece, text.len));

		r = content_feed(m, head);
		assert(r == 0);
		text = slice_skip(text, head.len);
	}
	r = content_end(m);
	assert(r == 0);
	v->n = m->n_signatures;
	assert(v->n <= DKIM_FIELDS_MAX);
	for (unsigned i = 0; i < v->n; i++) {
		r = dkim_verify(resolver, m, i, NULL, 1528640000 * (wall_t) USEC_SEC, DEADLINE_NEVER, a, &dkim);
		assert(r == 0 && dkim.word != DKIM_NONE && dkim.reason && dkim.domain && dkim.selector && dkim.start);
		v->dkim[i] = dkim.word;
	}
	r = arc_verify(resolver, m, NULL, 0, 1528640000 * (wall_t) USEC_SEC, DEADLINE_NEVER, a, &arc);
	assert(r == 0 && arc.reason && arc.domain);
	v->arc = arc.word;
	content_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct resolver *resolver;
	static struct arena *a;
	struct slice text = slice_new((const char *) data, size);
	struct verdicts whole, pieces;

	if (!resolver)
		resolver = open_zone(&a);
	for (int bare = 0; bare < 2; bare++) {
		judge(resolver, text, size + 1, bare, a, &whole);
		judge(resolver, text, size % 7 + 1, bare, a, &pieces);
		assert(whole.n == pieces.n && whole.arc == pieces.arc);
		assert(memcmp(whole.dkim, pieces.dkim, whole.n * sizeof(*whole.dkim)) == 0);
		arena_reset(a);
	}
	return 0;
}
