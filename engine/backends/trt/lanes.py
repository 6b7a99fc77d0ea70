"""Lanes: memory that medge and a TensorRT process share, and the calls that pass through it.

A lane serves one call at a time. Its inputs and outputs lie in memory that both processes map and
that CUDA locks in place, so a picture is written once, by medge, where the GPU reads it; what
passes between the processes is the number of pictures and an answer of eight bytes.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medge.engine.backends import Port, Tensor

CALL = struct.Struct("<I")  # how many pictures
ANSWER = struct.Struct("<iI")  # what came of it, and CUDA's error code
DONE, CUDA_FAILED, FAILED = 0, 1, 2

_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one tensor lies in a lane; ``item_bytes`` is one picture's part of it."""

    port: Port
    offset: int
    item_bytes: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How a lane is laid out: inputs, then outputs, each at a new page."""

    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    size_bytes: int


def layout_of(inputs: Sequence[Port], outputs: Sequence[Port], most: int) -> Layout:
    """Return the layout of a lane that holds up to ``most`` pictures; both sides compute it."""
    offset = 0
    slots = []
    for port in (*inputs, *outputs):
        item_bytes = int(np.prod(port.shape, dtype=np.int64)) * np.dtype(port.dtype).itemsize
        slots.append(Slot(port, offset, item_bytes))
        offset += -(-most * item_bytes // _PAGE_BYTES) * _PAGE_BYTES
    return Layout(tuple(slots[: len(inputs)]), tuple(slots[len(inputs) :]), offset)


class Lane:
    """medge's end of one lane: views of the shared memory, and the socket."""

    def __init__(self, memory: mmap.mmap, start: int, layout: Layout, most: int) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.inputs = {slot.port.name: _view(memory, start, slot, most) for slot in layout.inputs}
        self.outputs = {slot.port.name: _view(memory, start, slot, most) for slot in layout.outputs}

    def run(self, count: int, limit_s: float) -> tuple[int, int]:
        """Let the pictures that lie in ``inputs`` be answered; return what came of it, and a code.

        Raises
        ------
        TimeoutError
            There was no answer in time.
        EOFError, OSError
            The other process is gone.
        """
        self.ours.settimeout(limit_s)
        self.ours.sendall(CALL.pack(count))
        answer = b""
        while len(answer) < ANSWER.size:
            part = self.ours.recv(ANSWER.size - len(answer))
            if not part:
                raise EOFError
            answer += part
        status, code = ANSWER.unpack(answer)
        return status, code

    def close(self) -> None:
        """Close the sockets; the memory goes with its last view."""
        self.ours.close()
        self.theirs.close()


class Lanes:
    """All lanes of one process, in one piece of anonymous shared memory.

    Attributes
    ----------
    memory
        Descriptor of the memory, for the other process to inherit.
    """

    def __init__(
        self, inputs: Sequence[Port], outputs: Sequence[Port], most: int, count: int
    ) -> None:
        layout = layout_of(inputs, outputs, most)
        self.memory = os.memfd_create("medge", os.MFD_CLOEXEC)
        self.lanes: list[Lane] = []
        try:
            os.truncate(self.memory, layout.size_bytes * count)
            mapped = mmap.mmap(self.memory, layout.size_bytes * count)
            for index in range(count):
                self.lanes.append(Lane(mapped, index * layout.size_bytes, layout, most))
        except BaseException:  # Ctrl-C must not leave the memory behind either
            self.close()
            raise

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the other process has to inherit."""
        return (self.memory, *(lane.theirs.fileno() for lane in self.lanes))

    def handed_over(self) -> None:
        """Close the other process's ends here, so that its death is seen."""
        for lane in self.lanes:
            lane.theirs.close()

    def close(self) -> None:
        """Close sockets and memory."""
        for lane in self.lanes:
            lane.close()
        os.close(self.memory)


def _view(memory: mmap.mmap, start: int, slot: Slot, most: int) -> Tensor:
    count = most * slot.item_bytes // np.dtype(slot.port.dtype).itemsize
    flat = np.frombuffer(memory, slot.port.dtype, count, start + slot.offset)
    return flat.reshape(most, *slot.port.shape)
