"""Workers: one candidate in a process of its own, which may crash or hang and harm no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from medge.bench.profile.loaded import Load
from medge.bench.profile.process import Reply, Request, Worker
from medge.bench.profile.resident import (
    family,
    peak_rss_bytes,
    resident,
    source,
)
from medge.engine.bundle import Bundle, find_bundle, open_bundle
from medge.engine.sealed import Candidate
from medge.errors import BackendError, BundleError, MedgeError


@pytest.fixture(scope="module")
def bundle() -> Iterator[Bundle]:
    with open_bundle(find_bundle("breast-ultrasound")) as opened:
        yield opened


def asked(bundle: Bundle, backend: str = "onnxruntime", **changes: object) -> Load:
    load = Load(
        folder=os.fsencode(bundle.path.absolute()),
        bundle_sha256=bundle.digest,
        candidate=Candidate(backend=backend, device="cpu", variant="fp32"),
    )
    return msgspec.structs.replace(load, **changes)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def within(seconds: float, pid: int) -> bool:
    until = time.monotonic() + seconds
    while not gone(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return gone(pid)


def test_a_worker_proves_its_candidate_and_tells_its_own_memory(bundle: Bundle) -> None:
    with Worker() as worker:
        facts = worker.load(asked(bundle))
        golden = bundle.golden()
        assert facts.cases == golden.cases
        assert facts.max_abs <= facts.tolerance == bundle.manifest.golden_tolerance
        assert facts.shares == {"fp32": 1.0}
        # The network's weights are in memory now that were not before.
        weights_bytes = bundle.manifest.files["model.onnx"].bytes
        assert facts.loaded_rss_bytes - facts.base_rss_bytes > weights_bytes / 2
        assert worker.pid != os.getpid()
    assert gone(worker.pid)


def test_another_bundle_in_the_folder_is_refused(bundle: Bundle) -> None:
    with Worker() as worker, pytest.raises(BundleError) as refused:
        worker.load(asked(bundle, bundle_sha256="0" * 64))
    assert refused.value.rule == "bundle-changed"


def test_an_error_of_medge_comes_out_as_itself_and_the_worker_stays(bundle: Bundle) -> None:
    with Worker() as worker:
        with pytest.raises(BackendError) as refused:
            worker.load(
                asked(bundle, candidate=Candidate(backend="null", device="gpu", variant="fp32"))
            )
        assert refused.value.rule == "backend-option"
        assert worker.load(asked(bundle, "null")).answers is False


def test_a_worker_runs_functions_of_medge_bench_only(bundle: Bundle) -> None:
    with Worker() as worker:
        worker.load(asked(bundle, "null"))
        body = msgspec.Raw(b"{}")
        line = msgspec.json.encode(Request("os:getcwd", body))
        with pytest.raises(MedgeError) as refused:
            worker._exchange(line, 20.0)
        assert refused.value.rule == "bug"
        assert "ValueError" in refused.value.message


def test_a_crash_is_an_error_that_names_the_signal(bundle: Bundle) -> None:
    with Worker() as worker:
        worker.load(asked(bundle, "null"))
        os.kill(worker.pid, signal.SIGSEGV)
        with pytest.raises(BackendError, match="SIGSEGV") as refused:
            worker._exchange(b"{}", 20.0)
        assert refused.value.rule == "worker-crash"
        assert worker.lost


def test_a_hang_is_an_error_and_ends_the_process(bundle: Bundle) -> None:
    with Worker() as worker:
        worker.load(asked(bundle, "null"))
        os.kill(worker.pid, signal.SIGSTOP)
        with pytest.raises(BackendError) as refused:
            worker._exchange(b"{}", 0.2)
        assert refused.value.rule == "worker-hangs"
        assert gone(worker.pid)


def test_a_worker_ends_with_its_parent() -> None:
    script = (
        "import os, time\n"
        "from medge.bench.profile.process import Worker\n"
        "print(Worker().pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-I", "-c", script], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert not gone(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert within(20.0, pid)


def test_a_reply_without_a_body_is_one_line() -> None:
    assert msgspec.json.encode(Reply()) == b"{}"


SMAPS = """55e0c0000000-7ffd1c9fe000 ---p 00000000 00:00 0    [rollup]
Rss:               38012 kB
Pss:               20011 kB
Pss_Dirty:         11108 kB
"""
STATUS = "Name:\tpython\nVmPeak:\t  90000 kB\nVmHWM:\t   41000 kB\nVmRSS:\t   37000 kB\n"


def test_memory_is_read_as_the_kernel_writes_it(tmp_path: Path) -> None:
    folder = tmp_path / "proc/self"
    folder.mkdir(parents=True)
    (folder / "status").write_text(STATUS)
    assert resident(tmp_path) == (37000 * 1024, None)
    assert source(tmp_path) == "/proc/self/status"
    (folder / "smaps_rollup").write_text(SMAPS)
    assert resident(tmp_path) == (38012 * 1024, 20011 * 1024)
    assert source(tmp_path) == "/proc/self/smaps_rollup"
    assert peak_rss_bytes(tmp_path) == 41000 * 1024


def test_memory_that_the_kernel_hides_is_an_error_and_never_0(tmp_path: Path) -> None:
    with pytest.raises(BackendError) as refused:
        resident(tmp_path)
    assert refused.value.rule == "memory-unknown"


WRITES_50_MB = """
from medge.bench.profile.resident import peak_rss_bytes, resident
before = resident()
held = bytearray(b"x" * 50_000_000)
after = resident()
print(after.rss_bytes - before.rss_bytes, peak_rss_bytes() - after.rss_bytes)
"""


def test_memory_here_grows_by_what_is_written() -> None:
    # In a process of its own: in one that ran 5,000 tests, other things give memory back meanwhile.
    told = subprocess.run(
        [sys.executable, "-I", "-c", WRITES_50_MB], capture_output=True, text=True, check=True
    )
    grown_bytes, above_bytes = map(int, told.stdout.split())
    assert 45_000_000 < grown_bytes < 60_000_000
    assert above_bytes >= 0


WATCHES_A_HELPER = """
import subprocess, sys, time
from medge.bench.profile.resident import Helpers, peak_rss_bytes
own = bytearray(b"x" * 200_000_000)  # what a helper shared before it became another program
with Helpers(0.01) as helpers:
    time.sleep(0.1)
    assert helpers.peak_rss_bytes == 0, "there is none yet"
    grows = "held = b'x' * 80_000_000; del held; print(flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", grows],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    child.stdout.readline()
    time.sleep(0.2)
    child.communicate("over")  # it has ended before anybody asks
print(helpers.peak_rss_bytes)
"""


def test_the_memory_of_a_process_that_has_ended_since_is_seen() -> None:
    told = subprocess.run(
        [sys.executable, "-I", "-c", WATCHES_A_HELPER], capture_output=True, text=True, check=True
    )
    assert 80_000_000 < int(told.stdout) < 130_000_000


def test_a_family_is_a_process_and_what_it_started_and_they_started(tmp_path: Path) -> None:
    for pid, name, parent in ((7, "a", 1), (8, "b ) 99", 7), (9, "c", 8), (10, "d", 1)):
        (tmp_path / f"proc/{pid}").mkdir(parents=True)
        (tmp_path / f"proc/{pid}/stat").write_text(f"{pid} ({name}) S {parent} 7 7 0\n")
    assert family(7, tmp_path) == {7, 8, 9}
    assert family(99, tmp_path) == {99}
