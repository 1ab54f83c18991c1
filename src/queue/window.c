#include "queue/window.h"

void window_init(struct window *w, unsigned initial, unsigned max)
{
	max = MAX(max, 1u);
	initial = MIN(MAX(initial, 1u), max);
	*w = (struct window) { .size = initial, .initial = initial, .max = max, .threshold = max };
}

void window_limit(struct window *w, unsigned initial, unsigned max)
{
	bool unhurt = w->threshold == w->max;

	w->max = MAX(max, 1u);
	w->initial = MIN(MAX(initial, 1u), w->max);
	w->size = MIN(w->size, w->max);
	w->threshold = unhurt ? w->max : MIN(w->threshold, w->max);
}

void window_success(struct window *w, unsigned busy)
{
	unsigned needed = w->size >= w->threshold ? w->size * WINDOW_SLOW : w->size;

	if (w->size >= w->max || busy < w->size)
		return;
	if (++w->successes < needed)
		return;
	w->successes = 0;
	w->size++;
	/* It holds at this width, so the wall stands further away than we thought. */
	if (w->size > w->threshold)
		w->threshold = w->size;
}

static void window_close(struct window *w)
{
	unsigned half = MAX(w->size / 2, 1u);

	w->threshold = MAX((w->size + half) / 2, 1u);
	w->size = half;
	w->successes = 0;
}

void window_failure(struct window *w)
{
	window_close(w);
}

void window_throttled(struct window *w)
{
	window_close(w);
}

void window_slow(struct window *w)
{
	w->successes = 0;
	if (w->slow++ % w->size != 0 || w->size == 1)
		return;
	w->size -= MAX(w->size / 4, 1u);
	w->threshold = w->size;
	w->slow = 1;
}

void window_recall(struct window *w, unsigned size, unsigned threshold, bool fresh)
{
	w->size = MAX(MIN(size, fresh ? w->max : w->initial), 1u);
	w->threshold = MAX(MIN(threshold, w->max), 1u);
}

void window_restart(struct window *w)
{
	w->size = MIN(w->size, w->initial);
	w->successes = 0;
}
