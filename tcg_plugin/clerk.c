/* Clerk: a thread of the plugin's own that takes samples, publishes counts when asked, and keeps time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "plugin.h"

#define NAP_NS UINT64_C(100000000)
#define TRACE_NAP_NS UINT64_C(500000) /* records of a vCPU that went quiet are told of this late */
#define LEAST_SAMPLE_NS UINT64_C(100000)
#define CALIBRATION_NS UINT64_C(100000000)

static pthread_mutex_t publishing = PTHREAD_MUTEX_INITIALIZER;

void clerk_publish_counts(void)
{
    pthread_mutex_lock(&publishing);
    uint64_t asked = __atomic_load_n(&shared.reader->publish, __ATOMIC_ACQUIRE);
    uint64_t blocks = __atomic_load_n(&shared.plugin->blocks, __ATOMIC_ACQUIRE);
    for (unsigned int n = 0; count_board && n < shared.vcpus; n++) {
        if (!__atomic_load_n(&vcpus[n], __ATOMIC_ACQUIRE) || blocks > shared.block_count)
            continue;
        memcpy(shared.counts + n * shared.block_count, qemu_plugin_scoreboard_find(count_board, n), blocks * 8);
    }
    shared.plugin->published_ns = now_ns();
    __atomic_store_n(&shared.plugin->published, asked, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&publishing);
}

/* Whether a vCPU's thread ran for at least half of the time since the last sample. Where the host had something better to
 * do the guest stood still, in whatever block it was: to count that block would say that it is slow. */
static bool has_run(struct vcpu *v, uint64_t since_ns)
{
    struct timespec spent;
    clockid_t clock = __atomic_load_n(&v->clock, __ATOMIC_RELAXED);
    if (!clock || clock_gettime(clock, &spent))
        return true;
    uint64_t ns = (uint64_t)spent.tv_sec * 1000000000 + (uint64_t)spent.tv_nsec, before = v->ran_ns;
    v->ran_ns = ns;
    return 2 * (ns - before) >= since_ns;
}

static void sample(uint64_t now)
{
    static uint64_t head, last_ns;
    uint64_t since_ns = now - last_ns;
    last_ns = now;
    for (unsigned int n = 0; n < shared.vcpus; n++) {
        struct vcpu *v = __atomic_load_n(&vcpus[n], __ATOMIC_ACQUIRE);
        if (!v)
            continue;
        const struct inline_state *state = qemu_plugin_scoreboard_find(state_board, n);
        bool ran = has_run(v, since_ns);
        if (__atomic_load_n(&state->block, __ATOMIC_RELAXED) != GB_NO_BLOCK && !ran)
            continue;
        struct gb_sample *slot = &shared.samples[head & (shared.sample_count - 1)];
        *slot = (struct gb_sample){
            .ns = now, .task = task_of(n), .block = (uint32_t)__atomic_load_n(&state->block, __ATOMIC_RELAXED),
            .vcpu = (uint16_t)n};
        __atomic_store_n(&shared.plugin->sample_head, ++head, __ATOMIC_RELEASE);
    }
}

static void keep_time(uint64_t now)
{
    static uint64_t first_ns, first_tsc;
    uint64_t tsc = ticks();
    if (!first_ns) {
        first_ns = now;
        first_tsc = tsc;
        shared.plugin->tsc = tsc;
        shared.plugin->ns_at_tsc = now;
    } else if (now - first_ns >= CALIBRATION_NS) {
        double hz = (double)(tsc - first_tsc) * 1e9 / (double)(now - first_ns);
        __atomic_store_n(&shared.plugin->tsc_hz, (uint64_t)hz, __ATOMIC_RELEASE);
    }
}

static void *clerk(void *nothing)
{
    uint64_t next_sample = 0;
    (void)nothing;
    for (;;) {
        uint32_t *publish = (uint32_t *)&shared.reader->publish;
        uint32_t seen = __atomic_load_n(publish, __ATOMIC_ACQUIRE);
        uint64_t now = now_ns(), parts = __atomic_load_n(&wanted.parts, __ATOMIC_ACQUIRE), nap = NAP_NS;
        keep_time(now);
        if (parts & GB_SAMPLE) {
            uint64_t step = wanted.sample_ns > LEAST_SAMPLE_NS ? wanted.sample_ns : LEAST_SAMPLE_NS;
            if (now >= next_sample) {
                sample(now);
                next_sample = now - next_sample < step ? next_sample + step : now + step;
            }
            nap = next_sample > now ? next_sample - now : 1;
        }
        if (parts & GB_TRACES) {
            for (unsigned int n = 0; n < shared.vcpus; n++) {
                struct vcpu *v = __atomic_load_n(&vcpus[n], __ATOMIC_ACQUIRE);
                if (v)
                    ring_publish_from_outside(v);
            }
            nap = nap < TRACE_NAP_NS ? nap : TRACE_NAP_NS;
        }
        if (seen != (uint32_t)shared.plugin->published) {
            clerk_publish_counts();
            continue;
        }
        const struct timespec timeout = {.tv_nsec = (long)nap};
        syscall(SYS_futex, publish, FUTEX_WAIT, seen, &timeout, NULL, 0);
    }
    return NULL;
}

bool clerk_start(void)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all); /* signals are QEMU's … */
    sigdelset(&all, SIGBUS); /* … but for what the shared memory may cost */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, NULL, clerk, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        complain("no thread can be started: %s.", strerror(failed));
    else
        pthread_detach(thread);
    return !failed;
}
