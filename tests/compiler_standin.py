"""A compiler process that does what the job's device says: crash, hang, be killed, leave."""

from __future__ import annotations

import os
import signal
import sys
import time

import msgspec

from medge.engine.backends.ov_compile import _BEGUN, _LENGTH, Compiled, Job


def main() -> None:
    """Answer one job."""
    said = sys.stdin.buffer.read(_LENGTH.unpack(sys.stdin.buffer.read(_LENGTH.size))[0])
    job = msgspec.msgpack.decode(said, type=Job)
    if job.device == "leaves":
        return
    sys.stdout.buffer.write(_BEGUN)
    sys.stdout.buffer.flush()
    if job.device == "hangs":
        time.sleep(60)
    if job.device.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, job.device))
    answer = Compiled(job.model, "no such operator" if job.device == "refuses" else None)
    told = msgspec.msgpack.encode(answer)
    sys.stdout.buffer.write(_LENGTH.pack(len(told)) + told)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
