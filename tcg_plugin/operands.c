/* Operands: what an instruction of 64-bit code accesses, and what it does to the registers that addresses are made of.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * After Intel's "64 and IA-32 Architectures Software Developer's Manual", volume 2, appendix A, and AMD's volume 3. Only
 * what compilers write often is told; of all else it is only told that it is not known, which costs time and no truth.
 */
#include "operands.h"

#define BIT(number) (UINT32_C(1) << (number))
#define REG_RAX 0
#define REG_RCX 1
#define REG_RDX 2

struct cursor {
    const uint8_t *bytes;
    size_t at, size;
    bool failed;
    /* Prefixes. */
    bool operand_16, repeat, repeat_not, lock, ignored, wide;
    uint8_t rex, segment;
    /* ModRM. */
    uint8_t mod, reg, rm;
    struct operand operand;
};

static uint8_t next(struct cursor *c)
{
    if (c->at >= c->size) {
        c->failed = true;
        return 0;
    }
    return c->bytes[c->at++];
}

static int64_t immediate(struct cursor *c, unsigned int count)
{
    uint64_t value = 0;
    for (unsigned int n = 0; n < count; n++)
        value |= (uint64_t)next(c) << (8 * n);
    unsigned int spare = 64 - 8 * count;
    return (int64_t)(value << spare) >> spare;
}

static bool in_memory(const struct cursor *c)
{
    return c->mod != 3;
}

static void take_modrm(struct cursor *c)
{
    uint8_t modrm = next(c);
    c->mod = modrm >> 6;
    c->reg = (uint8_t)((modrm >> 3 & 7) | (c->rex & 4) << 1);
    c->rm = (uint8_t)((modrm & 7) | (c->rex & 1) << 3);
    if (c->mod == 3)
        return;
    struct operand *o = &c->operand;
    *o = (struct operand){.base = c->rm, .index = REG_NONE, .scale = 1, .segment = c->segment};
    unsigned int displaced = c->mod == 1 ? 1 : c->mod == 2 ? 4 : 0;
    if ((modrm & 7) == 4) {
        uint8_t sib = next(c);
        o->base = (uint8_t)((sib & 7) | (c->rex & 1) << 3);
        uint8_t index = (uint8_t)((sib >> 3 & 7) | (c->rex & 2) << 2);
        if (index != REG_RSP) {
            o->index = index;
            o->scale = (uint8_t)(1 << (sib >> 6));
        }
        if ((sib & 7) == 5 && c->mod == 0) {
            o->base = REG_NONE;
            displaced = 4;
        }
    } else if ((modrm & 7) == 5 && c->mod == 0) {
        o->base = REG_RIP;
        displaced = 4;
    }
    if (displaced)
        o->displacement = (int32_t)immediate(c, displaced);
}

static unsigned int word_size(const struct cursor *c)
{
    return c->wide ? 8 : c->operand_16 ? 2 : 4;
}

/* The register of an operand of one byte: without REX, 4 to 7 are the second bytes of 0 to 3. */
static uint32_t byte_bits(const struct cursor *c, uint8_t reg)
{
    return !c->rex && reg >= 4 && reg < 8 ? BIT(reg) | BIT(reg - 4) : BIT(reg);
}

static uint32_t bits_of(const struct cursor *c, uint8_t reg, unsigned int size)
{
    return size == 1 ? byte_bits(c, reg) : BIT(reg);
}

static void access_memory(struct effect *e, const struct cursor *c, unsigned int size, bool loads, bool stores)
{
    e->has_operand = true;
    e->operand = c->operand;
    e->operand.size = (uint8_t)size;
    e->operand.loads = loads;
    e->operand.stores = stores;
}

/* E is read: a register, or memory. */
static void reads(struct effect *e, const struct cursor *c, unsigned int size)
{
    if (in_memory(c))
        access_memory(e, c, size, true, false);
}

static void writes(struct effect *e, const struct cursor *c, unsigned int size)
{
    if (in_memory(c))
        access_memory(e, c, size, false, true);
    else
        e->changed |= bits_of(c, c->rm, size);
}

static void alters(struct effect *e, const struct cursor *c, unsigned int size)
{
    if (in_memory(c))
        access_memory(e, c, size, true, true);
    else
        e->changed |= bits_of(c, c->rm, size);
}

static void stack(struct effect *e, int32_t displacement, bool stores, int64_t by)
{
    e->has_operand = true;
    e->operand = (struct operand){.base = REG_RSP, .index = REG_NONE, .scale = 1, .displacement = displacement,
                                  .size = 8, .loads = !stores, .stores = stores};
    e->moved = REG_RSP;
    e->by = by;
}

static void push(struct effect *e)
{
    stack(e, -8, true, -8);
}

static void pop(struct effect *e, int64_t more)
{
    stack(e, 0, false, 8 + more);
}

/* Of vector instructions, and others that are told roughly: any register that is named may change. */
static void roughly(struct effect *e, const struct cursor *c)
{
    e->changed |= BIT(c->reg) | (in_memory(c) ? 0 : BIT(c->rm));
    e->elsewhere = in_memory(c);
}

static void two_bytes(struct effect *e, struct cursor *c)
{
    uint8_t opcode = next(c);
    unsigned int size = word_size(c);
    if (opcode >= 0x80 && opcode <= 0x8f) {
        immediate(c, 4);
        return;
    }
    if (opcode >= 0xc8 && opcode <= 0xcf) { /* bswap */
        e->changed |= BIT((opcode & 7) | (c->rex & 1) << 3);
        return;
    }
    if (opcode == 0x38 || opcode == 0x3a) {
        next(c);
        take_modrm(c);
        roughly(e, c);
        if (opcode == 0x3a) {
            next(c);
            e->changed |= BIT(REG_RCX); /* pcmpestri, pcmpistri */
        }
        return;
    }
    if (opcode == 0x77 || (opcode >= 0x30 && opcode <= 0x3f)) {
        e->known = false;
        return;
    }
    take_modrm(c);
    if ((opcode >= 0x10 && opcode <= 0x17) || (opcode >= 0x28 && opcode <= 0x2f) || opcode == 0xc2 ||
        (opcode >= 0xc4 && opcode <= 0xc6) || (opcode >= 0x50 && opcode <= 0x7f) || opcode >= 0xd0) {
        if (opcode == 0xff) /* ud0 */
            e->known = false;
        if ((opcode >= 0x70 && opcode <= 0x73) || opcode == 0xc2 || (opcode >= 0xc4 && opcode <= 0xc6))
            next(c);
        roughly(e, c);
        return;
    }
    switch (opcode) {
    case 0x0d: /* hints accept any operand, and access nothing */
    case 0x18:
    case 0x1f:
        return;
    case 0x1e: /* endbr */
        e->known = c->repeat && c->mod == 3 && c->reg == 7;
        return;
    case 0x40 ... 0x4f: /* cmov */
        reads(e, c, size);
        e->changed |= BIT(c->reg);
        return;
    case 0x90 ... 0x9f: /* set */
        writes(e, c, 1);
        return;
    case 0xa3: /* bt */
        e->known = !in_memory(c);
        return;
    case 0xab:
    case 0xb3:
    case 0xbb:
        e->known = !in_memory(c);
        e->changed |= BIT(c->rm);
        return;
    case 0xae: /* fences */
        e->known = c->mod == 3 && (c->reg & 7) >= 5 && !c->repeat && !c->operand_16 && !c->repeat_not;
        return;
    case 0xaf: /* imul */
        reads(e, c, size);
        e->changed |= BIT(c->reg);
        return;
    case 0xb0:
    case 0xb1: /* cmpxchg */
        e->changed |= BIT(REG_RAX) | (in_memory(c) ? 0 : bits_of(c, c->rm, opcode == 0xb0 ? 1 : size));
        e->elsewhere = in_memory(c);
        return;
    case 0xb6:
    case 0xbe:
        reads(e, c, 1);
        e->changed |= BIT(c->reg);
        return;
    case 0xb7:
    case 0xbf:
        reads(e, c, 2);
        e->changed |= BIT(c->reg);
        return;
    case 0xb8: /* popcnt */
        e->known = c->repeat;
        reads(e, c, size);
        e->changed |= BIT(c->reg);
        return;
    case 0xbc:
    case 0xbd:
        reads(e, c, size);
        e->changed |= BIT(c->reg);
        return;
    case 0xba: /* bt, bts, btr, btc by a number */
        next(c);
        e->known = (c->reg & 7) >= 4;
        if ((c->reg & 7) == 4)
            reads(e, c, size);
        else
            alters(e, c, size);
        return;
    case 0xc0:
    case 0xc1: /* xadd */
        e->changed |= bits_of(c, c->reg, opcode == 0xc0 ? 1 : size);
        if (!in_memory(c))
            e->changed |= bits_of(c, c->rm, opcode == 0xc0 ? 1 : size);
        e->elsewhere = in_memory(c);
        return;
    case 0xc3: /* movnti */
        e->known = e->elsewhere = in_memory(c);
        return;
    default:
        e->known = false;
    }
}

static void group_1(struct effect *e, struct cursor *c, uint8_t opcode)
{
    unsigned int size = opcode == 0x80 ? 1 : word_size(c);
    take_modrm(c);
    int64_t number = immediate(c, opcode == 0x81 ? (size == 2 ? 2 : 4) : 1);
    unsigned int what = c->reg & 7;
    if (what == 7) {
        reads(e, c, size);
    } else if (!in_memory(c) && size == 8 && (what == 0 || what == 5)) {
        e->moved = c->rm;
        e->by = what == 0 ? number : -number;
    } else {
        alters(e, c, size);
    }
}

static void group_3(struct effect *e, struct cursor *c, unsigned int size)
{
    take_modrm(c);
    switch (c->reg & 7) {
    case 0:
    case 1:
        immediate(c, size == 8 ? 4 : size);
        reads(e, c, size);
        break;
    case 2:
    case 3:
        alters(e, c, size);
        break;
    default:
        reads(e, c, size);
        e->changed |= BIT(REG_RAX) | BIT(REG_RDX);
    }
}

static void group_5(struct effect *e, struct cursor *c, unsigned int size)
{
    take_modrm(c);
    unsigned int what = c->reg & 7;
    if (what < 2 && !in_memory(c) && size == 8) {
        e->moved = c->rm;
        e->by = what ? -1 : 1;
    } else if (what < 2) {
        alters(e, c, size);
    } else if (size == 1 || c->operand_16) {
        e->known = false;
    } else if (what == 4) {
        reads(e, c, 8);
    } else if ((what == 2 || what == 6) && !in_memory(c)) {
        push(e);
    } else {
        e->known = false;
    }
}

/* VEX: its third operand is a register of vectors, or one of the others. */
static void vex(struct effect *e, struct cursor *c, bool three)
{
    uint8_t first = next(c), map = 1, fields = first;
    c->rex = 0x40 | (first & 0x80 ? 0 : 4);
    if (three) {
        map = first & 31;
        c->rex |= (uint8_t)((first & 0x40 ? 0 : 2) | (first & 0x20 ? 0 : 1));
        fields = next(c);
    }
    uint8_t opcode = next(c);
    if (map < 1 || map > 3 || (map == 1 && opcode == 0x77)) {
        e->known = map == 1; /* vzeroupper, vzeroall */
        return;
    }
    take_modrm(c);
    bool gathers = map == 2 && opcode >= 0x90 && opcode <= 0x93;
    roughly(e, c);
    e->changed |= BIT(~fields >> 3 & 15) | (map == 3 ? BIT(REG_RCX) : 0);
    e->elsewhere = e->elsewhere || gathers;
    c->at = c->size; /* an immediate may follow */
}

static void one_byte(struct effect *e, struct cursor *c, uint8_t opcode)
{
    unsigned int size = opcode & 1 ? word_size(c) : 1;
    uint8_t low = (uint8_t)((opcode & 7) | (c->rex & 1) << 3);
    if (opcode < 0x40 && (opcode & 7) < 6) {
        bool compares = opcode >> 3 == 7;
        if ((opcode & 7) < 4)
            take_modrm(c);
        switch (opcode & 7) {
        case 0:
        case 1:
            if (compares)
                reads(e, c, size);
            else
                alters(e, c, size);
            break;
        case 2:
        case 3:
            reads(e, c, size);
            e->changed |= compares ? 0 : bits_of(c, c->reg, size);
            break;
        default:
            immediate(c, size == 8 ? 4 : size);
            e->changed |= compares ? 0 : BIT(REG_RAX);
        }
        return;
    }
    switch (opcode) {
    case 0x50 ... 0x57:
        e->known = !c->operand_16;
        push(e);
        break;
    case 0x58 ... 0x5f:
        e->known = !c->operand_16 && low != REG_RSP;
        pop(e, 0);
        e->changed |= BIT(low);
        break;
    case 0x63: /* movsxd */
        e->known = !c->operand_16;
        take_modrm(c);
        reads(e, c, 4);
        e->changed |= BIT(c->reg);
        break;
    case 0x68:
    case 0x6a:
        e->known = !c->operand_16;
        immediate(c, opcode == 0x68 ? 4 : 1);
        push(e);
        break;
    case 0x69:
    case 0x6b:
        take_modrm(c);
        size = word_size(c);
        immediate(c, opcode == 0x6b ? 1 : size == 2 ? 2 : 4);
        reads(e, c, size);
        e->changed |= BIT(c->reg);
        break;
    case 0x70 ... 0x7f:
    case 0xeb:
        immediate(c, 1);
        break;
    case 0x80:
    case 0x81:
    case 0x83:
        group_1(e, c, opcode);
        break;
    case 0x84:
    case 0x85:
        take_modrm(c);
        reads(e, c, size);
        break;
    case 0x86:
    case 0x87: /* xchg, always atomic with memory */
        take_modrm(c);
        e->changed |= bits_of(c, c->reg, size) | (in_memory(c) ? 0 : bits_of(c, c->rm, size));
        e->elsewhere = in_memory(c);
        break;
    case 0x88:
    case 0x89:
        take_modrm(c);
        writes(e, c, size);
        break;
    case 0x8a:
    case 0x8b:
        take_modrm(c);
        reads(e, c, size);
        e->changed |= bits_of(c, c->reg, size);
        break;
    case 0x8d: /* lea */
        take_modrm(c);
        e->known = in_memory(c);
        if (c->operand.base == c->reg && c->operand.index == REG_NONE && c->wide) {
            e->moved = c->reg;
            e->by = c->operand.displacement;
        } else {
            e->changed |= BIT(c->reg);
        }
        break;
    case 0x90 ... 0x97:
        e->changed |= low == REG_RAX ? 0 : BIT(REG_RAX) | BIT(low);
        break;
    case 0x98:
    case 0x99:
        e->changed |= BIT(REG_RAX) | BIT(REG_RDX);
        break;
    case 0xa8:
    case 0xa9:
        immediate(c, size == 8 ? 4 : size);
        break;
    case 0xb0 ... 0xb7:
        immediate(c, 1);
        e->changed |= byte_bits(c, low);
        break;
    case 0xb8 ... 0xbf:
        immediate(c, word_size(c));
        e->changed |= BIT(low);
        break;
    case 0xc0:
    case 0xc1:
    case 0xd0:
    case 0xd1:
        take_modrm(c);
        if (opcode < 0xd0)
            immediate(c, 1);
        alters(e, c, size);
        break;
    case 0xd2:
    case 0xd3: /* by cl, which may be 0 */
        take_modrm(c);
        e->elsewhere = in_memory(c);
        e->changed |= in_memory(c) ? 0 : bits_of(c, c->rm, size);
        break;
    case 0xc2:
        e->known = !c->operand_16;
        pop(e, immediate(c, 2) & 0xffff);
        break;
    case 0xc3:
        e->known = !c->operand_16;
        pop(e, 0);
        break;
    case 0xc6:
    case 0xc7:
        take_modrm(c);
        e->known = (c->reg & 7) == 0;
        immediate(c, size == 8 ? 4 : size);
        writes(e, c, size);
        break;
    case 0xc9: /* leave */
        e->known = !c->operand_16;
        c->operand = (struct operand){.base = REG_RBP, .index = REG_NONE, .scale = 1};
        access_memory(e, c, 8, true, false);
        e->changed |= BIT(REG_RSP) | BIT(REG_RBP);
        break;
    case 0xe0 ... 0xe3:
        immediate(c, 1);
        e->changed |= opcode == 0xe3 ? 0 : BIT(REG_RCX);
        break;
    case 0xe8:
        e->known = !c->operand_16;
        immediate(c, 4);
        push(e);
        break;
    case 0xe9:
        e->known = !c->operand_16;
        immediate(c, 4);
        break;
    case 0xf5: /* flags alone */
    case 0xf8:
    case 0xf9:
    case 0xfc:
    case 0xfd:
        break;
    case 0xf6:
    case 0xf7:
        group_3(e, c, size);
        break;
    case 0xfe:
    case 0xff:
        group_5(e, c, size);
        break;
    default:
        e->known = false;
    }
}

struct effect effect_of(const uint8_t *bytes, size_t size)
{
    struct effect e = {.known = true, .moved = REG_NONE};
    struct cursor c = {.bytes = bytes, .size = size, .operand = {.base = REG_NONE, .index = REG_NONE, .scale = 1}};
    uint8_t byte;
    for (;;) {
        byte = next(&c);
        if (byte == 0x66)
            c.operand_16 = true;
        else if (byte == 0xf2)
            c.repeat_not = true;
        else if (byte == 0xf3)
            c.repeat = true;
        else if (byte == 0xf0)
            c.lock = true;
        else if (byte == 0x64)
            c.segment = SEGMENT_FS;
        else if (byte == 0x65)
            c.segment = SEGMENT_GS;
        else if (byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x26)
            c.ignored = true;
        else
            break;
        if (c.failed)
            break;
    }
    if (byte == 0xc4 || byte == 0xc5) {
        vex(&e, &c, byte == 0xc4);
    } else {
        if ((byte & 0xf0) == 0x40) {
            c.rex = byte;
            c.wide = byte & 8;
            byte = next(&c);
        }
        if (byte == 0x0f)
            two_bytes(&e, &c);
        else
            one_byte(&e, &c, byte);
    }
    if (c.failed || c.at != c.size || (c.ignored && c.segment)) /* which of two segments counts is told in two ways */
        e.known = false;
    if (c.lock) { /* atomic: QEMU tells of one access where it makes two */
        e.elsewhere = e.elsewhere || e.has_operand;
        e.has_operand = false;
    }
    if (e.moved != REG_NONE && e.changed & BIT(e.moved))
        e.moved = REG_NONE;
    return e;
}
