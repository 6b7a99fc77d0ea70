/// A CUDA driver without a GPU: it answers what the macros say, in the types of cuda.h.
#include <stddef.h>
#include <string.h>

#ifndef INIT
#define INIT 0  // what cuInit returns
#endif
#ifndef GPUS
#define GPUS 1
#endif
#ifndef NAME_FAILS
#define NAME_FAILS 0  // what cuDeviceGetName returns
#endif

static int begun = 0;

int cuDriverGetVersion(int *version) {
  *version = 12040;
  return 0;
}

int cuInit(unsigned flags) {
  if (flags != 0) return 1;
  begun = INIT == 0;
  return INIT;
}

int cuDeviceGetCount(int *count) {
  if (!begun) return 3;  // CUDA_ERROR_NOT_INITIALIZED
  *count = GPUS;
  return 0;
}

int cuDeviceGet(int *device, int ordinal) {
  if (ordinal < 0 || ordinal >= GPUS) return 101;
  *device = 40 + ordinal;  // a handle, which need not be the ordinal
  return 0;
}

int cuDeviceGetName(char *name, int length, int device) {
  strncpy(name, device == 40 ? "NVIDIA GeForce RTX 3090" : "NVIDIA L4", (size_t)length);
  return NAME_FAILS;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
  *bytes = device == 40 ? 25769803776u : 24152899584u;
  return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
  int first = device == 40;
  switch (attribute) {
    case 16: *value = first ? 82 : 58; return 0;
    case 75: *value = 8; return 0;
    case 76: *value = first ? 6 : 9; return 0;
    default: return 1;
  }
}
