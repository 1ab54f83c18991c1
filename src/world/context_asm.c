/* The first frame of a fresh stack, for the assembler switches: what context_swap will pop. */
#include "world/context.h"

void context_first_frame(void); /* in context_*.S */

#if defined(__x86_64__)
void *context_prepare(void *stack, size_t size, void (*start)(void *), void *arg)
{
	/* From the top: a zero return address that ends backtraces, the address that `ret` takes, then
	 * rbp rbx r12 r13 r14 r15 as context_swap pushes them. On entry of context_first_frame rsp must be
	 * what it is right before a call: a multiple of 16. */
	uintptr_t *top = (uintptr_t *) ((char *) stack + size);

	*--top = 0;
	*--top = 0;
	*--top = (uintptr_t) context_first_frame;
	*--top = 0;                 /* rbp */
	*--top = 0;                 /* rbx */
	*--top = (uintptr_t) start; /* r12 */
	*--top = (uintptr_t) arg;   /* r13 */
	*--top = 0;                 /* r14 */
	*--top = 0;                 /* r15 */
	return top;
}
#elif defined(__aarch64__)
void *context_prepare(void *stack, size_t size, void (*start)(void *), void *arg)
{
	/* x19..x30 and d8..d15 as context_swap stores them: 160 bytes. */
	uintptr_t *frame = (uintptr_t *) ((char *) stack + size - 16 - 160);

	for (int i = 0; i < 20; i++)
		frame[i] = 0;
	frame[0] = (uintptr_t) start;                /* x19 */
	frame[1] = (uintptr_t) arg;                  /* x20 */
	frame[11] = (uintptr_t) context_first_frame; /* x30 */
	return frame;
}
#endif
