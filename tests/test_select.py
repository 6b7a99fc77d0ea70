"""Choosing: what is asked for is run or refused, and auto says what it chose and why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from bundles import tiny_bundle, tiny_graph

from medge.engine import select
from medge.engine.backends import BACKENDS, backend_class
from medge.engine.backends.presence import absence, gpu_absence, remedy
from medge.engine.bundle import Bundle, open_bundle
from medge.engine.select import choose
from medge.errors import BackendError, UsageError


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Bundle]:
    with open_bundle(tiny_bundle(tmp_path, variants={"int8": tiny_graph(seed=2)})) as opened:
        yield opened


def installed(patch: pytest.MonkeyPatch, **versions: str) -> None:
    """Let these packages be installed and no others; names with "_" for "-"."""
    known = {name.replace("_", "-"): version for name, version in versions.items()}

    def version(name: str) -> str:
        if name not in known:
            raise metadata.PackageNotFoundError(name)
        return known[name]

    patch.setattr(metadata, "version", version)


def test_auto_is_onnxruntime_at_fp32_on_the_cpu_and_says_why(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, onnxruntime="1.31.1")
    choice = choose(bundle)
    assert (choice.backend, choice.device, choice.variant, choice.precision) == (
        "onnxruntime",
        "cpu",
        "fp32",
        "fp32",
    )
    assert "the default" in choice.reasons[0]
    assert "openvino (not installed)" in choice.reasons[0]
    assert len(choice.reasons) == 4


def test_threads_are_one_for_each_core_unless_asked_for(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "allowed_cores", lambda: 3)
    monkeypatch.setattr(select, "allowed_cpus", lambda: 6)
    assert choose(bundle).threads == 3
    assert choose(bundle, threads=5).threads == 5
    assert "only 6 CPUs" in choose(bundle, threads=7).reasons[3]
    for bad in (0, -1, 1025):
        with pytest.raises(UsageError):
            choose(bundle, threads=bad)


def test_a_variant_is_a_precision_and_bf16_is_the_runtimes_own(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, onnxruntime="1.31.1", openvino="2026.4.1")
    int8 = choose(bundle, precision="int8")
    assert (int8.variant, int8.precision, int8.precision_name) == ("int8", "fp32", "int8")
    bf16 = choose(bundle, precision="bf16")
    assert (bf16.backend, bf16.variant, bf16.precision) == ("openvino", "fp32", "bf16")
    assert bf16.precision_name == "bf16"


@pytest.mark.parametrize(
    ("asked", "rule", "told"),
    [
        ({"backend": "tensorflow"}, "backend-unknown", "known are onnxruntime, openvino"),
        ({"precision": "fp8"}, "precision", "fp32, int8"),
        ({"backend": "onnxruntime", "precision": "bf16"}, "precision", "--backend openvino"),
        ({"device": "gpu"}, "device", "openvino"),
        ({"backend": "onnxruntime", "device": "GPU.0"}, "device", "openvino may"),
    ],
)
def test_what_is_asked_for_and_absent_is_refused_with_what_to_do(
    bundle: Bundle, asked: dict[str, str], rule: str, told: str
) -> None:
    with pytest.raises(BackendError) as caught:
        choose(bundle, **asked)
    assert (caught.value.rule, caught.value.exit_code) == (rule, 5)
    assert told in caught.value.message


@pytest.mark.parametrize("asked", [{}, {"backend": "onnxruntime"}])
def test_a_missing_runtime_is_refused_with_the_command_that_installs_it(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str]
) -> None:
    installed(monkeypatch)
    with pytest.raises(BackendError) as caught:
        choose(bundle, **asked)
    assert caught.value.rule == "backend-missing"
    assert 'python -m pip install "onnxruntime>=1.17"' in caught.value.message


@pytest.mark.parametrize(
    ("version", "enough"),
    [("1.16.3", False), ("1.17", True), ("1.17.0rc1", True), ("1.100.0", True), ("2.0+cpu", True)],
)
def test_versions_are_compared_as_numbers(
    monkeypatch: pytest.MonkeyPatch, version: str, enough: bool
) -> None:
    installed(monkeypatch, onnxruntime=version)
    assert (absence("onnxruntime") is None) == enough


def test_the_gpu_package_serves_as_well_but_never_beside_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed(monkeypatch, onnxruntime_gpu="1.31.1")
    assert absence("onnxruntime") is None
    installed(monkeypatch, onnxruntime_gpu="1.31.1", onnxruntime="1.31.1")
    error = absence("onnxruntime")
    assert error is not None
    assert (error.rule, error.exit_code) == ("backend-conflict", 5)
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in error.message
    on_gpu = gpu_absence("onnxruntime")
    assert on_gpu is not None
    assert 'pip install "onnxruntime-gpu[cuda,cudnn]"' in on_gpu.message


def test_each_package_that_brings_tensorrt_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, tensorrt_cu13="11.4.0.106")
    assert absence("tensorrt") is None
    installed(monkeypatch, tensorrt="10.16.1.11", tensorrt_cu13="10.16.1.11")  # as pip draws it in
    assert absence("tensorrt") is None
    installed(monkeypatch, tensorrt_cu12="8.5.3.1")
    error = absence("tensorrt")
    assert error is not None
    assert "needs tensorrt>=8.6, which is 8.5.3.1" in error.message


def test_what_repairs_a_runtime_never_brings_its_rival(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, onnxruntime_gpu="1.16.0")  # too old
    assert remedy("onnxruntime") == 'python -m pip install "onnxruntime-gpu>=1.17"'
    installed(monkeypatch)
    assert remedy("onnxruntime") == 'python -m pip install "onnxruntime>=1.17"'


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_names_what_it_needs_as_pip_reads_it(name: str) -> None:
    for requirement in backend_class(name).requires:
        assert re.fullmatch(r"[a-z0-9-]+>=\d+(\.\d+)*", requirement)


def test_what_a_backend_needs_is_what_the_project_declares() -> None:
    declared = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    for name in BACKENDS:
        for requirement in backend_class(name).requires:
            assert f'"{requirement}"' in declared
