/* void context_swap(void **save_sp, void *load_sp)
 *
 * System V ABI for x86-64: rbx, rbp and r12 to r15 belong to the caller; everything else may be lost over
 * a call. This file has no shadow-stack note on purpose (world/context.h). */
	.text
	.globl	context_swap
	.type	context_swap, @function
	.p2align 4
context_swap:
	endbr64
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret
	.size	context_swap, .-context_swap

/* The first frame of a fiber: calls r12(r13), which never returns. Backtraces end here. */
	.globl	context_first_frame
	.type	context_first_frame, @function
	.p2align 4
context_first_frame:
	.cfi_startproc
	.cfi_undefined rip
	endbr64
	movq	%r13, %rdi
	callq	*%r12
	ud2
	.cfi_endproc
	.size	context_first_frame, .-context_first_frame

	.section .note.GNU-stack,"",@progbits
