/* Address spaces: which one each vCPU is in, and when what it knows of virtual addresses is out of date.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The processor may go on using a translation until it is told otherwise; so may we. It is told by these instructions:
 * mov to CR0, CR3 or CR4, invlpg, invpcid, rsm, and those of virtualisation. They are called back before they run, and
 * none of them accesses memory by the translations that it changes.
 */
#include <stdio.h>
#include <string.h>

#include "plugin.h"

#define CR3_ADDRESS UINT64_C(0x000ffffffffff000) /* without PCID, flags and bit 63, "keep the TLB" */
#define ENTRY_PRESENT 1
#define ENTRY_LARGE 0x80
#define CR4_LA57 (UINT64_C(1) << 12)

static bool is_prefix(uint8_t byte)
{
    return byte == 0x66 || byte == 0x67 || byte == 0xf2 || byte == 0xf3 || byte == 0x2e || byte == 0x36 ||
           byte == 0x3e || byte == 0x26 || byte == 0x64 || byte == 0x65;
}

enum mapping mapping_of(const uint8_t *bytes, size_t size, unsigned int *source)
{
    size_t at = 0;
    unsigned int rex = 0;
    while (at < size && is_prefix(bytes[at]))
        at++;
    if (at < size && (bytes[at] & 0xf0) == 0x40) /* in 16- and 32-bit code inc and dec: no prefix, and not of these */
        rex = bytes[at++];
    if (size - at < 2 || bytes[at] != 0x0f)
        return MAPPING_STAYS;
    uint8_t opcode = bytes[at + 1], modrm = size - at > 2 ? bytes[at + 2] : 0;
    unsigned int field = modrm >> 3 & 7;
    switch (opcode) {
    case 0x22: /* mov CRn, r */
        if (field == 3) {
            *source = (modrm & 7) | (rex & 1) << 3;
            return SPACE_CHANGES;
        }
        return field == 0 || field == 4 ? MAPPING_CHANGES : MAPPING_STAYS;
    case 0x01: /* invlpg m; vmrun and its family */
        return (field == 7 && modrm < 0xc0) || (modrm >= 0xd8 && modrm <= 0xdf) || (modrm >= 0xc1 && modrm <= 0xc4)
                   ? MAPPING_CHANGES
                   : MAPPING_STAYS;
    case 0xaa: /* rsm */
        return MAPPING_CHANGES;
    case 0x38: /* invept, invvpid, invpcid */
        return modrm >= 0x80 && modrm <= 0x82 ? MAPPING_CHANGES : MAPPING_STAYS;
    default:
        return MAPPING_STAYS;
    }
}

uint64_t register_of(struct vcpu *v, struct qemu_plugin_register *which)
{
    uint64_t value = 0;
    if (which == NO_REGISTER)
        return 0;
    g_byte_array_set_size(v->scratch, 0);
    qemu_plugin_read_register(which, v->scratch);
    memcpy(&value, v->scratch->data, v->scratch->len < sizeof value ? v->scratch->len : sizeof value);
    return value;
}

/* A register of the vCPU whose code is translated: whose thread it is nobody tells, and handles are the same for all. */
static uint64_t register_now(struct qemu_plugin_register *which)
{
    static __thread GByteArray *scratch;
    uint64_t value = 0;
    if (which == NO_REGISTER || !(scratch = scratch ? scratch : g_byte_array_new()))
        return 0;
    g_byte_array_set_size(scratch, 0);
    qemu_plugin_read_register(which, scratch);
    memcpy(&value, scratch->data, scratch->len < sizeof value ? scratch->len : sizeof value);
    return value;
}

uint64_t stack_now(void)
{
    const struct vcpu *any = __atomic_load_n(&vcpus[0], __ATOMIC_ACQUIRE);
    return any ? register_now(any->registers[7]) : 0;
}

/* Where the page tables at `root` have an address; GB_NONE: nowhere, or not in RAM. SDM, volume 3, chapter 4. */
static uint64_t walk(uint64_t root, unsigned int levels, uint64_t address)
{
    uint64_t table = root;
    for (unsigned int level = levels;; level--) {
        unsigned int shift = GB_PAGE_SHIFT + 9 * (level - 1);
        uint64_t offset = offset_of_physical(table), below = (UINT64_C(1) << shift) - 1;
        if (offset == GB_NONE || offset >> GB_PAGE_SHIFT >= shared.pages)
            return GB_NONE;
        const uint64_t *entries = (const uint64_t *)(const void *)(shared.ram + offset);
        uint64_t entry = __atomic_load_n(&entries[address >> shift & 511], __ATOMIC_RELAXED);
        if (!(entry & ENTRY_PRESENT))
            return GB_NONE;
        if (level == 1 || (level <= 3 && entry & ENTRY_LARGE))
            return (entry & CR3_ADDRESS & ~below) | (address & below);
        table = entry & CR3_ADDRESS;
    }
}

uint64_t physical_now(uint64_t address)
{
    const struct vcpu *any = __atomic_load_n(&vcpus[0], __ATOMIC_ACQUIRE);
    uint64_t root = any ? register_now(any->cr3) & CR3_ADDRESS : 0;
    return root ? walk(root, register_now(any->cr4) & CR4_LA57 ? 5 : 4, address) : GB_NONE;
}

/* Where `address` lies, of 64-bit code; GB_NONE where the page tables do not say of `near` what QEMU says: the vCPU may
 * have a guest of its own, whose tables are others. */
uint64_t physical_beside(const struct vcpu *v, uint64_t near, uint64_t near_physical, uint64_t address)
{
    for (unsigned int levels = 4; levels <= 5; levels++)
        if (((walk(v->space, levels, near) ^ near_physical) & CR3_ADDRESS) == 0)
            return walk(v->space, levels, address);
    return GB_NONE;
}

void note_space(struct vcpu *v, uint64_t cr3)
{
    v->space = cr3 & CR3_ADDRESS;
    v->space_epoch++;
    struct inline_state *state = qemu_plugin_scoreboard_find(state_board, v->index);
    /* With page-table isolation a process has two roots, side by side: the user's is the odd page. */
    uint64_t pair = UINT64_C(1) << GB_PAGE_SHIFT;
    state->traced = (v->space | pair) == (wanted.address_space | pair);
}

void on_mapping_change(unsigned int vcpu, void *nothing)
{
    (void)nothing;
    if (vcpu < shared.vcpus && vcpus[vcpu])
        forget_pages(vcpus[vcpu]);
}

/* gdb's order is rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8 …; that of machine code is rax, rcx, rdx, rbx, rsp … */
const uint8_t gdb_register[16] = {0, 2, 3, 1, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15};

void on_space_change(unsigned int vcpu, void *register_number)
{
    if (vcpu >= shared.vcpus || !vcpus[vcpu])
        return;
    struct vcpu *v = vcpus[vcpu];
    forget_pages(v);
    note_space(v, register_of(v, v->registers[gdb_register[(uintptr_t)register_number & 15]]));
}

static const char *const NAMES[18] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8",
                                      "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "rip", "eflags"};

/* Looks the registers up; only in the callback of a vCPU's beginning. */
void spaces_prepare(struct vcpu *v)
{
    GArray *all = qemu_plugin_get_registers();
    v->scratch = g_byte_array_new();
    v->cr3 = v->cr4 = v->cs = NO_REGISTER;
    for (size_t n = 0; n < sizeof v->registers / sizeof *v->registers; n++)
        v->registers[n] = NO_REGISTER;
    for (size_t n = 0; n < sizeof v->vectors / sizeof *v->vectors; n++)
        v->vectors[n] = NO_REGISTER;
    if (!all)
        return;
    /* Descriptions have grown at their end (QEMU 11.1: 32 bytes): the array itself knows how far apart they are. */
    size_t apart = g_array_get_element_size(all);
    for (unsigned int n = 0; n < all->len; n++) {
        qemu_plugin_reg_descriptor told;
        memcpy(&told, all->data + n * apart, sizeof told);
        for (size_t name = 0; name < sizeof NAMES / sizeof *NAMES; name++)
            if (!strcmp(told.name, NAMES[name]))
                v->registers[name] = told.handle;
        if (!strcmp(told.name, "cr3"))
            v->cr3 = told.handle;
        if (!strcmp(told.name, "cr4"))
            v->cr4 = told.handle;
        if (!strcmp(told.name, "cs"))
            v->cs = told.handle;
        unsigned int vector;
        char more;
        if (sscanf(told.name, "xmm%u%c", &vector, &more) == 1 && vector < 16)
            v->vectors[vector] = told.handle;
    }
    g_array_free(all, 1);
}
