/* Operands: what an instruction of 64-bit code accesses, and what it does to the registers that addresses are made of.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef GLASSBOX_OPERANDS_H
#define GLASSBOX_OPERANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REG_RSP 4
#define REG_RBP 5
#define REG_RIP 16  /* as a base: the address behind the instruction */
#define REG_NONE 17

enum segment { SEGMENT_FLAT, SEGMENT_FS, SEGMENT_GS };

struct operand {
    uint8_t base, index; /* rax, rcx, rdx, rbx, rsp … r15 as instructions number them; REG_RIP, REG_NONE */
    uint8_t scale;       /* 1, 2, 4, 8 */
    uint8_t segment;
    int32_t displacement;
    uint8_t size;          /* bytes */
    uint8_t loads, stores; /* how many QEMU makes of it, 0 or 1 each */
};

struct effect {
    bool known;        /* else it may do anything: to all registers, segments too */
    bool has_operand;  /* it makes the one access that `operand` says, and no other one … */
    bool elsewhere;    /* … or it makes accesses that are not told here */
    uint8_t moved;     /* the register that grows by `by`; REG_NONE: none */
    int64_t by;
    uint32_t changed;  /* a bit a register that gets another value */
    struct operand operand;
};

/* Of the bytes of one whole instruction in 64-bit mode. What is not sure is not `known`. */
struct effect effect_of(const uint8_t *bytes, size_t size);

#endif
