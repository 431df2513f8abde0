/*
 * The demo guest's workloads: small, endless, gentle programs that make memory interesting. One binary; the name
 * it is called by chooses.
 *
 *   counter             a page with a signature and a 64-bit number that grows 20 times a second
 *   allocator           a heap that churns: blocks of many sizes, filled with text or pointers
 *   journal             a file that is written, read back, and started over
 *   compressor          gzip over that file, again and again
 *   pattern HEX [MIB]   fills memory with the bytes HEX, says where they lie, and keeps them until it is killed
 *
 * Built against the C library that the guest carries, without its headers and start files: whoever has a compiler
 * can build it. So the few declarations that are used stand here.
 */

typedef unsigned char u8;
typedef unsigned long u64;

extern int __libc_start_main(int (*)(int, char **, char **), int, char **, void *, void *, void *, void *);
extern int printf(const char *, ...);
extern int snprintf(char *, u64, const char *, ...);
extern int fflush(void *);
extern void *malloc(u64);
extern void free(void *);
extern void *mmap(void *, u64, int, int, int, long);
extern int mlock(const void *, u64);
extern void *memset(void *, int, u64);
extern void *memcpy(void *, const void *, u64);
extern u64 strlen(const char *);
extern int strcmp(const char *, const char *);
extern char *strrchr(const char *, int);
extern u64 strtoul(const char *, char **, int);
extern int open(const char *, int, ...);
extern int close(int);
extern long read(int, void *, u64);
extern long write(int, const void *, u64);
extern long pread(int, void *, u64, long);
extern int ftruncate(int, long);
extern int nice(int);
extern int usleep(unsigned);
extern int system(const char *);
extern int fork(void);
extern int setsid(void);
extern int pause(void);
extern int pipe(int *);
extern int getpid(void);

#define NORETURN __attribute__((noreturn))

#define O_RDONLY 0
#define O_WRONLY 1
#define O_RDWR 2
#define O_CREAT 0100
#define O_TRUNC 01000
#define PROT_READ_WRITE 3
#define MAP_PRIVATE_ANONYMOUS 0x22

#define PAGE 4096ul
#define MIB (1ul << 20)

static const char signature[] = "GLASSBOX COUNTER";

/* A small generator, so that every run does the same: xorshift64*, G. Marsaglia, "Xorshift RNGs", 2003. */
static u64 random_state = 0x9e3779b97f4a7c15ul;

static u64 random_below(u64 n)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (random_state * 0x2545f4914f6cdd1dul >> 33) % n;
}

/* Physical addresses of `n` pages from `page` on, by /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst);
 * 0 for one that cannot be told. */
static void find_pages(const void *page, u64 n, u64 *addresses)
{
    int pagemap = open("/proc/self/pagemap", O_RDONLY);
    u64 i;
    for (i = 0; i < n; i++) {
        u64 entry = 0;
        u64 index = (u64)page / PAGE + i;
        if (pread(pagemap, &entry, sizeof entry, index * sizeof entry) != sizeof entry || !(entry >> 63))
            entry = 0;
        addresses[i] = (entry & ((1ul << 55) - 1)) * PAGE;
    }
    close(pagemap);
}

static NORETURN void counter(void)
{
    static volatile struct {
        char signature[16];
        u64 value;
    } __attribute__((aligned(4096))) page;
    char text[64];
    u64 address;
    int file;

    memcpy((void *)page.signature, signature, 16);
    mlock((const void *)&page, PAGE);
    find_pages((const void *)&page, 1, &address);
    file = open("/run/counter", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    write(file, text, snprintf(text, sizeof text, "physical address 0x%lx\n", address));
    close(file);
    for (;;) {
        page.value++;
        usleep(50000);
    }
}

static NORETURN void allocator(void)
{
    enum { SLOTS = 2048, STEP = 24 };
    static const char words[] = "glass box heap block allocated, filled, and soon returned. ";
    static u8 *blocks[SLOTS];
    static u64 sizes[SLOTS];
    u64 limit = 6 * MIB, used = 0;

    for (;;) {
        int i;
        for (i = 0; i < STEP; i++) {
            u64 slot = random_below(SLOTS);
            u64 size = 32ul << random_below(9);
            u64 at;
            if (blocks[slot]) {
                free(blocks[slot]);
                used -= sizes[slot];
                blocks[slot] = 0;
                continue;
            }
            if (random_below(64) == 0)
                size = 64 * 1024 + random_below(192 * 1024);
            size += random_below(size);
            if (used + size > limit || !(blocks[slot] = malloc(size)))
                continue;
            used += sizes[slot] = size;
            if (slot & 1) {
                for (at = 0; at + sizeof words <= size; at += sizeof words - 1)
                    memcpy(blocks[slot] + at, words, sizeof words - 1);
            } else {
                for (at = 0; at + sizeof(u8 *) <= size; at += sizeof(u8 *))
                    *(u8 **)(blocks[slot] + at) = blocks[(slot + at) % SLOTS];
            }
        }
        usleep(100000);
    }
}

static NORETURN void journal(void)
{
    enum { LINES = 48 };
    static char text[64 * 1024];
    u64 line = 0, size = 0;
    int file = open("/tmp/journal.log", O_RDWR | O_CREAT | O_TRUNC, 0644);

    for (;;) {
        u64 length = 0;
        int i;
        for (i = 0; i < LINES; i++)
            length += snprintf(text + length, 128, "entry %08lu value %016lx: the quick guest writes its journal\n",
                               line++, random_below(1ul << 31));
        if (write(file, text, length) != (long)length || (size += length) > MIB) {
            close(file);
            file = open("/tmp/journal.log", O_RDWR | O_CREAT | O_TRUNC, 0644);
            size = 0;
        } else {
            pread(file, text, sizeof text, random_below(size));
        }
        usleep(250000);
    }
}

static NORETURN void compressor(void)
{
    for (;;) {
        usleep(3000000);
        system("gzip -c /tmp/journal.log >/tmp/journal.log.gz");
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int pattern(int argc, char **argv)
{
    enum { MAX_BYTES = 256, MAX_RUNS = 64 };
    static u8 bytes[MAX_BYTES];
    u64 n = argc > 1 ? strlen(argv[1]) / 2 : 0;
    u64 mib = argc > 2 ? strtoul(argv[2], 0, 10) : 1;
    u64 n_pages = mib * (MIB / PAGE), run, runs = 0, i;
    u64 *addresses;
    u8 *memory, done = 0;
    int ends[2];

    for (i = 0; i < n && i < MAX_BYTES; i++) {
        int high = hex_digit(argv[1][2 * i]), low = hex_digit(argv[1][2 * i + 1]);
        if (high < 0 || low < 0)
            break;
        bytes[i] = high << 4 | low;
    }
    if (n == 0 || i != n || strlen(argv[1]) != 2 * n || mib == 0 || mib > 4096) {
        printf("usage: pattern HEX [MIB]   HEX: up to %d bytes, like deadbeef; each page starts with the first\n",
               MAX_BYTES);
        return 2;
    }
    /* The child claims the memory and stays; the shell gets its prompt back when all is written and said. */
    if (pipe(ends) || fork()) {
        close(ends[1]);
        if (read(ends[0], &done, 1) == 1)
            return 0;
        printf("pattern: there are no %lu MiB to be had\n", mib);
        return 1;
    }
    setsid();
    memory = mmap(0, n_pages * PAGE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    addresses = malloc(n_pages * sizeof *addresses);
    if (memory == (u8 *)-1 || !addresses)
        return 1;
    for (i = 0; i < n_pages * PAGE; i++)
        memory[i] = bytes[i % PAGE % n];
    mlock(memory, n_pages * PAGE);
    find_pages(memory, n_pages, addresses);
    printf("pattern: %lu pages of %s, kept until you kill %d\n", n_pages, argv[1], getpid());
    for (i = 0; i < n_pages; i += run) {
        for (run = 1; i + run < n_pages && addresses[i + run] == addresses[i] + run * PAGE; run++)
            ;
        if (runs++ < MAX_RUNS)
            printf("pattern: physical 0x%lx to 0x%lx\n", addresses[i], addresses[i] + run * PAGE - 1);
    }
    if (runs > MAX_RUNS)
        printf("pattern: and %lu more ranges\n", runs - MAX_RUNS);
    fflush(0);
    write(ends[1], &done, 1);
    close(ends[1]);
    for (;;)
        pause();
}

int main(int argc, char **argv, char **environment __attribute__((unused)))
{
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash ? slash + 1 : argv[0];

    if (!strcmp(name, "pattern"))
        return pattern(argc, argv);
    nice(10);
    if (!strcmp(name, "counter"))
        counter();
    if (!strcmp(name, "allocator"))
        allocator();
    if (!strcmp(name, "journal"))
        journal();
    if (!strcmp(name, "compressor"))
        compressor();
    printf("%s: call this as counter, allocator, journal, compressor or pattern\n", name);
    return 2;
}

/* What crt1.o would do (System V ABI, AMD64 supplement, 3.4.1): the stack holds argc and argv, rdx an exit hook. */
__attribute__((used)) static void start(u64 *stack, void *at_exit)
{
    __libc_start_main(main, stack[0], (char **)(stack + 1), 0, 0, at_exit, stack);
}

__asm__(".globl _start\n"
        "_start:\n"
        "    xorl %ebp, %ebp\n"
        "    movq %rsp, %rdi\n"
        "    movq %rdx, %rsi\n"
        "    andq $-16, %rsp\n"
        "    call start\n"
        "    hlt\n");
