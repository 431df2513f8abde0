/* Records of blocks and instructions: what is told when one is entered.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "plugin.h"

/* The block's virtual address. One translation serves every process that has its page mapped, so a user's block is asked
 * once in each stay of a vCPU in an address space; the kernel's is where it was when it was translated. */
static uint64_t pc_of(struct vcpu *v, const struct block_note *note)
{
    if (!note->user || !v->pcs || !note->block)
        return note->user ? register_of(v, v->registers[16]) : note->translated_at;
    uint32_t epoch = (uint32_t)v->space_epoch;
    if (v->pc_epochs[note->block] != epoch) {
        v->pc_epochs[note->block] = epoch;
        v->pcs[note->block] = register_of(v, v->registers[16]);
    }
    return v->pcs[note->block];
}

static void tell_registers(struct vcpu *v, uint32_t block)
{
    for (uint16_t part = 0; part < 4; part++) {
        struct gb_record *record = record_begin(v);
        if (!record)
            return;
        uint64_t values[5] = {0};
        for (unsigned int n = 0; n < 5 && part * 5u + n < 18; n++)
            values[n] = register_of(v, v->registers[part * 5 + n]);
        record->tsc = values[0];
        record->pc = values[1];
        record->virtual_address = values[2];
        record->physical = values[3];
        record->value = values[4];
        record->block = block;
        record->instruction = part;
        record->kind = GB_RECORD_REGISTERS;
        record->size = 0;
        record_end(v, record);
    }
}

void on_block(unsigned int vcpu, void *data)
{
    if (vcpu >= shared.vcpus)
        return;
    struct vcpu *v = vcpus[vcpu];
    const struct block_note *note = data;
    v->pc = pc_of(v, note);
    v->tsc = ticks();
    if (wanted.parts & GB_TRACE_BLOCKS) {
        struct gb_record *record = record_begin(v);
        if (!record)
            return;
        record->pc = v->pc;
        record->virtual_address = v->space;
        record->physical = note->physical;
        record->value = task_of(vcpu);
        record->block = note->block;
        record->instruction = 0;
        record->kind = GB_RECORD_BLOCK;
        record->size = 0;
        record_end(v, record);
    }
    if (wanted.parts & GB_TRACE_REGISTERS)
        tell_registers(v, note->block);
}

void on_insn(unsigned int vcpu, void *data)
{
    if (vcpu >= shared.vcpus)
        return;
    struct vcpu *v = vcpus[vcpu];
    const struct insn_note *note = data;
    if (wanted.address_space != GB_NONE) {
        const struct inline_state *state = qemu_plugin_scoreboard_find(state_board, vcpu);
        if (!state->traced)
            return;
    }
    struct gb_record *record = record_begin(v);
    if (!record)
        return;
    record->pc = v->pc + note->offset;
    record->virtual_address = GB_NONE;
    record->physical = note->block->physical == GB_NONE ? GB_NONE : note->block->physical + note->offset;
    record->value = 0;
    record->block = note->block->block;
    record->instruction = note->index;
    record->kind = GB_RECORD_INSN;
    record->size = 0;
    record_end(v, record);
}
