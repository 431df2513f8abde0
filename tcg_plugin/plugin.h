/* Plugin: what its files share; one plugin a QEMU process, so its state is global.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef GLASSBOX_PLUGIN_H
#define GLASSBOX_PLUGIN_H

#include <time.h>

#include "qemu_api.h"
#include "trace_format.h"

#define CACHE_ENTRIES 1024 /* pages that a vCPU's accesses find at once; a power of two */
#define HEAT_ENTRIES 512   /* the same for heat alone, which needs less of each */
/* Entries are of an era, which ends when virtual addresses change their meaning: its number stands above the page's. */
#define ERA (UINT64_C(1) << (64 - GB_PAGE_SHIFT))
#define LAST_ERA (~(ERA - 1)) /* with it no tag is GB_NONE */
#define MOST_ACCESS_BYTES 64
#define PAGE_BYTES (UINT64_C(1) << GB_PAGE_SHIFT)
#define LINE_BYTES 64

/* Where the parts of the shared memory are. All of it was checked: offsets and counts cannot lead out of it. */
struct shared {
    struct gb_header *header;
    struct gb_reader_side *reader;
    struct gb_plugin_side *plugin;
    struct gb_block *blocks;
    uint8_t *code;
    uint64_t *counts;
    struct gb_sample *samples;
    struct gb_heat *heat;
    uint8_t *watched;
    struct gb_touch *touches;
    struct gb_touch *hits;
    struct gb_record *rings;
    struct gb_kernel *kernels;
    struct gb_kernel_told *kernels_told;
    const uint8_t *kernel_code;
    uint64_t *code_pages;
    struct gb_gpu_request *gpu_request;
    const struct gb_gpu_worker *gpu_worker;
    struct gb_gpu_told *gpu_told;
    const uint8_t *gpu_staging;
    const uint8_t *ram; /* the guest's, to read */
    /* Copies of what the header says: it is not asked twice. */
    uint64_t block_count, code_bytes, sample_count, hit_count, ring_records, pages, kernel_code_bytes,
        gpu_staging_bytes;
    uint32_t vcpus, ram_ranges;
    struct gb_ram_range ranges[GB_MAX_RAM_RANGES];
};

/* What an access to a page needs, by its virtual address. */
struct page_entry {
    uint64_t tag; /* virtual page and era; GB_NONE: empty */
    uint64_t page; /* of the RAM file; GB_NONE: a device, or memory that is not RAM */
    uint64_t physical;
    struct gb_heat *heat;
    uint8_t watched;
    uint8_t io;
};

/* What a vCPU's own thread keeps of it. */
struct vcpu {
    uint64_t era;
    struct page_entry cache[CACHE_ENTRIES];
    uint64_t watch_epoch;
    uint64_t head; /* of its ring, ahead of the one that is published */
    uint64_t tail_seen;
    uint64_t lost; /* since the last record */
    uint64_t pc;   /* of the block that is running, where that is followed */
    uint64_t tsc;  /* when it began: to ask the clock at each record would take as long as all else of it */
    uint64_t space; /* CR3's page */
    uint64_t space_epoch;
    uint32_t *pc_epochs; /* by block: when its pc was read last */
    uint64_t *pcs;
    unsigned int index;
    clockid_t clock; /* of its thread's processor time; 0: not known */
    uint64_t ran_ns; /* that, at the last sample; the clerk's */
    struct qemu_plugin_register *registers[18]; /* as in gdb's amd64 order: rax … r15, rip, eflags */
    struct qemu_plugin_register *cr3, *cr4, *cs;
    struct qemu_plugin_register *vectors[16]; /* xmm0 … */
    GByteArray *scratch;
} __attribute__((aligned(LINE_BYTES)));

/* What generated code itself writes, of each vCPU. */
struct inline_state {
    uint64_t block;  /* that it is in */
    uint64_t traced; /* 1 while its address space is one that is traced */
};

/* What a block's callbacks are given. They live as long as QEMU does: code may run that was translated long ago. */
struct block_note {
    uint64_t translated_at; /* its virtual address then */
    uint64_t physical;
    uint32_t block;
    bool user; /* its virtual address depends on whose it is */
    bool records; /* go into the rings */
};
struct insn_note {
    const struct block_note *block;
    uint32_t offset; /* from the block's first byte */
    uint16_t index;
};

/* What is done now; changed only while no vCPU runs. */
struct wanted {
    uint32_t parts, policy;
    uint64_t sample_ns, first_virtual, last_virtual, address_space, one_of;
};

extern struct shared shared;
extern struct vcpu *vcpus[GB_MAX_VCPUS];
extern struct wanted wanted;
extern struct qemu_plugin_scoreboard *count_board, *state_board;

/* shared.c */
bool shared_open(const char *path, const char *ram_path); /* says on stderr what is wrong */
void take_ram_ranges(void);
uint64_t ram_page_of_host(const void *host); /* the byte's offset in the RAM file; GB_NONE: not in it */
uint8_t *host_ram_base(void); /* where QEMU itself has the RAM file; NULL: not known (yet) */
uint64_t physical_of_offset(uint64_t offset);
uint64_t offset_of_physical(uint64_t physical); /* GB_NONE: not in RAM */
uint64_t task_of(unsigned int vcpu);
uint64_t now_ns(void);
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* blocks.c */
uint32_t block_of(struct qemu_plugin_tb *tb, uint64_t *physical);
void *keep(size_t bytes); /* memory that is never given back; NULL: none is left */

/* translate.c */
ON_TRANSLATION(on_translation);

/* groups.c: accesses at constant distances from each other, which the last of them tells of. */
#define GROUP_PARTS 24
#define MOST_INSTRUCTIONS 512 /* of a block: QEMU's own limit */

struct group_part {
    int32_t away; /* from the one that calls back */
    uint8_t size, loads, stores;
};
struct group_note {
    int32_t low, high; /* of all bytes, from the first one of the access that calls back */
    uint32_t loads, stores, count;
    struct group_part parts[GROUP_PARTS];
};
struct plan {
    const struct group_note *note; /* it calls back for its group */
    bool stores;                   /* at its store; else at its load */
    bool told_by_another;
};
void plan_accesses(struct qemu_plugin_tb *tb, struct plan *plan); /* one an instruction */

/* accesses.c */
void on_heat_load(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *note);
void on_heat_store(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *note);
void on_access(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *note);
void on_heat_group(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *note);
void forget_pages(struct vcpu *v);

/* spaces.c */
void on_space_change(unsigned int vcpu, void *register_number);
void on_mapping_change(unsigned int vcpu, void *nothing);
void spaces_prepare(struct vcpu *v);
uint64_t register_of(struct vcpu *v, struct qemu_plugin_register *which);
uint64_t stack_now(void); /* rsp of the vCPU whose code is translated; 0: not known */
uint64_t physical_beside(const struct vcpu *v, uint64_t near, uint64_t near_physical, uint64_t address);
void note_space(struct vcpu *v, uint64_t cr3);
extern const uint8_t gdb_register[16]; /* gdb's number of each general register, in the order of machine code */
uint64_t physical_now(uint64_t address); /* of the vCPU whose code is translated; GB_NONE: not known */
enum mapping { MAPPING_STAYS, MAPPING_CHANGES, SPACE_CHANGES };
enum mapping mapping_of(const uint8_t *bytes, size_t size, unsigned int *source);

/* kernel_pages.c */
void code_pages_clear(void);
void code_page_note(uint64_t offset); /* GB_NONE: it could not be told which */

/* kernels.c */
void kernels_take(void);
void kernels_translated(struct qemu_plugin_tb *tb, uint32_t block);

/* ring.c */
struct gb_record *record_begin(struct vcpu *v); /* NULL: it was dropped */
void record_end(struct vcpu *v, struct gb_record *record);
void ring_publish(struct vcpu *v);
void ring_publish_from_outside(struct vcpu *v);
void hit(struct gb_touch *done);

/* records.c */
void on_block(unsigned int vcpu, void *note);
void on_insn(unsigned int vcpu, void *note);

/* faults.c */
void faults_guard(const void *base, uint64_t bytes); /* of a mapping: from now on none of its pages ends QEMU */
void faults_guard_thread(void);                      /* by whatever thread touches it */
bool faults_seen(void);

/* clerk.c */
bool clerk_start(void);
void clerk_publish_counts(void);

static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    return now_ns();
#endif
}

#endif
