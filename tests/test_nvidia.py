"""NVIDIA GPUs: every state has its reason and next step, from files and from NVML.

No GPU is needed: where NVML answers, nvml_stand_in.py answers here.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from captured_machines import machine
from hypothesis import given, settings
from hypothesis import strategies as st
from nvml_stand_in import library, names_asked_for

from medge.profiles import nvml as nvml_module
from medge.profiles.nvidia import gpus, nvidia

RTX = {
    "nvmlDeviceGetName": b"NVIDIA GeForce RTX 3090",
    "nvmlDeviceGetCudaComputeCapability": (8, 6),
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=25769803776),
    "nvmlDeviceGetEnforcedPowerLimit": 350000,
    "nvmlDeviceGetClockInfo": 210,
    "nvmlDeviceGetMaxClockInfo": 2100,
    "nvmlSystemGetDriverVersion": "535.129.03",
    "nvmlSystemGetCudaDriverVersion": 12020,
}


def test_a_gpu_is_described_as_nvml_answers_and_what_it_does_not_answer_is_unknown(
    tmp_path: Path,
) -> None:
    root = machine("synthetic_nvidia_driver", tmp_path)
    found = nvidia(root, lambda: library(**RTX))
    assert (found.state, found.driver_version, found.cuda_version) == (
        "ready",
        "535.129.03",
        "12.2",
    )
    (gpu,) = found.gpus
    assert (gpu.name, gpu.compute_capability) == ("NVIDIA GeForce RTX 3090", "8.6")
    assert (gpu.memory_bytes, gpu.power_limit_w, gpu.max_sm_clock_mhz) == (24 << 30, 350.0, 2100)
    assert gpu.mig is None
    assert gpu.source == "NVML"
    assert found.problem is None
    cut = nvidia(root, lambda: library(**RTX, nvmlDeviceGetMigMode=[1, 1]))
    assert cut.gpus[0].mig is True


@pytest.mark.parametrize(
    ("code", "state", "command"),
    [
        (18, "mismatch", "sudo reboot"),
        (12, "no-library", ""),
        (9, "no-driver", "sudo modprobe nvidia"),
        (4, "not-permitted", ""),
        (999, "failed", "sudo dmesg | grep -i nvrm"),
    ],
)
def test_an_error_of_nvml_is_said_in_our_words_with_a_next_step(
    tmp_path: Path, code: int, state: str, command: str
) -> None:
    root = machine("synthetic_nvidia_driver", tmp_path)
    found = nvidia(root, lambda: library(init=code))
    assert found.state == state
    assert found.problem is not None
    assert found.problem.command == command
    assert found.problem.next_step
    assert "words of the library" not in found.problem.found


@pytest.mark.parametrize(
    ("name", "state", "rule", "command"),
    [
        ("synthetic_nvidia_no_driver", "no-driver", "nvidia-driver", "ubuntu-drivers"),
        (
            "synthetic_nvidia_container_without_gpu",
            "no-device-node",
            "nvidia-device-node",
            "--gpus all",
        ),
        ("synthetic_nvidia_driver", "no-package", "nvidia-package", "medge[nvidia]"),
        ("synthetic_wsl_2", "no-package", "nvidia-package", "medge[nvidia]"),
    ],
)
def test_a_gpu_that_cannot_be_asked_says_why_and_what_adds_it(
    tmp_path: Path, name: str, state: str, rule: str, command: str
) -> None:
    found = nvidia(machine(name, tmp_path))
    assert found.state == state
    assert found.problem is not None
    assert found.problem.rule == rule
    assert command in found.problem.command


def test_without_the_package_the_drivers_files_name_the_gpu(tmp_path: Path) -> None:
    (gpu,) = gpus(machine("synthetic_nvidia_driver", tmp_path))
    assert gpu.name == "NVIDIA GeForce RTX 3090"
    assert gpu.compute_capability is None
    assert gpu.source == "/proc/driver/nvidia/gpus/0000:01:00.0/information"


def test_on_a_host_the_device_nodes_are_made_by_the_drivers_tool(tmp_path: Path) -> None:
    root = machine("synthetic_nvidia_container_without_gpu", tmp_path)
    (root / ".dockerenv").unlink()
    found = nvidia(root)
    assert found.problem is not None
    assert found.problem.command.startswith("sudo nvidia-modprobe")


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("jetson_orin_nano", "8.7"),
        ("synthetic_jetson_orin_nano_super", "8.7"),
        ("synthetic_jetson_xavier_nx", "7.2"),
        ("synthetic_jetson_nano_jetpack_4", "5.3"),
    ],
)
def test_the_gpu_of_a_jetson_is_known_by_its_chip_where_nvml_is_silent(
    tmp_path: Path, name: str, capability: str
) -> None:
    root = machine(name, tmp_path)
    for found in (nvidia(root), nvidia(root, lambda: library(init=12))):
        (gpu,) = found.gpus
        assert (gpu.compute_capability, gpu.integrated) == (capability, True)
        assert found.problem is None


@pytest.mark.parametrize("name", ["nothing", "xeon_gold_6230", "raspberry_pi_5", "synthetic_wsl_1"])
def test_a_machine_without_one_has_no_gpu_and_no_problem(tmp_path: Path, name: str) -> None:
    def never() -> Any:
        raise AssertionError("NVML must not be asked where there is no NVIDIA GPU")

    found = nvidia(machine(name, tmp_path), never)
    assert (found.state, found.gpus, found.problem) == ("absent", (), None)


@settings(max_examples=40, deadline=None)
@given(
    version=st.one_of(
        st.text(max_size=80),
        st.from_regex(r"NVRM version: NVIDIA UNIX .{0,9} Kernel Module  [0-9. ]{0,12} x"),
    ),
    information=st.one_of(st.text(max_size=80), st.from_regex(r"Model:[ \t]{0,3}.{0,20}\n")),
)
def test_no_text_of_the_driver_crashes_or_makes_up_a_fact(
    tmp_path_factory: pytest.TempPathFactory, version: str, information: str
) -> None:
    root = tmp_path_factory.mktemp("driver")
    for name, text in (
        ("proc/driver/nvidia/version", version),
        ("proc/driver/nvidia/gpus/0/information", information),
        ("dev/nvidia0", ""),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8", errors="replace")
    found = nvidia(root)
    assert found.driver_version is None or found.driver_version in version
    assert all(gpu.name in information for gpu in found.gpus)


def test_the_real_module_has_every_name_that_is_asked_for() -> None:
    try:
        metadata.version("nvidia-ml-py")
    except metadata.PackageNotFoundError:
        pytest.skip("nvidia-ml-py is not installed")
    pynvml = nvml_module.pynvml()
    asked = names_asked_for(nvml_module)
    assert [name for name in sorted(asked) if not hasattr(pynvml, name)] == []
    assert issubclass(pynvml.NVMLError, Exception)


def test_the_real_library_or_its_absence_is_told_on_this_machine() -> None:
    found = nvidia()
    if found.state == "absent":
        assert found.gpus == ()
    else:
        assert found.state == "ready" or found.problem is not None
