/* GPU costs: what a call and a round take on the GPU, learned of a few trials, and who is quickest at so many rounds.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each of them takes as long as the least that it ever took: what more it took was the host's doing. A GPU that loses is
 * tried again, ever more seldom: other programs may have had it.
 */
#include "kernels.h"

#define FEW_ROUNDS UINT64_C(4096) /* tell what a call takes; fewer are never tried */
#define TRIALS 6                  /* few and many rounds in turns */
#define GOAL_NS UINT64_C(8000000) /* that a call is to take: the guest's interrupts wait so long */
#define FIRST_RETRY_NS UINT64_C(1000000000)
#define LONGEST_RETRY_NS UINT64_C(64000000000)

static struct costs {
    uint64_t id, most_rounds, retry_ns, next_ns;
    unsigned int trials;
} all_costs[GB_MAX_KERNELS];

void gpu_forget(unsigned int slot, uint64_t id)
{
    shared.gpu_told[slot] = (struct gb_gpu_told){.id = id};
    all_costs[slot] = (struct costs){.id = id, .most_rounds = FIRST_ROUNDS, .retry_ns = FIRST_RETRY_NS};
}

static struct costs *costs_of(const struct kernel *kernel)
{
    return &all_costs[kernel->tells - shared.kernels_told];
}

/* Ticks a round, of so many at once. */
static double each(uint64_t call_ticks, uint64_t round_ticks_256, uint64_t rounds)
{
    return (double)call_ticks / (double)rounds + (double)round_ticks_256 / 256;
}

static bool wins(const struct kernel *kernel, uint64_t rounds)
{
    const struct gb_gpu_told *gpu = gpu_told_of(kernel);
    uint64_t mine = rounds < costs_of(kernel)->most_rounds ? rounds : costs_of(kernel)->most_rounds;
    uint64_t hosts = rounds < kernel->most_rounds ? rounds : kernel->most_rounds;
    if (!gpu->call_ticks || !gpu->round_ticks || !kernel->best_ticks)
        return false;
    double by_gpu = each(gpu->call_ticks, gpu->round_ticks, mine);
    double by_host = each(kernel->tells->call_ticks, kernel->best_ticks, hosts);
    double by_qemu = kernel->tells->round_ticks ? (double)kernel->tells->round_ticks / 256 : by_gpu + 1;
    return by_gpu < by_host && by_gpu < by_qemu;
}

uint64_t gpu_rounds(const struct kernel *kernel, uint64_t rounds)
{
    struct costs *costs = costs_of(kernel);
    uint64_t wanted_back_end = __atomic_load_n(&shared.reader->back_end, __ATOMIC_RELAXED), now;
    if (wanted_back_end == GB_BACK_END_HOST || costs->id != kernel->told.id || !gpu_there(kernel))
        return 0;
    uint64_t most = rounds < costs->most_rounds ? rounds : costs->most_rounds;
    if (costs->trials < TRIALS && rounds >= FEW_ROUNDS) {
        if (wanted_back_end != GB_BACK_END_GPU && !kernel->best_ticks)
            return 0; /* the host's turn comes first: it is the one to be beaten */
        return costs->trials++ % 2 ? most : FEW_ROUNDS;
    }
    if (wanted_back_end == GB_BACK_END_GPU)
        return most;
    if (rounds < FEW_ROUNDS)
        return 0;
    if (wins(kernel, rounds)) {
        costs->retry_ns = FIRST_RETRY_NS;
        return most;
    }
    if ((now = now_ns()) < costs->next_ns)
        return 0;
    bool first = !costs->next_ns;
    costs->next_ns = now + costs->retry_ns;
    costs->retry_ns = 2 * costs->retry_ns < LONGEST_RETRY_NS ? 2 * costs->retry_ns : LONGEST_RETRY_NS;
    return first ? 0 : most;
}

static void least_of(uint64_t *least, uint64_t value)
{
    if (!*least || value < *least)
        *least = value ? value : 1;
}

void gpu_measured(const struct kernel *kernel, uint64_t rounds, uint64_t took_ticks)
{
    struct gb_gpu_told *gpu = gpu_told_of(kernel);
    struct costs *costs = costs_of(kernel);
    __atomic_fetch_add(&gpu->calls, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&gpu->rounds, rounds, __ATOMIC_RELAXED);
    __atomic_fetch_add(&gpu->ticks, took_ticks, __ATOMIC_RELAXED);
    if (took_ticks > gpu->longest_ticks)
        gpu->longest_ticks = took_ticks;
    if (rounds <= FEW_ROUNDS) {
        least_of(&gpu->call_ticks, took_ticks);
        return;
    }
    /* The call's own part stays in it: what a first call took, on a busy host, would make rounds look free. */
    least_of(&gpu->round_ticks, (uint64_t)(256.0 * (double)took_ticks / (double)rounds));
    /* As many as take the time that a call may, if they take as long as these did. */
    double goal = (double)ticks_hz() * GOAL_NS / 1e9, fit = (double)rounds * goal / (double)(took_ticks ? took_ticks : 1);
    uint64_t grown = 4 * (rounds > costs->most_rounds ? rounds : costs->most_rounds);
    if (fit < (double)costs->most_rounds || rounds >= costs->most_rounds)
        costs->most_rounds = fit < (double)FEW_ROUNDS ? FEW_ROUNDS : fit < (double)grown ? (uint64_t)fit : grown;
}

void gpu_too_many(const struct kernel *kernel)
{
    struct costs *costs = costs_of(kernel);
    costs->most_rounds = costs->most_rounds / 4 > FEW_ROUNDS ? costs->most_rounds / 4 : FEW_ROUNDS;
}

bool gpu_beats_qemu(const struct kernel *kernel)
{
    return kernel->tells->round_ticks && wins(kernel, costs_of(kernel)->most_rounds);
}
