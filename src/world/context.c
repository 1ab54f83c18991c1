/* Switching contexts, and announcing it to the sanitizers. */
#include "world/context.h"

#include "base/memory_check.h"

#if defined(__SANITIZE_THREAD__)
#define WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif

#ifdef WITH_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WITH_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* Before the switch. The last leave of a context passes NULL, which frees its fake stack. */
static void announce_leave(struct context *from, struct context *to, bool from_ends)
{
	to->came_from = from;
#ifdef WITH_ASAN
	__sanitizer_start_switch_fiber(from_ends ? NULL : &from->fake_stack, to->stack_bottom, to->stack_size);
#endif
#ifdef WITH_TSAN
	/* A loop may be stepped by another thread, in a simulation even by another fiber, than the one that made it. */
	from->tsan_fiber = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(to->tsan_fiber, 0);
#endif
}

/* On the new stack. Tells us also where the stack lies that we came from, which is how the bounds of a
 * thread's own stack become known. */
static void announce_arrival(struct context *here)
{
#ifdef WITH_ASAN
	struct context *from = here->came_from;
	__sanitizer_finish_switch_fiber(here->fake_stack, &from->stack_bottom, &from->stack_size);
	here->fake_stack = NULL;
#endif
}

static void start(void *arg)
{
	struct context *c = arg;

	announce_arrival(c);
	c->entry(c->arg);
	__builtin_unreachable();
}

void context_init(struct context *c, void *stack, size_t size, void (*entry)(void *), void *arg)
{
	*c = (struct context) { .entry = entry, .arg = arg, .stack_bottom = stack, .stack_size = size };
#ifdef WITH_TSAN
	c->tsan_fiber = __tsan_create_fiber(0);
#endif
	c->sp = context_prepare(stack, size, start, c);
}

void context_init_thread(struct context *c)
{
	*c = (struct context) { 0 };
}

void context_done(struct context *c)
{
#ifdef WITH_TSAN
	if (c->tsan_fiber && c->entry)
		__tsan_destroy_fiber(c->tsan_fiber);
#endif
	c->sp = NULL;
}

void context_switch(struct context *from, struct context *to, bool from_ends)
{
	announce_leave(from, to, from_ends);
	context_swap(&from->sp, to->sp);
	announce_arrival(from);
}
