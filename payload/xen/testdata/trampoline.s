# The trampoline as GNU as reads it; trampoline_test.go compares it with the bytes
# in trampoline.go.
	.set GDT, 0xa0
	.set GDTR, 0xb8
	.set SLOTS, 0xc8
	.set STACK, 0x120

	.code64
start:
	cli
	cld
	lea	start(%rip), %rbx
	.byte	0x48, 0x8d, 0xa3	# lea STACK(%rbx), %rsp
	.long	STACK
	.byte	0x48, 0x8d, 0x83	# lea GDT(%rbx), %rax
	.long	GDT
	mov	%rax, GDTR+2(%rbx)
	lgdt	GDTR(%rbx)
	.byte	0x48, 0x8d, 0x83	# lea bits32-start(%rbx), %rax
	.long	bits32-start
	push	$8
	push	%rax
	lretq
	.code32
bits32:
	mov	$16, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	%eax, %fs
	mov	%eax, %gs
	mov	%cr0, %eax
	and	$0x7fffffff, %eax
	mov	%eax, %cr0
	mov	$0xc0000080, %ecx
	rdmsr
	and	$0xfffffeff, %eax
	wrmsr
	xor	%eax, %eax
	mov	%eax, %cr4
	mov	SLOTS+12(%ebx), %esi
	test	%esi, %esi
	jz	1f
	mov	SLOTS+16(%ebx), %edi
	mov	$9, %ecx
	rep movsl
1:	mov	SLOTS(%ebx), %eax
	mov	SLOTS+8(%ebx), %ecx
	mov	SLOTS+4(%ebx), %ebx
	jmp	*%ecx
end:
