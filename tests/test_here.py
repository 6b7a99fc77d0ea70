"""The machine that runs the tests, as a device of the catalog."""

from __future__ import annotations

from pathlib import Path

import pytest
from captured_machines import machine

from medge.profiles import here
from medge.profiles.device import describe
from medge.profiles.machine import cards_of
from medge.profiles.match import Cpu
from medge.profiles.memory import Bandwidth
from medge.profiles.target import find_target

XEON = find_target("intel-xeon-gold-5218t-x2")


@pytest.fixture
def bandwidth(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Bandwidth(bytes_s=21.5e9, threads=2, buffer_bytes=1 << 28, repeats=3)
    monkeypatch.setattr(here, "measure_bandwidth", lambda *_: found)


@pytest.mark.usefixtures("bandwidth")
def test_a_processor_has_the_cores_found_here_and_a_rate_in_proportion() -> None:
    cpu = Cpu(name="Some Xeon", microarchitecture="Cascade Lake", cores=2, tier="avx512-vnni")
    found = here._scaled(XEON, cpu, 4, {})
    assert (found.id, found.cores, found.threads) == (here.HERE, 2, 4)
    assert found.name == "Some Xeon, 2 cores"
    assert found.memory_bandwidth_gb_s == 21.5
    assert found.fp32_tflops == pytest.approx((XEON.fp32_tflops or 0) * 2 / XEON.cores)
    assert found.int8_tops == pytest.approx((XEON.int8_tops or 0) * 2 / XEON.cores)
    assert XEON.id in found.source


@pytest.mark.usefixtures("bandwidth")
def test_its_rate_follows_the_clock_that_is_found() -> None:
    from medge.profiles.facts import Fact

    cpu = Cpu(name="Some Xeon", microarchitecture="Cascade Lake", cores=2, tier="avx512-vnni")
    slow = here._scaled(XEON, cpu, 2, {"frequency": Fact(1900.0, "MHz", "a test")})
    fast = here._scaled(XEON, cpu, 2, {"frequency_max": Fact(3800, "MHz", "a test")})
    assert fast.boost_clock_mhz == 3800
    assert fast.fp32_tflops == pytest.approx(2 * (slow.fp32_tflops or 0))


def test_without_room_to_measure_the_entrys_bandwidth_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(here, "measure_bandwidth", lambda *_: None)
    cpu = Cpu(name="Some Xeon", microarchitecture="Cascade Lake", cores=2, tier="avx512-vnni")
    found = here._scaled(XEON, cpu, 2, {})
    assert found.memory_bandwidth_gb_s == XEON.memory_bandwidth_gb_s


@pytest.mark.usefixtures("bandwidth")
def test_this_machine_is_there_or_resembles_nothing() -> None:
    found = list(here.targets_here())
    if not found:
        pytest.skip(f"{describe().name} resembles no processor of the catalog")
    assert found[0].id == here.HERE
    assert found[0].kind == "cpu"
    assert found[0].cores == describe().cores
    assert (found[0].fp32_tflops or 0) > 0


@pytest.mark.usefixtures("bandwidth")
def test_the_gpu_of_a_jetson_is_known_by_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its driver names the chip alone, which no entry of the catalog has."""
    cards = cards_of(machine("jetson_orin_nano", tmp_path / "root"))
    monkeypatch.setattr(here, "cards_of", lambda: cards)
    found = [target.id for target in here.targets_here() if target.kind == "gpu"]
    assert found == ["nvidia-jetson-orin-nano-8gb"]
