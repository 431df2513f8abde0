/* Kernels: what the files about them share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef GLASSBOX_KERNELS_H
#define GLASSBOX_KERNELS_H

#include "plugin.h"

#define STREAMS GB_KERNEL_STREAMS
#define NOT_DECLINED GB_DECLINED_REASONS
#define FIRST_ROUNDS 65536 /* of a call, before it is known how long one takes */

typedef uint64_t (*plan_function)(const uint64_t *state, uint64_t *addresses);
typedef uint64_t (*run_function)(uint64_t *state, const uint64_t *windows, uint64_t rounds);

/* A kernel that was taken from the table, checked. */
struct kernel {
    struct gb_kernel told; /* a copy: the table is not believed twice */
    struct gb_kernel_told *tells;
    plan_function plan;
    run_function run;
    void *native;
    size_t native_bytes;
    bool stores;
    uint64_t most_rounds; /* of a call, for its time */
    unsigned int measured, weighed;
    uint64_t run_ticks, run_rounds; /* of late, in calls of many rounds, without what a call costs */
    uint64_t best_ticks;            /* 1/256 of one: that a round took at least, in such a call; 0: not known */
};

/* The vCPU's page tables as they are now, and who asks. */
struct space {
    uint64_t root;
    unsigned int levels;
    bool user;
    bool opens; /* a supervisor who may touch users' pages: SMAP is off, or AC is set */
};

/* Pages of a stream that follow each other for the guest and in this process. */
struct run {
    uint64_t from, to; /* virtual, whole pages; from == to: none */
    uint8_t *host;
};

/* kernel_table.c */
struct kernel *kernel_take(const struct gb_kernel *told, struct gb_kernel_told *tells); /* NULL: it cannot be */
void kernel_give_up(struct kernel *kernel);

/* kernel_pages.c */
int page_of(const struct space *space, uint64_t address, bool stores, uint64_t *offset); /* NOT_DECLINED or why */
uint64_t walk_physical(const struct space *space, uint64_t address);
bool pages_ready(void); /* whether RAM is found in this process */
uint8_t *pages_host(uint64_t offset);
int run_find(
    const struct space *space, const struct gb_stream *stream, uint64_t address, uint64_t rounds, struct run *found,
    uint64_t *fit);

/* Bytes in this process that rounds touch. */
struct interval {
    uintptr_t from, to;
};

/* kernel_calls.c: rounds, in pieces within which all streams lie in runs of pages. */
struct calling {
    const struct kernel *kernel;
    struct space space;
    uint64_t state[GB_KERNEL_STATE];
    uint64_t addresses[STREAMS];
    struct copies *copies; /* instead of the guest's pages, where it is only tried; or NULL */
    /* Told of what each piece of rounds touches, before it is done; NULL, or false: it is not to be done. */
    bool (*before)(const struct calling *call, const struct interval *touched, uint64_t rounds);
    bool only_looks; /* it is found out how many rounds could be done; none is */
    bool ended;      /* told: the loop ends with the round that follows those that were done */
    /* Somebody else who does rounds, as many as it can of these and all or none of what it began; NULL: nobody. */
    uint64_t (*elsewhere)(struct calling *call, uint64_t rounds);
    struct gb_gpu_told *elsewhere_told;
};
uint64_t call_kernel(struct calling *call, uint64_t rounds, int *declined, uint64_t *run_ticks);

/* gpu_calls.c: rounds on the GPU, which another process has. Done are as many as the answer says; 0: none. */
uint64_t gpu_call(struct calling *call, uint64_t rounds);
bool gpu_there(const struct kernel *kernel);

/* gpu_costs.c: who is quickest at so many rounds, as measured. */
void gpu_forget(unsigned int slot, uint64_t id);
uint64_t gpu_rounds(const struct kernel *kernel, uint64_t rounds); /* that the GPU is to do; 0: the host */
void gpu_measured(const struct kernel *kernel, uint64_t rounds, uint64_t took_ticks);
void gpu_too_many(const struct kernel *kernel); /* rounds: there was no answer in time */
bool gpu_beats_qemu(const struct kernel *kernel);
static inline struct gb_gpu_told *gpu_told_of(const struct kernel *kernel)
{
    return &shared.gpu_told[kernel->tells - shared.kernels_told];
}
static inline uint64_t ticks_hz(void)
{
    return shared.plugin->tsc_hz ? shared.plugin->tsc_hz : UINT64_C(2000000000);
}

/* kernel_verify.c */
#define MOST_COPIES 64
struct copies {
    unsigned int count;
    uint64_t offset[MOST_COPIES];
    uint8_t *page[MOST_COPIES];
};
uint8_t *copy_of(struct copies *copies, uint64_t offset); /* NULL: there are too many */
/* True: the kernel's callback has no more to do. */
bool verify_look(unsigned int vcpu, const struct kernel *kernel, struct calling *now);
void verify_begin(unsigned int vcpu, const struct kernel *kernel, struct calling *now, uint64_t rounds);
void verify_forget(void);
/* How many rounds it would do, at most `rounds`; nothing is changed. */
uint64_t verify_tried(unsigned int vcpu, const struct calling *now, uint64_t rounds);
#endif
