/* Faults: a page of the shared memory that cannot be had any more is replaced by an empty one, and QEMU lives on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The file may be cut short while it is mapped, and its file system may be full when a page of it is first touched. The
 * kernel says both by SIGBUS, of which QEMU would die. What was in the page is lost, and nothing more of it is seen by
 * the reader, who is told by `faults`; the plugin then stops tracing as soon as a vCPU idles or is stopped.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "plugin.h"

static uintptr_t guarded, guarded_bytes, page_bytes;
static struct sigaction before;
static bool faulted;

/* Only what is safe in a signal's handler. A fault in it, at `faults` itself, is a signal of its own: SA_NODEFER. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr;
    if (at - guarded < guarded_bytes &&
        mmap((void *)(at & ~(page_bytes - 1)), page_bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED) {
        __atomic_store_n(&faulted, true, __ATOMIC_RELEASE);
        __atomic_fetch_add(&shared.plugin->faults, 1, __ATOMIC_RELAXED);
        return;
    }
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(number, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(number);
    else
        sigaction(SIGBUS, &before, NULL); /* what faulted does so again, and QEMU ends as it would have */
}

void faults_guard(const void *base, uint64_t bytes)
{
    struct sigaction ours = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&ours.sa_mask);
    page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    guarded = (uintptr_t)base;
    guarded_bytes = (bytes + page_bytes - 1) & ~(page_bytes - 1);
    sigaction(SIGBUS, &ours, &before);
}

/* QEMU's threads have nearly all signals blocked; a fault whose signal is blocked kills at once. */
void faults_guard_thread(void)
{
    sigset_t bus;
    sigemptyset(&bus);
    sigaddset(&bus, SIGBUS);
    pthread_sigmask(SIG_UNBLOCK, &bus, NULL);
}

bool faults_seen(void)
{
    return __atomic_load_n(&faulted, __ATOMIC_ACQUIRE);
}
