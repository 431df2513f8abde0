/* Outside: calls of kernels by a process that is not QEMU, over the same RAM file, while all of QEMU's processors stand.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A library for bridge/pixelcpu/outside.py. Page walks, rights, streams that meet and verification are the plugin's own
 * files. What is added is a journal, for a caller that is killed in the middle of a call: QEMU lives on then, with the
 * registers of before the call. What it stored is stored once more by the guest itself, the same bytes; but a round must
 * find what it loads as it was. So pages that a call loads from and stores to are written down before it stores there,
 * and whoever survives puts them back. Calls whose loads and stores lie in different pages need none of it.
 */
#define _GNU_SOURCE /* holes in files */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../kernels.h"

#define WARMED_BYTES ((off_t)16 << 20)
#define JOURNAL_RUNS 1 /* what stands in it has to be put back */

/* Entries follow: where in the RAM file, how many bytes, and these, filled up to a multiple of 8. */
struct journal {
    uint64_t state, used;
    uint8_t entries[];
};

struct outside_space {
    uint64_t root;
    uint32_t levels, user;
};

static struct kernel *taken[GB_MAX_KERNELS];
static struct journal *journal;
static uint64_t journal_bytes;
static uint64_t *loaded; /* a bit a page: this call loads from it */

EXPORTED bool outside_open(const char *path, const char *ram_path, void *journal_at, uint64_t bytes)
{
    if (!shared_open(path, ram_path))
        return false;
    int file = open(ram_path, O_RDWR | O_CLOEXEC);
    void *ram = file < 0 ? MAP_FAILED
                         : mmap(NULL, shared.pages << GB_PAGE_SHIFT, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file >= 0)
        close(file);
    loaded = calloc(shared.pages / 64 + 1, sizeof *loaded);
    journal = journal_at;
    journal_bytes = bytes - sizeof *journal;
    return ram != MAP_FAILED && loaded && host_ram_base() == ram;
}

/* What the table says is taken. Between two calls only. */
EXPORTED void outside_take(void)
{
    verify_forget();
    for (unsigned int n = 0; n < GB_MAX_KERNELS; n++) {
        struct gb_kernel told = shared.kernels[n];
        if (__atomic_load_n(&shared.kernels[n].id, __ATOMIC_ACQUIRE) != told.id)
            told.id = 0;
        if (taken[n] && taken[n]->told.id == told.id && taken[n]->told.flags == told.flags)
            continue;
        if (taken[n])
            kernel_give_up(taken[n]);
        taken[n] = NULL;
        struct gb_kernel_told *tells = &shared.kernels_told[n];
        memset(tells, 0, sizeof *tells);
        if (told.id) {
            taken[n] = kernel_take(&told, tells);
            tells->state = taken[n] ? GB_KERNEL_LIVE : GB_KERNEL_BAD;
        }
        __atomic_store_n(&tells->id, told.id, __ATOMIC_RELEASE);
    }
}

/* Have the kernel enter all of RAM that there is into this process's page tables, at once: page by page, when a kernel
 * first comes there, takes many times as long, and a call that does it looks slow. Holes stay holes. */
EXPORTED void outside_warm(const char *ram_path)
{
#ifdef MADV_POPULATE_WRITE
    int file = open(ram_path, O_RDONLY | O_CLOEXEC);
    off_t end = (off_t)(shared.pages << GB_PAGE_SHIFT), at = 0;
    while (file >= 0 && at < end && (at = lseek(file, at, SEEK_DATA)) >= 0 && at < end) {
        off_t hole = lseek(file, at, SEEK_HOLE);
        hole = hole < 0 || hole > end ? end : hole;
        for (; at < hole; at += WARMED_BYTES)
            madvise(host_ram_base() + at, (size_t)(hole - at < WARMED_BYTES ? hole - at : WARMED_BYTES),
                    MADV_POPULATE_WRITE);
        at = hole;
    }
    if (file >= 0)
        close(file);
#else
    (void)ram_path;
#endif
}

EXPORTED uint64_t outside_ticks(void)
{
    return ticks();
}

static const struct kernel *kernel_of(uint32_t slot)
{
    return slot < GB_MAX_KERNELS && taken[slot] && taken[slot]->tells->state == GB_KERNEL_LIVE ? taken[slot] : NULL;
}

/* How many rounds surely go back to the first instruction. */
EXPORTED uint64_t outside_plan(uint32_t slot, const uint64_t *state)
{
    const struct kernel *kernel = kernel_of(slot);
    uint64_t addresses[STREAMS];
    return kernel ? kernel->plan(state, addresses) : 0;
}

static struct space space_of(const struct outside_space *told)
{
    return (struct space){.root = told->root, .levels = told->levels == 5 ? 5 : 4, .user = told->user};
}

/* Whether the loop is at `pc`, by these page tables: GB_DECLINED_REASONS, or why it is not. */
EXPORTED int outside_check(uint32_t slot, const struct outside_space *told, uint64_t pc)
{
    const struct kernel *kernel = kernel_of(slot);
    struct space space = space_of(told);
    uint64_t offset = GB_NONE;
    take_ram_ranges(); /* firmware moves them while it boots */
    if (!kernel || !pages_ready())
        return GB_DECLINED_SPACE;
    for (uint64_t at = 0; at < kernel->told.code_bytes; at++) {
        if (!at || !((pc + at) & (PAGE_BYTES - 1)))
            offset = offset_of_physical(walk_physical(&space, pc + at) & ~(PAGE_BYTES - 1));
        if (offset == GB_NONE)
            return GB_DECLINED_SPACE;
        if (*pages_host(offset | ((pc + at) & (PAGE_BYTES - 1))) != kernel->told.code[at])
            return GB_DECLINED_CHANGED;
    }
    return NOT_DECLINED;
}

static uint64_t page_of_host(uintptr_t host)
{
    return (host - (uintptr_t)host_ram_base()) >> GB_PAGE_SHIFT;
}

static bool note_loads(const struct calling *call, const struct interval *touched, uint64_t rounds)
{
    (void)rounds;
    const struct gb_kernel *told = &call->kernel->told;
    for (unsigned int n = 0; n < told->streams; n++)
        for (uint64_t page = page_of_host(touched[n].from);
             !told->stream[n].stores && page <= page_of_host(touched[n].to - 1) && page < shared.pages; page++)
            loaded[page / 64] |= UINT64_C(1) << page % 64;
    return true;
}

static bool write_down(uintptr_t from, uintptr_t to)
{
    uint64_t bytes = to - from, whole = (bytes + 7) & ~UINT64_C(7), offset = from - (uintptr_t)host_ram_base();
    if (whole + 16 > journal_bytes - journal->used)
        return false;
    uint8_t *entry = journal->entries + journal->used;
    memcpy(entry, &offset, 8);
    memcpy(entry + 8, &bytes, 8);
    memcpy(entry + 16, (const void *)from, bytes);
    __atomic_store_n(&journal->used, journal->used + 16 + whole, __ATOMIC_RELEASE); /* last: half an entry is none */
    return true;
}

static bool note_stores(const struct calling *call, const struct interval *touched, uint64_t rounds)
{
    (void)rounds;
    const struct gb_kernel *told = &call->kernel->told;
    for (unsigned int n = 0; n < told->streams; n++) {
        if (!told->stream[n].stores)
            continue;
        for (uintptr_t from = touched[n].from, to; from < touched[n].to; from = to) {
            uint64_t page = page_of_host(from);
            to = (from & ~(uintptr_t)(PAGE_BYTES - 1)) + PAGE_BYTES;
            to = to < touched[n].to ? to : touched[n].to;
            if (page < shared.pages && loaded[page / 64] >> page % 64 & 1 && !write_down(from, to))
                return false;
        }
    }
    return true;
}

/* Does rounds, as many as may be and `rounds` at most, and changes `state`. Then the caller closes the journal. `why`: what stopped it; GB_DECLINED_REASONS: nothing. */
EXPORTED uint64_t outside_call(
    uint32_t slot, const struct outside_space *told, uint64_t *state, uint64_t rounds, int *why, uint64_t *run_ticks)
{
    const struct kernel *kernel = kernel_of(slot);
    *why = GB_DECLINED_SPACE;
    *run_ticks = 0;
    if (!kernel || !rounds)
        return 0;
    struct calling call = {.kernel = kernel, .space = space_of(told)};
    memcpy(call.state, state, sizeof call.state);
    kernel->plan(call.state, call.addresses);
    bool loads = false;
    for (unsigned int n = 0; n < kernel->told.streams; n++)
        loads |= !kernel->told.stream[n].stores;
    if (kernel->stores && loads) {
        struct calling look = call;
        int ignored;
        memset(loaded, 0, (shared.pages / 64 + 1) * sizeof *loaded);
        look.before = note_loads;
        look.only_looks = true;
        rounds = call_kernel(&look, rounds, why, run_ticks);
        if (!rounds)
            return 0;
        call.before = note_stores;
        journal->used = 0;
        __atomic_store_n(&journal->state, JOURNAL_RUNS, __ATOMIC_RELEASE);
        rounds = call_kernel(&call, rounds, &ignored, run_ticks);
    } else
        rounds = call_kernel(&call, rounds, why, run_ticks);
    memcpy(state, call.state, sizeof call.state);
    return rounds;
}

/* Comparisons that go on are given up: somebody may pass the loops unseen. */
EXPORTED void outside_forget(void)
{
    verify_forget();
}

/* With verification: true while QEMU is not there yet, and when it was compared just now. */
EXPORTED bool outside_verify_look(uint32_t vcpu, uint32_t slot, const struct outside_space *told, const uint64_t *state)
{
    const struct kernel *kernel = kernel_of(slot);
    if (!kernel || vcpu >= GB_MAX_VCPUS)
        return false;
    struct calling now = {.kernel = kernel, .space = space_of(told)};
    memcpy(now.state, state, sizeof now.state);
    return verify_look(vcpu, kernel, &now);
}

/* The kernel does rounds on copies of the pages; how many, it tells itself. */
EXPORTED void outside_verify_begin(
    uint32_t vcpu, uint32_t slot, const struct outside_space *told, const uint64_t *state, uint64_t rounds)
{
    const struct kernel *kernel = kernel_of(slot);
    if (!kernel || vcpu >= GB_MAX_VCPUS)
        return;
    struct calling now = {.kernel = kernel, .space = space_of(told)};
    memcpy(now.state, state, sizeof now.state);
    kernel->plan(now.state, now.addresses);
    verify_begin(vcpu, kernel, &now, rounds);
}
