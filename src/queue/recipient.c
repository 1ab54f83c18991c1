#include "queue/recipient.h"

#include <stdio.h>
#include <stdlib.h>

#include "mail/text.h"

struct last_reply *last_reply_alloc(struct slice host, struct slice text)
{
	struct last_reply *l = malloc(sizeof(*l) + host.len + text.len + 2);

	if (!l)
		return NULL;
	*l = (struct last_reply) {
		.references = 1, .host_len = (uint16_t) host.len, .text_len = (uint16_t) text.len,
	};
	slice_copy(host, l->data, host.len + 1);
	slice_copy(text, l->data + host.len + 1, text.len + 1);
	return l;
}

static uint16_t three_digits(int n)
{
	return (uint16_t) (n >= 0 && n <= 999 ? n : 0);
}

struct last_reply *last_reply_new(const struct outcome *o)
{
	struct last_reply *l = last_reply_alloc(slice_head(slice_from(o->host), LAST_HOST_MAX),
						text_head(slice_from(o->reply.text), LAST_TEXT_MAX));

	if (!l)
		return NULL;
	l->code = three_digits(o->reply.code);
	for (unsigned i = 0; i < 3; i++)
		l->enhanced[i] = three_digits(o->reply.enhanced[i]);
	l->class = (uint8_t) o->class;
	l->stage = (uint8_t) o->stage;
	l->from_remote = o->from_remote;
	l->ip = o->ip;
	return l;
}

/* --- sharing ---------------------------------------------------------------------------------- */

static bool same(const struct last_reply *a, const struct last_reply *b)
{
	return a->code == b->code && memcmp(a->enhanced, b->enhanced, sizeof(a->enhanced)) == 0 && a->class == b->class &&
	       a->stage == b->stage && a->from_remote == b->from_remote && ip_equal(&a->ip, &b->ip) &&
	       a->host_len == b->host_len && a->text_len == b->text_len &&
	       memcmp(a->data, b->data, (size_t) a->host_len + a->text_len + 2) == 0;
}

struct last_reply *last_reply_share(struct hash *table, const struct hash_key *key, struct last_reply *l)
{
	uint64_t hash;

	if (!l || l->shared)
		return l;
	hash = hash_bytes(key, l->data, (size_t) l->host_len + l->text_len + 2);
	for (struct hash_node *n = hash_find(table, hash); n; n = hash_find_next(n)) {
		struct last_reply *found = container_of(n, struct last_reply, node);

		if (!same(found, l))
			continue;
		free(l);
		return last_reply_ref(found);
	}
	if (hash_insert(table, &l->node, hash) >= 0)
		l->shared = table;
	return l;
}

void last_reply_unref(struct last_reply *l)
{
	if (!l || --l->references > 0)
		return;
	if (l->shared)
		hash_remove(l->shared, &l->node);
	free(l);
}

/* --- saying it -------------------------------------------------------------------------------- */

const char *last_reply_describe(const struct last_reply *l, char *out, size_t size)
{
	char codes[48] = "";
	struct slice text;
	size_t len;

	if (l->code > 0 && l->enhanced[0] > 0)
		snprintf(codes, sizeof(codes), "%u %u.%u.%u ", l->code, l->enhanced[0], l->enhanced[1],
			 l->enhanced[2]);
	else if (l->code > 0)
		snprintf(codes, sizeof(codes), "%u ", l->code);
	len = slice_copy(slice_from(codes), out, size);
	text = text_head(slice_from(last_text(l)), size - len - 1);
	for (size_t i = 0; i < text.len; i++)
		out[len++] = text.data[i] == '\n' ? ' ' : text.data[i];
	if (text.len == 0 && len > 0)
		len--; /* the space behind the codes */
	out[len] = '\0';
	return out;
}

void recipient_set_last(struct recipient *r, struct last_reply *l, wall_t at)
{
	if (!l)
		return;
	last_reply_unref(r->last);
	r->last = l;
	r->last_at = (uint32_t) (at / (wall_t) USEC_SEC);
}
