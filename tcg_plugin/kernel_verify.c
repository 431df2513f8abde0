/* Kernel verification: a kernel works on copies while QEMU runs the same rounds, and then both are compared, whole.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The loop's first instruction is passed once a round: as often as the kernel did rounds, in the same address space and
 * on the same stack, QEMU's registers and the bytes that streams touch must be the kernel's. Interrupts and other
 * processes that pass there in between have another stack. A loop that is never seen to come so far, because it was
 * left by a fault and a signal, is abandoned.
 */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#define RSP 4
#define MOST_WAIT_TICKS (UINT64_C(20) << 30)

/* What a vCPU waits to see. */
struct pending {
    const struct kernel *kernel;
    uint64_t id, rounds, passed, root, began;
    uint64_t state[GB_KERNEL_STATE];
    uint64_t first[STREAMS]; /* each stream's address before the first round */
    struct gb_gpu_told *elsewhere; /* by whom it was done, where the host did not */
    struct copies copies;
    uint8_t pages[MOST_COPIES][1 << GB_PAGE_SHIFT];
};
static struct pending *pendings[GB_MAX_VCPUS];

uint8_t *copy_of(struct copies *copies, uint64_t offset)
{
    for (unsigned int n = 0; n < copies->count; n++)
        if (copies->offset[n] == offset)
            return copies->page[n];
    if (copies->count == MOST_COPIES)
        return NULL;
    uint8_t *page = copies->page[copies->count];
    memcpy(page, pages_host(offset), PAGE_BYTES);
    copies->offset[copies->count++] = offset;
    return page;
}

void verify_forget(void)
{
    for (unsigned int n = 0; n < GB_MAX_VCPUS; n++)
        if (pendings[n])
            pendings[n]->kernel = NULL;
}

static struct pending *pending_of(unsigned int vcpu)
{
    if (!pendings[vcpu] && (pendings[vcpu] = calloc(1, sizeof *pendings[vcpu])))
        for (unsigned int n = 0; n < MOST_COPIES; n++)
            pendings[vcpu]->copies.page[n] = pendings[vcpu]->pages[n];
    return pendings[vcpu];
}

uint64_t verify_tried(unsigned int vcpu, const struct calling *now, uint64_t rounds)
{
    struct pending *p = pending_of(vcpu);
    struct calling tried = *now;
    uint64_t nothing;
    int why;
    if (!p || p->kernel)
        return 0;
    p->copies.count = 0;
    tried.copies = &p->copies;
    return call_kernel(&tried, rounds, &why, &nothing);
}

void verify_begin(unsigned int vcpu, const struct kernel *kernel, struct calling *now, uint64_t rounds)
{
    struct pending *p = pending_of(vcpu);
    uint64_t nothing;
    int why;
    if (!p)
        return;
    p->copies.count = 0;
    memcpy(p->first, now->addresses, sizeof p->first);
    now->copies = &p->copies;
    uint64_t done = now->elsewhere ? now->elsewhere(now, rounds) : 0;
    p->elsewhere = done ? now->elsewhere_told : NULL;
    if (!done)
        done = call_kernel(now, rounds, &why, &nothing);
    now->copies = NULL;
    if (!done) {
        if (why != NOT_DECLINED)
            kernel->tells->declined[why]++;
        return;
    }
    p->kernel = kernel;
    p->id = kernel->told.id;
    p->rounds = done;
    p->passed = 0;
    p->root = now->space.root;
    p->began = ticks();
    memcpy(p->state, now->state, sizeof p->state);
    kernel->tells->calls++;
    kernel->tells->rounds += done;
    if (p->elsewhere) {
        p->elsewhere->calls++;
        p->elsewhere->rounds += done;
    }
}

/* The first byte of stream `n` that differs; GB_NONE where none does. Only what the done rounds touch is looked at. */
static uint64_t differs(const struct pending *p, const struct calling *now, unsigned int n, uint64_t *found)
{
    const struct gb_stream *stream = &p->kernel->told.stream[n];
    for (uint64_t round = 0; round < p->rounds; round++) {
        uint64_t address = p->first[n] + round * stream->stride;
        for (uint32_t at = 0; at < stream->bytes; at++) {
            uint64_t offset, byte = address + at;
            if (page_of(&now->space, byte, false, &offset) != NOT_DECLINED)
                continue; /* it was taken away meanwhile */
            for (unsigned int page = 0; page < p->copies.count; page++)
                if (p->copies.offset[page] == offset &&
                    p->copies.page[page][byte & (PAGE_BYTES - 1)] != pages_host(offset)[byte & (PAGE_BYTES - 1)]) {
                    *found = pages_host(offset)[byte & (PAGE_BYTES - 1)];
                    return p->copies.page[page][byte & (PAGE_BYTES - 1)];
                }
        }
        if (!stream->stride)
            break;
    }
    return GB_NONE;
}

/* It differed: whoever did it does nothing more; the host's native code may be well where the GPU was not. */
static void refuse(const struct pending *p, uint32_t word, uint64_t expected, uint64_t found)
{
    if (p->elsewhere) {
        p->elsewhere->wrong_word = word;
        p->elsewhere->wrong_expected = expected;
        p->elsewhere->wrong_found = found;
        __atomic_store_n(&p->elsewhere->state, GB_KERNEL_WRONG, __ATOMIC_RELEASE);
        return;
    }
    struct gb_kernel_told *tells = p->kernel->tells;
    tells->wrong_word = word;
    tells->wrong_expected = expected;
    tells->wrong_found = found;
    __atomic_store_n(&tells->state, GB_KERNEL_WRONG, __ATOMIC_RELEASE);
}

static void compare(struct pending *p, const struct calling *now)
{
    struct gb_kernel_told *tells = p->kernel->tells;
    uint64_t expected, found;
    for (unsigned int word = 0; word < GB_KERNEL_STATE - 1; word++)
        if (p->kernel->told.writes >> word & 1 && p->state[word] != now->state[word]) {
            refuse(p, word, p->state[word], now->state[word]);
            return;
        }
    for (unsigned int n = 0; n < p->kernel->told.streams; n++)
        if (p->kernel->told.stream[n].stores && (expected = differs(p, now, n, &found)) != GB_NONE) {
            refuse(p, 64 + n, expected, found);
            return;
        }
    tells->verified++;
    tells->verified_rounds += p->rounds;
    if (p->elsewhere)
        p->elsewhere->verified++;
}

bool verify_look(unsigned int vcpu, const struct kernel *kernel, struct calling *now)
{
    struct pending *p = pendings[vcpu];
    if (!p || !p->kernel)
        return false;
    if (ticks() - p->began > MOST_WAIT_TICKS) {
        p->kernel->tells->abandoned++;
        p->kernel = NULL;
        return false;
    }
    if (p->kernel != kernel || p->root != now->space.root || p->state[RSP] != now->state[RSP])
        return true; /* somebody else passes */
    if (++p->passed < p->rounds)
        return true;
    compare(p, now);
    p->kernel = NULL;
    return true;
}
