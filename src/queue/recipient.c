#include "queue/recipient.h"

#include <stdio.h>
#include <stdlib.h>

struct last_reply *last_reply_new(const struct outcome *o, wall_t at)
{
	struct slice host = slice_head(slice_from(o->host), LAST_HOST_MAX);
	struct slice text = slice_head(slice_from(o->reply.text), LAST_TEXT_MAX);
	struct last_reply *l = malloc(sizeof(*l) + host.len + text.len + 2);

	if (!l)
		return NULL;
	*l = (struct last_reply) {
		.at = at,
		.code = (uint16_t) (o->reply.code >= 0 && o->reply.code <= 999 ? o->reply.code : 0),
		.class = (uint8_t) o->class,
		.stage = (uint8_t) o->stage,
		.from_remote = o->from_remote,
		.ip = o->ip,
		.host_len = (uint16_t) host.len,
		.text_len = (uint16_t) text.len,
	};
	for (unsigned i = 0; i < 3; i++)
		l->enhanced[i] =
			(uint16_t) (o->reply.enhanced[i] >= 0 && o->reply.enhanced[i] <= 999 ? o->reply.enhanced[i]
											     : 0);
	slice_copy(host, l->data, host.len + 1);
	slice_copy(text, l->data + host.len + 1, text.len + 1);
	return l;
}

const char *last_reply_describe(const struct last_reply *l, char *out, size_t size)
{
	int n = 0;

	if (l->code > 0)
		n = snprintf(out, size, "%u ", l->code);
	if (l->code > 0 && l->enhanced[0] > 0 && n >= 0 && (size_t) n < size)
		n += snprintf(out + n, size - (size_t) n, "%u.%u.%u ", l->enhanced[0], l->enhanced[1],
			      l->enhanced[2]);
	if (n >= 0 && (size_t) n < size)
		snprintf(out + n, size - (size_t) n, "%s", last_text(l));
	return out;
}

void recipient_set_last(struct recipient *r, struct last_reply *l)
{
	if (!l)
		return;
	free(r->last);
	r->last = l;
}
