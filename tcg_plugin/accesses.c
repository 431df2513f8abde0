/* Accesses: what each load and store does to the heat, to the watched pages, and to the rings.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QEMU can tell the physical address of an access, for the price of a search in its TLB. Each vCPU keeps what it was
 * told by virtual page, for as long as the processor itself may (spaces.c), with all else that an access needs to know.
 */
#include <string.h>

#include "plugin.h"

static __attribute__((noinline)) void look_up(struct page_entry *entry, struct vcpu *v, qemu_plugin_meminfo_t info,
                                              uint64_t address)
{
    struct qemu_plugin_hwaddr *found = qemu_plugin_get_hwaddr(info, address);
    entry->page = GB_NONE;
    entry->physical = GB_NONE;
    entry->heat = NULL;
    entry->watched = 0;
    entry->io = 0;
    entry->tag = GB_NONE;
    if (!found)
        return;
    entry->tag = address >> GB_PAGE_SHIFT | v->era;
    entry->physical = qemu_plugin_hwaddr_phys_addr(found) & ~(PAGE_BYTES - 1);
    entry->io = qemu_plugin_hwaddr_is_io(found);
    uint64_t offset = entry->io ? GB_NONE : offset_of_physical(entry->physical);
    if (offset == GB_NONE || offset >> GB_PAGE_SHIFT >= shared.pages)
        return;
    entry->page = offset >> GB_PAGE_SHIFT;
    entry->heat = &shared.heat[v->index * shared.pages + entry->page];
    entry->watched = shared.watched[entry->page];
}

static inline struct page_entry *entry_of(struct vcpu *v, qemu_plugin_meminfo_t info, uint64_t address)
{
    struct page_entry *entry = &v->cache[(address >> GB_PAGE_SHIFT) % CACHE_ENTRIES];
    if (__builtin_expect(entry->tag != (address >> GB_PAGE_SHIFT | v->era), 0))
        look_up(entry, v, info, address);
    return entry;
}

static inline void warm(struct page_entry *entry, bool store)
{
    if (!entry->heat)
        return;
    if (store)
        entry->heat->stores++;
    else
        entry->heat->loads++;
}

static inline uint64_t last_byte(qemu_plugin_meminfo_t info, uint64_t address)
{
    return address + (UINT64_C(1) << qemu_plugin_mem_size_shift(info)) - 1;
}

/* ----- heat alone: nothing but two numbers a page, so that it costs little
 *
 * Most accesses end after a dozen instructions, without a call: what they need lies side by side, by virtual page. */

/* By vCPU; a power of two in size, so that it is found by a shift. Empty where addresses changed their meaning. */
static struct heat_entry {
    uint64_t page; /* virtual; GB_NONE: empty */
    struct gb_heat *heat;
} hot[GB_MAX_VCPUS][HEAT_ENTRIES] __attribute__((aligned(PAGE_BYTES)));

static struct gb_heat nowhere[GB_MAX_VCPUS]; /* for what is no RAM */

_Static_assert((GB_MAX_VCPUS & (GB_MAX_VCPUS - 1)) == 0, "vCPUs are masked");

static inline struct heat_entry *heat_entry_of(unsigned int vcpu, uint64_t page)
{
    return &hot[vcpu % GB_MAX_VCPUS][page % HEAT_ENTRIES];
}

/* NULL: it is no RAM. */
static struct gb_heat *heat_at(const struct vcpu *v, uint64_t physical)
{
    uint64_t offset = offset_of_physical(physical);
    return offset == GB_NONE || offset >> GB_PAGE_SHIFT >= shared.pages
               ? NULL
               : &shared.heat[v->index * shared.pages + (offset >> GB_PAGE_SHIFT)];
}

static struct gb_heat *remember(unsigned int vcpu, uint64_t page, struct gb_heat *heat)
{
    struct heat_entry *entry = heat_entry_of(vcpu, page);
    entry->page = page;
    entry->heat = heat ? heat : &nowhere[vcpu % GB_MAX_VCPUS];
    return entry->heat;
}

/* Of an address that the access at hand, or one just before it, went to: QEMU's TLB still has it. */
static struct gb_heat *heat_of(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address)
{
    uint64_t page = address >> GB_PAGE_SHIFT;
    struct heat_entry *entry = heat_entry_of(vcpu, page);
    if (entry->page == page)
        return entry->heat;
    if (vcpu >= shared.vcpus)
        return &nowhere[vcpu % GB_MAX_VCPUS];
    struct page_entry found;
    look_up(&found, vcpus[vcpu], info, address);
    return found.tag == GB_NONE ? &nowhere[vcpu] : remember(vcpu, page, found.heat);
}

static inline void warm_by(struct gb_heat *heat, uint32_t loads, uint32_t stores)
{
    heat->loads += loads;
    heat->stores += stores;
}

static __attribute__((noinline)) void warm_slowly(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address,
                                                  uint32_t loads, uint32_t stores)
{
    uint64_t last = last_byte(info, address);
    warm_by(heat_of(vcpu, info, address), loads, stores);
    if ((last ^ address) >> GB_PAGE_SHIFT) /* it reaches into the page behind */
        warm_by(heat_of(vcpu, info, last), loads, stores);
}

/* The heat of the one page that [first, last] lies in; NULL where it is not known, or there are two. */
static inline struct gb_heat *known_heat(unsigned int vcpu, uint64_t first, uint64_t last)
{
    const struct heat_entry *entry = heat_entry_of(vcpu, first >> GB_PAGE_SHIFT);
    return __builtin_expect(entry->page == last >> GB_PAGE_SHIFT, 1) ? entry->heat : NULL;
}

void on_heat_load(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *note)
{
    (void)note;
    struct gb_heat *heat = known_heat(vcpu, address, address + MOST_ACCESS_BYTES - 1);
    if (heat)
        heat->loads++;
    else
        warm_slowly(vcpu, info, address, 1, 0);
}

void on_heat_store(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *note)
{
    (void)note;
    struct gb_heat *heat = known_heat(vcpu, address, address + MOST_ACCESS_BYTES - 1);
    if (heat)
        heat->stores++;
    else
        warm_slowly(vcpu, info, address, 0, 1);
}

/* Of a page that was accessed a few instructions ago, beside an access at hand that `near` is the address of. QEMU's TLB
 * may have another page in its place by now, so the guest's page tables are asked, where they agree on `near`. */
static struct gb_heat *heat_beside(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t near, uint64_t address)
{
    uint64_t page = address >> GB_PAGE_SHIFT;
    struct heat_entry *entry = heat_entry_of(vcpu, page);
    if (page == near >> GB_PAGE_SHIFT)
        return heat_of(vcpu, info, near);
    if (entry->page == page)
        return entry->heat;
    if (vcpu >= shared.vcpus)
        return &nowhere[vcpu % GB_MAX_VCPUS];
    struct page_entry found;
    look_up(&found, vcpus[vcpu], info, near);
    uint64_t physical = physical_beside(vcpus[vcpu], near, found.physical, address);
    return physical == GB_NONE ? &nowhere[vcpu] : remember(vcpu, page, heat_at(vcpus[vcpu], physical));
}

static __attribute__((noinline)) void warm_group(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address,
                                                 const struct group_note *group)
{
    for (uint32_t n = 0; n < group->count; n++) {
        const struct group_part *part = &group->parts[n];
        uint64_t first = address + (uint64_t)(int64_t)part->away, last = first + part->size - 1;
        warm_by(heat_beside(vcpu, info, address, first), part->loads, part->stores);
        if ((first ^ last) >> GB_PAGE_SHIFT)
            warm_by(heat_beside(vcpu, info, address, last), part->loads, part->stores);
    }
}

void on_heat_group(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *note)
{
    const struct group_note *group = note;
    struct gb_heat *heat =
        known_heat(vcpu, address + (uint64_t)(int64_t)group->low, address + (uint64_t)(int64_t)group->high);
    if (heat)
        warm_by(heat, group->loads, group->stores);
    else
        warm_group(vcpu, info, address, group);
}

void forget_pages(struct vcpu *v)
{
    v->era += ERA;
    if (v->era >= LAST_ERA) {
        v->era = 0;
        for (size_t n = 0; n < CACHE_ENTRIES; n++)
            v->cache[n].tag = GB_NONE;
    }
    for (size_t n = 0; n < HEAT_ENTRIES; n++)
        hot[v->index][n].page = GB_NONE;
}

struct access {
    uint64_t pc, virtual_address, physical, value;
    uint32_t block;
    uint16_t instruction;
    uint8_t size, flags;
    bool store;
};

static void touch(uint64_t page, const struct gb_touch *done)
{
    struct gb_touch *to = &shared.touches[page * 2 + !!(done->flags & GB_FLAG_STORE)];
    uint64_t lock = __atomic_load_n(&to->sequence, __ATOMIC_RELAXED);
    if (lock & 1 ||
        !__atomic_compare_exchange_n(&to->sequence, &lock, lock + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return; /* another vCPU touches it at this very moment: either one is the last */
    memcpy(&to->ns, &done->ns, sizeof *to - offsetof(struct gb_touch, ns));
    __atomic_store_n(&to->sequence, lock + 2, __ATOMIC_RELEASE);
}

static void watch(unsigned int vcpu, const struct page_entry *entry, uint64_t address, const struct access *done)
{
    if (!(entry->watched & (done->store ? GB_WATCH_STORES : GB_WATCH_LOADS)))
        return;
    struct gb_touch told = {
        .ns = now_ns(), .pc = done->pc, .virtual_address = done->virtual_address,
        .physical = entry->physical | (address & (PAGE_BYTES - 1)), .task = task_of(vcpu), .value = done->value,
        .block = done->block, .vcpu = (uint16_t)vcpu, .size = done->size,
        .flags = done->flags | (done->store ? GB_FLAG_STORE : 0)};
    touch(entry->page, &told);
    hit(&told);
}

static inline uint64_t value_of(qemu_plugin_meminfo_t info, uint8_t *flags)
{
#if GLASSBOX_API >= 4
    qemu_plugin_mem_value value = qemu_plugin_mem_get_value(info);
    *flags |= GB_FLAG_VALUE;
    switch (value.type) {
    case 0:
        return value.data.u8;
    case 1:
        return value.data.u16;
    case 2:
        return value.data.u32;
    case 3:
        return value.data.u64;
    default:
        *flags |= GB_FLAG_WIDE;
        return value.data.u128.low;
    }
#else
    (void)info;
    (void)flags;
    return 0;
#endif
}

static void trace(struct vcpu *v, const struct access *done)
{
    struct gb_record *record = record_begin(v);
    if (!record)
        return;
    record->pc = done->pc;
    record->virtual_address = done->virtual_address;
    record->physical = done->physical;
    record->value = done->value;
    record->block = done->block;
    record->instruction = done->instruction;
    record->kind = done->store ? GB_RECORD_STORE : GB_RECORD_LOAD;
    record->size = done->size;
    record->flags |= done->flags;
    record_end(v, record);
}

void on_access(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *note)
{
    if (vcpu >= shared.vcpus)
        return;
    struct vcpu *v = vcpus[vcpu];
    const struct insn_note *from = note;
    const struct block_note *block = from->block;
    bool store = qemu_plugin_mem_is_store(info);
    uint64_t epoch = __atomic_load_n(&shared.reader->watch_epoch, __ATOMIC_ACQUIRE);
    if (__builtin_expect(epoch != v->watch_epoch, 0)) {
        v->watch_epoch = epoch;
        forget_pages(v);
    }
    struct page_entry *entry = entry_of(v, info, address), *second = NULL;
    uint64_t last = last_byte(info, address);
    if (__builtin_expect((last ^ address) >> GB_PAGE_SHIFT != 0, 0))
        second = entry_of(v, info, last);
    if (wanted.parts & GB_HEAT) {
        warm(entry, store);
        if (second)
            warm(second, store);
    }
    bool recorded = block->records && wanted.parts & (store ? GB_TRACE_STORES : GB_TRACE_LOADS);
    if (recorded && wanted.address_space != GB_NONE) {
        const struct inline_state *state = qemu_plugin_scoreboard_find(state_board, vcpu);
        recorded = state->traced;
    }
    bool watched = wanted.parts & GB_WATCH && (entry->watched || (second && second->watched));
    if (!recorded && !watched)
        return;
    /* Where the block is followed its virtual address is known; else the one that it was translated at stands for it. */
    uint64_t at = recorded ? v->pc : block->translated_at;
    struct access done = {
        .pc = at + from->offset, .virtual_address = address, .block = block->block, .instruction = from->index,
        .size = (uint8_t)(last - address + 1), .flags = entry->io ? GB_FLAG_IO : 0, .store = store,
        .physical = entry->physical == GB_NONE ? GB_NONE : entry->physical | (address & (PAGE_BYTES - 1))};
    done.value = value_of(info, &done.flags);
    if (watched) {
        watch(vcpu, entry, address, &done);
        if (second)
            watch(vcpu, second, last & ~(PAGE_BYTES - 1), &done);
    }
    if (recorded)
        trace(v, &done);
}
