"""The CUDA driver's functions that running a plan needs, with their C types; no package needed.

The driver itself is asked, not CUDA's runtime library: it is on every machine that can run a
network, while the runtime library comes in as many versions as there are packages that bring one.
Streams and memory made here are those of the runtime library too, since both share the device's
primary context (CUDA Driver API, "Interactions with the CUDA Runtime API").
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_int, c_size_t, c_uint, c_uint64, c_ulonglong, c_void_p
from typing import Any

from medge.profiles.cuda_driver import LIBRARY

STREAM_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: never waits for the default stream
HOST_REGISTER_PORTABLE = 1  # CU_MEMHOSTREGISTER_PORTABLE
CAPTURE_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other streams go on meanwhile

# Name in the library, and its parameters as cuda.h declares them. Handles are pointers; a CUdevice
# is an int, a CUdeviceptr 64 bits.
CALLS: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxSetCurrent": (c_void_p,),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamSynchronize": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemHostRegister_v2": (c_void_p, c_size_t, c_uint),
    "cuMemHostUnregister": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_ulonglong),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
}


class CudaError(Exception):
    """A call of the driver failed; ``code`` is its CUresult, 0 where the call is absent."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call} fails with CUDA error {code}")
        self.call = call
        self.code = code


class Cuda:
    """The opened driver with one device's primary context; used by the process that made it.

    Parameters
    ----------
    ordinal
        CUDA's number of the device.
    """

    def __init__(self, ordinal: int, library: str = LIBRARY) -> None:
        self._library = ctypes.CDLL(library)
        for name, arguments in CALLS.items():
            function = getattr(self._library, name, None)
            if function is None:
                raise CudaError(name, 0)
            function.argtypes, function.restype = arguments, c_int
        self.call("cuInit", 0)
        device, context = c_int(0), c_void_p()
        self.call("cuDeviceGet", ctypes.byref(device), ordinal)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._device, self._context = device, context
        self.use()

    def use(self) -> None:
        """Make the device current for the calling thread; each thread has to."""
        self.call("cuCtxSetCurrent", self._context)

    def call(self, name: str, *arguments: object) -> None:
        """Call a function of ``CALLS``.

        Raises
        ------
        CudaError
            It returned another code than 0.
        """
        code = int(getattr(self._library, name)(*arguments))
        if code:
            raise CudaError(name, code)

    def stream(self) -> int:
        """Return a new stream's handle."""
        stream = c_void_p()
        self.call("cuStreamCreate", ctypes.byref(stream), STREAM_NON_BLOCKING)
        return int(stream.value or 0)

    def memory(self, size_bytes: int) -> int:
        """Return the address of new memory on the device."""
        address = c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), size_bytes)
        return int(address.value)

    def pin(self, address: int, size_bytes: int) -> None:
        """Lock host memory in place, so that the device copies from and to it on its own."""
        self.call("cuMemHostRegister_v2", address, size_bytes, HOST_REGISTER_PORTABLE)

    def begin_capture(self, stream: int) -> None:
        """Record what is enqueued from now on by this thread, instead of running it."""
        self.call("cuStreamBeginCapture_v2", stream, CAPTURE_THREAD_LOCAL)

    def end_capture(self, stream: int) -> int:
        """Return the graph of what was recorded, 0 where the recording came to nothing."""
        graph = c_void_p()
        self.call("cuStreamEndCapture", stream, ctypes.byref(graph))
        return int(graph.value or 0)

    def instantiated(self, graph: int) -> int:
        """Return a graph made ready to launch; the graph itself is gone then."""
        ready = c_void_p()
        try:
            self.call("cuGraphInstantiateWithFlags", ctypes.byref(ready), graph, 0)
        finally:
            self.call("cuGraphDestroy", graph)
        return int(ready.value or 0)

    def close(self) -> None:
        """Give the device back; what was made on it is gone."""
        self.call("cuDevicePrimaryCtxRelease_v2", self._device)
