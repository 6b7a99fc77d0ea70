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

#ifndef CAPABILITY_MAJOR
#define CAPABILITY_MAJOR 8
#define CAPABILITY_MINOR 6
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
    case 75: *value = CAPABILITY_MAJOR; return 0;
    case 76: *value = first ? CAPABILITY_MINOR : 9; return 0;
    default: return 1;
  }
}

// What running needs: device memory is host memory, streams run at once, graphs are lists of what
// was enqueued. Addresses are checked: copies must stay in what was allocated and locked. After
// MEDGE_TEST_FAULT=crash:N, hang:N or fail:N the N-th run of the network does that.
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { OPS = 16, SPANS = 64, BAD = 1, LAUNCH_FAILED = 719 };

typedef struct {
  int kind;  // 1 copy, 2 network
  void *to;
  const void *from;
  size_t size;
  float scale;
} Op;

typedef struct {
  Op ops[OPS];
  int count;
  int recording;
} Stream;

typedef struct {
  char *start;
  size_t size;
} Span;

static Span device_spans[SPANS], host_spans[SPANS];
static int device_count = 0, host_count = 0, runs = 0;
static __thread void *current = NULL;

static int within(const Span *spans, int count, const void *start, size_t size) {
  for (int i = 0; i < count; ++i) {
    const char *from = start;
    if (from >= spans[i].start && from + size <= spans[i].start + spans[i].size) return 1;
  }
  return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
  *context = (void *)(intptr_t)device;
  return 0;
}
int cuDevicePrimaryCtxRelease_v2(int device) { return device >= 40 ? 0 : BAD; }
int cuCtxSetCurrent(void *context) {
  current = context;
  return 0;
}
int cuStreamCreate(void **stream, unsigned flags) {
  if (!current || flags != 1) return BAD;
  *stream = calloc(1, sizeof(Stream));
  return 0;
}
int cuStreamDestroy_v2(void *stream) {
  free(stream);
  return 0;
}
int cuStreamSynchronize(void *stream) { return current && stream ? 0 : BAD; }

int cuMemAlloc_v2(uint64_t *address, size_t size) {
  if (!current || device_count == SPANS) return BAD;
  char *memory = calloc(1, size);
  device_spans[device_count++] = (Span){memory, size};
  *address = (uint64_t)(uintptr_t)memory;
  return 0;
}
int cuMemFree_v2(uint64_t address) { return address ? 0 : BAD; }

int cuMemHostRegister_v2(void *start, size_t size, unsigned flags) {
#ifdef NO_PINNING
  return 801;  // CUDA_ERROR_NOT_SUPPORTED
#endif
  if (flags != 1 || ((uintptr_t)start & 4095) || host_count == SPANS) return BAD;
  host_spans[host_count++] = (Span){start, size};
  return 0;
}
int cuMemHostUnregister(void *start) { return start ? 0 : BAD; }

static int failing(void) {
  const char *fault = getenv("MEDGE_TEST_FAULT");
  int at = 0;
  char kind[16] = "";
  if (!fault || sscanf(fault, "%15[a-z]:%d", kind, &at) != 2 || ++runs < at) return 0;
  if (!strcmp(kind, "crash")) raise(SIGSEGV);
  while (!strcmp(kind, "hang")) pause();
  return LAUNCH_FAILED;
}

static int perform(const Op *op) {
  if (op->kind == 1) {
    memcpy(op->to, op->from, op->size);
    return 0;
  }
  const float *in = op->from;
  float *out = op->to;
  for (size_t i = 0; i < op->size / sizeof(float); ++i) out[i] = op->scale * in[i] + 1;
  return failing();
}

static int enqueue(Stream *stream, Op op) {
  if (!current || !stream) return BAD;
  if (!stream->recording) return perform(&op);
  if (stream->count == OPS) return BAD;
  stream->ops[stream->count++] = op;
  return 0;
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, void *stream) {
  void *device = (void *)(uintptr_t)to;
  if (!within(device_spans, device_count, device, size)) return BAD;
#ifndef NO_PINNING
  if (!within(host_spans, host_count, from, size)) return BAD;
#endif
  return enqueue(stream, (Op){1, device, from, size, 0});
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, void *stream) {
  const void *device = (const void *)(uintptr_t)from;
  if (!within(device_spans, device_count, device, size)) return BAD;
#ifndef NO_PINNING
  if (!within(host_spans, host_count, to, size)) return BAD;
#endif
  return enqueue(stream, (Op){1, to, device, size, 0});
}

// The network of the stand-in for TensorRT: out = scale * in + 1.
int medge_test_network(uint64_t from, uint64_t to, size_t size, float scale, void *stream) {
  return enqueue(stream, (Op){2, (void *)(uintptr_t)to, (const void *)(uintptr_t)from, size, scale});
}

int cuStreamBeginCapture_v2(void *stream, int mode) {
#ifdef NO_RECORDING
  return 900;  // CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
#endif
  Stream *each = stream;
  if (mode != 1 || each->recording) return BAD;
  each->recording = 1;
  each->count = 0;
  return 0;
}
int cuStreamEndCapture(void *stream, void **graph) {
  Stream *each = stream;
  if (!each->recording) return BAD;
  each->recording = 0;
  *graph = malloc(sizeof(Stream));
  memcpy(*graph, each, sizeof(Stream));
  return 0;
}
int cuGraphInstantiateWithFlags(void **ready, void *graph, unsigned long long flags) {
  if (flags || ((Stream *)graph)->count == 0) return BAD;
  *ready = malloc(sizeof(Stream));
  memcpy(*ready, graph, sizeof(Stream));
  return 0;
}
int cuGraphDestroy(void *graph) {
  free(graph);
  return 0;
}
int cuGraphExecDestroy(void *ready) {
  free(ready);
  return 0;
}
int cuGraphLaunch(void *ready, void *stream) {
  const Stream *list = ready;
  if (!current || !stream) return BAD;
  for (int i = 0; i < list->count; ++i) {
    int code = perform(&list->ops[i]);
    if (code) return code;
  }
  return 0;
}
