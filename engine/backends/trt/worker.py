"""The process in which TensorRT or TensorRT-RTX is imported, builds and runs; it may crash here."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from medge.engine.backends.trt.frames import (
    LENGTH,
    Answer,
    Ask,
    AskDevices,
    AskOpen,
    AskPlan,
    Devices,
    Fault,
    Opened,
    Reply,
    Times,
    fault_of,
)
from medge.engine.backends.trt.library import BrokenPackageError, Flavour, library_of
from medge.engine.backends.trt.plan import Plan
from medge.engine.child_process import end_with_the_asker
from medge.errors import BackendError, MedgeError
from medge.profiles.cuda_driver import CudaDriver, CudaGpu, driver

if TYPE_CHECKING:
    from medge.engine.backends.cuda_calls import Cuda
    from medge.engine.backends.trt.engine import Running


class Worker:
    """Answers one question after another; what was opened stays until the process ends."""

    def __init__(self) -> None:
        self._driver: CudaDriver | None = None
        self._cuda: Cuda | None = None
        self._running: Running | None = None

    def answer(self, asked: Ask) -> Answer:
        """Do what was asked.

        Raises
        ------
        MedgeError
            As the backend tells it.
        """
        if isinstance(asked, AskDevices):
            told = self._ready(asked.flavour)
            _imported(asked.flavour)  # a package that cannot be imported uses no device
            return Devices(told.gpus, told.version)
        if isinstance(asked, AskPlan):
            return self._plan(asked)
        if isinstance(asked, AskOpen):
            return self._open(asked)
        return Times({} if self._running is None else self._running.layers_ns())

    def _plan(self, asked: AskPlan) -> Plan:
        from medge.engine.backends.trt.build import build

        request = asked.request
        if request.compute_capabilities:  # ahead of time: TensorRT-RTX needs no driver for that
            return build(_imported(request.flavour), request, asked.model)
        from medge.engine.backends.trt.engine import opened_cuda

        # Held until the process ends: the library keeps handles into the context that it met.
        ordinal = self._gpu(request.flavour, request.device).ordinal
        self._cuda = opened_cuda(ordinal, request.flavour)
        return build(_imported(request.flavour), request, asked.model)

    def _open(self, asked: AskOpen) -> Opened:
        from medge.engine.backends.trt.engine import Running

        gpu = self._gpu(asked.flavour, asked.device)
        self._running = running = Running(_imported(asked.flavour), asked, gpu)
        return running.opened

    def _ready(self, flavour: Flavour) -> CudaDriver:
        """Ask the driver first: without one, the library may crash instead of saying so."""
        if self._driver is None:
            self._driver = driver()
        problem = self._driver.problem
        if problem is not None:
            raise BackendError(
                problem.rule,
                f"Backend {flavour} needs an NVIDIA GPU. {problem.found} {problem.next_step}",
            )
        return self._driver

    def _gpu(self, flavour: Flavour, device: str) -> CudaGpu:
        gpus = self._ready(flavour).gpus
        for gpu in gpus:
            if gpu.device == device:
                return gpu
        raise BackendError(
            "device",
            f"{flavour} finds {', '.join(gpu.device for gpu in gpus)} here, not the device asked "
            "for. Choose one of these.",
        )


def _imported(flavour: Flavour) -> Any:
    try:
        return library_of(flavour)
    except BrokenPackageError as error:
        raise BackendError(
            "runtime-import",
            f"{flavour} is installed and cannot be imported: {error}. Install it again, or what "
            "it needs.",
        ) from None


def _reply(worker: Worker, said: bytes) -> Reply:
    try:
        answer = worker.answer(msgspec.msgpack.decode(said, type=Ask))
    except MedgeError as error:
        return Reply(fault=fault_of(error))
    except Exception as error:  # NVIDIA's libraries and their bindings raise what they like
        return Reply(
            fault=Fault(
                BackendError.exit_code,
                "runtime-failed",
                f"TensorRT ends with {type(error).__name__}. Update NVIDIA's driver or the "
                "package, or free memory.",
            )
        )
    return Reply(body=msgspec.Raw(msgspec.msgpack.encode(answer)))


def _frame(stream: BinaryIO) -> bytes | None:
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return stream.read(LENGTH.unpack(head)[0])


def main() -> None:
    """Answer frames on stdin with frames on stdout until stdin ends."""
    end_with_the_asker()  # a build lasts minutes, and would go on for nobody
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints goes nowhere
    worker = Worker()
    while (said := _frame(sys.stdin.buffer)) is not None:
        reply = msgspec.msgpack.encode(_reply(worker, said))
        answers.write(LENGTH.pack(len(reply)) + reply)
        answers.flush()


if __name__ == "__main__":
    main()
