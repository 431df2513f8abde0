/* Kernel pages: where a loop's addresses lie in RAM, by the guest's own page tables and with its rights.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A page is taken only where the processor would have changed nothing in the tables by touching it: present, accessed,
 * and for stores writable and dirty at the last level. Everything else is left to QEMU, whose next round faults, or sets
 * the bits. Tables: SDM, volume 3, chapter 4.
 */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#define ENTRY_ADDRESS UINT64_C(0x000ffffffffff000)
#define PRESENT 1u
#define WRITABLE 2u
#define USER 4u
#define ACCESSED 0x20u
#define DIRTY 0x40u
#define LARGE 0x80u
#define KEY (UINT64_C(15) << 59) /* a protection key other than 0: its rights are in a register that nobody tells */
#define LEGACY_FIRST UINT64_C(0xa0000) /* video memory and ROMs lie over RAM */
#define LEGACY_END UINT64_C(0x100000)
#define MOST_RUN_PAGES 1024

void code_pages_clear(void)
{
    memset(shared.code_pages, 0, (shared.pages / 64 + 2) * sizeof *shared.code_pages);
}

void code_page_note(uint64_t offset)
{
    uint64_t page = offset >> GB_PAGE_SHIFT, bit = UINT64_C(1) << page % 64;
    if (page >= shared.pages) {
        page = (shared.pages / 64 + 1) * 64;
        bit = 1;
    }
    if (!(__atomic_load_n(&shared.code_pages[page / 64], __ATOMIC_RELAXED) & bit))
        __atomic_fetch_or(&shared.code_pages[page / 64], bit, __ATOMIC_RELEASE);
}

static bool holds_code(uint64_t offset)
{
    uint64_t page = offset >> GB_PAGE_SHIFT;
    return __atomic_load_n(&shared.code_pages[page / 64], __ATOMIC_ACQUIRE) >> page % 64 & 1 ||
           __atomic_load_n(&shared.code_pages[shared.pages / 64 + 1], __ATOMIC_ACQUIRE);
}

bool pages_ready(void)
{
    return pages_host(0);
}

uint8_t *pages_host(uint64_t offset)
{
    uint8_t *base = host_ram_base();
    return base ? base + offset : NULL;
}

/* The last level's entry; all rights that every level gives are ANDed into `rights`. False: nothing is there. */
static bool walk(const struct space *space, uint64_t address, uint64_t *entry, uint64_t *rights, unsigned int *shift)
{
    uint64_t table = space->root;
    int64_t canonical = (int64_t)(address << (64 - 12 - 9 * space->levels)) >> (64 - 12 - 9 * space->levels);
    if ((uint64_t)canonical != address)
        return false;
    *rights = PRESENT | WRITABLE | USER | ACCESSED;
    for (unsigned int level = space->levels;; level--) {
        *shift = GB_PAGE_SHIFT + 9 * (level - 1);
        uint64_t offset = offset_of_physical(table);
        if (offset == GB_NONE || offset >> GB_PAGE_SHIFT >= shared.pages)
            return false;
        const uint64_t *entries = (const uint64_t *)(const void *)(shared.ram + offset);
        *entry = __atomic_load_n(&entries[address >> *shift & 511], __ATOMIC_RELAXED);
        *rights &= *entry;
        if (!(*entry & PRESENT))
            return false;
        if (level == 1 || (level <= 3 && *entry & LARGE))
            return true;
        table = *entry & ENTRY_ADDRESS;
    }
}

uint64_t walk_physical(const struct space *space, uint64_t address)
{
    uint64_t entry, rights;
    unsigned int shift;
    if (!walk(space, address, &entry, &rights, &shift))
        return GB_NONE;
    uint64_t below = (UINT64_C(1) << shift) - 1;
    return (entry & ENTRY_ADDRESS & ~below) | (address & below);
}

int page_of(const struct space *space, uint64_t address, bool stores, uint64_t *offset)
{
    uint64_t entry, rights;
    unsigned int shift;
    if (!walk(space, address, &entry, &rights, &shift) || !(rights & ACCESSED))
        return GB_DECLINED_ABSENT;
    if (entry & KEY || (rights & USER ? !space->user && !space->opens : space->user))
        return GB_DECLINED_RIGHTS;
    if (stores && (!(rights & WRITABLE) || !(entry & DIRTY)))
        return GB_DECLINED_RIGHTS;
    uint64_t below = (UINT64_C(1) << shift) - 1, physical = (entry & ENTRY_ADDRESS & ~below) | (address & below);
    physical &= ~(PAGE_BYTES - 1);
    if (physical >= LEGACY_FIRST && physical < LEGACY_END)
        return GB_DECLINED_DEVICE;
    *offset = offset_of_physical(physical);
    if (*offset == GB_NONE || *offset >> GB_PAGE_SHIFT >= shared.pages)
        return GB_DECLINED_DEVICE;
    if (stores && holds_code(*offset))
        return GB_DECLINED_CODE;
    return NOT_DECLINED;
}

/* Pages around the stream's bytes at `address`, and as many more in its direction as `rounds` need and as follow each
 * other in memory; `fit`: so many rounds lie in them. */
int run_find(
    const struct space *space, const struct gb_stream *stream, uint64_t address, uint64_t rounds, struct run *found,
    uint64_t *fit)
{
    uint64_t first = address & ~(PAGE_BYTES - 1), last = (address + stream->bytes - 1) & ~(PAGE_BYTES - 1);
    uint64_t stride = stream->stride, offset, next;
    bool down = stride >> 63, stores = stream->stores;
    *fit = 0;
    if (last < first)
        return GB_DECLINED_ACROSS;
    if (!(first >= found->from && last < found->to && found->from != found->to)) {
        int why = page_of(space, down ? last : first, stores, &offset);
        if (why != NOT_DECLINED)
            return why;
        uint64_t page = down ? last : first;
        *found = (struct run){.from = page, .to = page + PAGE_BYTES, .host = pages_host(offset)};
        for (unsigned int n = 1; stride && n < MOST_RUN_PAGES; n++) {
            uint64_t span = down ? address + stream->bytes - found->from : found->to - address;
            if (span >= stream->bytes && (span - stream->bytes) / (down ? -stride : stride) >= rounds - 1)
                break;
            uint64_t beside = down ? found->from - PAGE_BYTES : found->to;
            if (!beside || page_of(space, beside, stores, &next) != NOT_DECLINED ||
                pages_host(next) != (down ? found->host - PAGE_BYTES : found->host + (found->to - found->from)))
                break;
            if (down) {
                found->from = beside;
                found->host -= PAGE_BYTES;
            } else
                found->to += PAGE_BYTES;
        }
        if (!stride && first != last) {
            why = page_of(space, last, stores, &next);
            if (why != NOT_DECLINED)
                return why;
            if (pages_host(next) == found->host + PAGE_BYTES)
                found->to += PAGE_BYTES;
        }
        if (!(first >= found->from && last < found->to))
            return GB_DECLINED_ACROSS;
    }
    if (!stride)
        *fit = rounds;
    else if (down)
        *fit = (address - found->from) / -stride + 1;
    else
        *fit = (found->to - address - stream->bytes) / stride + 1;
    return NOT_DECLINED;
}
