/* Glassbox's plugin for QEMU: watches the guest execute, as much of it as the reader wants, while it runs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *     -plugin glassbox-api4.so,shm=PATH,ram=PATH
 *
 * shm   the shared memory that the reader made (trace_format.h)
 * ram   the file that is the guest's RAM, as in memory-backend-file
 *
 * What is traced is changed in the idle and resume callbacks: there, on a vCPU's thread, a reset throws away the code
 * that was translated for what was wanted before. QMP's stop and cont bring every vCPU there within milliseconds.
 * With an option that is wrong, or memory that is not as it should be, the plugin says so and does nothing; QEMU runs on.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plugin.h"

EXPORTED int qemu_plugin_version = GLASSBOX_API;

struct vcpu *vcpus[GB_MAX_VCPUS];
struct wanted wanted;
struct qemu_plugin_scoreboard *count_board, *state_board;

static qemu_plugin_id_t plugin_id;
static bool switching;
static uint64_t switch_began_ns, request_taken;

static void take_wishes(void)
{
    const struct gb_reader_side *from = shared.reader;
    request_taken = __atomic_load_n(&from->request, __ATOMIC_ACQUIRE);
    struct wanted now = {
        .parts = from->parts, .policy = from->policy, .sample_ns = from->sample_ns,
        .first_virtual = from->first_virtual, .last_virtual = from->last_virtual,
        .address_space = from->address_space, .one_of = from->one_of ? from->one_of : 1};
    if (from->kernels_on)
        now.parts |= GB_KERNELS;
    if (faults_seen())
        now.parts = 0; /* what it would tell gets nowhere */
    wanted = now;
    take_ram_ranges();
    kernels_take();
}

static ON_VCPU(on_vcpu);
static ON_VCPU(on_idle);
static ON_VCPU(on_resume);
static ON_AT_EXIT(on_end);

static void register_all(void)
{
    qemu_plugin_register_vcpu_init_cb(plugin_id, on_vcpu NO_DATA);
    qemu_plugin_register_vcpu_idle_cb(plugin_id, on_idle NO_DATA);
    qemu_plugin_register_vcpu_resume_cb(plugin_id, on_resume NO_DATA);
    qemu_plugin_register_atexit_cb(plugin_id, on_end, NULL);
    if (wanted.parts)
        qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, on_translation NO_DATA);
}

static void tell_done(void)
{
    struct gb_plugin_side *told = shared.plugin;
    told->parts = wanted.parts;
    told->policy = wanted.policy;
    told->done_ns = now_ns();
    told->switch_ns = switch_began_ns ? told->done_ns - switch_began_ns : 0;
    __atomic_store_n(&told->done, request_taken, __ATOMIC_RELEASE);
}

static ON_PLUGIN(on_reset)
{
    code_pages_clear(); /* what was translated is thrown away */
    take_wishes();
    for (unsigned int n = 0; n < shared.vcpus; n++)
        if (vcpus[n]) {
            struct inline_state *state = qemu_plugin_scoreboard_find(state_board, n);
            state->block = GB_NO_BLOCK;
            forget_pages(vcpus[n]);
            vcpus[n]->space_epoch++;
            note_space(vcpus[n], vcpus[n]->space);
        }
    register_all();
    tell_done();
    __atomic_store_n(&switching, false, __ATOMIC_RELEASE);
}

static void look_for_wishes(void)
{
    bool ends = faults_seen() && wanted.parts;
    if ((__atomic_load_n(&shared.reader->request, __ATOMIC_ACQUIRE) == shared.plugin->done && !ends) ||
        __atomic_exchange_n(&switching, true, __ATOMIC_ACQ_REL))
        return;
    ends = ends && wanted.parts;
    if (__atomic_load_n(&shared.reader->request, __ATOMIC_ACQUIRE) == request_taken && !ends) { /* another vCPU was as quick */
        __atomic_store_n(&switching, false, __ATOMIC_RELEASE);
        return;
    }
    switch_began_ns = now_ns();
    qemu_plugin_reset(plugin_id, on_reset NO_DATA);
}

/* On a vCPU's own thread: another one could not tell which it is. */
static void note_thread(struct vcpu *v)
{
    clockid_t clock;
    faults_guard_thread();
    if (!pthread_getcpuclockid(pthread_self(), &clock))
        __atomic_store_n(&v->clock, clock, __ATOMIC_RELAXED);
}

static ON_VCPU(on_idle)
{
    if (vcpu >= shared.vcpus || !vcpus[vcpu])
        return;
    note_thread(vcpus[vcpu]);
    struct inline_state *state = qemu_plugin_scoreboard_find(state_board, vcpu);
    __atomic_store_n(&state->block, GB_NO_BLOCK, __ATOMIC_RELAXED);
    ring_publish(vcpus[vcpu]);
    look_for_wishes();
}

static ON_VCPU(on_resume)
{
    if (vcpu >= shared.vcpus || !vcpus[vcpu])
        return;
    note_thread(vcpus[vcpu]);
    /* While a vCPU was not followed its page tables changed unseen. */
    note_space(vcpus[vcpu], register_of(vcpus[vcpu], vcpus[vcpu]->cr3));
    look_for_wishes();
}

static ON_VCPU(on_vcpu)
{
    faults_guard_thread();
    if (vcpu >= shared.vcpus || vcpus[vcpu])
        return;
    struct vcpu *made = NULL;
    if (posix_memalign((void **)&made, LINE_BYTES, sizeof *made)) {
        complain("vCPU %u is not traced: no memory.", vcpu);
        return;
    }
    memset(made, 0, sizeof *made);
    made->index = vcpu;
    made->space_epoch = 1;
    made->pcs = calloc(shared.block_count, sizeof *made->pcs);
    made->pc_epochs = calloc(shared.block_count, sizeof *made->pc_epochs);
    if (!made->pcs || !made->pc_epochs)
        made->pcs = NULL;
    forget_pages(made);
    spaces_prepare(made);
    __atomic_store_n(&vcpus[vcpu], made, __ATOMIC_RELEASE);
    __atomic_fetch_add(&shared.plugin->vcpus, 1, __ATOMIC_RELEASE);
}

static ON_AT_EXIT(on_end)
{
    faults_guard_thread();
    clerk_publish_counts();
    for (unsigned int n = 0; n < shared.vcpus; n++)
        if (vcpus[n])
            ring_publish(vcpus[n]);
    __atomic_store_n(&shared.plugin->state, GB_GONE, __ATOMIC_RELEASE);
}

static const char *option(const char *argument, const char *name)
{
    size_t length = strlen(name);
    return !strncmp(argument, name, length) && argument[length] == '=' && argument[length + 1]
               ? argument + length + 1
               : NULL;
}

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    const char *shm = NULL, *ram = NULL;
    for (int n = 0; n < argc; n++) {
        const char *value;
        if ((value = option(argv[n], "shm")))
            shm = value;
        else if ((value = option(argv[n], "ram")))
            ram = value;
        else {
            complain("“%s” is no option of it; there are shm=PATH and ram=PATH. Nothing is traced.", argv[n]);
            return 0;
        }
    }
    if (!shm || !ram) {
        complain("shm=PATH and ram=PATH are needed. Nothing is traced.");
        return 0;
    }
    if (!info->system_emulation || strcmp(info->target_name, "x86_64")) {
        complain("it knows whole machines of x86_64, not %s. Nothing is traced.", info->target_name);
        return 0;
    }
    if (!shared_open(shm, ram)) {
        complain("Nothing is traced.");
        return 0;
    }
    plugin_id = id;
    take_wishes();
    count_board = qemu_plugin_scoreboard_new(shared.block_count * sizeof(uint64_t));
    state_board = qemu_plugin_scoreboard_new(sizeof(struct inline_state));
    if (!clerk_start())
        return 0;
    register_all();
    shared.plugin->pid = (uint32_t)getpid();
    shared.plugin->api = GLASSBOX_API;
    tell_done();
    __atomic_store_n(&shared.plugin->state, GB_READY, __ATOMIC_RELEASE);
    return 0;
}
