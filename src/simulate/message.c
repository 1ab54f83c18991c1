#include <stdio.h>
#include <stdlib.h>

#include "mail/header.h"
#include "simulate/session.h"
#include "world/file.h"

static int open_file(struct simulated_session *x)
{
	struct simulator *s = x->simulator;
	struct simulated_message *m = &x->message;
	const char *dir = s->options.maildir;
	int r;

	if (asprintf(&m->path, "%s/tmp/%s", dir, m->id) < 0) {
		m->path = NULL;
		return -ENOMEM;
	}
	if (asprintf(&m->final, "%s/new/%s", dir, m->id) < 0) {
		m->final = NULL;
		return -ENOMEM;
	}
	r = file_open(s->world, m->path, FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE | FILE_APPEND, 0600, &m->file);
	if (r < 0)
		free(TAKE_PTR(m->path));
	return r;
}

int simulated_take_content(void *context, struct slice data)
{
	struct simulated_session *x = context;
	struct simulated_message *m = &x->message;

	m->octets += data.len;
	if (m->head.len < SIMULATED_HEAD_MAX)
		buffer_append_slice(&m->head, slice_head(data, SIMULATED_HEAD_MAX - m->head.len));
	if (buffer_error(&m->head) < 0)
		return -ENOMEM;
	if (!x->simulator->options.maildir)
		return 0;
	if (!m->file) {
		int r = open_file(x);

		if (r < 0)
			return r;
	}
	return file_append(m->file, data);
}

struct slice simulated_field(const struct simulated_session *x, const char *name)
{
	struct slice rest = buffer_slice(&x->message.head);
	struct header_field field;

	while (header_next(&rest, &field))
		if (slice_ieq_str(field.name, name))
			return slice_trim(field.value);
	return SLICE_NULL;
}

void simulated_message_forget(struct simulated_session *x)
{
	struct simulated_message *m = &x->message;

	if (m->begun)
		x->simulator->in_progress--;
	file_close(m->file);
	if (m->path)
		(void) path_unlink(x->simulator->world, m->path);
	free(m->path);
	free(m->final);
	buffer_done(&m->head);
	arena_reset(x->mail_arena);
	*m = (struct simulated_message) { 0 };
	snprintf(m->id, sizeof(m->id), "%016llx", (unsigned long long) x->simulator->next_id++);
}

int simulated_message_keep(struct simulated_session *x)
{
	struct simulator *s = x->simulator;
	struct simulated_message *m = &x->message;
	int r = 0;

	if (m->path) {
		file_close(TAKE_PTR(m->file));
		r = path_rename(s->world, m->path, m->final);
		if (r < 0)
			return r;
		free(TAKE_PTR(m->path));
	}
	s->seen.messages++;
	s->seen.recipients += m->n_recipients;
	s->seen.octets += m->octets;
	x->client->messages++;
	x->messages++;
	return 0;
}
