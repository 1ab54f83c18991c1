#include "spool/handover.h"

/* --- waiters ------------------------------------------------------------------------------------------- */

/* Runs on the loop of all waiters of the chain. */
static void waiters_posted(struct post *p)
{
	struct waiter *next;

	for (struct waiter *w = container_of(p, struct waiter, post); w; w = next) {
		next = w->next;
		w->done = true;
		if (w->fiber)
			fiber_wake(w->fiber);
	}
}

void waiter_init(struct waiter *w)
{
	*w = (struct waiter) { .loop = loop_current(), .post.run = waiters_posted };
	assert(w->loop && fiber_self());
}

int waiter_wait(struct waiter *w, const char *what)
{
	w->fiber = fiber_self();
	while (!w->done)
		fiber_wait_uncancellable(what);
	return w->result;
}

void waiter_batch_add(struct waiter_batch *b, struct waiter *w, int result)
{
	unsigned i = 0;

	w->result = result;
	w->next = NULL;
	while (i < b->count && b->loops[i].loop != w->loop)
		i++;
	if (i == WAITER_LOOPS) {
		loop_post(w->loop, &w->post);
		return;
	}
	if (i == b->count) {
		b->count++;
		b->loops[i].loop = w->loop;
		b->loops[i].first = w;
	} else
		b->loops[i].last->next = w;
	b->loops[i].last = w;
}

void waiter_batch_post(struct waiter_batch *b)
{
	for (unsigned i = 0; i < b->count; i++)
		loop_post(b->loops[i].loop, &b->loops[i].first->post);
	b->count = 0;
}

/* --- items --------------------------------------------------------------------------------------------- */

void item_list_append(struct item_list *l, struct item *i)
{
	i->next = NULL;
	if (l->first)
		l->last->next = i;
	else
		l->first = i;
	l->last = i;
}

void item_list_splice(struct item_list *to, struct item_list *from)
{
	if (!from->first)
		return;
	if (to->first)
		to->last->next = from->first;
	else
		to->first = from->first;
	to->last = from->last;
	*from = (struct item_list) { NULL, NULL };
}

void item_list_splice_front(struct item_list *to, struct item_list *from)
{
	item_list_splice(from, to);
	*to = *from;
	*from = (struct item_list) { NULL, NULL };
}

struct item *item_list_pop(struct item_list *l)
{
	struct item *i = l->first;

	if (i)
		l->first = i->next;
	return i;
}

/* The inbox has the newest in front, so what is pushed together is turned round first. */
void inbox_push(struct inbox *b, struct item *first)
{
	struct item *front = NULL, *head = atomic_load_explicit(&b->newest, memory_order_relaxed);
	struct item *last = first;

	for (struct item *i = first, *next; i; i = next) {
		next = i->next;
		i->next = front;
		front = i;
	}
	do
		last->next = head;
	while (!atomic_compare_exchange_weak(&b->newest, &head, front));
}

bool inbox_empty(struct inbox *b)
{
	return atomic_load(&b->newest) == NULL;
}

void inbox_take(struct inbox *b, struct item_list *to)
{
	struct item_list taken = { NULL, NULL };
	struct item *i = atomic_exchange(&b->newest, NULL);

	taken.last = i;
	while (i) {
		struct item *next = i->next;

		i->next = taken.first;
		taken.first = i;
		i = next;
	}
	item_list_splice(to, &taken);
}

/* --- waking --------------------------------------------------------------------------------------------- */

static void waker_posted(struct post *p)
{
	struct waker *w = container_of(p, struct waker, post);

	atomic_store(&w->state, WAKER_AWAKE);
	cond_signal(&w->cond);
}

void waker_init(struct waker *w, struct loop *loop)
{
	*w = (struct waker) { .loop = loop, .post.run = waker_posted };
	cond_init(&w->cond);
}

void waker_wake(struct waker *w, bool lazy)
{
	int state = atomic_load(&w->state);

	while (state == WAKER_ASLEEP || (state == WAKER_DOZING && !lazy))
		if (atomic_compare_exchange_weak(&w->state, &state, WAKER_POSTED)) {
			loop_post(w->loop, &w->post);
			return;
		}
}

int waker_sleep(struct waker *w, bool doze, bool (*idle)(void *context), void *context, const char *what,
		usec_t deadline)
{
	int state = WAKER_AWAKE, r = 0;

	/* A post that is still under way will signal the condition: then there is nothing to announce. */
	if (atomic_compare_exchange_strong(&w->state, &state, doze ? WAKER_DOZING : WAKER_ASLEEP) && !idle(context)) {
		state = doze ? WAKER_DOZING : WAKER_ASLEEP;
		(void) atomic_compare_exchange_strong(&w->state, &state, WAKER_AWAKE);
		return 0;
	}
	r = cond_wait(&w->cond, what, deadline);
	state = atomic_load(&w->state);
	while ((state == WAKER_ASLEEP || state == WAKER_DOZING) &&
	       !atomic_compare_exchange_weak(&w->state, &state, WAKER_AWAKE))
		;
	return r;
}
