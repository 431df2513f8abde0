/* Groups: accesses of a block that lie at constant distances from each other, so that one of them tells where all are.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Of two operands with the same registers, unchanged between them but for steps that are known, the distance is known
 * when the block is translated. The last one of each such group calls back, for all: those before it have found their
 * pages in QEMU's TLB by then. What an exception keeps from running to its group's end is not counted: on the boot of
 * a Linux, one access in two million.
 *
 * What lies or has its stack above 4 GiB is certain to be 64-bit code; of all else is told access by access.
 */
#include <string.h>

#include "operands.h"
#include "plugin.h"

#define LEAST_ADDRESS (UINT64_C(1) << 32)
#define MOST_GROUPS 24
#define REGISTERS 18 /* general ones, the instruction's own address, and none */
#define FARTHEST 512 /* bytes from a group's first access: most groups lie in one page, and none in three */

struct group {
    struct operand key; /* its first one */
    uint32_t base_version, index_version, segments_version;
    struct group_note note;
    int64_t at[GROUP_PARTS]; /* of each part, from the registers' values where their versions began */
    size_t last;
    bool last_stores;
};

struct walk {
    uint32_t version[REGISTERS], segments_version;
    int64_t moved[REGISTERS];
    struct group groups[MOST_GROUPS];
    size_t count;
};

static bool same(const struct group *g, const struct operand *o, const struct walk *w)
{
    const struct operand *k = &g->key;
    return k->base == o->base && k->index == o->index && k->scale == o->scale && k->segment == o->segment &&
           g->base_version == w->version[o->base] && g->index_version == w->version[o->index] &&
           (!k->segment || g->segments_version == w->segments_version);
}

/* Where an operand lies: its displacement, and all known steps of its registers. */
static int64_t place(const struct walk *w, const struct operand *o, uint64_t behind)
{
    int64_t at = o->displacement + w->moved[o->base] + w->moved[o->index] * o->scale;
    return o->base == REG_RIP ? at + (int64_t)behind : at;
}

static bool join(struct walk *w, const struct operand *o, uint64_t behind, size_t insn)
{
    int64_t at = place(w, o, behind);
    struct group *g = NULL;
    for (size_t n = w->count; n-- > 0;)
        if (same(&w->groups[n], o, w) && w->groups[n].note.count < GROUP_PARTS &&
            at - w->groups[n].at[0] < FARTHEST && w->groups[n].at[0] - at < FARTHEST) {
            g = &w->groups[n];
            break;
        }
    if (!g) {
        if (w->count == MOST_GROUPS)
            return false;
        g = &w->groups[w->count++];
        g->key = *o;
        g->base_version = w->version[o->base];
        g->index_version = w->version[o->index];
        g->segments_version = w->segments_version;
        g->note.count = 0;
    }
    g->at[g->note.count] = at;
    g->note.parts[g->note.count++] = (struct group_part){.size = o->size, .loads = o->loads, .stores = o->stores};
    g->last = insn;
    g->last_stores = o->stores;
    return true;
}

static void step(struct walk *w, const struct effect *e)
{
    if (!e->known) {
        for (size_t n = 0; n < 16; n++)
            w->version[n]++;
        w->segments_version++;
        return;
    }
    for (size_t n = 0; n < 16; n++)
        if (e->changed >> n & 1) {
            w->version[n]++;
            w->moved[n] = 0;
        }
    if (e->moved < 16)
        w->moved[e->moved] += e->by;
}

static const struct group_note *kept(struct group *g)
{
    int64_t anchor = g->at[g->note.count - 1];
    struct group_note *note = &g->note, *to;
    note->low = note->high = 0;
    note->loads = note->stores = 0;
    for (size_t n = 0; n < note->count; n++) {
        struct group_part *part = &note->parts[n];
        part->away = (int32_t)(g->at[n] - anchor);
        if (part->away < note->low)
            note->low = part->away;
        if (part->away + part->size - 1 > note->high)
            note->high = part->away + part->size - 1;
        note->loads += part->loads;
        note->stores += part->stores;
    }
    size_t size = offsetof(struct group_note, parts) + note->count * sizeof note->parts[0];
    to = keep(size);
    if (to)
        memcpy(to, note, size);
    return to;
}

/* Whether what is translated now is 64-bit code. QEMU tells only the lower halves of registers in other code. */
static bool is_64_bit(uint64_t address)
{
    return address >= LEAST_ADDRESS || stack_now() >= LEAST_ADDRESS;
}

void plan_accesses(struct qemu_plugin_tb *tb, struct plan *plan)
{
    size_t count = qemu_plugin_tb_n_insns(tb);
    uint64_t first = qemu_plugin_tb_vaddr(tb);
    memset(plan, 0, count * sizeof *plan);
    if (!is_64_bit(first))
        return;
    struct walk w;
    memset(w.version, 0, sizeof w.version);
    memset(w.moved, 0, sizeof w.moved);
    w.segments_version = 0;
    w.count = 0;
    for (size_t n = 0; n < count; n++) {
        const struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, n);
        uint8_t bytes[16];
        size_t size = instruction_bytes(insn, bytes, sizeof bytes);
        struct effect e = effect_of(bytes, size);
        if (e.known && e.has_operand)
            plan[n].told_by_another = join(&w, &e.operand, qemu_plugin_insn_vaddr(insn) - first + size, n);
        step(&w, &e);
    }
    for (size_t n = 0; n < w.count; n++) {
        struct group *g = &w.groups[n];
        const struct group_note *note = kept(g);
        if (note) {
            plan[g->last] = (struct plan){.note = note, .stores = g->last_stores};
            continue;
        }
        for (size_t other = 0; other < count; other++) /* no memory: each for itself, and twice at worst */
            plan[other].told_by_another = plan[other].told_by_another && plan[other].note;
    }
}
