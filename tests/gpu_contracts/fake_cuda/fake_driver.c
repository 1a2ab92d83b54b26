/* libcuda.so.1: what the CUDA provider links, what the driver is asked about itself and its one pretend card, and the
 * streams, copies and events of a stage's work. Copies are done at once, unless fake_lazy.c is told to take its time.
 *
 * Stricter than the driver: work without a current context is refused, and so is the time of an event that no wait has
 * passed, although everything here is done at once.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { INVALID_VALUE = 1, INVALID_CONTEXT = 201, NOT_READY = 600, FAULT = 700, HOST_TO_DEVICE = 1, DEVICE_TO_HOST = 2, DEVICE_TO_DEVICE = 3 };

/* In the preloaded runtime, so that both count as one. */
extern void *fake_cuda_new_stream(void);
extern void fake_cuda_note_enqueued(const void *stream);
extern void fake_cuda_note_copy(int kind, const void *stream);
extern void fake_cuda_note_wait(const void *stream);
extern long fake_cuda_waits(void);
/* In fake_lazy.c. */
extern int fake_lazily(const void *stream, int (*carry_out)(void *), const void *content, size_t bytes);
extern int fake_finish(const void *stream);
extern void fake_poison(void *target, size_t bytes);
extern long fake_driver_attribute(int attribute); /* in fake_kernels.c */

struct event { struct timespec at; long waits; };
static __thread int depth;
static long streams, events, fault;

int cuTensorMapEncodeTiled(void) { return 100; }
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
/* NVRTC asks for a private table as soon as it finds a driver, and calls into what it gets. */
int cuGetExportTable(const void **table, const void *id) { *table = NULL; return 500; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal ? 101 : 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "FAKE", size); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 1ull << 36; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = fake_driver_attribute(attribute); return 0; }

int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)0xC0; return 0; }
int cuCtxPushCurrent_v2(void *context) { depth++; return context == (void *)0xC0 ? 0 : INVALID_CONTEXT; }
int cuCtxPopCurrent_v2(void **context) { *context = (void *)0xC0; return depth-- > 0 ? 0 : INVALID_CONTEXT; }
int cuGetErrorName(int status, const char **name) {
    *name = status == FAULT ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR_OF_THE_FAKE";
    return 0;
}

int fake_driver_in_context(void) { return depth > 0; }
#define IN_CONTEXT if (depth < 1) return INVALID_CONTEXT
#define NOT_TRUNCATED(handle) if (!(handle)) return INVALID_VALUE

int cuStreamCreate(void **stream, unsigned flags) {
    IN_CONTEXT;
    *stream = fake_cuda_new_stream();
    streams++;
    return 0;
}
int cuStreamDestroy_v2(void *stream) { IN_CONTEXT; NOT_TRUNCATED(stream); streams--; return 0; }
int cuStreamSynchronize(void *stream) {
    IN_CONTEXT;
    NOT_TRUNCATED(stream);
    fake_cuda_note_wait(stream);
    int status = fake_finish(stream);
    if (fault) status = fault;
    fault = 0;
    return status;
}
struct copy { void *target; const void *source; size_t bytes; };
static int do_copy(void *content) {
    const struct copy *one = content;
    memcpy(one->target, one->source, one->bytes);
    return 0;
}
int cuMemcpyHtoDAsync_v2(uint64_t target, const void *source, size_t bytes, void *stream) {
    IN_CONTEXT;
    struct copy one = {(void *)target, source, bytes};
    fake_cuda_note_copy(HOST_TO_DEVICE, stream);
    return fake_lazily(stream, do_copy, &one, sizeof one);
}
int cuMemcpyDtoHAsync_v2(void *target, uint64_t source, size_t bytes, void *stream) {
    IN_CONTEXT;
    struct copy one = {target, (void *)source, bytes};
    fake_cuda_note_copy(DEVICE_TO_HOST, stream);
    fake_poison(target, bytes);
    return fake_lazily(stream, do_copy, &one, sizeof one);
}
struct copy_2d { size_t sx, sy; unsigned source_type; void *source_host; uint64_t source; void *source_array; size_t source_pitch,
                 tx, ty; unsigned target_type; void *target_host; uint64_t target; void *target_array; size_t target_pitch, width, rows; };
static int do_copy_2d(void *content) {
    const struct copy_2d *copy = content;
    for (size_t row = 0; row < copy->rows; row++)
        memcpy((char *)copy->target + row * copy->target_pitch, (char *)copy->source + row * copy->source_pitch, copy->width);
    return 0;
}
int cuMemcpy2DAsync_v2(const struct copy_2d *copy, void *stream) {
    IN_CONTEXT;
    if (copy->source_type != 2 || copy->target_type != 2 || copy->width > copy->source_pitch || copy->width > copy->target_pitch ||
        copy->sx || copy->sy || copy->tx || copy->ty)
        return INVALID_VALUE;
    fake_cuda_note_copy(DEVICE_TO_DEVICE, stream);
    return fake_lazily(stream, do_copy_2d, copy, sizeof *copy);
}
int cuEventCreate(void **event, unsigned flags) {
    IN_CONTEXT;
    *event = calloc(1, sizeof(struct event));
    events++;
    return 0;
}
int cuEventRecord(void *event, void *stream) {
    IN_CONTEXT;
    fake_cuda_note_enqueued(stream);
    struct event *noted = event;
    clock_gettime(CLOCK_MONOTONIC, &noted->at);
    noted->waits = fake_cuda_waits();
    return 0;
}
int cuEventElapsedTime(float *milliseconds, void *begin, void *end) {
    IN_CONTEXT;
    const struct event *first = begin, *last = end;
    if (last->waits == fake_cuda_waits()) return NOT_READY;
    *milliseconds = (last->at.tv_sec - first->at.tv_sec) * 1e3f + (last->at.tv_nsec - first->at.tv_nsec) / 1e6f;
    return 0;
}
int cuEventDestroy_v2(void *event) { IN_CONTEXT; free(event); events--; return 0; }

/* What is left over: streams, events, contexts that this thread has pushed. */
void fake_driver_held(long *out) { out[0] = streams; out[1] = events; out[2] = depth; }
/* Let the next wait report a fault of the device. */
void fake_driver_fail(void) { fault = FAULT; }
