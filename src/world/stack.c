#include "world/stack.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory_check.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#define STACKS_PER_MAPPING 64
#define WARM_STACKS 128 /* free stacks that keep their pages */

struct mapping {
	struct mapping *next;
	void *base;
	size_t size;
};

/* What a free stack holds at its upper end, on a page that is in use anyway. Once used, all below is closed to memory
 * checkers, which then see who still points into the stack of a fiber that has ended. */
struct free_stack {
	void *next;
	size_t closed; /* bytes */
};

struct stack_pool {
	size_t page, stack_size; /* usable bytes, without the guard */
	void *free;
	unsigned n_free;
	unsigned n_fresh; /* of the newest mapping, at its upper end: never used, without a guard so far, and no page touched */
	struct mapping *mappings;
	bool guard_by_madvise;
};

static struct free_stack *link_of(const struct stack_pool *p, void *stack)
{
	return (struct free_stack *) ((char *) stack + p->stack_size - sizeof(struct free_stack));
}

static void push(struct stack_pool *p, void *stack)
{
	link_of(p, stack)->next = p->free;
	p->free = stack;
	p->n_free++;
}

static int install_guard(struct stack_pool *p, void *at)
{
	if (p->guard_by_madvise) {
		if (madvise(at, p->page, MADV_GUARD_INSTALL) == 0)
			return 0;
		p->guard_by_madvise = false; /* an older kernel */
	}
	return mprotect(at, p->page, PROT_NONE) < 0 ? -errno : 0;
}

static int add_mapping(struct stack_pool *p)
{
	struct mapping *m = malloc(sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->size = (p->stack_size + p->page) * STACKS_PER_MAPPING;
	m->base = mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (m->base == MAP_FAILED) {
		free(m);
		return -ENOMEM;
	}
	/* With transparent huge pages set to "always", one touched page would bring 2 MiB. */
	(void) madvise(m->base, m->size, MADV_NOHUGEPAGE);
	m->next = p->mappings;
	p->mappings = m;
	p->n_fresh = STACKS_PER_MAPPING;
	return 0;
}

/* A loop with a handful of fibers pays for a handful of stacks. */
static void *take_fresh(struct stack_pool *p)
{
	char *at;

	if (p->n_fresh == 0 && add_mapping(p) < 0)
		return NULL;
	at = (char *) p->mappings->base + (STACKS_PER_MAPPING - p->n_fresh) * (p->stack_size + p->page);
	if (install_guard(p, at) < 0)
		return NULL;
	p->n_fresh--;
	return at + p->page;
}

int stack_pool_new(size_t stack_size, struct stack_pool **ret)
{
	struct stack_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->page = (size_t) sysconf(_SC_PAGESIZE);
	p->stack_size = (stack_size + p->page - 1) / p->page * p->page;
	p->guard_by_madvise = true;
	*ret = p;
	return 0;
}

void stack_pool_free(struct stack_pool *p)
{
	struct mapping *m;

	if (!p)
		return;
	for (void *stack = p->free; stack; stack = link_of(p, stack)->next)
		memory_open(stack, link_of(p, stack)->closed); /* others will get these addresses */
	while ((m = p->mappings)) {
		p->mappings = m->next;
		(void) munmap(m->base, m->size);
		free(m);
	}
	free(p);
}

void *stack_get(struct stack_pool *p)
{
	void *stack;

	if (p->free) {
		stack = p->free;
		p->free = link_of(p, stack)->next;
		p->n_free--;
	} else {
		stack = take_fresh(p);
		if (!stack)
			return NULL;
	}
	memory_open(stack, p->stack_size);
	return stack;
}

void stack_put(struct stack_pool *p, void *stack)
{
	if (p->n_free >= WARM_STACKS)
		stack_trim(p, stack, (char *) stack + p->stack_size - p->page);
	push(p, stack);
	link_of(p, stack)->closed = p->stack_size - sizeof(struct free_stack);
	memory_close(stack, link_of(p, stack)->closed);
}

size_t stack_pool_size(const struct stack_pool *p)
{
	return p->stack_size;
}

void stack_trim(struct stack_pool *p, void *stack, void *down_to)
{
	uintptr_t end = (uintptr_t) down_to & ~(uintptr_t) (p->page - 1);

	if (end > (uintptr_t) stack)
		(void) madvise(stack, end - (uintptr_t) stack, MADV_DONTNEED);
}
