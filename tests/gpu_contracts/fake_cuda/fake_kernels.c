/* The part of libcuda.so.1 that holds memory and kernels.
 *
 * Machine code is not run: a kernel does nothing, or is the host's own compilation of the same source, where the "machine
 * code" is an ELF's magic and the path of such a library (tests/gpu_contracts/grid). As strict as the driver: memory is
 * poisoned until it is written, dynamic shared memory above 48 KB must be asked for, a cooperative launch of more blocks
 * than are resident is refused, and so is anything without a context.
 */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_IMAGE = 200, INVALID_CONTEXT = 201, NOT_FOUND = 500, FAILED = 719,
       TOO_LARGE = 720 };
enum { MOST_SHARED = 101376, PLAIN_SHARED = 49152, MOST_DYNAMIC = 8 };

extern int fake_driver_in_context(void);
extern void fake_cuda_note_enqueued(const void *stream);
extern int fake_lazily(const void *stream, int (*carry_out)(void *), const void *content, size_t bytes);
extern void fake_gone(const void *memory, size_t bytes);
extern void fake_cuda_count_launch(const void *stream);

typedef int (*launcher)(const char *name, unsigned blocks, unsigned threads, size_t bytes, void **arguments, char *said, size_t room);
struct function { char name[64]; int dynamic; launcher run; };
static char said[4096];
static long blocks_held, bytes_held, modules_held, launches, multiprocessors = 3, cooperative = 1, memory = 1l << 36;
static unsigned last_blocks, last_threads;

#define IN_CONTEXT if (!fake_driver_in_context()) return INVALID_CONTEXT

/* What the last kernel that failed has said. */
const char *fake_driver_said(void) { return said; }
/* Pieces of memory, bytes, and modules that are held; launches so far; blocks and threads of the last. */
void fake_driver_kernel_counts(long *out) {
    out[0] = blocks_held; out[1] = bytes_held; out[2] = modules_held; out[3] = launches; out[4] = last_blocks; out[5] = last_threads;
}
/* Make it another card. */
void fake_driver_card(long multiprocessors_, long cooperative_, long memory_) {
    multiprocessors = multiprocessors_; cooperative = cooperative_; memory = memory_;
}
long fake_driver_attribute(int attribute) {
    return attribute == 75 ? 9 : attribute == 16 ? multiprocessors : attribute == 95 ? cooperative : attribute == 97 ? MOST_SHARED : 0;
}

extern size_t fake_cuda_free_bytes(void);
int cuMemGetInfo_v2(size_t *free_, size_t *total) {
    IN_CONTEXT;
    size_t there = (size_t)(memory - bytes_held), most = fake_cuda_free_bytes();
    *free_ = there < most ? there : most;
    *total = 1ull << 36;
    return 0;
}
enum { BEFORE = 256 }; /* bytes before a piece of memory, which hold its size */
int cuMemAlloc_v2(uint64_t *pointer, size_t bytes) {
    IN_CONTEXT;
    char *made = bytes_held + (long)bytes > memory ? 0 : aligned_alloc(256, BEFORE + (bytes + 255) / 256 * 256);
    if (!made) return OUT_OF_MEMORY;
    *(size_t *)made = bytes;
    memset(made + BEFORE, 0xff, bytes);
    *pointer = (uint64_t)(made + BEFORE);
    blocks_held++;
    bytes_held += (long)bytes;
    return 0;
}
int cuMemFree_v2(uint64_t pointer) {
    IN_CONTEXT;
    char *made = (char *)pointer - BEFORE;
    blocks_held--;
    bytes_held -= (long)*(size_t *)made;
    fake_gone(made + BEFORE, *(size_t *)made);
    free(made);
    return 0;
}
/* Page-locked memory on the host, poisoned until it is written. */
static long pinned_held, pinned_bytes_held, pinned_most = 1l << 36;
int cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags) {
    IN_CONTEXT;
    char *made = flags || pinned_bytes_held + (long)bytes > pinned_most ? 0 : aligned_alloc(256, BEFORE + (bytes + 255) / 256 * 256);
    if (!made) return OUT_OF_MEMORY;
    *(size_t *)made = bytes;
    memset(made + BEFORE, 0xff, bytes);
    *pointer = made + BEFORE;
    pinned_held++;
    pinned_bytes_held += (long)bytes;
    return 0;
}
int cuMemFreeHost(void *pointer) {
    IN_CONTEXT;
    char *made = (char *)pointer - BEFORE;
    size_t bytes = *(size_t *)made;
    pinned_held--;
    pinned_bytes_held -= (long)bytes;
    fake_gone(made + BEFORE, bytes);
    memset(made + BEFORE, 0xff, bytes); /* whoever still reads it reads NaN */
    free(made);
    return 0;
}
/* Pieces of page-locked memory, and bytes; and how much of it the system allows. */
void fake_driver_pinned(long *out) { out[0] = pinned_held; out[1] = pinned_bytes_held; }
void fake_driver_allow_pinned(long bytes) { pinned_most = bytes; }

struct fill { void *target; size_t value, bytes; };
static int do_fill(void *content) {
    const struct fill *one = content;
    memset(one->target, (int)one->value, one->bytes);
    return 0;
}
int cuMemsetD8Async(uint64_t pointer, unsigned char value, size_t bytes, void *stream) {
    IN_CONTEXT;
    fake_cuda_note_enqueued(stream);
    struct fill one = {(void *)pointer, value, bytes};
    return fake_lazily(stream, do_fill, &one, sizeof one);
}
int cuModuleLoadData(void **module, const void *image) {
    IN_CONTEXT;
    const char *path = (const char *)image + 4;
    struct function *made = calloc(1, sizeof *made);
    void *library = *path == '/' ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : 0;
    if (library) made->run = (launcher)dlsym(library, "grid_launch");
    if (memcmp(image, "\177ELF", 4) || (*path == '/' && !made->run)) return INVALID_IMAGE;
    *module = made;
    modules_held++;
    return 0;
}
int cuModuleUnload(void *module) { IN_CONTEXT; modules_held--; free(module); return 0; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
    IN_CONTEXT;
    if (!*name) return NOT_FOUND;
    snprintf(((struct function *)module)->name, 64, "%s", name);
    ((struct function *)module)->dynamic = PLAIN_SHARED;
    *function = module;
    return 0;
}
int cuFuncSetAttribute(void *function, int attribute, int value) {
    IN_CONTEXT;
    if (attribute != MOST_DYNAMIC || value > MOST_SHARED) return INVALID_VALUE;
    ((struct function *)function)->dynamic = value > PLAIN_SHARED ? value : PLAIN_SHARED;
    return 0;
}
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *function, int threads, size_t bytes) {
    IN_CONTEXT;
    *blocks = threads <= 1024 && bytes <= (size_t)((struct function *)function)->dynamic;
    return 0;
}
/* The driver knows how large a kernel's argument is; here it is told, when it is to be kept for later. */
enum { MOST_ARGUMENT = 4096 };
static size_t argument_bytes;
void fake_driver_argument(long bytes) { argument_bytes = (size_t)bytes; }
struct launch { struct function *one; unsigned blocks, threads; size_t bytes; void *argument; char copy[MOST_ARGUMENT]; };
static int do_launch(void *content) {
    struct launch *launch = content;
    void *arguments[1] = {launch->argument ? launch->argument : launch->copy};
    struct function *one = launch->one;
    if (!one->run) return 0;
    return one->run(one->name, launch->blocks, launch->threads, launch->bytes, arguments, said, sizeof said) ? FAILED : 0;
}
int cuLaunchCooperativeKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned tx, unsigned ty, unsigned tz,
                              unsigned bytes, void *stream, void **arguments) {
    IN_CONTEXT;
    struct function *one = function;
    if (!stream || y * z * ty * tz != 1 || !cooperative || (int)bytes > one->dynamic) return INVALID_VALUE;
    if (x > multiprocessors) return TOO_LARGE;
    launches++;
    last_blocks = x;
    last_threads = tx;
    fake_cuda_count_launch(stream);
    struct launch launch = {one, x, tx, bytes, argument_bytes ? 0 : arguments[0], {0}};
    memcpy(launch.copy, arguments[0], argument_bytes);
    return fake_lazily(stream, do_launch, &launch, sizeof launch);
}
