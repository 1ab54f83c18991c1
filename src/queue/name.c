#include "queue/name.h"

#include <stdlib.h>

#include "base/wildcard.h"

#define NAME_MAX_LEN 255u

static struct name *find(struct hash *table, uint64_t hash, struct slice text)
{
	for (struct hash_node *n = hash_find(table, hash); n; n = hash_find_next(n)) {
		struct name *found = container_of(n, struct name, node);

		if (slice_ieq(slice_new(found->text, found->len), text))
			return found;
	}
	return NULL;
}

struct name *name_of(struct hash *table, const struct hash_key *key, const char *address)
{
	const char *at = strchr(address, '@');
	struct slice text;
	struct name *n;
	uint64_t hash;

	if (!at || strchr(at + 1, '@'))
		return NULL;
	text = slice_from(at + 1);
	if (text.len > NAME_MAX_LEN)
		return NULL;
	hash = hash_bytes_nocase(key, text.data, text.len);
	n = find(table, hash, text);
	if (n) {
		n->references++;
		return n;
	}
	n = malloc(sizeof(*n) + text.len + 1);
	if (!n)
		return NULL;
	*n = (struct name) { .table = table, .references = 1, .len = (uint16_t) text.len };
	for (size_t i = 0; i < text.len; i++)
		n->text[i] = ascii_lower(text.data[i]);
	n->text[text.len] = '\0';
	if (hash_insert(table, &n->node, hash) < 0) {
		free(n);
		return NULL;
	}
	return n;
}

void name_unref(struct name *n)
{
	if (!n || --n->references > 0)
		return;
	hash_remove(n->table, &n->node);
	free(n);
}

/* The address has one @, so the last one of the pattern can stand for that alone, and what follows it for the
 * domain. Of a pattern without @ nothing can be said. */
bool name_may_match(const struct name *domain, const char *pattern)
{
	const char *at = strrchr(pattern, '@');

	return !domain || !at || wildcard_match(slice_from(at + 1), slice_new(domain->text, domain->len));
}
