/* The portable switch, by swapcontext: for machines without an assembler file of their own. It costs two
 * system calls for the signal mask per switch. */
#include "world/context.h"

#include <stdlib.h>
#include <ucontext.h>

/* A context that was left lies in the frame of context_swap, on its own stack; one that has never run, at the low end
 * of the stack that it describes. */
struct fresh {
	ucontext_t uc;
	void (*start)(void *arg);
	void *arg;
};

/* makecontext passes ints only, so the pointer travels in two halves. */
static void first_frame(unsigned high, unsigned low)
{
	struct fresh *f = (struct fresh *) (((uintptr_t) high << 32) | (uintptr_t) low);

	f->start(f->arg);
	abort();
}

void *context_prepare(void *stack, size_t size, void (*start)(void *), void *arg)
{
	struct fresh *f = stack;
	uintptr_t bits = (uintptr_t) f;

	if (getcontext(&f->uc) < 0)
		abort();
	f->start = start;
	f->arg = arg;
	f->uc.uc_stack.ss_sp = (char *) stack + sizeof(*f);
	f->uc.uc_stack.ss_size = size - sizeof(*f);
	f->uc.uc_link = NULL;
	makecontext(&f->uc, (void (*)(void)) first_frame, 2, (unsigned) (bits >> 32), (unsigned) bits);
	return &f->uc;
}

void context_swap(void **save_sp, void *load_sp)
{
	ucontext_t here;

	here.uc_stack = (stack_t) { 0 }; /* AddressSanitizer's swapcontext reads it */
	*save_sp = &here;
	if (swapcontext(&here, load_sp) < 0)
		abort();
}
