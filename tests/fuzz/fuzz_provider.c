/* The reader of providers to be played: any text is refused with a place, or gives a provider whose numbers hold; so does any
 * change of a rule or of a list. */
#include <stdlib.h>

#include "simulate/provider.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const struct provider *p)
{
	unsigned n = 0;

	assert(p->name && p->about && p->host && p->hello && p->greeting.text && p->n_extensions <= PROVIDER_LINES_MAX);
	for (const struct behaviour *b = p->rules; b; b = b->next) {
		assert(b->number == n++ && b->name && b->at != 0 && b->at < 1u << AT_COUNT && b->chance <= 100);
		assert(b->say.code == 0 || (b->say.code >= 200 && b->say.code <= 599 && b->say.text));
		assert(b->rate == 0 || b->rate_per > 0);
	}
	assert(n == p->n_rules);
}

static void ignore(const char *name, const char *about, void *context)
{
	assert(name && about);
}

static void change(struct arena *a, const char *text)
{
	static const char one[] = "gmail:\n  lists: {blocked: [192.0.2.0/24]}\n  rules:\n"
				  "    - {name: unusual-rate, at: dot, client: blocked, rate: 100 per 1m by client, say: 421 4.7.28 no}\n";
	struct provider *p;
	char *why = NULL;
	int r = provider_read("one.yaml", slice_from(one), "gmail", a, &p, &why);

	assert(r == 0);
	r = provider_set(p, text, &why);
	assert(r == 0 || (r == -EINVAL && why) || r == -ENOENT);
	free(why);
	r = provider_set_list(p, text);
	assert(r == 0 || r == -EINVAL || r == -ENOENT);
	look_at(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_new((const char *) data, size);
	struct arena *a = NULL;
	struct provider *p;
	char *why = NULL, *copy = slice_dup(text);
	int r;

	if (!copy || arena_new(0, &a) < 0)
		abort();
	r = provider_read("fuzz.yaml", text, NULL, a, &p, &why);
	assert(r == 0 || (r == -EINVAL && why) || r == -ENOENT);
	if (r == 0)
		look_at(p);
	free(why);
	why = NULL;
	r = provider_names("fuzz.yaml", text, ignore, NULL, &why);
	assert(r == 0 || (r == -EINVAL && why) || r == -ENOENT);
	free(why);
	change(a, copy);
	arena_free(a);
	free(copy);
	return 0;
}
