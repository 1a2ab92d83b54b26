/* A CUDA runtime that does nothing, so that the real CUDA execution provider can be driven without a GPU.
 *
 * One pretend device; device memory is host memory; copies are memcpy and are counted; kernel launches are counted and
 * do nothing. Real with it: option parsing, graph partitioning, node placement, bindings. Not real: numbers and times.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include "driver_types.h"
#include "cuda_runtime_api.h"

#define API __attribute__((visibility("default")))

enum { HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE, LAUNCHES, ALLOCATIONS, ALLOCATED_BYTES, SYNCHRONISATIONS,
       CUBLAS_CALLS, CUDNN_FINALIZED, CUDNN_PLANS, CUDNN_EXECUTED, HELD_BYTES, N_COUNTERS };
static long counters[N_COUNTERS];
static void count(int which) { __atomic_fetch_add(&counters[which], 1, __ATOMIC_RELAXED); }

/* Copy the counters to out: copies by kind, launches, allocations, bytes allocated in total, synchronisations, products
 * of cuBLAS; of cuDNN's graph interface what was finalized, execution plans among that, and what was executed; bytes held now. */
API void fake_cuda_counters(long *out) { memcpy(out, counters, sizeof counters); }

/* What was enqueued on which stream, and which was waited for; what takes no stream counts for the default one, 0. */
enum { MOST_STREAMS = 4096 };
static struct { const void *stream; long enqueued, waits; } table[MOST_STREAMS];
static char table_lock;
static void note(const void *stream, int enqueued, int waits) {
    int i = 0;
    while (__atomic_test_and_set(&table_lock, __ATOMIC_ACQUIRE)) {}
    while (i < MOST_STREAMS - 1 && table[i].stream != stream && table[i].enqueued + table[i].waits) i++;
    table[i].stream = stream;
    table[i].enqueued += enqueued;
    table[i].waits += waits;
    __atomic_clear(&table_lock, __ATOMIC_RELEASE);
}
API void fake_cuda_note_enqueued(const void *stream) { note(stream, 1, 0); }
/* Write to out what was enqueued on a stream and how often it was waited for, then the same of all others. */
API void fake_cuda_stream(const void *stream, long *out) {
    memset(out, 0, 4 * sizeof *out);
    for (int i = 0; i < MOST_STREAMS; i++) {
        int other = table[i].stream == stream ? 0 : 2;
        out[other] += table[i].enqueued;
        out[other + 1] += table[i].waits;
    }
}

API void fake_cuda_count_cublas(void) { count(CUBLAS_CALLS); }
API void fake_cuda_count_finalized(int is_plan) {
    count(CUDNN_FINALIZED);
    if (is_plan) count(CUDNN_PLANS);
}
API void fake_cuda_count_executed(void) { count(CUDNN_EXECUTED); }

static void count_copy(enum cudaMemcpyKind kind) {
    if (kind == cudaMemcpyHostToDevice) __atomic_fetch_add(&counters[HOST_TO_DEVICE], 1, __ATOMIC_RELAXED);
    if (kind == cudaMemcpyDeviceToHost) __atomic_fetch_add(&counters[DEVICE_TO_HOST], 1, __ATOMIC_RELAXED);
    if (kind == cudaMemcpyDeviceToDevice) __atomic_fetch_add(&counters[DEVICE_TO_DEVICE], 1, __ATOMIC_RELAXED);
}
API void fake_cuda_note_copy(int kind, const void *stream) {
    count_copy((enum cudaMemcpyKind)kind);
    fake_cuda_note_enqueued(stream);
}
API long fake_cuda_waits(void) { return __atomic_load_n(&counters[SYNCHRONISATIONS], __ATOMIC_RELAXED); }
extern void fake_cuda_finish_callbacks(void); /* in fake_callbacks.c */
extern int fake_cuda_in_callback(void);
API void fake_cuda_note_wait(const void *stream) {
    fake_cuda_finish_callbacks();
    __atomic_fetch_add(&counters[SYNCHRONISATIONS], 1, __ATOMIC_RELAXED);
    note(stream, 0, 1);
}
#define ANOTHER ((const void *)-1) /* an event, or the whole device */
static cudaError_t synchronised(const void *stream) { fake_cuda_note_wait(stream); return 0; }

API cudaError_t cudaSetDevice(int d) {
    return 0;
}
API cudaError_t cudaGetDevice(int*d) {
    *d=0;
    return 0;
}
API cudaError_t cudaGetDeviceCount(int*c) {
    *c=1;
    return 0;
}
API cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp*p,int d) {
    memset(p,0,sizeof *p);
    strcpy(p->name,"FAKE");
    p->major=getenv("FAKE_SM")?atoi(getenv("FAKE_SM"))/10:9;
    p->minor=getenv("FAKE_SM")?atoi(getenv("FAKE_SM"))%10:0;
    p->totalGlobalMem=1ull<<36;
    p->multiProcessorCount=132;
    p->warpSize=32;
    p->maxThreadsPerBlock=1024;
    p->sharedMemPerBlock=49152;
    p->sharedMemPerBlockOptin=232448;
    p->regsPerBlock=65536;
    p->maxThreadsPerMultiProcessor=2048;
    p->maxGridSize[0]=0x7fffffff;
    p->maxGridSize[1]=65535;
    p->maxGridSize[2]=65535;
    return 0;
}
API cudaError_t cudaDeviceGetAttribute(int*v,enum cudaDeviceAttr a,int d) {
    *v=1;
    if(a==cudaDevAttrComputeCapabilityMajor)*v=9;
    if(a==cudaDevAttrComputeCapabilityMinor)*v=0;
    if(a==cudaDevAttrMultiProcessorCount)*v=132;
    if(a==cudaDevAttrMaxSharedMemoryPerBlockOptin)*v=232448;
    return 0;
}
/* A card with little memory: no piece larger than this is given. */
static size_t most_bytes=1ull<<35;
API void fake_cuda_most_bytes(size_t bytes) { most_bytes=bytes; }
API size_t fake_cuda_free_bytes(void) { return most_bytes; }
API cudaError_t cudaMalloc(void**p,size_t n) {
    if(n>most_bytes)return 2;
    __atomic_fetch_add(&counters[ALLOCATIONS],1,__ATOMIC_RELAXED);
    __atomic_fetch_add(&counters[ALLOCATED_BYTES],(long)n,__ATOMIC_RELAXED);
    size_t m=(n+511)/512*512;
    *p=aligned_alloc(512,m);
    if(!*p)return 2;
    memset(*p,0,m);
    __atomic_fetch_add(&counters[HELD_BYTES],(long)malloc_usable_size(*p),__ATOMIC_RELAXED);
    return 0;
}
API cudaError_t cudaFree(void*p) {
    if (fake_cuda_in_callback()) return cudaErrorNotPermitted;
    if(p)__atomic_fetch_sub(&counters[HELD_BYTES],(long)malloc_usable_size(p),__ATOMIC_RELAXED);
    free(p);
    return 0;
}
API cudaError_t cudaMallocHost(void**p,size_t n) {
    return cudaMalloc(p,n);
}
API cudaError_t cudaHostAlloc(void**p,size_t n,unsigned f) {
    return cudaMalloc(p,n);
}
API cudaError_t cudaFreeHost(void*p) {
    return cudaFree(p);
}
API cudaError_t cudaMemcpy(void*d,const void*s,size_t n,enum cudaMemcpyKind k) {
    fake_cuda_note_copy(k,0);
    memcpy(d,s,n);
    return 0;
}
API cudaError_t cudaMemcpyAsync(void*d,const void*s,size_t n,enum cudaMemcpyKind k,cudaStream_t t) {
    fake_cuda_note_copy(k,t);
    memcpy(d,s,n);
    return 0;
}
API cudaError_t cudaMemset(void*d,int v,size_t n) {
    fake_cuda_note_enqueued(0);
    memset(d,v,n);
    return 0;
}
API cudaError_t cudaMemsetAsync(void*d,int v,size_t n,cudaStream_t t) {
    fake_cuda_note_enqueued(t);
    memset(d,v,n);
    return 0;
}
API cudaError_t cudaMemGetInfo(size_t*f,size_t*t) {
    *f=most_bytes;
    *t=1ull<<36;
    return 0;
}
/* Each stream is another, so that what shares one can be told from what does not. */
API void *fake_cuda_new_stream(void) {
    static size_t next=0x100000;
    return (void*)__atomic_fetch_add(&next,16,__ATOMIC_RELAXED);
}
API cudaError_t cudaStreamCreate(cudaStream_t*s) {
    *s=fake_cuda_new_stream();
    return 0;
}
API cudaError_t cudaStreamCreateWithFlags(cudaStream_t*s,unsigned f) {
    *s=fake_cuda_new_stream();
    return 0;
}
API cudaError_t cudaStreamDestroy(cudaStream_t s) {
    return 0;
}
API cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    return synchronised(s);
}
API cudaError_t cudaStreamWaitEvent(cudaStream_t s,cudaEvent_t e,unsigned f) {
    return 0;
}
API cudaError_t cudaEventCreate(cudaEvent_t*e) {
    *e=(void*)0x2000;
    return 0;
}
API cudaError_t cudaEventCreateWithFlags(cudaEvent_t*e,unsigned f) {
    *e=(void*)0x2000;
    return 0;
}
API cudaError_t cudaEventDestroy(cudaEvent_t e) {
    return 0;
}
API cudaError_t cudaEventRecord(cudaEvent_t e,cudaStream_t s) {
    return 0;
}
API cudaError_t cudaEventSynchronize(cudaEvent_t e) {
    return synchronised(ANOTHER);
}
API cudaError_t cudaDeviceSynchronize(void) {
    return synchronised(ANOTHER);
}
API cudaError_t cudaGetLastError(void) {
    return 0;
}
API cudaError_t cudaPeekAtLastError(void) {
    return 0;
}
API cudaError_t cudaRuntimeGetVersion(int*v) {
    *v=13000;
    return 0;
}
API cudaError_t cudaDriverGetVersion(int*v) {
    *v=13000;
    return 0;
}
API cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes*a,const void*p) {
    memset(a,0,sizeof *a);
    a->type=cudaMemoryTypeDevice;
    return 0;
}
API cudaError_t cudaFuncSetAttribute(const void*f,enum cudaFuncAttribute a,int v) {
    return 0;
}
API cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes*a,const void*f) {
    memset(a,0,sizeof *a);
    return 0;
}
API void fake_cuda_count_launch(cudaStream_t stream) {
    __atomic_fetch_add(&counters[LAUNCHES],1,__ATOMIC_RELAXED);
    fake_cuda_note_enqueued(stream);
}
API cudaError_t cudaLaunchKernel(const void*f,dim3 g,dim3 b,void**a,size_t s,cudaStream_t t) {
    fake_cuda_count_launch(t);
    return 0;
}
API int cublasCreate_v2(void**h) {
    *h=(void*)0x3000;
    return 0;
}
API int cublasDestroy_v2(void*h) {
    return 0;
}
API int cublasSetStream_v2(void*h,void*s) {
    return 0;
}
API int cublasSetMathMode(void*h,int m) {
    return 0;
}
API int cublasGetMathMode(void*h,int*m) {
    *m=0;
    return 0;
}
API int cublasLtCreate(void**h) {
    *h=(void*)0x4000;
    return 0;
}
API int cublasLtDestroy(void*h) {
    return 0;
}
API int cublasSgemm_v2(void) {
    count(CUBLAS_CALLS);
    return 0;
}
API int cublasGemmEx(void) {
    count(CUBLAS_CALLS);
    return 0;
}
API int cublasGemmStridedBatchedEx(void) {
    count(CUBLAS_CALLS);
    return 0;
}
API int cublasSgemmStridedBatched(void) {
    count(CUBLAS_CALLS);
    return 0;
}
