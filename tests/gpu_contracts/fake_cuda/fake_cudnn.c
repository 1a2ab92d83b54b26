/* A cuDNN that answers what ONNX Runtime asks when it makes and runs convolutions: one plan exists, it does nothing. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define API __attribute__((visibility("default")))
#define NOTHING(name) API int name(void) { return 0; }
#define MAKES(name) API int name(void **out) { *out = (void *)0x8000; return 0; }

enum { TYPE_BOOLEAN = 2, TYPE_INT64 = 3, TYPE_NUMERICAL_NOTE = 11, TYPE_BACKEND_DESCRIPTOR = 15, TYPE_BEHAVIOR_NOTE = 19, TYPE_INT32 = 23,
       KNOB_CHOICES = 302, EXECUTION_PLAN = 5 };

API size_t cudnnGetVersion(void) { return 91900; }
API size_t cudnnGetCudartVersion(void) { return 13000; }
API const char *cudnnGetErrorString(int status) { return status ? "an error of the fake cuDNN" : "CUDNN_STATUS_SUCCESS"; }
API void cudnnGetLastErrorString(char *message, size_t size) { if (size) message[0] = 0; }

MAKES(cudnnCreate) MAKES(cudnnCreateActivationDescriptor) MAKES(cudnnCreateConvolutionDescriptor)
MAKES(cudnnCreateDropoutDescriptor) MAKES(cudnnCreateFilterDescriptor) MAKES(cudnnCreateLRNDescriptor)
MAKES(cudnnCreatePoolingDescriptor) MAKES(cudnnCreateRNNDataDescriptor) MAKES(cudnnCreateRNNDescriptor)
MAKES(cudnnCreateReduceTensorDescriptor) MAKES(cudnnCreateTensorDescriptor)

/* cuDNN's graph interface. */
API int cudnnBackendCreateDescriptor(int type, void **out) { *out = (void *)(uintptr_t)(0x9000 + type); return 0; }
API int cudnnBackendGetAttribute(void *descriptor, int name, int type, int64_t wanted, int64_t *count, void *elements) {
    int none = type == TYPE_NUMERICAL_NOTE || type == TYPE_BEHAVIOR_NOTE || name == KNOB_CHOICES;
    if (count) *count = none ? 0 : 1;
    if (!elements || wanted < 1 || none) return 0;
    if (type == TYPE_INT32) *(int32_t *)elements = 0;
    if (type == TYPE_INT64) *(int64_t *)elements = 0;
    if (type == TYPE_BOOLEAN) *(char *)elements = 0;
    return 0;
}
/* In the preloaded runtime, which counts. A descriptor's address says its type. */
extern void fake_cuda_count_finalized(int is_plan);
extern void fake_cuda_count_executed(void);
API int cudnnBackendFinalize(void *descriptor) {
    fake_cuda_count_finalized((uintptr_t)descriptor == 0x9000 + EXECUTION_PLAN);
    return 0;
}
API int cudnnBackendExecute(void *handle, void *plan, void *pack) { fake_cuda_count_executed(); return 0; }
NOTHING(cudnnBackendDestroyDescriptor) NOTHING(cudnnBackendInitialize)
NOTHING(cudnnBackendSetAttribute) NOTHING(cudnnBackendPopulateCudaGraph)
NOTHING(cudnnBackendUpdateCudaGraph)

NOTHING(cudnnDestroy) NOTHING(cudnnSetStream) NOTHING(cudnnActivationForward) NOTHING(cudnnAddTensor)
NOTHING(cudnnBatchNormalizationForwardInference) NOTHING(cudnnBatchNormalizationForwardTraining)
NOTHING(cudnnConvolutionBiasActivationForward) NOTHING(cudnnConvolutionForward) NOTHING(cudnnDeriveBNTensorDescriptor)
NOTHING(cudnnDestroyActivationDescriptor) NOTHING(cudnnDestroyConvolutionDescriptor) NOTHING(cudnnDestroyDropoutDescriptor)
NOTHING(cudnnDestroyFilterDescriptor) NOTHING(cudnnDestroyLRNDescriptor) NOTHING(cudnnDestroyPoolingDescriptor)
NOTHING(cudnnDestroyRNNDataDescriptor) NOTHING(cudnnDestroyRNNDescriptor) NOTHING(cudnnDestroyReduceTensorDescriptor)
NOTHING(cudnnDestroyTensorDescriptor) NOTHING(cudnnLRNCrossChannelForward) NOTHING(cudnnPoolingForward)
NOTHING(cudnnRNNForward) NOTHING(cudnnReduceTensor) NOTHING(cudnnSetActivationDescriptor)
NOTHING(cudnnSetConvolutionGroupCount) NOTHING(cudnnSetConvolutionMathType) NOTHING(cudnnSetConvolutionNdDescriptor)
NOTHING(cudnnSetDropoutDescriptor) NOTHING(cudnnSetFilterNdDescriptor) NOTHING(cudnnSetLRNDescriptor)
NOTHING(cudnnSetPoolingNdDescriptor) NOTHING(cudnnSetRNNDataDescriptor) NOTHING(cudnnSetRNNDescriptor_v8)
NOTHING(cudnnSetReduceTensorDescriptor) NOTHING(cudnnSetTensorNdDescriptor) NOTHING(cudnnSoftmaxForward)

/* Recurrent weights: one element each, at the start of their space. */
API int cudnnGetTensorNdDescriptor(void *d, int wanted, int *type, int *dims, int *sizes, int *strides) {
    *type = 0;
    *dims = wanted;
    for (int i = 0; i < wanted; i++) sizes[i] = strides[i] = 1;
    return 0;
}
API int cudnnGetRNNWeightSpaceSize(void *handle, void *rnn, size_t *bytes) { *bytes = 4096; return 0; }
API int cudnnGetRNNTempSpaceSizes(void *h, void *rnn, int mode, void *x, size_t *work, size_t *reserve) {
    *work = *reserve = 0;
    return 0;
}
API int cudnnGetRNNWeightParams(void *h, void *rnn, int layer, size_t size, const void *space, int id, void *matrix,
                                void **matrix_at, void *bias, void **bias_at) {
    *matrix_at = *bias_at = (void *)space;
    return 0;
}

/* The older convolution interface, linked by ONNX Runtime up to 1.26. */
NOTHING(cudnnFindConvolutionForwardAlgorithmEx) NOTHING(cudnnGetConvolutionForwardAlgorithm_v7)
API int cudnnGetConvolutionForwardWorkspaceSize(void *h, void *x, void *w, void *c, void *y, int algorithm, size_t *bytes) {
    *bytes = 0;
    return 0;
}

API int cudnnGetStream(void *handle, void **stream) { *stream = 0; return 0; }
API int cudnnGetReductionIndicesSize(void *h, void *r, void *a, void *c, size_t *bytes) { *bytes = 0; return 0; }
API int cudnnGetReductionWorkspaceSize(void *h, void *r, void *a, void *c, size_t *bytes) { *bytes = 0; return 0; }
API int cudnnDropoutGetStatesSize(void *h, size_t *bytes) { *bytes = 0; return 0; }
