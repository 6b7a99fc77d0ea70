"""GPUs in `medge bench`: which places they are, what names them in results, what all do together.

No GPU is needed: the driver's answer is made up, and devices of ``null`` are no hardware.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from bench_matrix import SHORT, bench, subject
from bundles import tiny_bundle
from command_line import Typed
from nvml_stand_in import library
from stored_results import DEVICE, DRIFT, result

from medge.bench.candidates import Runtime, judged_as, stored_drift
from medge.bench.compare import compare_results
from medge.bench.exchange import decode, encode
from medge.bench.matrix import cells
from medge.bench.matrix.cells import Asked, plan
from medge.bench.matrix.places import Place, apart, read_places
from medge.bench.matrix.rows import Matrix, Row, crowds
from medge.bench.result import ran_on, same_device
from medge.engine.backends import presence
from medge.engine.bundle import open_bundle
from medge.engine.passport import Passport
from medge.engine.sealed import Candidate
from medge.errors import BackendError, UsageError
from medge.pages.bench import bench_object, bench_text
from medge.profiles import cuda_gpus
from medge.profiles.cuda_driver import CudaDriver, CudaGpu
from medge.profiles.cuda_gpus import (
    describe_device,
    identity_of_device,
    name_of_device,
    tier_of_device,
)
from medge.profiles.device import device_tier, identity
from medge.profiles.facts import Problem
from medge.profiles.nvml import free_ratio, index_of

L4 = CudaGpu(
    ordinal=0, name="NVIDIA L4", compute_capability="8.9", sm_count=58, memory_bytes=23 << 30
)
A10 = msgspec.structs.replace(L4, ordinal=1, name="NVIDIA A10", compute_capability="8.6")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    found = CudaDriver(state="ready", version="13.0", gpus=(L4, A10))
    monkeypatch.setattr(cuda_gpus, "_asked_once", lambda: found)


def test_a_list_of_gpus_is_a_place_for_each(two_gpus: None) -> None:
    nvidia = (Place(device="nvidia:0"), Place(device="nvidia:1"))
    assert read_places(["nvidia:0,1"]) == read_places(["nvidia:all"]) == nvidia
    assert read_places(["cpu", "nvidia:1", "GPU.0"]) == (
        Place(device="cpu"),
        Place(device="nvidia:1"),
        Place(device="GPU.0"),
    )
    assert apart(nvidia) == nvidia
    with pytest.raises(UsageError):
        read_places(["nvidia:0-1"])


def test_all_gpus_of_a_machine_without_one_is_an_error_with_a_next_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = Problem("cuda-driver", "There is none.", "Install it.")
    monkeypatch.setattr(
        cuda_gpus, "_asked_once", lambda: CudaDriver(state="no-driver", problem=problem)
    )
    with pytest.raises(BackendError, match="Install it"):
        read_places(["nvidia:all"])


def test_devices_are_measured_alone_and_at_once_and_added_up(typed: Typed) -> None:
    words = ("--backends", "null", "--device", "null:0,1", "--precisions", "fp32")
    found = bench(typed, *words)
    assert [row["place"] for row in found["rows"]] == ["null:0", "null:1"]
    at_once = found["at_once"]
    assert [row["at_once_with"] for row in at_once] == [["null:0", "null:1"]] * 2
    (together,) = found["together"]
    assert together["places"] == ["null:0", "null:1"]
    for name in ("pictures_per_s", "alone_per_s"):
        assert together[name] == pytest.approx(sum(row[name] for row in at_once))
    assert together["scaling_ratio"] == pytest.approx(
        together["pictures_per_s"] / together["alone_per_s"]
    )
    said = typed("bench", "--seconds", SHORT, *words, "--resume")
    assert "together" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


def test_streams_of_a_gpu_need_no_core_each(
    monkeypatch: pytest.MonkeyPatch, two_gpus: None
) -> None:
    known = [Runtime("onnxruntime", "1.31.1", "nvidia:1", ("fp32", "fp16"))]
    monkeypatch.setattr(cells, "runtimes", lambda *_, **__: (known, []))
    monkeypatch.setattr(cells, "_devices", lambda _name: ("cpu", "nvidia:1"))
    asked = Asked(backends=("onnxruntime",), streams=(1, 64), places=read_places(["nvidia:1"]))
    planned = plan([subject()], asked)
    assert planned.refused == []
    found = [(cell.candidate.threads, cell.candidate.streams) for cell in planned.cells]
    assert found == [(1, 1), (64, 64)]
    on_cpu = msgspec.structs.replace(planned.cells[0].candidate, device="cpu")
    assert replace(planned.cells[0], candidate=on_cpu).key != planned.cells[0].key


@pytest.mark.parametrize(
    ("package", "rule", "told"),
    [
        ("onnxruntime", "backend-missing", "onnxruntime-gpu"),
        ("onnxruntime-gpu", "cuda-driver", "."),
    ],
)
def test_a_gpu_that_cannot_be_used_is_a_row_with_what_keeps_it_from_it(
    monkeypatch: pytest.MonkeyPatch, package: str, rule: str, told: str
) -> None:
    problem = Problem("cuda-driver", "There is none.", "Install it.")
    monkeypatch.setattr(
        cuda_gpus, "_asked_once", lambda: CudaDriver(state="no-driver", problem=problem)
    )
    monkeypatch.setattr(presence, "_version", lambda name: "1.31.1" if name == package else None)
    asked = Asked(backends=("onnxruntime",), places=read_places(["nvidia:0"]))
    planned = plan([subject()], asked)
    assert planned.cells == []
    assert [each.rule for each in planned.refused] == [rule]
    assert told in planned.refused[0].reason


def test_a_broken_package_stops_its_own_rows_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def asked_for(name: str) -> tuple[str, ...]:
        if name == "onnxruntime":
            raise BackendError("runtime-crash", "It crashed. Install it again.")
        return ("cpu",)

    monkeypatch.setattr(cells, "_devices", asked_for)
    asked = Asked(backends=("onnxruntime", "null"), places=read_places(["nvidia:0", "cpu"]))
    planned = plan([subject()], asked)
    told = {(each.backend, each.place): (each.rule, each.reason) for each in planned.refused}
    for place in ("nvidia:0", "cpu"):
        assert told["onnxruntime", place] == ("runtime-crash", "It crashed. Install it again.")
    assert {cell.candidate.backend for cell in planned.cells} >= {"null"}


def test_a_verdict_on_decisions_is_for_one_kind_of_gpu(two_gpus: None) -> None:
    on = [Candidate(backend="tensorrt", device=f"nvidia:{n}", variant="fp16") for n in (0, 1)]
    assert [judged_as(each) for each in on] == [
        ("tensorrt", "fp16", "sm_89"),
        ("tensorrt", "fp16", "sm_86"),
    ]


def row(place: str, rate: float | None, alone: float | None) -> Row:
    return Row(
        bundle="b",
        bundle_sha256="0" * 64,
        device="a CPU",
        here=True,
        place=place,
        backend="onnxruntime",
        backend_version="1",
        precision="fp32",
        together=("nvidia:0", "nvidia:1"),
        pictures_per_s=rate,
        alone_per_s=alone,
    )


def test_a_sum_over_devices_needs_every_one_of_them() -> None:
    (whole,) = crowds([row("nvidia:0", 90.0, 100.0), row("nvidia:1", 60.0, 100.0)])
    assert (whole.pictures_per_s, whole.alone_per_s) == (150.0, 200.0)
    assert whole.scaling_ratio == 0.75
    (part,) = crowds([row("nvidia:0", 90.0, 100.0), row("nvidia:1", None, None)])
    assert part.pictures_per_s is part.alone_per_s is part.scaling_ratio is None


def test_a_page_says_which_gpu_each_place_is() -> None:
    rows = [
        replace(row("nvidia:0", 90.0, None), together=(), gpu="NVIDIA L4 sm_89 58 SMs 23 GiB"),
        replace(row("cpu", 9.0, None), together=()),
    ]
    found = Matrix("0" * 64, tuple(rows), (), (), {}, 0, None)
    for form in ("table", "md"):
        text = bench_text(found, form)
        assert "nvidia:0: NVIDIA L4 sm_89 58 SMs 23 GiB." in text
        assert "together" not in text
    assert [each["gpu"] for each in bench_object(found)["rows"]] == [rows[0].gpu, None]


def test_a_gpu_is_named_with_all_that_has_to_be_equal(two_gpus: None) -> None:
    assert identity_of_device("cpu") == identity_of_device("GPU.0") == identity()
    assert identity_of_device("nvidia:0") == f"NVIDIA L4 sm_89 58 SMs 23 GiB with {identity()}"
    assert tier_of_device("nvidia:1") == "sm_86"
    assert tier_of_device("cpu") == device_tier()
    assert name_of_device("nvidia:0", "a CPU") == "nvidia:0 (NVIDIA L4)"
    assert name_of_device("nvidia:7", "a CPU") == "nvidia:7"
    assert name_of_device("cpu", "a CPU") == "cpu (a CPU)"
    assert describe_device("nvidia:1").gpu == A10
    assert describe_device("cpu").gpu is None


def test_a_verdict_on_a_cpu_says_nothing_of_a_gpu(tmp_path: Path, two_gpus: None) -> None:
    passport = Passport(entries=(msgspec.structs.replace(DRIFT, verdict="pass"),))
    candidate = Candidate(backend="onnxruntime", device="nvidia:0", variant="int8")
    with open_bundle(tiny_bundle(tmp_path)) as bundle:
        found = [
            stored_drift(bundle.manifest, passport, candidate, "1.23.0", tier)
            for tier in ("avx2", tier_of_device("nvidia:0"))
        ]
    assert found[0] is not None
    assert found[1] is None


def test_results_of_unlike_gpus_are_compared_only_when_that_is_asked() -> None:
    on_cpu = result(1)
    on_l4, on_a10 = (
        msgspec.structs.replace(on_cpu, device=replace(DEVICE, gpu=gpu)) for gpu in (L4, A10)
    )
    assert same_device(on_cpu, on_l4)  # one machine: that is what a choice is made from
    assert same_device(on_l4, msgspec.structs.replace(on_l4, taken="2026-11-22T10:00:00Z"))
    assert not same_device(on_l4, on_a10)
    assert ran_on(on_l4) == "NVIDIA L4 with a CPU"
    with pytest.raises(UsageError) as caught:
        compare_results(on_l4, on_a10)
    assert caught.value.rule == "compare-devices"
    assert "NVIDIA A10 with a CPU" in caught.value.message
    assert decode(encode(on_l4), "a.json") == on_l4
    assert json.loads(encode(on_cpu))["result"]["device"]["gpu"] is None


def test_cudas_gpu_is_found_at_nvml_by_its_bus() -> None:
    asked: list[bytes] = []
    nvml = library(nvmlDeviceGetIndex=3)
    nvml.nvmlDeviceGetHandleByPciBusId = lambda bus: asked.append(bus) or "handle"
    assert index_of("0000:41:00.0", lambda: nvml) == 3
    assert asked == [b"0000:41:00.0"]


def test_the_free_part_of_a_gpus_memory_is_told_where_nvml_knows_it() -> None:
    asked: list[bytes] = []
    nvml = library(nvmlDeviceGetMemoryInfo=SimpleNamespace(free=6 << 30, total=24 << 30))
    nvml.nvmlDeviceGetHandleByPciBusId = lambda bus: asked.append(bus) or "handle"
    assert free_ratio("0000:41:00.0", lambda: nvml) == 0.25
    assert asked == [b"0000:41:00.0"]
    assert free_ratio("0000:41:00.0", lambda: library(init=9)) is None
    assert free_ratio("0000:41:00.0", library) is None


@pytest.mark.parametrize(
    "nvml",
    [
        library(init=9),
        library(),  # knows no GPU on that bus
        library(
            nvmlDeviceGetHandleByPciBusId="handle",
            nvmlDeviceGetIndex=0,
            nvmlDeviceGetMigMode=(1, 1),  # cut into instances, which share its counters
        ),
    ],
    ids=["does not start", "does not know", "is cut"],
)
def test_a_gpu_that_nvml_does_not_name_alone_has_no_number(nvml: object) -> None:
    assert index_of("0000:41:00.0", lambda: nvml) is None
