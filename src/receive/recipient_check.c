#include "receive/recipient_check.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "world/fiber.h"

#define ENTRIES 50000u
#define TROUBLE_FOR (30 * USEC_SEC) /* so long a verifier that can't say is left alone about an address */
#define TEXT_MAX 300u

struct entry {
	struct hash_node node;
	struct link link; /* the oldest first */
	usec_t until;
	enum verify_status status;
	int code;
	int enhanced[3];
	char *by, *text; /* behind the address, in the same piece of memory */
	char address[];
};
struct recipient_memory {
	struct world *world;
	pthread_mutex_t lock;
	struct hash_key key;
	struct hash table;
	struct list entries;
};

int recipient_memory_new(struct world *w, struct recipient_memory **ret)
{
	struct recipient_memory *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->world = w;
	pthread_mutex_init(&m->lock, NULL);
	world_random(w, &m->key, sizeof(m->key));
	list_init(&m->entries);
	*ret = m;
	return 0;
}

static void forget(struct recipient_memory *m, struct entry *e)
{
	hash_remove(&m->table, &e->node);
	link_remove(&e->link);
	free(e);
}

void recipient_memory_free(struct recipient_memory *m)
{
	if (!m)
		return;
	for (LIST_EACH_SAFE(&m->entries, k))
		forget(m, container_of(k, struct entry, link));
	hash_done(&m->table);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static struct entry *find(struct recipient_memory *m, uint64_t hash, const char *address)
{
	for (struct hash_node *n = hash_find(&m->table, hash); n; n = hash_find_next(n)) {
		struct entry *e = container_of(n, struct entry, node);

		if (strcmp(e->address, address) == 0)
			return e;
	}
	return NULL;
}

/* 1 with *ret, 0 when it isn't known, -ENOMEM. */
static int recall(struct recipient_memory *m, uint64_t hash, const char *address, struct arena *a, struct verify_result *ret)
{
	struct verify_result result;
	struct entry *e;
	int r = 0;

	pthread_mutex_lock(&m->lock);
	e = find(m, hash, address);
	if (e && e->until > world_now(m->world)) {
		result = (struct verify_result) {
			.status = e->status,
			.by = arena_strdup(a, e->by),
			.reply = { .code = e->code, .enhanced = { e->enhanced[0], e->enhanced[1], e->enhanced[2] }, .text = arena_strdup(a, e->text) },
		};
		r = result.by && result.reply.text ? 1 : -ENOMEM;
	}
	pthread_mutex_unlock(&m->lock);
	if (r > 0)
		*ret = result;
	return r;
}

static struct entry *entry_new(const char *address, const struct verify_result *v, usec_t until)
{
	size_t address_len = strlen(address) + 1, by_len = strlen(v->by ? v->by : "") + 1;
	size_t text_len = strnlen(v->reply.text ? v->reply.text : "", TEXT_MAX) + 1;
	struct entry *e = calloc(1, sizeof(*e) + address_len + by_len + text_len);

	if (!e)
		return NULL;
	memcpy(e->address, address, address_len);
	e->by = e->address + address_len;
	e->text = e->by + by_len;
	memcpy(e->by, v->by ? v->by : "", by_len);
	memcpy(e->text, v->reply.text ? v->reply.text : "", text_len - 1);
	e->until = until;
	e->status = v->status;
	e->code = v->reply.code;
	memcpy(e->enhanced, v->reply.enhanced, sizeof(e->enhanced));
	return e;
}

/* Without memory nothing is remembered: the next one asks again. */
static void remember(struct recipient_memory *m, const struct recipient_check_config *config, uint64_t hash, const char *address,
		     const struct verify_result *v)
{
	usec_t life = v->status == VERIFY_EXISTS ? config->positive : v->status == VERIFY_MISSING ? config->negative : TROUBLE_FOR;
	struct entry *e = entry_new(address, v, deadline_after(world_now(m->world), life)), *old;

	if (!e)
		return;
	pthread_mutex_lock(&m->lock);
	old = find(m, hash, address);
	if (old)
		forget(m, old);
	while (m->table.len >= (config->entries ? config->entries : ENTRIES))
		forget(m, container_of(list_first(&m->entries), struct entry, link));
	if (hash_insert(&m->table, &e->node, hash) < 0)
		free(e);
	else
		list_append(&m->entries, &e->link);
	pthread_mutex_unlock(&m->lock);
}

int recipient_verify(struct recipient_memory *m, const struct recipient_check_config *config, const struct verifier *verifier,
		     const struct hop *hop, const char *address, struct arena *a, struct verify_result *ret, bool *ret_remembered)
{
	uint64_t hash = hash_bytes(&m->key, address, strlen(address));
	int r = recall(m, hash, address, a, ret);

	*ret_remembered = r > 0;
	if (r != 0)
		return r < 0 ? r : 0;
	*ret = (struct verify_result) { .status = VERIFY_UNKNOWN };
	if (!verifier->verify)
		return 0;
	r = verifier->verify(verifier->context, hop, address, config->sender ? config->sender : "", deadline_after(now(), config->timeout), a, ret);
	if (r == 0 && ret->status != VERIFY_UNKNOWN)
		remember(m, config, hash, address, ret);
	return r;
}
