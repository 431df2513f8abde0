/* Trace format: the shared memory between the plugin in QEMU and the reader; Python takes its layout from this file.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The reader makes a sparse file, fills in the header (sizes, parts, where RAM lies), and names the file to QEMU. The
 * plugin checks every field of it before it trusts one. After that each side writes to its own cache lines alone, as
 * the names say: what one side writes the other one only reads.
 *
 * All numbers are little endian and aligned by themselves. A PAGE is 4 KiB of the RAM file, counted from its beginning;
 * a PHYSICAL address is the guest's. What follows is C that cffi reads as well: fixed-width fields, constants that are
 * integers, no bit fields, no pointers.
 */
#ifndef GLASSBOX_TRACE_FORMAT_H
#define GLASSBOX_TRACE_FORMAT_H

#include <stdint.h>

#define GB_MAGIC 0x3145434152544247 /* the bytes "GBTRACE1" */
#define GB_VERSION 5
#define GB_MAX_VCPUS 64
#define GB_MAX_RAM_RANGES 8
#define GB_PAGE_SHIFT 12
#define GB_NONE 0xffffffffffffffff /* no address; no page */
#define GB_NO_BLOCK 0              /* block 0 stands for "none is running" */

/* What is traced: any of these at once. The modes that people choose are sets of them. */
#define GB_COUNT 1         /* how often each block was entered */
#define GB_SAMPLE 2        /* which block each vCPU is in, GB_SAMPLE times a second */
#define GB_HEAT 4          /* loads and stores of each page */
#define GB_WATCH 8         /* who touches the watched pages */
#define GB_TRACE_BLOCKS 16 /* a record at each block's entry */
#define GB_TRACE_INSNS 32  /* a record an instruction */
#define GB_TRACE_LOADS 64
#define GB_TRACE_STORES 128
#define GB_TRACE_REGISTERS 256 /* records of the general registers behind each block's record */
#define GB_TRACES 496          /* any of the records in rings */
#define GB_KERNELS 512         /* loops are done by the kernels of the table, where no accesses are watched */

/* What a full ring does. */
#define GB_DROP 0      /* new records are dropped and counted */
#define GB_HOLD 1      /* the guest waits, as long as a reader is there */
#define GB_OVERWRITE 2 /* the oldest records go: a flight recorder */

/* The plugin's state. */
#define GB_ABSENT 0 /* no plugin has this file */
#define GB_READY 1
#define GB_GONE 2 /* QEMU ended */

/* Kinds of records. */
#define GB_RECORD_BLOCK 1
#define GB_RECORD_INSN 2
#define GB_RECORD_LOAD 3
#define GB_RECORD_STORE 4
#define GB_RECORD_REGISTERS 5

/* Flags of records. */
#define GB_FLAG_IO 1       /* the access went to a device */
#define GB_FLAG_VALUE 2    /* `value` was read: API 4 and later tell it */
#define GB_FLAG_WIDE 4     /* 16 bytes; `value` is the lower half */
#define GB_FLAG_LOST 8     /* records were dropped before this one */
#define GB_FLAG_STORE 16   /* of touches: it is a store */

/* Kernels: native code that does rounds of a loop, in place of QEMU. */
#define GB_MAX_KERNELS 64
#define GB_KERNEL_STREAMS 16  /* runs of addresses that a kernel loads or stores */
#define GB_KERNEL_ACCESSES 32 /* loads and stores of a kernel's one round */
#define GB_KERNEL_CODE 512    /* bytes of x86 */
#define GB_KERNEL_STATE 33    /* words of its state: 32 registers of the Pixel CPU, flags */
#define GB_KERNEL_VERIFY 1    /* a flag: its results are compared with QEMU's, and not used */
#define GB_KERNEL_ORDERED 2     /* a flag: its rounds are done one after the other, what they touch may meet */
#define GB_KERNEL_ENDS_ITSELF 4 /* a flag: its plan tells a limit, and it stops where the loop ends */

/* Who does rounds; QEMU does what nobody else does. */
#define GB_BACK_END_AUTO 0 /* whoever is measured to be quickest at so many */
#define GB_BACK_END_HOST 1
#define GB_BACK_END_GPU 2 /* where it is there and can; else the host */
#define GB_GPU_PAGES 4096 /* that one request to it names at most */

/* What became of a kernel. */
#define GB_KERNEL_NONE 0
#define GB_KERNEL_LIVE 1
#define GB_KERNEL_BAD 2   /* its entry cannot be */
#define GB_KERNEL_WRONG 3 /* it differed from QEMU, and is used no more */

/* Why a kernel was not run, as often as `declined` says. */
#define GB_DECLINED_FEW 0      /* too few rounds to be worth it */
#define GB_DECLINED_MEASURING 1 /* it is measured what QEMU takes */
#define GB_DECLINED_SLOW 2     /* QEMU is as fast */
#define GB_DECLINED_MODE 3     /* not 64-bit code */
#define GB_DECLINED_CHANGED 4  /* the code behind its first page is another now */
#define GB_DECLINED_SPACE 5    /* the page tables are not those that QEMU uses */
#define GB_DECLINED_ABSENT 6   /* a page is not present, or was not accessed yet */
#define GB_DECLINED_RIGHTS 7   /* a page may not be read or written, or was not written yet */
#define GB_DECLINED_DEVICE 8   /* what is there is not RAM */
#define GB_DECLINED_CODE 9     /* it would store where translated code is */
#define GB_DECLINED_MEET 10    /* what it stores and what it touches besides is too close */
#define GB_DECLINED_ACROSS 11  /* a round's access goes across the end of a page */
#define GB_DECLINED_SMP 12     /* it stores, and other processors may look */
#define GB_DECLINED_WATCHED 13 /* each access is watched now */
#define GB_DECLINED_REASONS 14

/* A part of the file: `count` entries from `offset` on. */
struct gb_part {
    uint64_t offset;
    uint64_t count;
};

/* RAM that the guest sees in one piece: [physical, physical + bytes) is [offset, offset + bytes) of the RAM file. */
struct gb_ram_range {
    uint64_t physical;
    uint64_t bytes;
    uint64_t offset;
};

/* Written by the reader before QEMU starts, never after. 1024 bytes. */
struct gb_header {
    uint64_t magic;
    uint32_t version;
    uint32_t header_bytes; /* of header, reader's and plugin's side together: where the parts may begin */
    uint64_t total_bytes;
    uint64_t pages; /* of the RAM file */
    uint32_t vcpus; /* at most so many are traced */
    uint32_t reserved_1;
    struct gb_part blocks;  /* struct gb_block; entry 0 is none */
    struct gb_part code;    /* bytes of instructions */
    struct gb_part counts;  /* uint64_t [vcpus][blocks.count]: entries of blocks, as of the last publishing */
    struct gb_part samples; /* struct gb_sample, a ring */
    struct gb_part heat;    /* struct gb_heat [vcpus][pages] */
    struct gb_part watched; /* uint8_t a page: what is watched of it, GB_WATCH_LOADS | GB_WATCH_STORES */
    struct gb_part touches; /* struct gb_touch [pages][2]: who loaded last, who stored last */
    struct gb_part hits;    /* struct gb_touch, a ring: accesses to watched pages, of all vCPUs */
    struct gb_part rings;   /* struct gb_record [vcpus][ring_records] */
    uint64_t ring_records;  /* a power of two */
    struct gb_part kernels; /* struct gb_kernel [GB_MAX_KERNELS], written by the reader */
    struct gb_part kernels_told; /* struct gb_kernel_told [GB_MAX_KERNELS], written by the plugin */
    struct gb_part kernel_code;  /* native code, written by the reader */
    struct gb_part code_pages;   /* uint64_t: a bit a page of the RAM file, and a word more; written by the plugin */
    struct gb_part gpu_request;  /* struct gb_gpu_request, written by the plugin */
    struct gb_part gpu_worker;   /* struct gb_gpu_worker, written by whoever has the GPU */
    struct gb_part gpu_told;     /* struct gb_gpu_told [GB_MAX_KERNELS], written by the plugin */
    struct gb_part gpu_staging;  /* bytes that rounds on the GPU have stored, written by whoever has it */
    uint8_t reserved_2[704];
};

#define GB_WATCH_LOADS 1
#define GB_WATCH_STORES 2

/* In `code_pages` a page's bit is set while code that was translated from it may be in use; it is kept while anything
 * is traced. The last word is 1 where a page of some code could not be told: any page may hold code then. */

/* Written by the reader. 1024 bytes. */
struct gb_reader_side {
    uint64_t request; /* one more each time the fields below were set: what is wanted from then on */
    uint32_t parts;   /* GB_COUNT | … */
    uint32_t policy;  /* GB_DROP … */
    uint64_t sample_ns;
    uint64_t first_virtual; /* traced are blocks in [first_virtual, last_virtual] … */
    uint64_t last_virtual;
    uint64_t address_space; /* … while CR3's page is this one; GB_NONE: of all … */
    uint64_t one_of;        /* … and whose number is a multiple of this; 1: all */
    uint64_t publish;       /* a futex (low half): one more each time counts are wanted */
    uint64_t watch_epoch;   /* one more each time `watched` was changed */
    uint64_t alive_ns;      /* CLOCK_MONOTONIC, often: a held guest waits only while somebody reads */
    uint64_t task_word[GB_MAX_VCPUS]; /* RAM file's offset of the word that names the task a vCPU runs; 0: not known */
    uint64_t hit_tail;
    uint64_t ram_ranges; /* how many of `ram` hold; 0: nothing is known of where RAM lies */
    struct gb_ram_range ram[GB_MAX_RAM_RANGES];
    uint64_t kernels_on; /* 1: loops are done by the kernels of the table, whatever is watched besides */
    uint64_t back_end;   /* GB_BACK_END_AUTO … */
    uint8_t reserved[208];
};

/* A ring's ends: of the plugin and of the reader, each on a cache line of its own. 192 bytes. */
struct gb_ring {
    uint64_t head; /* written by the plugin: records so far; released when records up to it can be read */
    uint64_t dropped;
    uint64_t waited_ns;
    uint8_t reserved_1[40];
    uint64_t tail; /* written by the reader: records that are done with */
    uint8_t reserved_2[56];
    uint32_t wake; /* a futex: 1 while the guest waits for room; set to 0 by the reader, which then wakes it */
    uint8_t reserved_4[4];
    uint8_t reserved_3[56];
};

/* Written by the plugin, but for the tails in `rings`. */
struct gb_plugin_side {
    uint32_t state; /* GB_ABSENT … */
    uint32_t pid;
    uint32_t api;
    uint32_t vcpus; /* that came so far */
    uint64_t done;  /* the last request that was carried out */
    uint64_t done_ns;
    uint64_t switch_ns; /* what that took: from the first vCPU that saw it until the new code ran */
    uint32_t parts;
    uint32_t policy;
    uint64_t published; /* the last `publish` that was carried out */
    uint64_t published_ns;
    uint64_t blocks; /* entries of the block table that are filled in; released */
    uint64_t code_bytes;
    uint64_t refused_blocks; /* the table was full: these are not counted, nor named in records */
    uint64_t translations;
    uint64_t sample_head;
    uint64_t hit_head;
    uint64_t hit_dropped;
    uint64_t ns_at_tsc;      /* CLOCK_MONOTONIC when the time-stamp counter stood at `tsc` */
    uint64_t tsc;
    uint64_t tsc_hz;         /* 0 until it is known */
    uint64_t faults;         /* pages of this memory that could not be had: it was cut short, or there was no room */
    uint8_t reserved[360];
    struct gb_ring rings[GB_MAX_VCPUS];
};

/* A block: a run of instructions that QEMU translates at once. The same code at the same place is one block, however
 * often it is translated. 64 bytes. */
struct gb_block {
    uint64_t physical;        /* of its first byte; GB_NONE where it is not in RAM */
    uint64_t physical_behind; /* of its first byte in a second page; GB_NONE where there is none */
    uint64_t virtual_first;   /* where it was when it was translated first */
    uint64_t hash;            /* of its bytes, FNV-1a */
    uint64_t code;            /* where its bytes begin in `code` */
    uint32_t bytes;
    uint32_t instructions;
    uint32_t translations;
    uint32_t reserved_1;
    uint64_t reserved_2;
};

/* Which block a vCPU was in. 32 bytes. */
struct gb_sample {
    uint64_t ns; /* CLOCK_MONOTONIC */
    uint64_t task; /* the word at task_word; 0: not known */
    uint32_t block;
    uint16_t vcpu;
    uint16_t reserved_1;
    uint64_t reserved_2;
};

struct gb_heat {
    uint32_t loads;
    uint32_t stores;
};

/* An access to a watched page: the last one of its kind (`sequence` is odd while it is written), or one of the ring of
 * hits (`sequence` counts them, from 0). 64 bytes. */
struct gb_touch {
    uint64_t sequence;
    uint64_t ns;
    uint64_t pc;
    uint64_t virtual_address;
    uint64_t physical;
    uint64_t task;
    uint64_t value;
    uint32_t block;
    uint16_t vcpu;
    uint8_t size;
    uint8_t flags;
};

/* 64 bytes: a cache line. */
struct gb_record {
    uint64_t sequence; /* from 0 in each ring; no two are the same */
    uint64_t tsc;             /* when its block was entered */
    uint64_t pc;              /* virtual */
    uint64_t virtual_address; /* of the access */
    uint64_t physical;        /* of the access; of the block's first byte in records of blocks */
    uint64_t value;           /* of the access; the task's word in records of blocks */
    uint32_t block;
    uint16_t instruction; /* in its block */
    uint8_t kind;         /* GB_RECORD_BLOCK … */
    uint8_t size;         /* of the access, in bytes */
    uint8_t flags;
    uint8_t vcpu;
    uint16_t reserved_1;
    uint32_t reserved_2;
};

/* Addresses that a kernel's rounds touch: `bytes` from one that the plan tells, `stride` more each round. 16 bytes. */
struct gb_stream {
    uint64_t stride; /* signed */
    uint32_t bytes;
    uint16_t group; /* streams of one group keep their distance, and never meet if they lie as their addresses say */
    uint8_t stores;
    uint8_t reserved_1;
};

/* A kernel, as the reader wants it; taken with the next request. `plan` and `run` are where these begin in its native
 * code, which is at `native` in `kernel_code`, needs nothing else, and runs wherever it lies:
 *     uint64_t plan(const uint64_t *state, uint64_t *addresses)
 *         how many rounds from this state surely go back to the loop's first instruction, and each stream's address;
 *         with GB_KERNEL_ENDS_ITSELF: how many may at most
 *     uint64_t run(uint64_t *state, const uint64_t *windows, uint64_t rounds)
 *         does so many rounds; a window an access: the address of its first byte, bytes, and where they are in memory
 * The state's words 0 to 15 are rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 … r15. 1024 bytes. */
struct gb_kernel {
    uint64_t id; /* 0: none; another one each time an entry is written */
    uint64_t native;
    uint64_t native_bytes;
    uint32_t plan;
    uint32_t run;
    uint32_t flags;
    uint32_t code_bytes;
    uint32_t streams;
    uint32_t accesses;
    uint64_t reads;  /* a bit for each word of the state that it needs … */
    uint64_t writes; /* … and changes: registers and halves of SSE registers */
    uint8_t halves[32]; /* the word that is xmm0's lower half, its upper half, xmm1's …; 0: not used */
    uint8_t access_stream[GB_KERNEL_ACCESSES];
    struct gb_stream stream[GB_KERNEL_STREAMS];
    uint8_t code[GB_KERNEL_CODE]; /* the loop's */
    uint32_t first_bytes; /* of the loop's first block: of several, QEMU translates it alone */
    uint8_t reserved_1[124];
};

/* What became of it. 256 bytes. */
struct gb_kernel_told {
    uint64_t id;
    uint32_t state; /* GB_KERNEL_NONE … */
    uint32_t wrong_word; /* the state's, or 64 and more: a stream's */
    uint64_t wrong_expected; /* by the kernel */
    uint64_t wrong_found;    /* by QEMU */
    uint64_t translations;   /* of blocks that begin with its loop */
    uint64_t looks; /* how often it was considered … */
    uint64_t calls; /* … and did rounds */
    uint64_t rounds;
    uint64_t ticks; /* of the time-stamp counter: of these calls, all included */
    uint64_t round_ticks; /* 1/256 of one: that a round took under QEMU at least; 0: not known */
    uint64_t call_ticks;  /* that a call takes besides its rounds */
    uint64_t least_rounds; /* fewer are left to QEMU */
    uint64_t longest_ticks; /* of a call */
    uint64_t verified; /* calls whose results QEMU's equalled */
    uint64_t verified_rounds;
    uint64_t abandoned; /* calls of which it was never seen what QEMU made of them */
    uint64_t declined[GB_DECLINED_REASONS];
    uint64_t reserved_1[2];
};

/* Bytes of a stream that rounds on the GPU touch: [first, first + bytes) of the guest's addresses. 40 bytes. */
struct gb_gpu_stream {
    uint64_t first;
    uint64_t bytes;
    uint64_t staged; /* where in the staging area they are wanted; of streams that store */
    uint32_t page;   /* where in `pages` the first of its pages stands; they follow each other */
    uint32_t pages;
    uint32_t stores;
    uint32_t reserved_1;
};

/* What the plugin asks whoever has the GPU: rounds of a kernel from this state. One at a time. It waits for the answer,
 * but not for long, and only itself writes what was stored to the guest's memory: who answers too late, or never, has
 * changed nothing. */
struct gb_gpu_request {
    uint64_t number; /* a futex (low half): 0 while the rest is written, then one more than ever before */
    uint64_t id;     /* the kernel's … */
    uint32_t slot;   /* … and where it stands in the table */
    uint32_t streams;
    uint64_t rounds;
    uint64_t state[GB_KERNEL_STATE];
    struct gb_gpu_stream stream[GB_KERNEL_STREAMS];
    uint32_t page[GB_GPU_PAGES]; /* of the RAM file */
};

/* Written by whoever has the GPU. */
struct gb_gpu_worker {
    uint64_t alive_ns;   /* CLOCK_MONOTONIC, often; 0: it takes no request now */
    uint64_t generation; /* another one with each process */
    uint64_t answered;   /* a futex (low half): the request that the fields below answer; written last */
    uint64_t rounds;     /* that were done: all, or none where it could not */
    uint64_t state[GB_KERNEL_STATE]; /* after them */
    uint64_t ready[GB_MAX_KERNELS]; /* the kernel's id, once it can be asked for */
};

/* What became of a kernel on the GPU; it is part of what `gb_kernel_told` says. 128 bytes. */
struct gb_gpu_told {
    uint64_t id;
    uint32_t state;      /* GB_KERNEL_NONE; GB_KERNEL_LIVE once it was asked; GB_KERNEL_WRONG: never more */
    uint32_t wrong_word; /* as in `gb_kernel_told` */
    uint64_t wrong_expected;
    uint64_t wrong_found;
    uint64_t calls;
    uint64_t rounds;
    uint64_t ticks;
    uint64_t call_ticks;       /* that a call takes besides its rounds, at least; 0: not known */
    uint64_t round_ticks;      /* 1/256 of one: that a round takes in a call of many, with the call's part, at least; 0: not known */
    uint64_t host_round_ticks; /* the same of the host's native code */
    uint64_t longest_ticks;
    uint64_t timeouts; /* requests that had no answer in time */
    uint64_t refused;  /* … and that were answered with nothing */
    uint64_t unfit;    /* times that pages or streams would not do, and nothing was asked */
    uint64_t verified; /* calls whose results QEMU's equalled */
    uint64_t reserved_1;
};

#endif
