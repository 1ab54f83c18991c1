/* The public functions of world.h: each hands over to the world that it was given. */
#include "world/loop.h"

usec_t world_now(struct world *w)
{
	return w->ops->now(w);
}

wall_t world_wall(struct world *w)
{
	return w->ops->wall(w);
}

void world_memory(struct world *w, struct world_memory *ret)
{
	*ret = (struct world_memory) { 0 };
	if (w->ops->memory)
		w->ops->memory(w, ret);
}

void world_random(struct world *w, void *out, size_t len)
{
	w->ops->random(w, out, len);
}

uint64_t world_random_below(struct world *w, uint64_t n)
{
	uint64_t v, limit;

	if (n == 0)
		return 0;
	limit = UINT64_MAX - UINT64_MAX % n; /* below it, every remainder is equally likely */
	do
		w->ops->random(w, &v, sizeof(v));
	while (v >= limit);
	return v % n;
}

const struct log *world_log(struct world *w)
{
	return w->log;
}

bool world_is_simulated(const struct world *w)
{
	return w->simulated;
}

void world_free(struct world *w)
{
	if (w)
		w->ops->free(w);
}

int world_offload(struct world *w, int (*fn)(void *), void *arg)
{
	struct loop *l = loop_current();

	if (w->simulated || !l || !l->running)
		return fn(arg);
	return w->ops->offload(w, fn, arg);
}

int program_start(struct world *w, const struct program_options *o, struct program **ret)
{
	return w->ops->program_start ? w->ops->program_start(w, o, ret) : -ENOSYS;
}

int fiber_wait_fd(int fd, unsigned what, usec_t deadline)
{
	struct loop *l = loop_current();

	assert(l && l->running);
	return l->world->ops->wait_fd(l, fd, what, deadline);
}
