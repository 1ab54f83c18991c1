/* A context is a place to go on: a stack pointer and what sanitizers must know about the stack.
 *
 * context_init prepares a fresh stack whose first switch calls entry(arg); context_switch saves the
 * caller's place in `from` and goes on in `to`. The switch itself is fifteen instructions in its own
 * assembler file for x86-64 and AArch64 (context_*.S); elsewhere, or with -Ducontext=true, it is
 * swapcontext (context_ucontext.c), slower by a system call.
 *
 * Only the registers that the ABI calls callee-saved are kept; the floating-point control words are not:
 * nothing in the program changes rounding modes. The assembler file carries no shadow-stack note, so the
 * linker leaves shadow stacks off for the whole program. */
#pragma once

#include "base/macro.h"

struct context {
	void *sp; /* saved stack pointer; of the ucontext variant: where the ucontext_t lies */
	void (*entry)(void *arg);
	void *arg;
	struct context *came_from;
	const void *stack_bottom; /* for AddressSanitizer */
	size_t stack_size;
	void *fake_stack;
	void *tsan_fiber; /* for ThreadSanitizer */
};

/* stack: lowest byte, aligned to 16; size a multiple of 16. entry must not return: its last act is a switch
 * with from_ends. */
void context_init(struct context *c, void *stack, size_t size, void (*entry)(void *arg), void *arg);
/* The thread's own stack, to come back to. */
void context_init_thread(struct context *c);
/* Frees what context_init took (not the stack), after the context's last switch. */
void context_done(struct context *c);
/* from_ends: `from` will never be switched to again. */
void context_switch(struct context *from, struct context *to, bool from_ends);

/* In the .S files (or context_ucontext.c). */
void context_swap(void **save_sp, void *load_sp);
void *context_prepare(void *stack, size_t size, void (*start)(void *), void *arg);
