#include "queue/message.h"

#include <stdlib.h>

int message_new(msgid_t id, unsigned n_recipients, char *packed, size_t packed_len, struct message **ret)
{
	struct message *m = NULL;

	if (packed_len <= UINT32_MAX)
		m = calloc(1, sizeof(*m) + (size_t) n_recipients * sizeof(m->recipients[0]));
	if (!m) {
		free(packed);
		return -ENOMEM;
	}
	m->entry.id = id;
	heap_node_init(&m->due);
	m->packed = packed;
	m->packed_len = (uint32_t) packed_len;
	m->n_recipients = m->open = n_recipients;
	*ret = m;
	return 0;
}

void message_free(struct message *m)
{
	if (!m)
		return;
	for (unsigned i = 0; i < m->n_recipients; i++)
		free(m->recipients[i].last);
	free(m->packed);
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
	return m->open == 0 && !m->jobs && !(m->flags & (MESSAGE_WORKING | MESSAGE_STRANGE)) && !message_owes(m);
}

usec_t message_time(const struct message *m, usec_t after)
{
	int64_t t;

	if (after > INT64_MAX || __builtin_add_overflow(m->arrived, (int64_t) after, &t))
		return DEADLINE_NEVER;
	return t > 0 ? (usec_t) t : 0;
}
