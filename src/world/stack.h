/* Stacks for fibers: mapped many at a time, a guard page below each, used again. What was never used costs
 * address space alone.
 *
 * Guards are set with MADV_GUARD_INSTALL where the kernel has it (6.13), which needs no mapping of its own,
 * else with mprotect. A stack that comes back to the pool keeps its pages while the pool is small; beyond
 * that its pages go back to the kernel. */
#pragma once

#include "base/macro.h"

struct stack_pool;
int stack_pool_new(size_t stack_size, struct stack_pool **ret);
void stack_pool_free(struct stack_pool *p); /* all stacks must have come back */
/* Lowest usable byte; the usable size is stack_pool_size. NULL when there is no memory. */
void *stack_get(struct stack_pool *p);
void stack_put(struct stack_pool *p, void *stack);
size_t stack_pool_size(const struct stack_pool *p);
/* Gives the kernel back the pages between the lowest byte of the stack and `down_to`, which nobody needs
 * while the fiber waits above it. */
void stack_trim(struct stack_pool *p, void *stack, void *down_to);
