#include "queue/job.h"

#include <stdlib.h>

struct job *job_new(struct home *h, struct message *m, unsigned capacity)
{
	struct job *j = calloc(1, sizeof(*j) + capacity * sizeof(j->recipients[0]));

	if (!j)
		return NULL;
	j->home = h;
	j->message = m;
	j->capacity = capacity;
	return j;
}

struct job *job_shrink(struct job *j)
{
	struct job *smaller;

	if (j->n == j->capacity)
		return j;
	smaller = realloc(j, sizeof(*j) + j->n * sizeof(j->recipients[0]));
	if (!smaller)
		return j;
	smaller->capacity = smaller->n;
	return smaller;
}

void job_free(struct job *j)
{
	if (!j)
		return;
	if (j->active)
		arena_free(j->active->delivery.arena);
	path_unref(j->path);
	free(j->why);
	free(j);
}
