#include "deliver/login_notes.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/slice.h"

struct note {
	struct link link;
	char relay[];
};

struct login_notes {
	const struct log *log;
	atomic_uint failing; /* length of the list: mostly 0, and then nobody need lock */
	pthread_mutex_t lock;
	struct list list;
};

int login_notes_new(const struct log *log, struct login_notes **ret)
{
	struct login_notes *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	n->log = log;
	pthread_mutex_init(&n->lock, NULL);
	list_init(&n->list);
	*ret = n;
	return 0;
}

void login_notes_free(struct login_notes *n)
{
	struct link *k;

	if (!n)
		return;
	while ((k = list_pop(&n->list)))
		free(container_of(k, struct note, link));
	pthread_mutex_destroy(&n->lock);
	free(n);
}

/* With the lock. */
static struct note *find(struct login_notes *n, const char *relay)
{
	for (struct link *k = list_first(&n->list); k; k = list_next(&n->list, k)) {
		struct note *note = container_of(k, struct note, link);

		if (strcmp(note->relay, relay) == 0)
			return note;
	}
	return NULL;
}

/* With the lock. Without memory it is said again the next time. */
static void add(struct login_notes *n, const char *relay)
{
	size_t size = strlen(relay) + 1;
	struct note *note = malloc(sizeof(*note) + size);

	if (!note)
		return;
	note->link = (struct link) { NULL, NULL };
	memcpy(note->relay, relay, size);
	list_append(&n->list, &note->link);
	atomic_fetch_add(&n->failing, 1);
}

void login_note_failed(struct login_notes *n, const char *relay, const char *host, const char *why)
{
	bool news;

	pthread_mutex_lock(&n->lock);
	news = !find(n, relay);
	if (news)
		add(n, relay);
	pthread_mutex_unlock(&n->lock);
	if (news)
		LOG(n->log, LOG_WARNING, "logging in to a relay does not work, so that its mail waits", F_STR("relay", relay),
		    F_STR("host", host), F_STR("reason", why));
}

void login_note_worked(struct login_notes *n, const char *relay, const char *host)
{
	struct note *note;

	if (atomic_load_explicit(&n->failing, memory_order_relaxed) == 0)
		return;
	pthread_mutex_lock(&n->lock);
	note = find(n, relay);
	if (note) {
		link_remove(&note->link);
		atomic_fetch_sub(&n->failing, 1);
	}
	pthread_mutex_unlock(&n->lock);
	if (note)
		LOG(n->log, LOG_NOTICE, "logging in to a relay works again", F_STR("relay", relay), F_STR("host", host));
	free(note);
}
