"""Sensors of NVIDIA GPUs: what NVML answers, and every way in which it does not."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from captured_machines import machine
from nvml_stand_in import UNKNOWN, library, names_asked_for
from sensor_readings import told

from medge.profiles import nvml as nvml_module
from medge.profiles.sensors import gpu as gpu_module
from medge.profiles.sensors import open_sensors

RTX = {
    "nvmlDeviceGetTotalEnergyConsumption": 123_456,
    "nvmlDeviceGetPowerUsage": 71_500,
    "nvmlDeviceGetClockInfo": 1695,
    "nvmlDeviceGetTemperature": 61,
    "nvmlDeviceGetCurrentClocksEventReasons": 1 | 4 | 64,
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=87, memory=12),
}


def test_what_nvml_answers_is_a_channel_and_an_idle_gpu_is_not_throttled(tmp_path: Path) -> None:
    root = machine("synthetic_nvidia_driver", tmp_path / "root")
    with open_sensors(root, lambda: library(**RTX)) as sensors:
        of_gpu = {c.quantity: v for c, v in zip(sensors.channels, sensors.read(), strict=True)}
        assert of_gpu == {
            "energy": 123.456,
            "power": 71.5,
            "clock": 1695.0,
            "temperature": 61.0,
            "throttle": float(4 | 64),
            "load": 0.87,
        }
        assert {"energy of cpu", "clock of cpu", "temperature of cpu"} <= set(sensors.missing)
        updates = {channel.quantity: channel.update_ns for channel in sensors.channels}
        assert updates["power"] == 1_000_000_000


def test_what_a_gpu_does_not_support_says_so_with_nvmls_number(tmp_path: Path) -> None:
    root = machine("synthetic_nvidia_driver", tmp_path / "root")
    with open_sensors(root, lambda: library(nvmlDeviceGetPowerUsage=30_000)) as sensors:
        assert told(sensors, "power") == {"gpu0": 30.0}
        reason = sensors.missing["energy"]
        assert "nvmlDeviceGetTotalEnergyConsumption of gpu0 fails with error 3" in reason
        assert "words of the library" not in reason


def test_older_drivers_tell_the_reasons_by_the_older_name(tmp_path: Path) -> None:
    root = machine("synthetic_nvidia_driver", tmp_path / "root")
    old = library(nvmlDeviceGetCurrentClocksThrottleReasons=1 | 32)
    with open_sensors(root, lambda: old) as sensors:
        assert told(sensors, "throttle") == {"gpu0": 32.0}


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_library_that_does_not_start_is_the_reason(tmp_path: Path, fails_at: int) -> None:
    root = machine("synthetic_nvidia_driver", tmp_path / "root")
    shared = library(fails_at=fails_at, **RTX)
    with open_sensors(root, lambda: shared) as sensors:
        assert f"error {UNKNOWN}" in sensors.missing["power"]
        assert sensors.channels == ()


def test_without_the_package_the_reason_says_what_installs_it(tmp_path: Path) -> None:
    with open_sensors(machine("synthetic_nvidia_driver", tmp_path / "root")) as sensors:
        assert 'pip install "medge[nvidia]"' in sensors.missing["load"]


def test_nvml_of_a_jetson_that_supports_nothing_leaves_its_rails(tmp_path: Path) -> None:
    root = machine("synthetic_jetson_orin_nano_sensors", tmp_path / "root")
    with open_sensors(root, library) as sensors:
        assert set(told(sensors, "power")) == {"VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"}
        assert set(sensors.missing) == {"energy"}


def test_nvml_of_a_jetson_does_not_count_again_what_the_rails_count(tmp_path: Path) -> None:
    root = machine("synthetic_jetson_thor", tmp_path / "root")
    with open_sensors(root, lambda: library(**RTX)) as sensors:
        assert "gpu0" not in told(sensors, "power")
        assert told(sensors, "energy") == {}
        assert told(sensors, "clock") == {"gpu0": 1695.0}


def test_the_real_module_has_every_name_that_is_asked_for() -> None:
    try:
        metadata.version("nvidia-ml-py")
    except metadata.PackageNotFoundError:
        pytest.skip("nvidia-ml-py is not installed")
    pynvml = nvml_module.pynvml()
    assert [name for name in names_asked_for(gpu_module) if not hasattr(pynvml, name)] == []
    slowed = (
        pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksEventReasonHwSlowdown
        | pynvml.nvmlClocksEventReasonSwThermalSlowdown
        | pynvml.nvmlClocksEventReasonHwThermalSlowdown
        | pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown
    )  # fmt: skip
    assert gpu_module.SLOWED & pynvml.nvmlClocksEventReasonAll == slowed


@pytest.mark.gpu
def test_a_real_gpu_tells_power_and_clock() -> None:
    with open_sensors() as sensors:
        if "gpu0" not in {channel.part for channel in sensors.channels}:
            pytest.skip(f"no GPU answers: {sensors.missing.get('load', 'none is seen')}")
        assert 1.0 < (told(sensors, "power")["gpu0"] or 0.0) < 2000.0
        assert 100.0 < (told(sensors, "clock")["gpu0"] or 0.0) < 5000.0
