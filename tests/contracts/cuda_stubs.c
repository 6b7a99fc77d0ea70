/// CUDA's runtime without a GPU: memory is the host's, two devices, and no kernel ever runs.
/// Whatever of it is not here is made by cuda_stubs.py and returns success.
#include <stdlib.h>
#include <string.h>

static __thread int current = 0;

int cudaGetDeviceCount(int *count) {
  *count = 2;
  return 0;
}
int cudaSetDevice(int device) {
  current = device;
  return 0;
}
int cudaGetDevice(int *device) {
  *device = current;
  return 0;
}
int cudaMalloc(void **at, size_t bytes) {
  *at = aligned_alloc(256, (bytes + 255) / 256 * 256);
  return *at ? 0 : 2;  // cudaErrorMemoryAllocation
}
int cudaMallocHost(void **at, size_t bytes) { return cudaMalloc(at, bytes); }
int cudaHostAlloc(void **at, size_t bytes, unsigned flags) { return cudaMalloc(at, bytes); }
int cudaMallocFromPoolAsync(void **at, size_t bytes, void *pool, void *stream) {
  return cudaMalloc(at, bytes);
}
int cudaFree(void *at) {
  free(at);
  return 0;
}
int cudaFreeHost(void *at) { return cudaFree(at); }
int cudaFreeAsync(void *at, void *stream) { return cudaFree(at); }
int cudaMemcpy(void *to, const void *from, size_t bytes, int kind) {
  memcpy(to, from, bytes);
  return 0;
}
int cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, void *stream) {
  return cudaMemcpy(to, from, bytes, kind);
}
int cudaMemset(void *at, int value, size_t bytes) {
  memset(at, value, bytes);
  return 0;
}
int cudaMemsetAsync(void *at, int value, size_t bytes, void *stream) {
  return cudaMemset(at, value, bytes);
}
int cudaMemGetInfo(size_t *free_bytes, size_t *all_bytes) {
  *free_bytes = (size_t)7 << 30;
  *all_bytes = (size_t)8 << 30;
  return 0;
}
int cudaRuntimeGetVersion(int *version) {
  *version = 13000;
  return 0;
}
int cudaDriverGetVersion(int *version) { return cudaRuntimeGetVersion(version); }
int cudaDeviceGetAttribute(int *value, int attribute, int device) {
  switch (attribute) {  // cudaDeviceAttr
    case 8: *value = 49152; break;   // shared memory of a block
    case 16: *value = 20; break;     // multiprocessors
    case 75: *value = 8; break;      // compute capability 8.6
    case 76: *value = 6; break;
    case 97: *value = 101376; break;  // shared memory of a block that asks for it
    default: *value = 1;
  }
  return 0;
}
const char *cudaGetErrorString(int error) { return "none"; }
const char *cudaGetErrorName(int error) { return "none"; }

/// cudaDeviceProp of CUDA 13: the members that are read when a session is made.
int cudaGetDeviceProperties(char *at, int device) {
  memset(at, 0, 720);
  strcpy(at, "No GPU");
  *(size_t *)(at + 288) = (size_t)8 << 30;  // totalGlobalMem
  *(size_t *)(at + 296) = 49152;            // sharedMemPerBlock
  *(int *)(at + 304) = 65536;               // regsPerBlock
  *(int *)(at + 308) = 32;                  // warpSize
  *(int *)(at + 320) = 1024;                // maxThreadsPerBlock
  *(int *)(at + 324) = 1024;                // maxThreadsDim
  *(int *)(at + 328) = 1024;
  *(int *)(at + 332) = 64;
  *(int *)(at + 336) = 2147483647;  // maxGridSize
  *(int *)(at + 340) = 65535;
  *(int *)(at + 344) = 65535;
  *(size_t *)(at + 352) = 65536;  // totalConstMem
  *(int *)(at + 360) = 8;         // major
  *(int *)(at + 364) = 6;         // minor
  *(int *)(at + 384) = 20;        // multiProcessorCount
  return 0;
}
void **__cudaRegisterFatBinary(void *binary) {
  static void *handle;
  return &handle;
}
int cudaStreamCreateWithFlags(void **stream, unsigned flags) { return cudaMalloc(stream, 64); }
int cudaEventCreateWithFlags(void **event, unsigned flags) { return cudaMalloc(event, 64); }
int cudaStreamIsCapturing(void *stream, int *capturing) {
  *capturing = 0;
  return 0;
}
int cudaPointerGetAttributes(void *attributes, const void *at) {
  memset(attributes, 0, 24);
  *(int *)attributes = 2;  // cudaMemoryTypeDevice
  return 0;
}
int cudaGetDriverEntryPointByVersion(const char *name, void **entry, unsigned version,
                                     unsigned long long flags, int *found) {
  *entry = 0;
  if (found) *found = 1;  // cudaDriverEntryPointSymbolNotFound
  return 0;
}
