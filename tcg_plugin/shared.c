/* Shared memory: maps it and the guest's RAM, and trusts nothing that its header says before that was checked.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "plugin.h"

_Static_assert(sizeof(struct gb_header) == 1024, "header");
_Static_assert(sizeof(struct gb_reader_side) == 1024, "reader's side");
_Static_assert(sizeof(struct gb_ring) == 192, "ring");
_Static_assert(sizeof(struct gb_plugin_side) == 512 + GB_MAX_VCPUS * 192, "plugin's side");
_Static_assert(sizeof(struct gb_block) == 64, "block");
_Static_assert(sizeof(struct gb_sample) == 32, "sample");
_Static_assert(sizeof(struct gb_touch) == 64, "touch");
_Static_assert(sizeof(struct gb_record) == 64, "record");
_Static_assert(sizeof(struct gb_kernel) == 1024, "kernel");
_Static_assert(sizeof(struct gb_kernel_told) == 256, "what became of a kernel");
_Static_assert(sizeof(struct gb_gpu_stream) == 40, "a stream of a request");
_Static_assert(sizeof(struct gb_gpu_told) == 128, "what became of a kernel on the GPU");

#define SIDES (sizeof(struct gb_header) + sizeof(struct gb_reader_side) + sizeof(struct gb_plugin_side))

struct shared shared;

static const uint8_t *host_ram; /* where QEMU itself has the RAM file */
static uint64_t host_ram_bytes;
static struct stat ram_status;

void complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("glassbox plugin: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void *map_file(const char *path, int flags, int protection, uint64_t *bytes, struct stat *status)
{
    int file = open(path, flags | O_CLOEXEC);
    if (file < 0 || fstat(file, status) < 0) {
        complain("%s cannot be opened: %s.", path, strerror(errno));
        if (file >= 0)
            close(file);
        return NULL;
    }
    *bytes = (uint64_t)status->st_size;
    void *mapped = *bytes ? mmap(NULL, *bytes, protection, MAP_SHARED, file, 0) : MAP_FAILED;
    close(file);
    if (mapped == MAP_FAILED) {
        complain("%s cannot be mapped%s.", path, *bytes ? "" : ": it is empty");
        return NULL;
    }
    return mapped;
}

/* Where a part begins; NULL where it leads out of the file, is not aligned, or is not as long as it has to be. */
static void *part(void *base, struct gb_part told, uint64_t entry, uint64_t least, uint64_t total, const char *name)
{
    bool fits = told.offset >= SIDES && told.offset % LINE_BYTES == 0 && told.offset <= total &&
                told.count >= least && told.count <= (total - told.offset) / entry;
    if (!fits) {
        complain("the shared memory's part “%s” does not fit into it (offset %" PRIu64 ", %" PRIu64 " entries).", name,
                 told.offset, told.count);
        return NULL;
    }
    return (uint8_t *)base + told.offset;
}

static bool power_of_two(uint64_t n)
{
    return n && !(n & (n - 1));
}

bool shared_open(const char *path, const char *ram_path)
{
    struct stat status;
    uint64_t total, ram_bytes;
    uint8_t *base = map_file(path, O_RDWR, PROT_READ | PROT_WRITE, &total, &status);
    if (!base)
        return false;
    if (total < SIDES) {
        complain("%s is too small to be the shared memory of a trace: %" PRIu64 " bytes.", path, total);
        return false;
    }
    struct gb_header told; /* a copy: the file could be changed while it is looked at */
    memcpy(&told, base, sizeof told);
    if (told.magic != GB_MAGIC || told.version != GB_VERSION || told.header_bytes != SIDES) {
        complain("%s is not of this plugin's format (version %u).", path, GB_VERSION);
        return false;
    }
    if (told.total_bytes != total || told.vcpus < 1 || told.vcpus > GB_MAX_VCPUS || !told.pages ||
        !power_of_two(told.ring_records) ||
        told.ring_records > total || !power_of_two(told.samples.count) || !power_of_two(told.hits.count) ||
        told.blocks.count > UINT32_MAX || told.pages > total) {
        complain("%s contradicts itself.", path);
        return false;
    }
    shared.header = (struct gb_header *)base;
    shared.reader = (struct gb_reader_side *)(base + sizeof(struct gb_header));
    shared.plugin = (struct gb_plugin_side *)(base + sizeof(struct gb_header) + sizeof(struct gb_reader_side));
    uint64_t vcpu_count = told.vcpus;
    shared.blocks = part(base, told.blocks, sizeof(struct gb_block), 2, total, "blocks");
    shared.code = part(base, told.code, 1, 1, total, "code");
    shared.counts = part(base, told.counts, 8, vcpu_count * told.blocks.count, total, "counts");
    shared.samples = part(base, told.samples, sizeof(struct gb_sample), 1, total, "samples");
    shared.heat = part(base, told.heat, sizeof(struct gb_heat), vcpu_count * told.pages, total, "heat");
    shared.watched = part(base, told.watched, 1, told.pages, total, "watched");
    shared.touches = part(base, told.touches, sizeof(struct gb_touch), 2 * told.pages, total, "touches");
    shared.hits = part(base, told.hits, sizeof(struct gb_touch), 1, total, "hits");
    shared.rings = part(base, told.rings, sizeof(struct gb_record), vcpu_count * told.ring_records, total, "rings");
    shared.kernels = part(base, told.kernels, sizeof(struct gb_kernel), GB_MAX_KERNELS, total, "kernels");
    shared.kernels_told =
        part(base, told.kernels_told, sizeof(struct gb_kernel_told), GB_MAX_KERNELS, total, "kernels told");
    shared.kernel_code = part(base, told.kernel_code, 1, 1, total, "kernel code");
    uint64_t code_words = told.pages / 64 + 2;
    shared.code_pages = part(base, told.code_pages, sizeof(uint64_t), code_words, total, "code pages");
    shared.gpu_request = part(base, told.gpu_request, sizeof(struct gb_gpu_request), 1, total, "GPU request");
    shared.gpu_worker = part(base, told.gpu_worker, sizeof(struct gb_gpu_worker), 1, total, "GPU worker");
    shared.gpu_told = part(base, told.gpu_told, sizeof(struct gb_gpu_told), GB_MAX_KERNELS, total, "GPU told");
    shared.gpu_staging = part(base, told.gpu_staging, 1, 1, total, "GPU staging");
    if (!shared.gpu_request || !shared.gpu_worker || !shared.gpu_told || !shared.gpu_staging)
        return false;
    if (!shared.code_pages || !shared.blocks || !shared.code || !shared.counts || !shared.samples || !shared.heat || !shared.watched ||
        !shared.touches || !shared.hits || !shared.rings || !shared.kernels || !shared.kernels_told ||
        !shared.kernel_code)
        return false;
    shared.ram = map_file(ram_path, O_RDONLY, PROT_READ, &ram_bytes, &ram_status);
    if (!shared.ram)
        return false;
    if (told.pages != ram_bytes >> GB_PAGE_SHIFT) {
        complain("%s is for RAM of %" PRIu64 " pages; %s has %" PRIu64 ".", path, told.pages, ram_path,
                 ram_bytes >> GB_PAGE_SHIFT);
        return false;
    }
    shared.block_count = told.blocks.count;
    shared.code_bytes = told.code.count;
    shared.sample_count = told.samples.count;
    shared.hit_count = told.hits.count;
    shared.ring_records = told.ring_records;
    shared.pages = told.pages;
    shared.kernel_code_bytes = told.kernel_code.count;
    shared.gpu_staging_bytes = told.gpu_staging.count;
    shared.vcpus = told.vcpus;
    faults_guard(base, total);
    faults_guard_thread();
    return true;
}

/* Where RAM lies is known to the reader only when QEMU runs. A range that leads out of the file is passed over. */
void take_ram_ranges(void)
{
    uint64_t told = shared.reader->ram_ranges, bytes = shared.pages << GB_PAGE_SHIFT;
    uint32_t kept = 0;
    for (uint64_t n = 0; n < told && n < GB_MAX_RAM_RANGES; n++) {
        struct gb_ram_range range = shared.reader->ram[n];
        if (range.offset <= bytes && range.bytes <= bytes - range.offset)
            shared.ranges[kept++] = range;
    }
    shared.ram_ranges = kept;
}

/* QEMU maps the RAM file after the plugin was loaded; where, the kernel tells. */
static void find_host_ram(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[4352];
    while (maps && fgets(line, sizeof line, maps)) {
        uint64_t from, to, offset, inode;
        unsigned int major, minor;
        char access[5];
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64, &from, &to, access, &offset, &major,
                   &minor, &inode) != 7)
            continue;
        if (inode != ram_status.st_ino || offset != 0 || from == (uintptr_t)shared.ram)
            continue;
        host_ram_bytes = to - from;
        __atomic_store_n(&host_ram, (const uint8_t *)(uintptr_t)from, __ATOMIC_RELEASE);
        break;
    }
    if (maps)
        fclose(maps);
}

uint8_t *host_ram_base(void)
{
    if (!__atomic_load_n(&host_ram, __ATOMIC_ACQUIRE))
        find_host_ram();
    return host_ram_bytes >> GB_PAGE_SHIFT == shared.pages ? (uint8_t *)(uintptr_t)host_ram : NULL;
}

uint64_t ram_page_of_host(const void *host)
{
    static bool looked;
    if (!__atomic_load_n(&host_ram, __ATOMIC_ACQUIRE) && !looked) {
        find_host_ram();
        looked = host_ram != NULL;
    }
    const uint8_t *base = host_ram;
    uint64_t offset = (uint64_t)((const uint8_t *)host - base);
    return base && host && offset < host_ram_bytes ? offset : GB_NONE;
}

uint64_t physical_of_offset(uint64_t offset)
{
    for (uint32_t n = 0; n < shared.ram_ranges; n++)
        if (offset - shared.ranges[n].offset < shared.ranges[n].bytes)
            return shared.ranges[n].physical + (offset - shared.ranges[n].offset);
    return GB_NONE;
}

uint64_t offset_of_physical(uint64_t physical)
{
    for (uint32_t n = 0; n < shared.ram_ranges; n++)
        if (physical - shared.ranges[n].physical < shared.ranges[n].bytes)
            return shared.ranges[n].offset + (physical - shared.ranges[n].physical);
    return GB_NONE;
}

uint64_t task_of(unsigned int vcpu)
{
    uint64_t offset = __atomic_load_n(&shared.reader->task_word[vcpu], __ATOMIC_RELAXED);
    if (!offset || offset % 8 || offset > (shared.pages << GB_PAGE_SHIFT) - 8)
        return 0;
    return __atomic_load_n((const uint64_t *)(shared.ram + offset), __ATOMIC_RELAXED);
}
