/* cuBLAS calls and the rest of the CUDA runtime that a running graph makes: all succeed and do nothing. */
#include <stddef.h>
#include <string.h>
#include "driver_types.h"

#define API __attribute__((visibility("default")))
#define NOTHING(name) API int name(void) { return 0; }

NOTHING(cublasDgeam) NOTHING(cublasSgeam) NOTHING(cublasSscal_v2) NOTHING(cublasScopy_v2)
/* Products, which are counted. */
extern void fake_cuda_count_cublas(void);
#define PRODUCT(name) API int name(void) { fake_cuda_count_cublas(); return 0; }
PRODUCT(cublasDgemm_v2) PRODUCT(cublasDgemmBatched) PRODUCT(cublasDgemmStridedBatched)
PRODUCT(cublasSgemmBatched) PRODUCT(cublasGemmBatchedEx) PRODUCT(cublasLtMatmul)
NOTHING(cublasSgetrfBatched) NOTHING(cublasDgetrfBatched) NOTHING(cublasSgetriBatched) NOTHING(cublasDgetriBatched)
NOTHING(cublasLtMatmulAlgoConfigSetAttribute) NOTHING(cublasLtMatmulAlgoInit)
NOTHING(cublasLtMatmulDescDestroy) NOTHING(cublasLtMatmulDescSetAttribute)
NOTHING(cublasLtMatmulPreferenceDestroy) NOTHING(cublasLtMatmulPreferenceSetAttribute)
NOTHING(cublasLtMatrixLayoutDestroy) NOTHING(cublasLtMatrixLayoutSetAttribute) NOTHING(cublasLtMatrixTransform)
NOTHING(cublasLtMatrixTransformDescDestroy) NOTHING(cudaGraphDestroy) NOTHING(cudaGraphExecDestroy)
NOTHING(cudaKernelSetAttributeForDevice) NOTHING(cudaLibraryUnload)

/* Things that are made: any address that is not null. */
#define MAKES(name) API int name(void **out) { *out = (void *)0x5000; return 0; }
MAKES(cublasLtMatmulDescCreate) MAKES(cublasLtMatmulPreferenceCreate) MAKES(cublasLtMatrixLayoutCreate)
MAKES(cublasLtMatrixTransformDescCreate)

extern void fake_cuda_count_launch(cudaStream_t stream);
API cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *function, void **arguments) {
    fake_cuda_count_launch(config->stream);
    return 0;
}
API cudaError_t cudaLaunchCooperativeKernel(const void *f, struct dim3 g, struct dim3 b, void **a, size_t n, cudaStream_t s) {
    fake_cuda_count_launch(s);
    return 0;
}
API cudaError_t cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned flags) { return 0; }
API cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t a, cudaEvent_t b) { *milliseconds = 1; return 0; }
API const char *cudaGetErrorString(cudaError_t e) { return e ? "an error of the fake runtime" : "no error"; }
API const char *cudaGetErrorName(cudaError_t e) { return e ? "cudaErrorFake" : "cudaSuccess"; }
API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *f, int n, size_t m, unsigned k) {
    *blocks = 1;
    return 0;
}
/* Graph capture: the captured calls have run already, a launch is counted as one. */
API cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode mode) { return 0; }
API cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph) { *graph = (cudaGraph_t)0x6000; return 0; }
API cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *status) { *status = 0; return 0; }
API cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags) {
    *exec = (cudaGraphExec_t)0x7000;
    return 0;
}
API cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    fake_cuda_count_launch(stream);
    return 0;
}
/* What nvcc 13 makes of <<<...>>>. */
API cudaError_t __cudaGetKernel(void **kernel, const void *entry) { *kernel = (void *)entry; return 0; }
API cudaError_t __cudaLaunchKernel(void *kernel, struct dim3 g, struct dim3 b, void **arguments, size_t n, cudaStream_t s) {
    fake_cuda_count_launch(s);
    return 0;
}
