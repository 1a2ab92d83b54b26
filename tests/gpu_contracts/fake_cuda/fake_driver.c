/* libcuda.so.1: what the CUDA provider links, and what the driver is asked about itself and its one pretend card. */
#include <stddef.h>
#include <string.h>

int cuTensorMapEncodeTiled(void) { return 100; }
int cuInit(unsigned flags) { return 0; }
int cuCtxSynchronize(void) { return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "FAKE", size); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 1ull << 36; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 9 : 0; return 0; }
