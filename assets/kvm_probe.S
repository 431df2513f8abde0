# What tries out KVM: a firmware image that takes the processor from real mode to long mode with paging, as a kernel
# does, computes and stores for a while, and reports by QEMU's isa-debug-exit device. A KVM that cannot run guests
# fails, hangs, or takes seconds where milliseconds would do.
#
# bridge/machine/accelerator.py holds the machine code, so that the probe needs no assembler; a test compares the two:
#   as --64 -o probe.o assets/kvm_probe.S && objcopy -O binary -j .text probe.o probe.bin

        .code16
base:
        .org 0xfe00                             # the image's last KiB; the first 63 are empty

gdt:    .quad 0
        .quad 0x00cf9b000000ffff                # 0x08: 32-bit code
        .quad 0x00cf93000000ffff                # 0x10: data
        .quad 0x00af9b000000ffff                # 0x18: 64-bit code
gdtr:   .word 31
        .long 0xf0000 + (gdt - base)            # the image is seen below 1 MiB, too

enter:  cli
        lgdtl %cs:(gdtr - base)
        movl %cr0, %eax
        orb $1, %al                             # PE
        movl %eax, %cr0
        ljmpl $0x08, $(0xf0000 + (protected - base))

        .code32
protected:
        movw $0x10, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        cld
        movl $0x1000, %edi                      # page tables: the first 2 MiB, one to one
        xorl %eax, %eax
        movl $0xc00, %ecx
        rep stosl
        movl $0x2003, 0x1000
        movl $0x3003, 0x2000
        movl $0x83, 0x3000
        movl %cr4, %eax
        orl $0x20, %eax                         # PAE
        movl %eax, %cr4
        movl $0x1000, %eax
        movl %eax, %cr3
        movl $0xc0000080, %ecx                  # EFER
        rdmsr
        orl $0x100, %eax                        # LME
        wrmsr
        movl %cr0, %eax
        orl $0x80000000, %eax                   # PG
        movl %eax, %cr0
        ljmpl $0x18, $(0xf0000 + (long - base))

        .code64
long:   movabsq $0x9e3779b97f4a7c15, %rdx
        xorl %eax, %eax
        movl $4000000, %ecx
again:  addq %rdx, %rax
        rolq $13, %rax
        movl %ecx, %ebx
        andl $0xff8, %ebx
        movq %rax, 0x4000(%rbx)
        decl %ecx
        jnz again
        movb $0, %al                            # what was computed must have been stored: read it back
        orb 0x4008, %al
        outb %al, $0xf4
halt:   hlt
        jmp halt

        .code16
        .org 0xfff0                             # where a processor starts
        jmp enter
        .org 0x10000
