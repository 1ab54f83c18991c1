/* The portable switch, by swapcontext: for machines without an assembler file of their own. It costs two
 * system calls for the signal mask per switch. */
#include "world/context.h"

#include <stdlib.h>
#include <ucontext.h>

struct portable {
	ucontext_t uc;
	void (*start)(void *arg);
	void *arg;
};

/* makecontext passes ints only, so the pointer travels in two halves. */
static void first_frame(unsigned high, unsigned low)
{
	struct portable *p = (struct portable *) (((uintptr_t) high << 32) | (uintptr_t) low);

	p->start(p->arg);
	abort();
}

void *context_prepare(void *stack, size_t size, void (*start)(void *), void *arg)
{
	/* It lives at the low end of the stack that it describes. */
	struct portable *p = stack;
	uintptr_t bits = (uintptr_t) p;

	if (getcontext(&p->uc) < 0)
		abort();
	p->start = start;
	p->arg = arg;
	p->uc.uc_stack.ss_sp = (char *) stack + sizeof(*p);
	p->uc.uc_stack.ss_size = size - sizeof(*p);
	p->uc.uc_link = NULL;
	makecontext(&p->uc, (void (*)(void)) first_frame, 2, (unsigned) (bits >> 32), (unsigned) bits);
	return p;
}

void *context_prepare_thread(void)
{
	return calloc(1, sizeof(struct portable));
}

/* A fiber's lives on its stack; only a thread's was allocated, and that is never released by a fiber. */
void context_release(void *sp)
{
	(void) sp;
}

void context_swap(void **save_sp, void *load_sp)
{
	struct portable *from = *save_sp, *to = load_sp;

	if (swapcontext(&from->uc, &to->uc) < 0)
		abort();
}
