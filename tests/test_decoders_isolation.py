"""GDCM may crash, hang or eat memory: one frame is refused, the next one decodes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import codestreams
import numpy as np
import pytest
from codestreams import ROOT, picture
from dicom_files import speckle

from medge.engine.decoders import Decoder, decoder_for
from medge.engine.decoders.isolation import Worker
from medge.engine.decoders.jpeg_lossless import JpegLossless
from medge.errors import InputError

pytest.importorskip("_gdcm", reason="python-gdcm is not installed")

PIXELS = speckle((64, 64), seed=1)
SAID = picture(PIXELS)
DATA = codestreams.jpeg_lossless(PIXELS)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def decode(worker: Worker, data: bytes = DATA) -> np.ndarray:
    return JpegLossless(ROOT + "4.70", worker).decode(data, SAID).values


def child_of(worker: Worker) -> int:
    """The process that decodes, below the one that supervises."""
    pid = worker.pid
    while True:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])


def a_frame_that_kills_gdcm(worker: Worker) -> tuple[bytes, InputError]:
    """Search seeded mutations of the header for one that crashes GDCM: about one in twenty."""
    random = np.random.default_rng(1)
    scan_at = DATA.index(b"\xff\xda") + 10
    for _ in range(400):
        data = bytearray(DATA)
        for _ in range(random.integers(1, 4)):
            data[random.integers(2, scan_at)] = random.integers(256)
        try:
            worker.decode(bytes(data), 70, SAID, 8)
        except InputError as refused:
            if refused.rule == "decoder-crash":
                return bytes(data), refused
    pytest.skip("this GDCM survives the mutations that kill others")


def test_a_real_crash_of_gdcm_is_one_refusal(worker: Worker) -> None:
    data, refused = a_frame_that_kills_gdcm(worker)
    assert "signal" in refused.message
    for _ in range(3):
        with pytest.raises(InputError) as again:
            worker.decode(data, 70, SAID, 8)
        assert again.value.rule == "decoder-crash"
        np.testing.assert_array_equal(decode(worker), PIXELS)


@pytest.mark.parametrize("how", [signal.SIGABRT, signal.SIGKILL, signal.SIGSEGV])
def test_a_child_killed_while_it_decodes_is_told_with_its_signal(
    worker: Worker, how: signal.Signals
) -> None:
    decode(worker)
    child = child_of(worker)
    idle = ticks_of(child)
    said = picture(np.broadcast_to(PIXELS[:1, :1], (4000, 4000)))
    data = flat_lossless(4000, 4000)
    seen: list[InputError] = []

    def ask() -> None:
        try:
            worker.decode(data, 70, said, 8)
        except InputError as refused:
            seen.append(refused)

    thread = threading.Thread(target=ask)
    thread.start()
    while ticks_of(child) < idle + 2:
        assert thread.is_alive()
    os.kill(child, how)
    thread.join()
    assert [refused.rule for refused in seen] == ["decoder-crash"]
    assert f"signal {how.value}" in seen[0].message
    np.testing.assert_array_equal(decode(worker), PIXELS)


def flat_lossless(rows: int, columns: int) -> bytes:
    """JPEG Lossless of 128 everywhere: five zero bits a pixel."""
    small = codestreams.jpeg_lossless(np.full((1, 8), 128, np.uint8))
    head = bytearray(small[: small.index(b"\xff\xda") + 10])
    at = bytes(head).index(b"\xff\xc3") + 5
    head[at : at + 4] = rows.to_bytes(2, "big") + columns.to_bytes(2, "big")
    return bytes(head) + bytes(rows * columns * 5 // 8) + b"\xff\xd9"


def ticks_of(pid: int) -> int:
    """Clock ticks of user time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11])


@pytest.mark.parametrize("how", [signal.SIGABRT, signal.SIGTERM])
def test_a_child_killed_between_two_frames_costs_no_frame(
    worker: Worker, how: signal.Signals
) -> None:
    decode(worker)
    os.kill(child_of(worker), how)
    np.testing.assert_array_equal(decode(worker), PIXELS)


def test_a_supervisor_killed_between_two_frames_costs_no_frame(worker: Worker) -> None:
    decode(worker)
    os.kill(worker.pid or 0, signal.SIGKILL)
    np.testing.assert_array_equal(decode(worker), PIXELS)


def test_a_decode_that_takes_too_long_is_stopped() -> None:
    quick = Worker(limit_s=0.01)
    try:
        said = picture(np.broadcast_to(PIXELS[:1, :1], (2000, 2000)))
        with pytest.raises(InputError) as refused:
            quick.decode(flat_lossless(2000, 2000), 70, said, 8)
        assert refused.value.rule == "decoder-timeout"
        assert "0.01 s" in refused.value.message
        np.testing.assert_array_equal(decode(quick), PIXELS)
    finally:
        quick.close()


def test_a_process_that_stands_still_is_too_slow_and_not_a_crash() -> None:
    halted = Worker(limit_s=1.0)
    try:
        decode(halted)
        supervisor = halted.pid or 0
        said = picture(np.broadcast_to(PIXELS[:1, :1], (12000, 12000)))
        stop = threading.Timer(0.2, os.killpg, (supervisor, signal.SIGSTOP))
        stop.start()
        with pytest.raises(InputError) as refused:
            halted.decode(flat_lossless(12000, 12000), 70, said, 8)
        stop.join()
        assert refused.value.rule == "decoder-timeout"
        np.testing.assert_array_equal(decode(halted), PIXELS)
    finally:
        halted.close()


def test_a_decode_that_wants_too_much_memory_is_refused() -> None:
    small = Worker(memory_bytes=400 * 2**20)
    try:
        said = picture(np.broadcast_to(PIXELS[:1, :1], (12000, 12000)))
        with pytest.raises(InputError) as refused:
            small.decode(flat_lossless(12000, 12000), 70, said, 8)
        assert refused.value.rule in ("memory", "decode-failed", "decoder-crash")
        np.testing.assert_array_equal(decode(small), PIXELS)
    finally:
        small.close()


def test_closing_leaves_no_process_behind() -> None:
    own = Worker()
    decode(own)
    supervisor, child = own.pid or 0, child_of(own)
    own.close()
    assert not Path(f"/proc/{supervisor}").exists()  # waited for, no zombie
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists():  # killed; the system buries it
        assert time.monotonic() < deadline
    assert own.pid is None
    np.testing.assert_array_equal(decode(own), PIXELS)  # and it can start again
    own.close()


SCRIPT = """
import sys
sys.path[:0] = [{tests!r}]
import codestreams, numpy as np
from codestreams import ROOT, picture
from dicom_files import speckle
from medge.engine.decoders import decoder_for, isolation
pixels = speckle((64, 64), seed=1)
decoder = decoder_for(ROOT + "4.70", allow_gdcm=True)
values = decoder.decode(codestreams.jpeg_lossless(pixels), picture(pixels)).values
assert (values == pixels).all()
print(isolation.shared_worker().pid, *(name for name in sys.modules if "gdcm" in name.lower()))
"""


def test_gdcm_is_never_loaded_here_and_its_process_ends_with_ours() -> None:
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/"
    )
    pid, *modules = done.stdout.split()
    assert modules == []
    assert not Path(f"/proc/{pid}").exists()


def test_threads_share_one_worker_and_get_their_own_frames() -> None:
    others = [speckle((40, 40 + i), seed=i) for i in range(4)]
    wrong: list[int] = []

    def work(index: int) -> None:
        pixels = others[index]
        data, said = codestreams.jpeg_lossless(pixels), picture(pixels)
        decoder: Decoder = decoder_for(ROOT + "4.70", allow_gdcm=True)
        for _ in range(5):
            if not np.array_equal(decoder.decode(data, said).values, pixels):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
