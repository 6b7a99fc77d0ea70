"""The other side of isolation: a process that decodes with GDCM and may die of it.

Run as ``python -m medge.engine.decoders.worker``. A supervisor loads GDCM once, then forks a child
that answers requests; when the child dies, the supervisor reports the signal and forks the next
one, which takes milliseconds. Both end when the requesting side closes its pipe.
"""

from __future__ import annotations

import os
import resource
import signal
import struct
import zlib
from typing import Any

from medge.engine.child_process import read_exactly

REQUEST = struct.Struct("<IIdQHHHHHH")  # number, bytes, seconds, memory, then the picture
ANSWER = struct.Struct("<IIII")  # number, status, bytes, CRC-32 of the payload
READY, BEGUN, DECODED, FAILED, DIED = range(5)  # status
# Payloads: none, none, pixels, name of an exception's class, number of a signal.

_SYNTAX = "1.2.840.10008.1.2.4."


def write_answer(descriptor: int, number: int, status: int, payload: bytes) -> None:
    """Write one answer whole."""
    head = ANSWER.pack(number, status, len(payload), zlib.crc32(payload))
    rest = memoryview(head + payload)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def main() -> None:
    """Supervise: one child at a time, until the requesting side is gone."""
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # GDCM prints; nothing may mix with answers
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    _cap(resource.RLIMIT_CORE, 0)
    import gdcm

    write_answer(answers, 0, READY, b"")
    while True:
        child = os.fork()
        if child == 0:
            _serve(0, answers, gdcm)
            os._exit(0)
        _, ended = os.waitpid(child, 0)
        if os.WIFEXITED(ended) and os.WEXITSTATUS(ended) == 0:
            return
        cause = os.WTERMSIG(ended) if os.WIFSIGNALED(ended) else 0
        write_answer(answers, 0, DIED, str(cause).encode())


def _serve(requests: int, answers: int, gdcm: Any) -> None:
    """Answer requests until the pipe is closed."""
    while (head := read_exactly(requests, REQUEST.size)) is not None:
        number, length, limit_s, memory, *picture = REQUEST.unpack(head)
        data = read_exactly(requests, length)
        if data is None:
            return
        write_answer(answers, number, BEGUN, b"")
        _limit(limit_s, memory)
        try:
            answer = DECODED, _decode(gdcm, data, picture)
        except Exception as failure:  # only its class leaves this process
            answer = FAILED, type(failure).__name__.encode("ascii", "replace")
        signal.setitimer(signal.ITIMER_REAL, 0)
        write_answer(answers, number, *answer)


def _limit(limit_s: float, memory: int) -> None:
    """End this process when the next decode takes too long, or refuse it too much memory."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _cap(resource.RLIMIT_AS, memory)
    _cap(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + limit_s) + 2)
    signal.setitimer(signal.ITIMER_REAL, limit_s)


def _cap(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (soft, hard))


def _decode(gdcm: Any, data: bytes, picture: list[int]) -> bytes:
    """Decode one frame to little-endian samples, pixel by pixel."""
    syntax, rows, columns, samples, bits_allocated, precision = picture
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    # RGB makes GDCM leave three components as they are; what they mean is decided elsewhere.
    kind = gdcm.PhotometricInterpretation.GetPIType("RGB" if samples == 3 else "MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    if samples > 1:
        image.SetPlanarConfiguration(0)
    wanted = gdcm.TransferSyntax.GetTSType(f"{_SYNTAX}{syntax}")
    image.SetTransferSyntax(gdcm.TransferSyntax(wanted))
    # Unsigned: the sign is applied later, from Bits Stored.
    image.SetPixelFormat(gdcm.PixelFormat(samples, bits_allocated, precision, precision - 1, 0))
    decoded: str = image.GetBuffer()  # bytes that the binding took for text
    return decoded.encode("utf-8", "surrogateescape")


if __name__ == "__main__":
    main()
