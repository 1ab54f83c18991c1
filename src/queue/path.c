#include "queue/path.h"

void path_unref(struct path *p)
{
	if (!p || atomic_fetch_sub_explicit(&p->references, 1, memory_order_acq_rel) > 1)
		return;
	arena_free(p->arena);
}
