/* QEMU API: what the plugin uses of QEMU's plugin interface, for each of its versions; GLASSBOX_API says which is built.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Distributions do not ship qemu-plugin.h with QEMU. Versions 2 to 6 differ for us only in how an instruction's bytes
 * are had (3) and whether the value of an access is (4); 7 gave every callback a pointer of the plugin's own, and took
 * the plugin's number from most. The macros below hide that: the plugin is written once.
 */
#ifndef GLASSBOX_QEMU_API_H
#define GLASSBOX_QEMU_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef GLASSBOX_API
#error "GLASSBOX_API is the version of QEMU's plugin interface to build for: 2, 3, 4 or 7"
#endif

#define EXPORTED __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;

typedef struct qemu_info_t {
    const char *target_name;
    struct {
        int min;
        int cur;
    } version;
    bool system_emulation;
    struct {
        int smp_vcpus;
        int max_vcpus;
    } system;
} qemu_info_t;

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;
struct qemu_plugin_hwaddr;
struct qemu_plugin_register; /* opaque: handles of it are numbers in disguise, with 7 from 0 on */
#define NO_REGISTER ((struct qemu_plugin_register *)(intptr_t)-1)

typedef struct {
    struct qemu_plugin_scoreboard *score;
    size_t offset;
} qemu_plugin_u64;

enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_CB_R_REGS, QEMU_PLUGIN_CB_RW_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W, QEMU_PLUGIN_MEM_RW };
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64, QEMU_PLUGIN_INLINE_STORE_U64 };
enum qemu_plugin_cond {
    QEMU_PLUGIN_COND_NEVER,
    QEMU_PLUGIN_COND_ALWAYS,
    QEMU_PLUGIN_COND_EQ,
    QEMU_PLUGIN_COND_NE,
    QEMU_PLUGIN_COND_LT,
    QEMU_PLUGIN_COND_LE,
    QEMU_PLUGIN_COND_GT,
    QEMU_PLUGIN_COND_GE
};

typedef uint32_t qemu_plugin_meminfo_t;
typedef void (*qemu_plugin_vcpu_udata_cb_t)(unsigned int vcpu, void *data);
typedef void (*qemu_plugin_vcpu_mem_cb_t)(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *data);

/* Callbacks that changed with version 7: ON_…(name) begins the definition of one. */
#if GLASSBOX_API >= 7
#define ON_PLUGIN(name) void name(void *data __attribute__((unused)))
#define ON_VCPU(name) void name(unsigned int vcpu, void *data __attribute__((unused)))
#define ON_TRANSLATION(name) void name(struct qemu_plugin_tb *tb, void *data __attribute__((unused)))
typedef void (*plugin_cb_t)(void *);
typedef void (*vcpu_cb_t)(unsigned int, void *);
typedef void (*translation_cb_t)(struct qemu_plugin_tb *, void *);
#define AND_DATA , void *data
#define NO_DATA , NULL
#else
#define ON_PLUGIN(name) void name(qemu_plugin_id_t id __attribute__((unused)))
#define ON_AT_EXIT(name) void name(qemu_plugin_id_t id __attribute__((unused)), void *data __attribute__((unused)))
#define ON_VCPU(name) void name(qemu_plugin_id_t id __attribute__((unused)), unsigned int vcpu)
#define ON_TRANSLATION(name) void name(qemu_plugin_id_t id __attribute__((unused)), struct qemu_plugin_tb *tb)
typedef void (*plugin_cb_t)(qemu_plugin_id_t);
typedef void (*vcpu_cb_t)(qemu_plugin_id_t, unsigned int);
typedef void (*translation_cb_t)(qemu_plugin_id_t, struct qemu_plugin_tb *);
#define AND_DATA
#define NO_DATA
#endif
#ifndef ON_AT_EXIT
#define ON_AT_EXIT(name) ON_PLUGIN(name)
typedef plugin_cb_t at_exit_cb_t;
#else
typedef void (*at_exit_cb_t)(qemu_plugin_id_t, void *);
#endif

void qemu_plugin_reset(qemu_plugin_id_t id, plugin_cb_t cb AND_DATA);
void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t id, vcpu_cb_t cb AND_DATA);
void qemu_plugin_register_vcpu_idle_cb(qemu_plugin_id_t id, vcpu_cb_t cb AND_DATA);
void qemu_plugin_register_vcpu_resume_cb(qemu_plugin_id_t id, vcpu_cb_t cb AND_DATA);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, translation_cb_t cb AND_DATA);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, at_exit_cb_t cb, void *data);

struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t element_size);
void qemu_plugin_scoreboard_free(struct qemu_plugin_scoreboard *score);
void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *score, unsigned int vcpu);

void qemu_plugin_register_vcpu_tb_exec_cb(
    struct qemu_plugin_tb *tb, qemu_plugin_vcpu_udata_cb_t cb, enum qemu_plugin_cb_flags flags, void *data);
void qemu_plugin_register_vcpu_tb_exec_cond_cb(
    struct qemu_plugin_tb *tb, qemu_plugin_vcpu_udata_cb_t cb, enum qemu_plugin_cb_flags flags,
    enum qemu_plugin_cond cond, qemu_plugin_u64 entry, uint64_t imm, void *data);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
    struct qemu_plugin_tb *tb, enum qemu_plugin_op op, qemu_plugin_u64 entry, uint64_t imm);
void qemu_plugin_register_vcpu_insn_exec_cb(
    struct qemu_plugin_insn *insn, qemu_plugin_vcpu_udata_cb_t cb, enum qemu_plugin_cb_flags flags, void *data);
void qemu_plugin_register_vcpu_mem_cb(
    struct qemu_plugin_insn *insn, qemu_plugin_vcpu_mem_cb_t cb, enum qemu_plugin_cb_flags flags,
    enum qemu_plugin_mem_rw rw, void *data);

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *insn);
#if GLASSBOX_API >= 3
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t room);
#else
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
#endif

unsigned int qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t info, uint64_t address);
bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *address);
uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *address);
#if GLASSBOX_API >= 4
typedef struct {
    int type; /* log2 of its bytes */
    union {
        uint8_t u8;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
        struct {
            uint64_t low;
            uint64_t high;
        } u128;
    } data;
} qemu_plugin_mem_value;
qemu_plugin_mem_value qemu_plugin_mem_get_value(qemu_plugin_meminfo_t info);
#endif

/* GLib, which QEMU brings along: registers are read into its arrays. */
typedef struct {
    char *data;
    unsigned int len;
} GArray;
typedef struct {
    uint8_t *data;
    unsigned int len;
} GByteArray;
typedef struct {
    struct qemu_plugin_register *handle;
    const char *name;
    const char *feature;
} qemu_plugin_reg_descriptor;
GArray *qemu_plugin_get_registers(void);
#if GLASSBOX_API >= 6
bool qemu_plugin_read_register(struct qemu_plugin_register *handle, GByteArray *to);
#else
int qemu_plugin_read_register(struct qemu_plugin_register *handle, GByteArray *to);
#endif
#if GLASSBOX_API >= 7
bool qemu_plugin_write_register(struct qemu_plugin_register *handle, GByteArray *from);
#endif
GByteArray *g_byte_array_new(void);
GByteArray *g_byte_array_set_size(GByteArray *array, unsigned int length);
char *g_array_free(GArray *array, int free_segment);
unsigned int g_array_get_element_size(GArray *array);

/* The bytes of an instruction, at most `room`; returns how many. */
static inline size_t instruction_bytes(const struct qemu_plugin_insn *insn, void *to, size_t room)
{
#if GLASSBOX_API >= 3
    return qemu_plugin_insn_data(insn, to, room);
#else
    size_t size = qemu_plugin_insn_size(insn);
    size = size < room ? size : room;
    __builtin_memcpy(to, qemu_plugin_insn_data(insn), size);
    return size;
#endif
}

#endif
