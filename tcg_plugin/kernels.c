/* Kernels: loops whose first instruction is passed are done by native code from the table, as many rounds as may be.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A block that begins with a loop of the table calls back before it runs. What the kernel does is whole rounds that all
 * go back to that first instruction; then QEMU runs on where it stood: the next round, the last one at least, is its
 * own. So there is nothing to redirect, and flags, faults and interrupts stay QEMU's. The registers are written when
 * the rounds are done, and nothing else remembers that there was a kernel: whoever ends in the middle, ends QEMU.
 *
 * How long a look waits for the next is counted in generated code: a loop that is not worth it costs an addition.
 */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#if GLASSBOX_API >= 7

#define DUE (UINT64_C(1) << 32)
#define LONGEST_WAIT (UINT64_C(1) << 14) /* rounds, after one vain look after the other */
#define SLOW_WAIT (UINT64_C(1) << 24)
#define MEASURED_ROUNDS 64
#define MEASUREMENTS 4
#define CALL_NS 1500000 /* that a call may take: interrupts and QMP's stop wait so long */
#define MANY_ROUNDS 512 /* so many tell how long one takes */
#define MOST_LEAST 65536 /* rounds; more are always worth a call */
#define WEIGHED_CALLS 8
#define FIRST_LEAST 64
#define VERIFIED_ROUNDS 4096
#define USUAL_HZ UINT64_C(2000000000)
#define CS_USER 3
#define LONGEST_INSTRUCTION 15
#define CR4_LA57 (UINT64_C(1) << 12)
#define CR4_SMAP (UINT64_C(1) << 21)
#define FLAGS_AC (UINT32_C(1) << 18)
#define ROOT UINT64_C(0x000ffffffffff000)

/* A block that begins with a loop. */
struct kernel_note {
    struct kernel *kernel;
    uint32_t slot, block;
    uint32_t here;   /* bytes of the loop that are in this block */
    uint64_t offset; /* of its first byte, in the RAM file */
    bool high;       /* above 4 GiB: 64-bit code */
    uint8_t mode;    /* 0: not known; 1: 64 bits; 2: not */
};

/* What a vCPU keeps of each kernel. */
struct patience {
    uint64_t wait;     /* rounds, after the next vain look */
    uint64_t since;    /* ticks, when the wait began, where it is measured */
    uint64_t measured; /* rounds */
};

static struct kernel *taken[GB_MAX_KERNELS];
static struct qemu_plugin_scoreboard *due_board;
static struct patience patience[GB_MAX_VCPUS][GB_MAX_KERNELS];

/* While no vCPU runs: what the table says is taken, what it says no more is given up. */
void kernels_take(void)
{
    if (!(wanted.parts & GB_KERNELS))
        return;
    if (!due_board)
        due_board = qemu_plugin_scoreboard_new(GB_MAX_KERNELS * sizeof(uint64_t));
    verify_forget();
    for (unsigned int n = 0; n < GB_MAX_KERNELS; n++) {
        struct gb_kernel told = shared.kernels[n];
        /* Whoever writes an entry takes its number away first and puts the new one in last, and may be killed meanwhile. */
        if (__atomic_load_n(&shared.kernels[n].id, __ATOMIC_ACQUIRE) != told.id)
            told.id = 0;
        if (taken[n] && taken[n]->told.id == told.id && taken[n]->told.flags == told.flags)
            continue;
        if (taken[n]) {
            kernel_give_up(taken[n]);
            taken[n] = NULL;
        }
        struct gb_kernel_told *tells = &shared.kernels_told[n];
        memset(tells, 0, sizeof *tells);
        gpu_forget(n, told.id);
        if (told.id) {
            taken[n] = kernel_take(&told, tells);
            tells->state = taken[n] ? GB_KERNEL_LIVE : GB_KERNEL_BAD;
        }
        for (unsigned int vcpu = 0; vcpu < shared.vcpus; vcpu++) {
            patience[vcpu][n] = (struct patience){.wait = 1};
            uint64_t *due = qemu_plugin_scoreboard_find(due_board, vcpu);
            due[n] = DUE;
        }
        __atomic_store_n(&tells->id, told.id, __ATOMIC_RELEASE);
    }
}

static bool get(struct vcpu *v, struct qemu_plugin_register *which, void *to, size_t bytes)
{
    if (which == NO_REGISTER)
        return false;
    g_byte_array_set_size(v->scratch, 0);
    if (!qemu_plugin_read_register(which, v->scratch) || v->scratch->len < bytes)
        return false;
    memcpy(to, v->scratch->data, bytes);
    return true;
}

static bool put(struct vcpu *v, struct qemu_plugin_register *which, const void *from, size_t bytes)
{
    g_byte_array_set_size(v->scratch, (unsigned int)bytes);
    memcpy(v->scratch->data, from, bytes);
    return qemu_plugin_write_register(which, v->scratch);
}

static bool get_state(struct vcpu *v, const struct gb_kernel *told, uint64_t *state)
{
    uint64_t wanted_words = told->reads | told->writes | 1u << 4; /* rsp: whose loop it is */
    for (unsigned int n = 0; n < 16; n++)
        if (wanted_words >> n & 1 && !get(v, v->registers[gdb_register[n]], &state[n], 8))
            return false;
    for (unsigned int n = 0; n < 16; n++) {
        uint64_t both[2];
        if (!told->halves[2 * n] && !told->halves[2 * n + 1])
            continue;
        if (!get(v, v->vectors[n], both, 16))
            return false;
        for (unsigned int half = 0; half < 2; half++)
            if (told->halves[2 * n + half])
                state[told->halves[2 * n + half]] = both[half];
    }
    return true;
}

static void put_state(struct vcpu *v, const struct gb_kernel *told, const uint64_t *state, const uint64_t *before)
{
    for (unsigned int n = 0; n < 16; n++)
        if (told->writes >> n & 1 && state[n] != before[n])
            put(v, v->registers[gdb_register[n]], &state[n], 8);
    for (unsigned int n = 0; n < 16; n++) {
        uint64_t both[2];
        unsigned int low = told->halves[2 * n], high = told->halves[2 * n + 1];
        if (!((low ? told->writes >> low : 0) & 1) && !((high ? told->writes >> high : 0) & 1))
            continue;
        if (!get(v, v->vectors[n], both, 16)) /* a half that is not used stays */
            continue;
        both[0] = low ? state[low] : both[0];
        both[1] = high ? state[high] : both[1];
        put(v, v->vectors[n], both, 16);
    }
}

/* Whether the vCPU runs 64-bit code. Registers 8 to 15 read as 0 in any other mode, and cannot be written. A block is
 * translated for one mode: it is asked once. */
static bool is_64_bit(struct vcpu *v, struct kernel_note *note)
{
    if (note->high || note->mode)
        return note->high || note->mode == 1;
    uint64_t value, one = 1, back = 0;
    struct qemu_plugin_register *probe = v->registers[8];
    if (!get(v, probe, &value, 8))
        return false;
    if (!value) {
        put(v, probe, &one, 8);
        get(v, probe, &back, 8);
        put(v, probe, &value, 8);
    }
    note->mode = value || back == 1 ? 1 : 2;
    return note->mode == 1;
}

static bool get_space(struct vcpu *v, struct space *space)
{
    uint64_t cr3, cr4;
    uint32_t cs, flags;
    if (!get(v, v->cr3, &cr3, 8) || !get(v, v->cr4, &cr4, 8) || !get(v, v->cs, &cs, 4))
        return false;
    *space = (struct space){.root = cr3 & ROOT, .levels = cr4 & CR4_LA57 ? 5 : 4, .user = (cs & CS_USER) == CS_USER};
    if (space->user)
        return true;
    /* AC is where eflags has it; it is the flags of arithmetic that QEMU computes only when they are wanted. */
    if (!get(v, v->registers[17], &flags, 4))
        return false;
    space->opens = !(cr4 & CR4_SMAP) || flags & FLAGS_AC;
    return true;
}

/* That these page tables are the ones in use (a guest may have guests), and the loop's bytes beyond this block. */
static int check_code(struct vcpu *v, const struct kernel_note *note, const struct space *space)
{
    uint64_t pc, offset = GB_NONE;
    const struct gb_kernel *told = &note->kernel->told;
    if (!get(v, v->registers[16], &pc, 8) || offset_of_physical(walk_physical(space, pc)) != note->offset)
        return GB_DECLINED_SPACE;
    for (uint32_t at = note->here; at < told->code_bytes; at++) {
        if ((at == note->here || !((pc + at) & (PAGE_BYTES - 1))) &&
            (offset = offset_of_physical(walk_physical(space, pc + at))) == GB_NONE)
            return GB_DECLINED_SPACE;
        if (*pages_host((offset & ~(PAGE_BYTES - 1)) | ((pc + at) & (PAGE_BYTES - 1))) != told->code[at])
            return GB_DECLINED_CHANGED;
        code_page_note(offset);
    }
    return NOT_DECLINED;
}

static void least_of(uint64_t *least, uint64_t value)
{
    if (!*least || value < *least)
        *least = value ? value : 1;
}

/* What is gained decides how many rounds are worth a call. */
static void weigh(struct kernel *kernel)
{
    struct gb_kernel_told *tells = kernel->tells;
    if (!tells->round_ticks || tells->calls < WEIGHED_CALLS) {
        tells->least_rounds = FIRST_LEAST; /* the first calls are slow, with nothing in any cache */
        return;
    }
    /* The least that either ever took: what more it took was the host's doing. */
    uint64_t gain = tells->round_ticks > kernel->best_ticks ? tells->round_ticks - kernel->best_ticks : 1;
    uint64_t least = 3 * 256 * tells->call_ticks / (2 * gain) + 2;
    tells->least_rounds = least < MOST_LEAST ? least : MOST_LEAST;
    if (kernel->run_rounds > FIRST_ROUNDS) {
        uint64_t hz = shared.plugin->tsc_hz ? shared.plugin->tsc_hz : USUAL_HZ;
        double each = (double)kernel->run_ticks / (double)kernel->run_rounds;
        kernel->most_rounds = (uint64_t)((double)hz * CALL_NS / 1e9 / (each > 1e-3 ? each : 1e-3)) + MANY_ROUNDS;
        kernel->run_rounds /= 2; /* of late, not ever */
        kernel->run_ticks /= 2;
    }
}

static void wait_for(unsigned int vcpu, uint32_t slot, uint64_t rounds)
{
    uint64_t *due = qemu_plugin_scoreboard_find(due_board, vcpu);
    due[slot] = rounds < DUE ? DUE - rounds : 0;
}

static void decline(unsigned int vcpu, const struct kernel_note *note, int why)
{
    struct patience *mine = &patience[vcpu][note->slot];
    __atomic_fetch_add(&note->kernel->tells->declined[why], 1, __ATOMIC_RELAXED);
    wait_for(vcpu, note->slot, why == GB_DECLINED_SLOW ? SLOW_WAIT : mine->wait);
    mine->wait = mine->wait < LONGEST_WAIT ? 2 * mine->wait : LONGEST_WAIT;
}

/* Whether so many rounds follow that it can be measured what QEMU takes for some. */
static bool can_measure(
    struct vcpu *v, unsigned int vcpu, const struct kernel_note *note, const struct calling *call, uint64_t rounds)
{
    if (rounds <= MEASURED_ROUNDS || !(note->kernel->told.flags & GB_KERNEL_ENDS_ITSELF))
        return rounds > MEASURED_ROUNDS;
    return check_code(v, note, &call->space) == NOT_DECLINED &&
           verify_tried(vcpu, call, MEASURED_ROUNDS + 1) > MEASURED_ROUNDS;
}

static void on_loop(unsigned int vcpu, void *data)
{
    struct kernel_note *note = data;
    struct kernel *kernel = note->kernel;
    if (vcpu >= shared.vcpus || !vcpus[vcpu] || kernel->tells->state != GB_KERNEL_LIVE) {
        if (vcpu < shared.vcpus)
            wait_for(vcpu, note->slot, SLOW_WAIT);
        return;
    }
    struct vcpu *v = vcpus[vcpu];
    struct patience *mine = &patience[vcpu][note->slot];
    struct gb_kernel_told *tells = kernel->tells;
    uint64_t began = ticks();
    __atomic_fetch_add(&tells->looks, 1, __ATOMIC_RELAXED);
    if (mine->measured) {
        least_of(&tells->round_ticks, 256 * (began - mine->since) / mine->measured);
        mine->measured = 0;
        weigh(kernel);
    }
    struct calling call = {.kernel = kernel};
    if (!is_64_bit(v, note)) {
        decline(vcpu, note, GB_DECLINED_MODE);
        return;
    }
    if (!pages_ready() || !get_state(v, &kernel->told, call.state) || !get_space(v, &call.space)) {
        decline(vcpu, note, GB_DECLINED_SPACE);
        return;
    }
    if (kernel->told.flags & GB_KERNEL_VERIFY && verify_look(vcpu, kernel, &call)) {
        wait_for(vcpu, note->slot, 1);
        return;
    }
    if (kernel->stores && __atomic_load_n(&shared.plugin->vcpus, __ATOMIC_RELAXED) > 1) {
        decline(vcpu, note, GB_DECLINED_SMP);
        return;
    }
    uint64_t rounds = kernel->plan(call.state, call.addresses);
    if (kernel->measured < MEASUREMENTS && can_measure(v, vcpu, note, &call, rounds)) {
        kernel->measured++;
        tells->declined[GB_DECLINED_MEASURING]++;
        wait_for(vcpu, note->slot, MEASURED_ROUNDS);
        mine->measured = MEASURED_ROUNDS;
        mine->since = ticks();
        return;
    }
    if (rounds < 2 || rounds < tells->least_rounds) {
        decline(vcpu, note, GB_DECLINED_FEW);
        return;
    }
    int why = check_code(v, note, &call.space);
    if (why != NOT_DECLINED) {
        decline(vcpu, note, why);
        return;
    }
    if (kernel->told.flags & GB_KERNEL_VERIFY) {
        /* Who does most of the rounds later is not known yet: both are compared, in turns. */
        uint64_t choice = __atomic_load_n(&shared.reader->back_end, __ATOMIC_RELAXED);
        if (choice != GB_BACK_END_HOST && (choice == GB_BACK_END_GPU || tells->calls % 2) && gpu_there(kernel)) {
            call.elsewhere = gpu_call;
            call.elsewhere_told = gpu_told_of(kernel);
        }
        verify_begin(vcpu, kernel, &call, rounds < VERIFIED_ROUNDS ? rounds : VERIFIED_ROUNDS);
        wait_for(vcpu, note->slot, 1);
        return;
    }
    uint64_t before[GB_KERNEL_STATE], run_ticks = 0;
    memcpy(before, call.state, sizeof before);
    uint64_t many = gpu_rounds(kernel, rounds), done = many ? gpu_call(&call, many) : 0;
    bool by_gpu = done;
    if (!done)
        done = call_kernel(&call, rounds < kernel->most_rounds ? rounds : kernel->most_rounds, &why, &run_ticks);
    if (!done) {
        decline(vcpu, note, call.ended ? GB_DECLINED_FEW : why);
        return;
    }
    put_state(v, &kernel->told, call.state, before);
    if (note->block && count_board) {
        uint64_t *counts = qemu_plugin_scoreboard_find(count_board, vcpu);
        counts[note->block] += done;
    }
    uint64_t took = ticks() - began;
    __atomic_fetch_add(&tells->calls, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&tells->rounds, done, __ATOMIC_RELAXED);
    __atomic_fetch_add(&tells->ticks, took, __ATOMIC_RELAXED);
    if (took > tells->longest_ticks)
        tells->longest_ticks = took;
    if (by_gpu) {
        gpu_measured(kernel, done, took);
        if (done >= tells->least_rounds)
            mine->wait = 1;
        wait_for(vcpu, note->slot, 1);
        return;
    }
    if (done >= MANY_ROUNDS) {
        kernel->run_ticks += run_ticks;
        kernel->run_rounds += done;
        least_of(&kernel->best_ticks, 256 * run_ticks / done);
        gpu_told_of(kernel)->host_round_ticks = kernel->best_ticks;
        kernel->weighed++;
    }
    least_of(&tells->call_ticks, took > run_ticks ? took - run_ticks : 0);
    weigh(kernel);
    if (tells->round_ticks && kernel->weighed >= WEIGHED_CALLS &&
        kernel->best_ticks > tells->round_ticks - tells->round_ticks / 8 && !gpu_beats_qemu(kernel)) {
        decline(vcpu, note, GB_DECLINED_SLOW);
        return;
    }
    if (done >= tells->least_rounds)
        mine->wait = 1;
    if (why != NOT_DECLINED)
        decline(vcpu, note, why);
    else if (call.ended && done < tells->least_rounds)
        decline(vcpu, note, GB_DECLINED_FEW);
    else
        wait_for(vcpu, note->slot, 1);
}

/* Whether a block is the first of several of this loop, whose other bytes follow it now; they are compared once more
 * before each call. All have to lie in one page: QEMU runs all code of a page that has a breakpoint instruction by
 * instruction, so that the first block tells of breakpoints in all of them. */
static bool begins_several(
    const struct gb_kernel *told, const uint8_t *bytes, size_t size, uint64_t address, uint64_t offset)
{
    return size == told->first_bytes && !memcmp(bytes, told->code, size) &&
           address >> GB_PAGE_SHIFT == (address + told->code_bytes - 1) >> GB_PAGE_SHIFT && pages_ready() &&
           !memcmp(pages_host(offset) + size, told->code + size, told->code_bytes - size);
}

void kernels_translated(struct qemu_plugin_tb *tb, uint32_t block)
{
    uint8_t bytes[GB_KERNEL_CODE];
    size_t count = qemu_plugin_tb_n_insns(tb), size = 0;
    uint64_t offset = GB_NONE;
    for (size_t n = 0; n < count; n++) {
        const struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, n);
        if (!n)
            offset = ram_page_of_host(qemu_plugin_insn_haddr(insn));
        if (size < sizeof bytes)
            size += instruction_bytes(insn, bytes + size, sizeof bytes - size);
    }
    /* A block that ends before its loop does was cut: by its page's end, which is well, or by a breakpoint. And while a
     * guest is stepped through, each instruction is a block, and has to trap. */
    bool at_page_end = (-(qemu_plugin_tb_vaddr(tb) + size) & (PAGE_BYTES - 1)) < LONGEST_INSTRUCTION;
    if (count < 2)
        return;
    /* Where every access is watched QEMU makes them all. */
    if (offset == GB_NONE || wanted.parts & (GB_HEAT | GB_WATCH | GB_TRACES))
        return;
    for (uint32_t slot = 0; slot < GB_MAX_KERNELS; slot++) {
        struct kernel *kernel = taken[slot];
        if (!kernel)
            continue;
        const struct gb_kernel *told = &kernel->told;
        size_t here = size < told->code_bytes ? size : told->code_bytes;
        if (told->first_bytes < told->code_bytes) {
            if (!begins_several(told, bytes, size, qemu_plugin_tb_vaddr(tb), offset))
                continue;
        } else if ((here < told->code_bytes && !at_page_end) || memcmp(bytes, told->code, here) || size > here)
            continue;
        struct kernel_note *note = keep(sizeof *note);
        if (!note)
            return;
        *note = (struct kernel_note){
            .kernel = kernel, .slot = slot, .block = block, .here = (uint32_t)here, .offset = offset,
            .high = qemu_plugin_tb_vaddr(tb) >> 32 != 0};
        __atomic_fetch_add(&kernel->tells->translations, 1, __ATOMIC_RELAXED);
        qemu_plugin_u64 due = {.score = due_board, .offset = slot * sizeof(uint64_t)};
        qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, QEMU_PLUGIN_INLINE_ADD_U64, due, 1);
        qemu_plugin_register_vcpu_tb_exec_cond_cb(
            tb, on_loop, QEMU_PLUGIN_CB_RW_REGS, QEMU_PLUGIN_COND_GE, due, DUE, note);
        return;
    }
}

#else /* registers cannot be written */

void kernels_take(void)
{
    wanted.parts &= ~(uint32_t)GB_KERNELS;
}

void kernels_translated(struct qemu_plugin_tb *tb, uint32_t block)
{
    (void)tb;
    (void)block;
}

#endif
