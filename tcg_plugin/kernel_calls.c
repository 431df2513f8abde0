/* Kernel calls: does a loop's rounds in pieces, within each of which every stream lies in pages that follow each other.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Rounds of one piece run side by side, pieces one after the other. So it is within a piece that what is stored must
 * not meet anything else, in memory itself: two of the guest's addresses may be one page. Rounds of an ordered kernel run one
 * after the other, and may.
 */
#include "kernels.h"

#define LEAST_ROUNDS 16 /* side by side; where fewer are apart it is not worth it */

struct piece {
    struct run runs[STREAMS];
    uint64_t windows[3 * GB_KERNEL_ACCESSES];
};

/* In verification each page is a copy, and a run is one page. */
static int copied_run(struct calling *call, unsigned int n, uint64_t rounds, struct run *run, uint64_t *fit)
{
    const struct gb_stream *stream = &call->kernel->told.stream[n];
    uint64_t address = call->addresses[n], first = address & ~(PAGE_BYTES - 1), offset;
    *fit = 0;
    if ((address + stream->bytes - 1) >> GB_PAGE_SHIFT != address >> GB_PAGE_SHIFT)
        return GB_DECLINED_ACROSS;
    int why = page_of(&call->space, address, stream->stores, &offset);
    if (why != NOT_DECLINED)
        return why;
    uint8_t *page = copy_of(call->copies, offset);
    if (!page)
        return GB_DECLINED_MEASURING;
    *run = (struct run){.from = first, .to = first + PAGE_BYTES, .host = page};
    if (!stream->stride)
        *fit = rounds;
    else if (stream->stride >> 63)
        *fit = (address - first) / -stream->stride + 1;
    else
        *fit = (first + PAGE_BYTES - address - stream->bytes) / stream->stride + 1;
    return NOT_DECLINED;
}

static struct interval touched(const struct calling *call, const struct piece *piece, unsigned int n, uint64_t rounds)
{
    const struct gb_stream *stream = &call->kernel->told.stream[n];
    uintptr_t at = (uintptr_t)piece->runs[n].host + (call->addresses[n] - piece->runs[n].from);
    uint64_t moved = stream->stride * (rounds - 1);
    return stream->stride >> 63 ? (struct interval){at + moved, at + stream->bytes}
                                : (struct interval){at, at + moved + stream->bytes};
}

/* Whether `rounds` side by side touch nothing that another one of them stores. */
static bool apart(const struct calling *call, const struct piece *piece, uint64_t rounds)
{
    const struct gb_kernel *told = &call->kernel->told;
    if (told->flags & GB_KERNEL_ORDERED)
        return true;
    for (unsigned int n = 0; n < told->streams; n++)
        for (unsigned int m = n + 1; m < told->streams; m++) {
            if (!told->stream[n].stores && !told->stream[m].stores)
                continue;
            struct interval one = touched(call, piece, n, rounds), other = touched(call, piece, m, rounds);
            if (one.to <= other.from || other.to <= one.from)
                continue;
            /* Of one group: shown never to meet, if they are as far apart here as for the guest. */
            if (told->stream[n].group == told->stream[m].group &&
                piece->runs[n].host - piece->runs[n].from == piece->runs[m].host - piece->runs[m].from)
                continue;
            return false;
        }
    return true;
}

uint64_t call_kernel(struct calling *call, uint64_t rounds, int *declined, uint64_t *run_ticks)
{
    const struct kernel *kernel = call->kernel;
    const struct gb_kernel *told = &kernel->told;
    struct piece piece = {0};
    uint64_t done = 0;
    *declined = NOT_DECLINED;
    *run_ticks = 0;
    while (done < rounds) {
        uint64_t now = rounds - done;
        for (unsigned int n = 0; n < told->streams; n++) {
            uint64_t fit;
            *declined = call->copies ? copied_run(call, n, now, &piece.runs[n], &fit)
                                     : run_find(&call->space, &told->stream[n], call->addresses[n], now,
                                                &piece.runs[n], &fit);
            if (*declined != NOT_DECLINED)
                return done;
            now = fit < now ? fit : now;
        }
        bool clear;
        while (!(clear = apart(call, &piece, now)) && now >= 2 * LEAST_ROUNDS)
            now /= 2;
        if (!clear) {
            *declined = GB_DECLINED_MEET;
            return done;
        }
        for (unsigned int n = 0; n < told->accesses; n++) {
            const struct run *run = &piece.runs[told->access_stream[n]];
            piece.windows[3 * n] = run->from;
            piece.windows[3 * n + 1] = run->to - run->from;
            piece.windows[3 * n + 2] = (uintptr_t)run->host;
        }
        if (call->before) {
            struct interval all[STREAMS];
            for (unsigned int n = 0; n < told->streams; n++)
                all[n] = touched(call, &piece, n, now);
            if (!call->before(call, all, now))
                return done;
        }
        uint64_t began = ticks(), made = call->only_looks ? now : kernel->run(call->state, piece.windows, now);
        *run_ticks += ticks() - began;
        done += made;
        for (unsigned int n = 0; n < told->streams; n++)
            call->addresses[n] += told->stream[n].stride * made;
        if (made < now && told->flags & GB_KERNEL_ENDS_ITSELF) {
            call->ended = true;
            return done;
        }
        if (made != now) { /* its own look at the windows: it cannot be, and harms nothing */
            *declined = GB_DECLINED_ACROSS;
            return done;
        }
    }
    return done;
}
