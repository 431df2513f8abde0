/* Kernel table: an entry of it is checked, and its native code put where it can run.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels.h"

static bool sane(const struct gb_kernel *told)
{
    if (!told->code_bytes || told->code_bytes > GB_KERNEL_CODE || told->streams > STREAMS ||
        told->accesses > GB_KERNEL_ACCESSES || !told->native_bytes || told->native > shared.kernel_code_bytes ||
        told->native_bytes > shared.kernel_code_bytes - told->native || told->plan >= told->native_bytes ||
        told->run >= told->native_bytes || !told->first_bytes || told->first_bytes > told->code_bytes)
        return false;
    for (unsigned int n = 0; n < told->accesses; n++)
        if (told->access_stream[n] >= told->streams)
            return false;
    for (unsigned int n = 0; n < told->streams; n++)
        if (!told->stream[n].bytes || told->stream[n].bytes > PAGE_BYTES)
            return false;
    for (unsigned int n = 0; n < 32; n++)
        if (told->halves[n] && (told->halves[n] < 16 || told->halves[n] >= 32))
            return false;
    return true;
}

struct kernel *kernel_take(const struct gb_kernel *told, struct gb_kernel_told *tells)
{
    struct kernel *made = sane(told) ? calloc(1, sizeof *made) : NULL;
    if (!made)
        return NULL;
    made->told = *told;
    made->tells = tells;
    made->native_bytes = (told->native_bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
    /* Not mapped from the file: that may lie where nothing may be executed, and could be written later. */
    made->native = mmap(NULL, made->native_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made->native == MAP_FAILED) {
        free(made);
        return NULL;
    }
    memcpy(made->native, shared.kernel_code + told->native, told->native_bytes);
    if (mprotect(made->native, made->native_bytes, PROT_READ | PROT_EXEC)) {
        munmap(made->native, made->native_bytes);
        free(made);
        return NULL;
    }
    made->plan = (plan_function)(uintptr_t)((uint8_t *)made->native + told->plan);
    made->run = (run_function)(uintptr_t)((uint8_t *)made->native + told->run);
    made->most_rounds = FIRST_ROUNDS;
    for (unsigned int n = 0; n < told->streams; n++)
        made->stores |= told->stream[n].stores;
    return made;
}

void kernel_give_up(struct kernel *kernel)
{
    munmap(kernel->native, kernel->native_bytes);
    free(kernel);
}
