# The guest "boot-sector": 512 bytes that test the whole chain from emulated store to coloured voxel.
#
# The BIOS loads this sector to 0x7c00 and jumps to it in real mode. It asks the BIOS for the memory map, goes to
# long mode, and signs RAM: the first and the last page of every whole MiB of usable RAM from 1 MiB on, above
# 4 GiB as well. A signed page holds 256 cells of 16 bytes, each of which says where it lies:
#
#     bytes 0..7   "GLASSBOX"
#     bytes 8..15  the cell's own guest-physical address, 64-bit little-endian
#
# So a reader that mixes up file offset and physical address is caught by any cell. Then it prints its banner on
# the first serial port, and idles: the timer interrupt (18.2 Hz, as the BIOS left it) counts in the counter page.
#
#     0x03000  interrupt table              0x04000  memory map, as the BIOS returned it: 20 bytes an entry
#     0x08000  page table root (PML4)       0x09000  page directory pointers
#     0x0a000  6 page directories: 6 GiB mapped one to one by 2 MiB pages, which is where 4 GiB of RAM end at most
#     0x10000  a signed page, too           0x11000  "GLASSBOX", then the 64-bit count of timer ticks at 0x11008
#
# Keep bridge/machine/boot_sector.py in step with this file. Assemble: as --64, ld --oformat binary -Ttext 0x7c00.

.set INTERRUPTS, 0x3000
.set MEMORY_MAP, 0x4000
.set PML4, 0x8000
.set POINTERS, 0x9000
.set DIRECTORIES, 0xa000
.set N_DIRECTORIES, 6
.set SIGNED_LOW, 0x10000
.set COUNTER, 0x11000

.set MIB, 0x100000
.set PAGE, 0x1000
.set COM1, 0x3f8
.set IRQ0_VECTOR, 8             # the BIOS left the interrupt controller that way; no exception 8 is expected
.set SIGNATURE, 0x584f425353414c47  # "GLASSBOX"

.code16
.globl _start
_start:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    inb $0x92, %al              # A20 on, or odd MiBs would alias even ones
    orb $2, %al
    outb %al, $0x92

    # Memory map: INT 15h, E820h (ACPI specification, 15.1), until ebx is 0 again or carry is set.
    xorl %ebx, %ebx
    movw $MEMORY_MAP, %di
2:
    movl $0xe820, %eax
    movl $20, %ecx
    movl $0x534d4150, %edx      # "SMAP"
    int $0x15
    jc 3f
    addw $20, %di
    testl %ebx, %ebx
    jnz 2b
3:
    movw %di, %bp               # where the map ends

    # Page tables for the first 2 MiB: three pages of zeroes, then an entry in each.
    movw $PML4, %di
    xorl %eax, %eax
    movw $(3 * PAGE / 4), %cx
    rep stosl
    movw $(POINTERS + 3), (PML4)            # present, writable
    movw $(DIRECTORIES + 3), (POINTERS)
    movb $0x83, (DIRECTORIES)               # present, writable, 2 MiB

    # Straight to long mode: PAE, page table root, EFER.LME, then protection and paging at once.
    movl $0x20, %eax
    movl %eax, %cr4
    movl $PML4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx      # EFER
    rdmsr
    orw $0x100, %ax             # LME
    wrmsr
    lgdt gdt_pointer
    movl %cr0, %eax
    orl $0x80000001, %eax
    movl %eax, %cr0
    ljmp $8, $long_mode

.code64
long_mode:
    # Map the rest, one to one. Segment registers stay null, which this mode allows.
    movl $DIRECTORIES, %edi
    movl $0x83, %eax
    movl $(N_DIRECTORIES * 512), %ecx
1:
    stosq
    addq $0x200000, %rax
    loop 1b
    movl $POINTERS, %edi
    movl $(DIRECTORIES + 3), %eax
    movb $N_DIRECTORIES, %cl
2:
    stosq
    addl $PAGE, %eax
    loop 2b

    # Sign RAM: the low page, then the two pages of each whole MiB of each entry of type 1 from 1 MiB on.
    movabsq $SIGNATURE, %rdx
    movl $SIGNED_LOW, %edi
    call sign
    movl $MEMORY_MAP, %esi
    movzwl %bp, %ebp
3:
    movq (%rsi), %rbx           # where the region begins
    movq 8(%rsi), %r8           # its length
    cmpl $1, 16(%rsi)
    jne 5f
    movl $MIB, %eax
    cmpq %rax, %rbx
    jb 5f
4:
    subq $MIB, %r8
    jb 5f
    movq %rbx, %rdi
    call sign
    addq $MIB, %rbx
    leaq -PAGE(%rbx), %rdi
    call sign
    jmp 4b
5:
    addl $20, %esi
    cmpl %ebp, %esi
    jb 3b

    # One interrupt gate, for the timer; every other line is masked.
    movl $(INTERRUPTS + IRQ0_VECTOR * 16), %edi
    movl $(timer + (8 << 16)), %eax
    stosl
    movl $0x8e00, %eax          # present, interrupt gate; the handler lies below 64 KiB
    stosl
    lidt idt_pointer
    movb $0xfe, %al
    outb %al, $0x21
    movl $COUNTER, %edi
    movq %rdx, (%rdi)
    andq $0, 8(%rdi)

    # The banner: it says that everything above is done.
    movl $banner, %esi
7:
    movw $(COM1 + 5), %dx       # wait until the line takes another character
8:
    inb %dx, %al
    testb $0x20, %al
    jz 8b
    movb $(COM1 & 0xff), %dl
    lodsb
    testb %al, %al
    jz 9f
    outb %al, %dx
    jmp 7b
9:
    sti
    hlt
    jmp 9b

# Sign the page at rdi, with the signature in rdx. Changes rdi, rcx and rax.
sign:
    movl $(PAGE / 16), %ecx
1:
    movq %rdx, (%rdi)
    movq %rdi, 8(%rdi)
    addq $16, %rdi
    loop 1b
    ret

timer:
    pushq %rax
    incq (COUNTER + 8)
    movb $0x20, %al             # end of interrupt
    outb %al, $0x20
    popq %rax
    iretq

banner:
    .ascii "\r\n\033[1;36mGlassbox\033[0m boot sector\r\n"
    .asciz "RAM is signed, the timer counts at 0x11008.\r\n"

.balign 8
gdt:
    .quad 0
    .quad 0x00209a0000000000    # 64-bit code
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt
idt_pointer:
    .word (IRQ0_VECTOR + 1) * 16 - 1
    .quad INTERRUPTS

.org 510
    .word 0xaa55
