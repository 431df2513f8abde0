/* Blocks: a number for each piece of code at each place, the same one however often QEMU translates it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A block is its physical address and its bytes. Its virtual address is no part of it: QEMU runs one translation for
 * all processes that have the code mapped, wherever they have it. Code that is changed in place becomes another block.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

#define BUCKETS (1u << 18)
#define MOST_BYTES 8192 /* QEMU ends a block at 512 instructions or two pages, whatever comes first */
#define POOL_BYTES (1u << 20)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* What tells blocks apart is kept here as well: the shared table is written, and never believed. */
static struct known {
    uint64_t key, physical;
    uint32_t bytes, next;
} *known;
static uint64_t used = 1, used_code;
static uint32_t *buckets;
static uint8_t *pool, *pool_end;

void *keep(size_t bytes)
{
    static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
    bytes = (bytes + 15) & ~(size_t)15;
    pthread_mutex_lock(&pool_lock);
    if ((size_t)(pool_end - pool) < bytes) {
        size_t room = bytes > POOL_BYTES ? bytes : POOL_BYTES;
        pool = malloc(room);
        pool_end = pool ? pool + room : NULL;
    }
    void *kept = pool;
    if (pool)
        pool += bytes;
    pthread_mutex_unlock(&pool_lock);
    return kept;
}

static uint64_t fnv1a(const uint8_t *bytes, size_t count, uint64_t hash)
{
    for (size_t n = 0; n < count; n++)
        hash = (hash ^ bytes[n]) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t physical_of_insn(const struct qemu_plugin_insn *insn)
{
    uint64_t offset = ram_page_of_host(qemu_plugin_insn_haddr(insn));
    return offset == GB_NONE ? GB_NONE : physical_of_offset(offset);
}

static uint32_t add(struct gb_block *made, uint64_t key, const uint8_t *bytes, uint32_t *bucket)
{
    if (!known || used >= shared.block_count || made->bytes > shared.code_bytes - used_code) {
        __atomic_fetch_add(&shared.plugin->refused_blocks, 1, __ATOMIC_RELAXED);
        return GB_NO_BLOCK;
    }
    uint32_t index = (uint32_t)used++;
    known[index] = (struct known){.key = key, .physical = made->physical, .bytes = made->bytes, .next = *bucket};
    *bucket = index;
    made->code = used_code;
    memcpy(shared.code + used_code, bytes, made->bytes);
    shared.blocks[index] = *made;
    used_code += made->bytes;
    __atomic_store_n(&shared.plugin->code_bytes, used_code, __ATOMIC_RELEASE);
    __atomic_store_n(&shared.plugin->blocks, used, __ATOMIC_RELEASE);
    return index;
}

uint32_t block_of(struct qemu_plugin_tb *tb, uint64_t *physical)
{
    uint8_t bytes[MOST_BYTES];
    size_t count = qemu_plugin_tb_n_insns(tb), size = 0;
    struct gb_block made = {.physical = GB_NONE, .physical_behind = GB_NONE, .translations = 1};
    uint64_t first_page = qemu_plugin_tb_vaddr(tb) >> GB_PAGE_SHIFT;
    for (size_t n = 0; n < count; n++) {
        const struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, n);
        uint64_t here = qemu_plugin_insn_vaddr(insn);
        if (n == 0)
            made.physical = physical_of_insn(insn);
        else if (here >> GB_PAGE_SHIFT != first_page && made.physical_behind == GB_NONE)
            made.physical_behind = physical_of_insn(insn);
        size += instruction_bytes(insn, bytes + size, MOST_BYTES - size);
    }
    *physical = made.physical;
    made.virtual_first = qemu_plugin_tb_vaddr(tb);
    made.bytes = (uint32_t)size;
    made.instructions = (uint32_t)count;
    made.hash = fnv1a(bytes, size, UINT64_C(0xcbf29ce484222325));
    /* What is not in RAM, the firmware, has no physical address here: its virtual one tells it apart. */
    uint64_t place = made.physical == GB_NONE ? made.virtual_first : made.physical;
    uint64_t key = fnv1a((const uint8_t *)&place, sizeof place, made.hash);

    pthread_mutex_lock(&lock);
    if (!buckets) {
        buckets = calloc(BUCKETS, sizeof *buckets);
        known = calloc(shared.block_count, sizeof *known);
    }
    uint32_t index = GB_NO_BLOCK;
    if (buckets && known) {
        uint32_t *bucket = &buckets[key % BUCKETS];
        for (index = *bucket; index; index = known[index].next)
            if (known[index].key == key && known[index].bytes == size && known[index].physical == made.physical)
                break;
        if (index)
            shared.blocks[index].translations++;
        else
            index = add(&made, key, bytes, bucket);
    }
    shared.plugin->translations++;
    pthread_mutex_unlock(&lock);
    return index;
}
