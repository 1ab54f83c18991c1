#include "queue/message.h"

#include <stdlib.h>

int message_new(struct pool *singles, msgid_t id, unsigned n_recipients, struct message **ret)
{
	struct message *m = n_recipients == 1 ? pool_take(singles)
					      : calloc(1, sizeof(*m) + (size_t) n_recipients * sizeof(m->recipients[0]));

	if (!m)
		return -ENOMEM;
	m->entry.id = id;
	heap_node_init(&m->due);
	m->n_recipients = m->open = n_recipients;
	*ret = m;
	return 0;
}

void message_keep_envelope(struct message *m, char *packed, size_t len)
{
	free(m->packed);
	m->packed = packed;
	m->packed_len = (uint32_t) len;
}

void message_forget_envelope(struct message *m)
{
	free(m->packed);
	m->packed = NULL;
	m->packed_len = 0;
}

void message_free(struct message *m)
{
	if (!m)
		return;
	for (unsigned i = 0; i < m->n_recipients; i++) {
		last_reply_unref(m->recipients[i].last);
		name_unref(m->recipients[i].domain);
	}
	name_unref(m->sender_domain);
	free(m->packed);
	if (m->n_recipients == 1)
		pool_give(m);
	else
		free(m);
}

bool message_owes(const struct message *m)
{
	for (unsigned i = 0; i < m->n_recipients; i++)
		if (m->recipients[i].flags & RECIPIENT_OWES)
			return true;
	return false;
}

bool message_is_over(const struct message *m)
{
	return m->open == 0 && !m->jobs && m->users == 0 && !(m->flags & (MESSAGE_WORKING | MESSAGE_STRANGE)) && !message_owes(m);
}

usec_t message_time(const struct message *m, usec_t after)
{
	int64_t t;

	if (after > INT64_MAX || __builtin_add_overflow(m->arrived, (int64_t) after, &t))
		return DEADLINE_NEVER;
	return t > 0 ? (usec_t) t : 0;
}
