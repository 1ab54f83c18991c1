/* void context_swap(void **save_sp, void *load_sp)
 *
 * AAPCS64: x19 to x29, the return address in x30 and the low halves of v8 to v15 belong to the caller. */
	.text
	.globl	context_swap
	.type	context_swap, %function
	.p2align 4
context_swap:
	hint	#34			/* bti c */
	sub	sp, sp, #160
	stp	x19, x20, [sp, #0]
	stp	x21, x22, [sp, #16]
	stp	x23, x24, [sp, #32]
	stp	x25, x26, [sp, #48]
	stp	x27, x28, [sp, #64]
	stp	x29, x30, [sp, #80]
	stp	d8, d9, [sp, #96]
	stp	d10, d11, [sp, #112]
	stp	d12, d13, [sp, #128]
	stp	d14, d15, [sp, #144]
	mov	x9, sp
	str	x9, [x0]
	mov	sp, x1
	ldp	x19, x20, [sp, #0]
	ldp	x21, x22, [sp, #16]
	ldp	x23, x24, [sp, #32]
	ldp	x25, x26, [sp, #48]
	ldp	x27, x28, [sp, #64]
	ldp	x29, x30, [sp, #80]
	ldp	d8, d9, [sp, #96]
	ldp	d10, d11, [sp, #112]
	ldp	d12, d13, [sp, #128]
	ldp	d14, d15, [sp, #144]
	add	sp, sp, #160
	ret
	.size	context_swap, .-context_swap

	.globl	context_first_frame
	.type	context_first_frame, %function
	.p2align 4
context_first_frame:
	.cfi_startproc
	.cfi_undefined x30
	hint	#36			/* bti j */
	mov	x0, x20
	blr	x19
	brk	#1
	.cfi_endproc
	.size	context_first_frame, .-context_first_frame

	.section .note.GNU-stack,"",%progbits
