#include "queue/recipient.h"

#include <stdio.h>
#include <stdlib.h>

#include "mail/text.h"

struct last_reply *last_reply_new(const struct outcome *o, wall_t at)
{
	struct slice host = slice_head(slice_from(o->host), LAST_HOST_MAX);
	struct slice text = text_head(slice_from(o->reply.text), LAST_TEXT_MAX);
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

void recipient_set_last(struct recipient *r, struct last_reply *l)
{
	if (!l)
		return;
	free(r->last);
	r->last = l;
}
