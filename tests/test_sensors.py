"""Sensors: what captured and hand-made trees tell, what is missing and why, and NVML's refusals."""

from __future__ import annotations

import ast
import errno
import os
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from captured_machines import NAMES, machine
from hypothesis import given, settings
from hypothesis import strategies as st

from medge.profiles import nvml as nvml_module
from medge.profiles.sensors import gpu as gpu_module
from medge.profiles.sensors import open_sensors
from medge.profiles.sensors import rapl as rapl_module
from medge.profiles.sensors import source as source_module
from medge.profiles.sensors.chain import QUANTITIES, Sensors, sensor_facts
from medge.profiles.sensors.source import NumberFile
from medge.profiles.sensors.trace import Channel, Trace, highest, risen, throttled

INIT_FAILS = 999
RTX = {
    "nvmlDeviceGetTotalEnergyConsumption": 123_456,
    "nvmlDeviceGetPowerUsage": 71_500,
    "nvmlDeviceGetClockInfo": 1695,
    "nvmlDeviceGetTemperature": 61,
    "nvmlDeviceGetCurrentClocksEventReasons": 1 | 4 | 64,
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=87, memory=12),
}


def told(sensors: Sensors, quantity: str) -> dict[str, float | None]:
    """Return the values of one quantity by part."""
    return {
        channel.part: value
        for channel, value in zip(sensors.channels, sensors.read(), strict=True)
        if channel.quantity == quantity
    }


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8", errors="replace")


@pytest.mark.parametrize("name", NAMES)
def test_every_quantity_has_a_channel_or_the_reason_why_not(tmp_path: Path, name: str) -> None:
    with open_sensors(machine(name, tmp_path / "root")) as sensors:
        there = {channel.quantity for channel in sensors.channels}
        assert set(QUANTITIES) == there | (set(sensors.missing) & set(QUANTITIES))
        assert not there & set(sensors.missing)
        assert all(reason for reason in sensors.missing.values())
        assert None not in sensors.read()


def test_packages_and_memory_are_counted_once_and_cores_lie_within(tmp_path: Path) -> None:
    with open_sensors(machine("synthetic_rapl_server", tmp_path / "root")) as sensors:
        assert told(sensors, "energy") == {
            "package-0": 31000.0,
            "package-0 core": 11000.0,
            "package-0 dram": 2469.474853,
            "package-1": 29000.0,
            "package-1 dram": 2000.0,
        }
        within = {channel.part: channel.within for channel in sensors.channels}
        assert {part for part, outer in within.items() if outer} == {"package-0 core"}
        assert {channel.wraps_at for channel in sensors.channels} == {262143.999938}
        assert "rise" in sensors.missing["power"]


def test_counters_that_only_the_mmio_registers_have_are_taken(tmp_path: Path) -> None:
    folder = "sys/class/powercap/intel-rapl-mmio:0"
    for name, text in (("name", "package-0"), ("energy_uj", "5000000")):
        write(tmp_path, f"{folder}/{name}", text + "\n")
    with open_sensors(tmp_path) as sensors:
        assert told(sensors, "energy") == {"package-0": 5.0}


def test_a_laptop_and_the_trees_of_prometheus_tell_their_zones(tmp_path: Path) -> None:
    with open_sensors(machine("laptop_rapl", tmp_path / "laptop")) as sensors:
        assert told(sensors, "energy")["package-0"] == 26963.529117
    with open_sensors(machine("procfs_tree", tmp_path / "procfs")) as sensors:
        assert told(sensors, "energy")["package-10"] == 240422.366267  # its zone is intel-rapl:a
        assert told(sensors, "temperature") == {"bcm2835_thermal": 49.925}  # acpitz says -44
        assert told(sensors, "throttle") == {"package-0": 34818, "cores": 10607, "Processor": 0}
    with open_sensors(machine("node_exporter_tree", tmp_path / "exporter")) as sensors:
        assert told(sensors, "clock")["cpu0"] == 1699.981
        assert told(sensors, "throttle") == {
            "package-0": 30, "package-1": 6, "cores": 14, "Processor": 0
        }  # fmt: skip


def test_the_cpus_own_sensor_is_taken_where_no_zone_is_the_cpus(tmp_path: Path) -> None:
    for number, chip in enumerate(("nvme", "coretemp", "k10temp")):
        write(tmp_path, f"sys/class/hwmon/hwmon{number}/name", f"{chip}\n")
        write(tmp_path, f"sys/class/hwmon/hwmon{number}/temp1_input", f"{50 + number}000\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/temp1_label", "Package id 0\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/temp2_input", "49000\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/temp2_label", "Core 0\n")
    write(tmp_path, "sys/class/hwmon/hwmon2/temp1_label", "Tctl\n")
    with open_sensors(tmp_path) as sensors:
        assert told(sensors, "temperature") == {
            "coretemp 1 Package id 0": 51.0, "k10temp 2 Tctl": 52.0
        }  # fmt: skip


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    """Let the kernel refuse files of a name, as it does to other users than root."""
    opened: Callable[..., int] = os.open

    def refusing(path: Any, *arguments: Any, **more: Any) -> int:
        if Path(path).name == name:
            raise OSError(code, "words of the system")
        return opened(path, *arguments, **more)

    monkeypatch.setattr(source_module.os, "open", refusing)


def test_counters_that_only_root_may_read_are_not_available_and_the_next_step_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine("synthetic_rapl_server", tmp_path / "root")
    refuse(monkeypatch, "energy_uj", errno.EACCES)
    with open_sensors(root) as sensors:
        assert "energy" not in {channel.quantity for channel in sensors.channels}
        for quantity in ("energy", "power"):
            reason = sensors.missing[quantity]
            assert "CVE-2020-8694" in reason
            assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in reason
            assert "words of the system" not in reason
        (problem,) = sensors.problems
        assert (problem.rule, problem.command) == ("energy-unreadable", rapl_module.PERMIT)


def test_the_doctor_is_told_what_answers_and_what_does_not(tmp_path: Path) -> None:
    root = machine("synthetic_jetson_orin_nano_sensors", tmp_path / "root")
    with open_sensors(root) as sensors:
        facts = sensor_facts(sensors)
    assert facts["answer"].value == (
        "clock (3)", "temperature (2)", "power (3)", "throttle (1)", "load (1)"
    )  # fmt: skip
    assert facts["do_not_answer"].value == ("energy",)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_refused_as_such(tmp_path: Path) -> None:
    root = machine("laptop_rapl", tmp_path / "root")
    for file in root.rglob("energy_uj"):
        file.chmod(0)
    with open_sensors(root) as sensors:
        assert "this user may not read it" in sensors.missing["energy"]


def test_a_jetsons_input_rail_holds_its_other_rails(tmp_path: Path) -> None:
    root = machine("synthetic_jetson_orin_nano_sensors", tmp_path / "root")
    with open_sensors(root) as sensors:
        assert told(sensors, "power") == {
            "VDD_IN": 4984 * 1856 / 1e6,
            "VDD_CPU_GPU_CV": 4976 * 480 / 1e6,
            "VDD_SOC": 4984 * 312 / 1e6,
        }
        rails = [channel for channel in sensors.channels if channel.quantity == "power"]
        assert [rail.within for rail in rails] == [None, "VDD_IN", "VDD_IN"]
        assert {rail.update_ns for rail in rails} == {21_000_000}
        assert told(sensors, "clock") == {"gpu0": 624.75, "cpu0": 1510.4, "cpu4": 729.6}
        assert told(sensors, "load") == {"gpu0": 0.43}
        assert told(sensors, "throttle") == {"board": 3.0}
        assert told(sensors, "temperature") == {"cpu-thermal": 63.625, "gpu-thermal": 61.0}


def test_rails_without_a_total_add_up_but_for_the_one_that_lies_within(tmp_path: Path) -> None:
    root = machine("synthetic_jetson_agx_orin_rails", tmp_path / "root")
    with open_sensors(root) as sensors:
        within = {channel.part: channel.within for channel in sensors.channels}
    assert within == {
        "VDD_GPU_SOC": None,
        "VDD_CPU_CV": None,
        "VIN_SYS_5V0": None,
        "VDDQ_VDD2_1V8AO": "VIN_SYS_5V0",
    }


def test_an_input_rail_that_cannot_be_read_holds_nothing(tmp_path: Path) -> None:
    root = machine("synthetic_jetson_orin_nano_sensors", tmp_path / "root")
    (root / "sys/bus/i2c/devices/1-0040/hwmon/hwmon1/in1_input").unlink()
    with open_sensors(root) as sensors:
        within = {c.part: c.within for c in sensors.channels if c.quantity == "power"}
    assert within == {"VDD_CPU_GPU_CV": None, "VDD_SOC": None}


def test_thor_tells_its_input_and_the_clock_of_the_cores_that_compute(tmp_path: Path) -> None:
    with open_sensors(machine("synthetic_jetson_thor", tmp_path / "root")) as sensors:
        assert told(sensors, "power") == {"VDD_GPU": 18.0, "VDD_CPU_SOC_MSS": 4.8, "VIN": 52.0}
        within = {c.part: c.within for c in sensors.channels if c.quantity == "power"}
        assert within == {"VDD_GPU": "VIN", "VDD_CPU_SOC_MSS": "VIN", "VIN": None}
        assert told(sensors, "clock") == {"gpu0": 1575.0}


def test_the_rails_of_kernel_4_are_in_milliwatts(tmp_path: Path) -> None:
    root = machine("synthetic_jetson_nano_jetpack_4", tmp_path / "root")
    with open_sensors(root) as sensors:
        assert "POM_5V_IN: it is not there" in sensors.missing["power"]
    for number, milliwatts in enumerate((2340, 80, 410)):
        name = f"sys/bus/i2c/devices/6-0040/iio:device0/in_power{number}_input"
        write(root, name, f"{milliwatts}\n")
    with open_sensors(root) as sensors:
        assert told(sensors, "power") == {
            "POM_5V_IN": 2.34, "POM_5V_GPU": 0.08, "POM_5V_CPU": 0.41
        }  # fmt: skip
        assert "energy" in sensors.missing


def test_the_firmware_of_a_raspberry_pi_says_that_it_slows_down_and_its_fan_does_not(
    tmp_path: Path,
) -> None:
    with open_sensors(machine("synthetic_raspberry_pi_5_hot", tmp_path / "root")) as sensors:
        assert told(sensors, "throttle") == {"firmware": 8.0}


def test_a_nominal_clock_is_no_measurement(tmp_path: Path) -> None:
    lines = "processor\t: {}\nflags\t\t: sse2 {}\ncpu MHz\t\t: {}\n\n"
    cpus = "".join(lines.format(number, "", "2499.998") for number in range(2))
    write(tmp_path, "proc/cpuinfo", cpus)
    with open_sensors(tmp_path) as sensors:
        assert "nominal" in sensors.missing["clock"]
    clocks = ("1200.123", "3400.456")
    cpus = "".join(lines.format(n, "aperfmperf", mhz) for n, mhz in enumerate(clocks))
    write(tmp_path, "proc/cpuinfo", cpus)
    with open_sensors(tmp_path) as sensors:
        assert told(sensors, "clock") == {"cpu": 3400.456}


def test_of_a_large_machine_a_few_clocks_are_read_and_hyperthreads_once(tmp_path: Path) -> None:
    write(tmp_path, "sys/devices/system/cpu/online", "0-63\n")
    for number in range(64):
        folder = f"sys/devices/system/cpu/cpu{number}/cpufreq"
        write(tmp_path, f"{folder}/scaling_cur_freq", f"{1_000_000 + number}\n")
        write(tmp_path, f"{folder}/related_cpus", f"{number % 32} {number % 32 + 32}\n")
    with open_sensors(tmp_path) as sensors:
        assert list(told(sensors, "clock")) == [f"cpu{number}" for number in range(0, 32, 4)]


def test_a_sensor_that_answers_slowly_or_never_is_left_out_with_the_reason(tmp_path: Path) -> None:
    root = machine("procfs_tree", tmp_path / "root")
    (root / "sys/class/thermal/cooling_device0/cur_state").write_text("busy\n")
    moments = iter(range(0, 10_000_000_000, 6_000_000))  # every reading takes 6 ms
    with open_sensors(root, clock=lambda: next(moments)) as sensors:
        assert sensors.channels == ()
        assert "takes 6 ms" in sensors.missing["temperature"]
        assert "gives no value" in sensors.missing["throttle"]


def test_a_reading_that_fails_later_is_none_and_not_zero(tmp_path: Path) -> None:
    root = machine("laptop_rapl", tmp_path / "root")
    with open_sensors(root) as sensors:
        (root / "sys/class/powercap/intel-rapl:0/energy_uj").write_text("\n")
        assert told(sensors, "energy")["package-0"] is None


def test_closing_lets_go_of_every_file(tmp_path: Path) -> None:
    root = machine("synthetic_jetson_orin_nano_sensors", tmp_path / "root")
    before = set(os.listdir("/proc/self/fd"))
    sensors = open_sensors(root)
    assert len(set(os.listdir("/proc/self/fd"))) > len(before)
    sensors.close()
    sensors.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)


@settings(max_examples=60, deadline=None)
@given(text=st.one_of(st.binary(max_size=70), st.from_regex(rb"-?[0-9]{1,22}\n?", fullmatch=True)))
def test_a_file_gives_the_number_that_it_holds_or_none(
    tmp_path_factory: pytest.TempPathFactory, text: bytes
) -> None:
    path = tmp_path_factory.mktemp("number") / "value"
    path.write_bytes(text)
    file = NumberFile(path)
    found = file.read()
    file.close()
    word = text.strip(b"\0 \t\r\n")
    digits = word.removeprefix(b"-")
    plain = digits.isdigit() and len(digits) <= 20 and len(text) <= 64
    assert found == (int(word) if plain else None)


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=40), number=st.from_regex(r"[-0-9a-fx .]{0,12}", fullmatch=True))
def test_no_text_of_a_kernel_crashes_the_chain(
    tmp_path_factory: pytest.TempPathFactory, text: str, number: str
) -> None:
    root = machine("synthetic_jetson_orin_nano_sensors", tmp_path_factory.mktemp("x") / "root")
    for place, file in enumerate(sorted(root.rglob("*"))):
        if file.is_file() and "device-tree" not in str(file):
            file.write_text(text if place % 2 else number, encoding="utf-8", errors="replace")
    with open_sensors(root) as sensors:
        assert len(sensors.read()) == len(sensors.channels)


class RefusalError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__("words of the library")
        self.value = value


def names_asked_for(module: Any) -> set[str]:
    """Return every name of pynvml that a module uses."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "nvml"
    }


def library(fails_at: int | None = None, **answers: Any) -> SimpleNamespace:
    """Return a stand-in for pynvml with one GPU; what is not answered is not supported."""
    starts = [0]

    def answer(name: str) -> Any:
        def call(*_arguments: object) -> Any:
            if name not in answers:
                raise RefusalError(3)
            return answers[name]

        return call

    def start() -> None:
        starts[0] += 1
        if starts[0] == fails_at:
            raise RefusalError(INIT_FAILS)

    names = names_asked_for(gpu_module) | names_asked_for(nvml_module)
    asked = {name: answer(name) for name in names if name.startswith("nvml")}
    asked |= {"nvmlInit": start, "nvmlShutdown": lambda: None, "NVMLError": RefusalError}
    asked |= {"nvmlDeviceGetCount": lambda: 1, "nvmlDeviceGetHandleByIndex": lambda index: index}
    numbers = {"LIB_RM_VERSION_MISMATCH": 18, "LIBRARY_NOT_FOUND": 12, "DRIVER_NOT_LOADED": 9}
    constants = {f"NVML_ERROR_{name}": code for name, code in numbers.items()}
    constants |= {"NVML_ERROR_NO_PERMISSION": 4, "NVML_DEVICE_MIG_ENABLE": 1}
    constants |= {"NVML_CLOCK_SM": 1, "NVML_CLOCK_MEM": 2, "NVML_TEMPERATURE_GPU": 0}
    return SimpleNamespace(**asked, **constants)


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
    shared = library(fails_at, **RTX)
    with open_sensors(root, lambda: shared) as sensors:
        assert "error 999" in sensors.missing["power"]
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


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.integers(0, 499), min_size=1, max_size=30),
    start=st.integers(0, 999),
    wraps_at=st.just(1000),
)
def test_a_counter_rises_over_its_wraps_as_if_it_had_none(
    steps: list[int], start: int, wraps_at: int
) -> None:
    total, endless = start, [start]
    for step in steps:
        total += step
        endless.append(total)
    read = [value % wraps_at for value in endless]
    assert risen(read, wraps_at) == [value - start for value in endless]


@pytest.mark.parametrize(
    ("values", "wraps_at"),
    [([2.0, 1.0], None), ([9.0, 1.0], 5.0), ([900.0, 899.0], 1000.0), ([700.0, 201.0], 1000.0)],
)
def test_a_counter_that_goes_back_without_a_wrap_is_refused(
    values: list[float], wraps_at: float | None
) -> None:
    with pytest.raises(ValueError, match="went back"):
        risen(values, wraps_at)


def channel(quantity: str, part: str, unit: str) -> Channel:
    return Channel(quantity=quantity, part=part, unit=unit, source="test")  # type: ignore[arg-type]


def test_throttling_is_told_by_bits_levels_and_rising_counters() -> None:
    trace = Trace(
        channels=(
            channel("throttle", "gpu0", "reasons"),
            channel("throttle", "cores", "events"),
            channel("clock", "cpu0", "MHz"),
        ),
        at_ns=(0, 1, 2, 3, 4),
        values=(
            (0.0, 0.0, 4.0, None, None),
            (7.0, 7.0, 7.0, 9.0, None),
            (1.0, 2.0, None, 4.0, 5.0),
        ),
    )
    assert throttled(trace) == (False, False, True, True, None)
    nothing = Trace(channels=trace.channels[2:], at_ns=trace.at_ns, values=trace.values[2:])
    assert throttled(nothing) == (None,) * 5


def test_the_highest_value_is_that_of_the_busiest_part() -> None:
    trace = Trace(
        channels=(
            channel("clock", "cpu0", "MHz"),
            channel("clock", "cpu1", "MHz"),
            channel("clock", "gpu0", "MHz"),
        ),
        at_ns=(0, 1, 2),
        values=((800.0, None, None), (3400.0, 1200.0, None), (200.0, 300.0, 400.0)),
    )
    assert highest(trace, "clock", "cpu") == (3400.0, 1200.0, None)
    assert highest(trace, "clock") == (3400.0, 1200.0, 400.0)
    assert highest(trace, "temperature") == ()
