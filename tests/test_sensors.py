"""Sensors: what captured and hand-made trees tell, and what is missing and why."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from captured_machines import NAMES, machine
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_readings import told

from medge.profiles.sensors import open_sensors
from medge.profiles.sensors import rapl as rapl_module
from medge.profiles.sensors import source as source_module
from medge.profiles.sensors.chain import QUANTITIES, sensor_facts
from medge.profiles.sensors.source import NumberFile


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
