/* What the CUDA provider needs of the driver library (libcuda.so.1) to load: one symbol, never called here. */
int cuTensorMapEncodeTiled(void) { return 100; /* CUDA_ERROR_NO_DEVICE */ }
