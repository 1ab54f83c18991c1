#include "queue/path.h"

#include <stdlib.h>

const struct hop *hop_keep(const struct hop *h, void *room)
{
	return h->kind == HOP_HOST ? memcpy(room, h, sizeof(*h)) : h;
}

static size_t text_size(const char *s)
{
	return s ? strlen(s) + 1 : 0;
}

/* Copies a text to *at and moves that behind it. */
static const char *keep(const char *s, char **at)
{
	size_t n = text_size(s);
	char *copy = *at;

	if (!s)
		return NULL;
	memcpy(copy, s, n);
	*at += n;
	return copy;
}

struct path *path_new(const struct hop *hop, const struct target *t)
{
	size_t hosts = t->n_hosts * sizeof(struct target_host), texts = text_size(t->site) + text_size(t->domain);
	struct path *p;
	char *at;

	for (unsigned i = 0; i < t->n_hosts; i++)
		texts += text_size(t->hosts[i].name);
	/* What has to be aligned comes first. */
	p = malloc(sizeof(*p) + hop_room(hop) + hosts + texts);
	if (!p)
		return NULL;
	*p = (struct path) { .target = *t };
	atomic_init(&p->references, 1);
	p->hop = hop_keep(hop, p + 1);
	p->target.hosts = (struct target_host *) ((char *) (p + 1) + hop_room(hop));
	at = (char *) p->target.hosts + hosts;
	p->target.site = keep(t->site, &at);
	p->target.domain = keep(t->domain, &at);
	p->target.why = NULL;
	for (unsigned i = 0; i < t->n_hosts; i++) {
		p->target.hosts[i] = t->hosts[i];
		p->target.hosts[i].name = keep(t->hosts[i].name, &at);
	}
	return p;
}

void path_unref(struct path *p)
{
	if (p && atomic_fetch_sub_explicit(&p->references, 1, memory_order_acq_rel) == 1)
		free(p);
}
