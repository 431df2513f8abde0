/* Rings: one a vCPU, from its thread to one reader, without a lock; and the ring of hits, from all vCPUs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A record's sequence number is taken away first and written last: a reader that finds the number that it expects, and
 * finds it again after it has copied the record, has the whole of it, even where records are overwritten.
 */
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "plugin.h"

#define PUBLISH_EVERY 32
#define PATIENCE_NS 1000000000u /* a reader that was silent for longer is not waited for */
#define NAP_NS 1000000

static uint64_t tail_of(const struct gb_ring *ring)
{
    return __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
}

static bool reader_lives(void)
{
    uint64_t alive = __atomic_load_n(&shared.reader->alive_ns, __ATOMIC_RELAXED);
    return now_ns() - alive < PATIENCE_NS;
}

/* Waits until there is room; false where nobody reads. */
static bool wait_for_room(struct vcpu *v, struct gb_ring *ring)
{
    uint64_t since = now_ns();
    ring_publish(v);
    bool room;
    while (!(room = v->head - (v->tail_seen = tail_of(ring)) < shared.ring_records)) {
        if (!reader_lives())
            break;
        __atomic_store_n(&ring->wake, 1, __ATOMIC_SEQ_CST);
        if (v->head - tail_of(ring) < shared.ring_records)
            continue;
        const struct timespec nap = {.tv_nsec = NAP_NS};
        syscall(SYS_futex, &ring->wake, FUTEX_WAIT, 1, &nap, NULL, 0);
    }
    __atomic_fetch_add(&ring->waited_ns, now_ns() - since, __ATOMIC_RELAXED);
    return room;
}

struct gb_record *record_begin(struct vcpu *v)
{
    struct gb_ring *ring = &shared.plugin->rings[v->index];
    if (wanted.policy != GB_OVERWRITE && __builtin_expect(v->head - v->tail_seen >= shared.ring_records, 0)) {
        v->tail_seen = tail_of(ring);
        uint64_t waiting = v->head - v->tail_seen;
        bool room = waiting < shared.ring_records;
        if (waiting > shared.ring_records) { /* a tail that cannot be: the reader began anew, or wrote nonsense */
            v->tail_seen = v->head;
            room = true;
        }
        if (!room && wanted.policy == GB_HOLD)
            room = wait_for_room(v, ring);
        if (!room) {
            v->lost++;
            __atomic_fetch_add(&ring->dropped, 1, __ATOMIC_RELAXED);
            return NULL;
        }
    }
    struct gb_record *record =
        &shared.rings[v->index * shared.ring_records + (v->head & (shared.ring_records - 1))];
    __atomic_store_n(&record->sequence, GB_NONE, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    record->tsc = v->tsc;
    record->vcpu = (uint8_t)v->index;
    record->flags = v->lost ? GB_FLAG_LOST : 0;
    v->lost = 0;
    return record;
}

void record_end(struct vcpu *v, struct gb_record *record)
{
    __atomic_store_n(&record->sequence, v->head, __ATOMIC_RELEASE);
    __atomic_store_n(&v->head, v->head + 1, __ATOMIC_RELEASE);
    if (v->head % PUBLISH_EVERY == 0)
        ring_publish(v);
}

void ring_publish(struct vcpu *v)
{
    __atomic_store_n(&shared.plugin->rings[v->index].head, v->head, __ATOMIC_RELEASE);
}

/* From another thread, for a vCPU that tells nothing more for a while. Never goes back. */
void ring_publish_from_outside(struct vcpu *v)
{
    uint64_t *head = &shared.plugin->rings[v->index].head;
    uint64_t told = __atomic_load_n(head, __ATOMIC_RELAXED), now = __atomic_load_n(&v->head, __ATOMIC_ACQUIRE);
    if (told < now)
        __atomic_compare_exchange_n(head, &told, now, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

void hit(struct gb_touch *done)
{
    static bool busy;
    static uint64_t head;
    while (__atomic_test_and_set(&busy, __ATOMIC_ACQUIRE))
        sched_yield();
    uint64_t waiting = head - __atomic_load_n(&shared.reader->hit_tail, __ATOMIC_ACQUIRE);
    if (waiting == shared.hit_count) { /* more than that cannot be, and is passed over */
        shared.plugin->hit_dropped++;
    } else {
        done->sequence = head;
        shared.hits[head & (shared.hit_count - 1)] = *done;
        __atomic_store_n(&shared.plugin->hit_head, ++head, __ATOMIC_RELEASE);
    }
    __atomic_clear(&busy, __ATOMIC_RELEASE);
}
