/* Translation: what each block of code is made to tell, as QEMU translates it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <string.h>

#include "plugin.h"

#define USER_END (UINT64_C(1) << 47) /* below: whose memory it is depends on the address space; above: the kernel's */

static qemu_plugin_u64 field(struct qemu_plugin_scoreboard *board, size_t offset)
{
    return (qemu_plugin_u64){.score = board, .offset = offset};
}

static bool wants_records_of(uint32_t block, uint64_t address)
{
    return (wanted.parts & GB_TRACES) && address >= wanted.first_virtual && address <= wanted.last_virtual &&
           block % wanted.one_of == 0;
}

/* Calls back before each instruction that changes what virtual addresses mean. */
static void follow_mappings(struct qemu_plugin_insn *insn)
{
    uint8_t bytes[16];
    unsigned int source;
    switch (mapping_of(bytes, instruction_bytes(insn, bytes, sizeof bytes), &source)) {
    case MAPPING_CHANGES:
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mapping_change, QEMU_PLUGIN_CB_NO_REGS, NULL);
        break;
    case SPACE_CHANGES:
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_space_change, QEMU_PLUGIN_CB_R_REGS, (void *)(uintptr_t)source);
        break;
    case MAPPING_STAYS:
        break;
    }
}

/* Nobody but QEMU may store where code was translated from: it has to translate it anew. */
static void note_code_pages(struct qemu_plugin_tb *tb)
{
    size_t count = qemu_plugin_tb_n_insns(tb);
    if (!host_ram_base())
        code_page_note(GB_NONE);
    for (size_t n = 0; n < count; n++) {
        const struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, n);
        uint64_t here = ram_page_of_host(qemu_plugin_insn_haddr(insn));
        if (here == GB_NONE) /* a ROM's */
            continue;
        code_page_note(here);
        /* An instruction's end may be in the next page, of which only the address is known. */
        uint64_t first = qemu_plugin_insn_vaddr(insn), last = first + qemu_plugin_insn_size(insn) - 1;
        if (first >> GB_PAGE_SHIFT != last >> GB_PAGE_SHIFT)
            code_page_note(offset_of_physical(physical_now(last)));
    }
}

ON_TRANSLATION(on_translation)
{
    uint64_t physical, address = qemu_plugin_tb_vaddr(tb);
    uint32_t parts = wanted.parts, index = block_of(tb, &physical);
    note_code_pages(tb);
    if ((parts & GB_COUNT) && index)
        qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
            tb, QEMU_PLUGIN_INLINE_ADD_U64, field(count_board, index * sizeof(uint64_t)), 1);
    if (parts & GB_SAMPLE)
        qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
            tb, QEMU_PLUGIN_INLINE_STORE_U64, field(state_board, offsetof(struct inline_state, block)), index);
    if (parts & GB_KERNELS)
        kernels_translated(tb, index);
    bool records = wants_records_of(index, address);
    bool accesses = parts & (GB_HEAT | GB_WATCH) || (records && parts & (GB_TRACE_LOADS | GB_TRACE_STORES));
    if (!accesses && !records)
        return;
    struct block_note *note = keep(sizeof *note);
    if (!note)
        return;
    *note = (struct block_note){
        .translated_at = address, .physical = physical, .block = index, .user = address < USER_END, .records = records};
    if (records) {
        enum qemu_plugin_cb_flags flags =
            note->user || parts & GB_TRACE_REGISTERS ? QEMU_PLUGIN_CB_R_REGS : QEMU_PLUGIN_CB_NO_REGS;
        if (wanted.address_space == GB_NONE)
            qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, flags, note);
        else
            qemu_plugin_register_vcpu_tb_exec_cond_cb(
                tb, on_block, flags, QEMU_PLUGIN_COND_EQ, field(state_board, offsetof(struct inline_state, traced)), 1,
                note);
    }
    /* Heat alone needs less of each access than the rest does. */
    bool only_heat = (parts & GB_HEAT) && !(parts & GB_WATCH) && !(records && parts & GB_TRACES);
    size_t count = qemu_plugin_tb_n_insns(tb);
    struct plan plan[MOST_INSTRUCTIONS];
    if (only_heat && count <= MOST_INSTRUCTIONS)
        plan_accesses(tb, plan);
    else
        memset(plan, 0, sizeof plan);
    for (size_t n = 0; n < count; n++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, n);
        follow_mappings(insn);
        struct insn_note *told = NULL;
        if (!only_heat || (records && parts & GB_TRACE_INSNS)) {
            told = keep(sizeof *told);
            if (!told)
                return;
            *told = (struct insn_note){
                .block = note, .offset = (uint32_t)(qemu_plugin_insn_vaddr(insn) - address), .index = (uint16_t)n};
        }
        if (records && parts & GB_TRACE_INSNS)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_insn, QEMU_PLUGIN_CB_NO_REGS, told);
        if (only_heat && n < MOST_INSTRUCTIONS && plan[n].note) {
            qemu_plugin_register_vcpu_mem_cb(
                insn, on_heat_group, QEMU_PLUGIN_CB_NO_REGS, plan[n].stores ? QEMU_PLUGIN_MEM_W : QEMU_PLUGIN_MEM_R,
                (void *)(uintptr_t)plan[n].note);
        } else if (only_heat && n < MOST_INSTRUCTIONS && plan[n].told_by_another) {
            continue;
        } else if (only_heat) {
            qemu_plugin_register_vcpu_mem_cb(insn, on_heat_load, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_R, NULL);
            qemu_plugin_register_vcpu_mem_cb(insn, on_heat_store, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_W, NULL);
        } else if (accesses) {
            qemu_plugin_register_vcpu_mem_cb(insn, on_access, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, told);
        }
    }
}
