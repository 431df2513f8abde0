/* GPU calls: asks the process that has the GPU for a loop's rounds, waits a little, and puts what they stored in place.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A request names each stream's pages, wherever in RAM they lie; they are gathered over there. So unlike the host's
 * kernel, which works in place, a call is one piece for the guest's addresses, and what must be told apart are these,
 * and that no page that is stored to has two of them.
 *
 * Nothing of the guest is written before the answer is whole. Who is killed in the middle of one, answers too late or
 * nonsense, has changed nothing: the host does these rounds. What was stored is copied byte by byte as the streams say,
 * and no byte between: a device may have written there meanwhile.
 */
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels.h"

#define ANSWER_NS 40000000 /* a request's, at most; with it QMP's stop waits less than 50 ms */
#define ALIVE_NS UINT64_C(1000000000)
#define FIRST_BLOCK_NS UINT64_C(100000000) /* nobody is asked for so long, after there was no answer … */
#define LONGEST_BLOCK_NS UINT64_C(12800000000)
#define LEAST_APART 16
#define STAGED_ALIGN 8

/* What a page of RAM is in a request. */
struct owner {
    uint64_t request, page; /* its page of the guest's addresses */
    uint8_t stores, several;
};

static bool busy; /* one request at a time; with several vCPUs the others' rounds are the host's */
static uint64_t number, generation, blocked_until_ns, block_ns;
static struct owner *owners;

bool gpu_there(const struct kernel *kernel)
{
    unsigned int slot = (unsigned int)(kernel->tells - shared.kernels_told);
    uint64_t alive = __atomic_load_n(&shared.gpu_worker->alive_ns, __ATOMIC_ACQUIRE);
    if (!alive || __atomic_load_n(&shared.gpu_worker->ready[slot], __ATOMIC_ACQUIRE) != kernel->told.id ||
        kernel->told.flags & (GB_KERNEL_ORDERED | GB_KERNEL_ENDS_ITSELF) ||
        gpu_told_of(kernel)->state == GB_KERNEL_WRONG)
        return false;
    uint64_t now = now_ns(), who = __atomic_load_n(&shared.gpu_worker->generation, __ATOMIC_RELAXED);
    if (who != generation) {
        generation = who;
        blocked_until_ns = block_ns = 0;
    }
    return now < alive + ALIVE_NS && now >= blocked_until_ns;
}

static void futex_wait(const uint64_t *word, uint32_t seen, uint64_t ns)
{
    struct timespec time = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    syscall(SYS_futex, (const void *)word, FUTEX_WAIT, seen, &time, NULL, 0);
}

static bool answered(uint64_t until_ns)
{
    const uint64_t *word = &shared.gpu_worker->answered;
    for (;;) {
        uint64_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE), now = now_ns();
        if (seen == number)
            return true;
        if (now >= until_ns)
            return false;
        futex_wait(word, (uint32_t)seen, until_ns - now);
    }
}

/* The pages of a stream's rounds from `address` on, to `pages` in the order of their addresses, and the first one's
 * address; as many rounds as lie in pages that may be touched. */
static uint64_t gather(
    const struct calling *call, unsigned int n, uint64_t rounds, uint32_t room, uint32_t *pages, uint32_t *count,
    uint64_t *base)
{
    const struct gb_stream *stream = &call->kernel->told.stream[n];
    uint64_t address = call->addresses[n], offset;
    bool down = stream->stride >> 63;
    uint64_t step = down ? -stream->stride : stream->stride;
    uint64_t reach = step && (uint64_t)(room - 2) * PAGE_BYTES / step < rounds - 1
                         ? (uint64_t)(room - 2) * PAGE_BYTES / step
                         : rounds - 1; /* rounds behind the first */
    uint64_t low = down ? address - reach * step : address;
    uint64_t high = (down ? address : address + reach * step) + stream->bytes - 1;
    *count = 0;
    if (low > address || high < address || (!step && high - low >= (uint64_t)room * PAGE_BYTES))
        return 0;
    uint64_t first = (down ? high : low) & ~(PAGE_BYTES - 1), last = (down ? low : high) & ~(PAGE_BYTES - 1);
    for (uint64_t page = first; *count < room; page += down ? -PAGE_BYTES : PAGE_BYTES) {
        if (page_of(&call->space, page, stream->stores, &offset) != NOT_DECLINED)
            break;
        pages[(*count)++] = (uint32_t)(offset >> GB_PAGE_SHIFT);
        if (page == last)
            break;
    }
    uint64_t had = (uint64_t)*count * PAGE_BYTES;
    *base = down ? first + PAGE_BYTES - had : first;
    if (down)
        for (uint32_t at = 0; at < *count / 2; at++) {
            uint32_t other = pages[*count - 1 - at];
            pages[*count - 1 - at] = pages[at];
            pages[at] = other;
        }
    if (!step)
        return *count && *base + had > high ? rounds : 0;
    uint64_t touched = stream->bytes + (down ? first + PAGE_BYTES - (high + 1) : low - first); /* by the first round */
    return had < touched ? 0 : (had - touched) / step < reach ? (had - touched) / step + 1 : reach + 1;
}

/* The same for all streams; what they touch, trimmed to that. 0: no rounds can be done. */
static uint64_t prepare(const struct calling *call, uint64_t rounds)
{
    const struct gb_kernel *told = &call->kernel->told;
    struct gb_gpu_request *to = shared.gpu_request;
    uint64_t base[STREAMS], staged = 0;
    uint32_t count[STREAMS], room = told->streams ? GB_GPU_PAGES / told->streams : 0, copies = 0;
    for (unsigned int n = 0; n < told->streams && rounds; n++) {
        uint64_t fit = gather(call, n, rounds, room, to->page + n * room, &count[n], &base[n]);
        rounds = fit < rounds ? fit : rounds;
    }
    for (bool clear = false; !clear && rounds;) {
        clear = true;
        for (unsigned int n = 0; n < told->streams; n++) {
            const struct gb_stream *stream = &told->stream[n];
            uint64_t moved = stream->stride * (rounds - 1), down = stream->stride >> 63;
            to->stream[n] = (struct gb_gpu_stream){
                .first = call->addresses[n] + (down ? moved : 0), .bytes = (down ? -moved : moved) + stream->bytes,
                .stores = stream->stores};
        }
        for (unsigned int n = 0; n < told->streams; n++)
            for (unsigned int m = n + 1; m < told->streams; m++) {
                const struct gb_gpu_stream *one = &to->stream[n], *other = &to->stream[m];
                if ((one->stores || other->stores) && told->stream[n].group != told->stream[m].group &&
                    one->first < other->first + other->bytes && other->first < one->first + one->bytes)
                    clear = false;
            }
        if (!clear)
            rounds = rounds >= 2 * LEAST_APART ? rounds / 2 : 0;
    }
    for (unsigned int n = 0; n < told->streams && rounds; n++) {
        struct gb_gpu_stream *stream = &to->stream[n];
        uint64_t first = stream->first >> GB_PAGE_SHIFT, skipped = first - (base[n] >> GB_PAGE_SHIFT);
        stream->page = (uint32_t)(n * room + skipped);
        stream->pages = (uint32_t)(((stream->first + stream->bytes - 1) >> GB_PAGE_SHIFT) - first + 1);
        if (skipped + stream->pages > count[n])
            return 0;
        if (stream->stores) {
            stream->staged = staged;
            staged += (stream->bytes + STAGED_ALIGN - 1) & ~(uint64_t)(STAGED_ALIGN - 1);
            copies += stream->pages;
        }
        for (uint32_t at = 0; at < stream->pages; at++) {
            struct owner *owner = &owners[to->page[stream->page + at]];
            if (owner->request != number + 1)
                *owner = (struct owner){.request = number + 1, .page = first + at};
            owner->several |= owner->page != first + at;
            owner->stores |= stream->stores;
            if (owner->several && owner->stores)
                return 0;
        }
    }
    return staged > shared.gpu_staging_bytes || (call->copies && copies > MOST_COPIES) ? 0 : rounds;
}

static void put_bytes(
    const struct calling *call, const struct gb_gpu_stream *stream, uint64_t address, const uint8_t *from, uint64_t bytes)
{
    uint64_t first = stream->first >> GB_PAGE_SHIFT;
    while (bytes) {
        uint64_t inside = address & (PAGE_BYTES - 1), part = PAGE_BYTES - inside < bytes ? PAGE_BYTES - inside : bytes;
        uint64_t page = shared.gpu_request->page[stream->page + ((address >> GB_PAGE_SHIFT) - first)];
        uint64_t offset = page << GB_PAGE_SHIFT;
        uint8_t *to = call->copies ? copy_of(call->copies, offset) : pages_host(offset);
        if (to)
            memcpy(to + inside, from, part);
        address += part;
        from += part;
        bytes -= part;
    }
}

/* What the answer says becomes the guest's. */
static void commit(struct calling *call, uint64_t rounds)
{
    const struct gb_kernel *told = &call->kernel->told;
    for (unsigned int n = 0; n < told->streams; n++) {
        const struct gb_stream *stream = &told->stream[n];
        const struct gb_gpu_stream *asked = &shared.gpu_request->stream[n];
        if (stream->stores && (stream->stride == stream->bytes || -stream->stride == stream->bytes))
            put_bytes(call, asked, asked->first, shared.gpu_staging + asked->staged, asked->bytes);
        else if (stream->stores)
            for (uint64_t round = 0; round < rounds; round++) {
                uint64_t address = call->addresses[n] + stream->stride * round;
                put_bytes(
                    call, asked, address, shared.gpu_staging + asked->staged + (address - asked->first), stream->bytes);
            }
        call->addresses[n] += stream->stride * rounds;
    }
    for (unsigned int word = 0; word < GB_KERNEL_STATE - 1; word++)
        if (told->writes >> word & 1)
            call->state[word] = shared.gpu_worker->state[word];
}

static uint64_t asked(struct calling *call, uint64_t rounds)
{
    struct gb_gpu_request *to = shared.gpu_request;
    struct gb_gpu_told *tells = gpu_told_of(call->kernel);
    uint64_t until = now_ns() + ANSWER_NS;
    if (!owners && !(owners = calloc(shared.pages, sizeof *owners)))
        return 0;
    __atomic_store_n(&to->number, 0, __ATOMIC_RELEASE);
    if (!(rounds = prepare(call, rounds))) {
        tells->unfit++;
        return 0;
    }
    to->id = call->kernel->told.id;
    to->slot = (uint32_t)(call->kernel->tells - shared.kernels_told);
    to->streams = call->kernel->told.streams;
    to->rounds = rounds;
    memcpy(to->state, call->state, sizeof to->state);
    __atomic_store_n(&to->number, ++number, __ATOMIC_RELEASE);
    syscall(SYS_futex, (const void *)&to->number, FUTEX_WAKE, 1, NULL, NULL, 0);
    tells->state = GB_KERNEL_LIVE;
    if (!answered(until)) {
        tells->timeouts++;
        block_ns = !block_ns ? FIRST_BLOCK_NS : 2 * block_ns < LONGEST_BLOCK_NS ? 2 * block_ns : LONGEST_BLOCK_NS;
        blocked_until_ns = now_ns() + block_ns;
        gpu_too_many(call->kernel);
        return 0;
    }
    block_ns = 0;
    if (shared.gpu_worker->rounds != rounds) {
        tells->refused++;
        return 0;
    }
    commit(call, rounds);
    return rounds;
}

uint64_t gpu_call(struct calling *call, uint64_t rounds)
{
    if (__atomic_exchange_n(&busy, true, __ATOMIC_ACQUIRE))
        return 0;
    uint64_t done = rounds ? asked(call, rounds) : 0;
    __atomic_store_n(&busy, false, __ATOMIC_RELEASE);
    return done;
}
