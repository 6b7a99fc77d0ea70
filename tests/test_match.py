"""The nearest devices of the catalog to what a machine tells of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from captured_machines import machine
from hypothesis import given, settings
from hypothesis import strategies as st

from medge.profiles.machine import cards_of, cpu_of
from medge.profiles.match import Card, Cpu, Match, match_cpu, match_gpu, words_of
from medge.profiles.target import targets

GIB = 2**30


def ids(matches: tuple[Match, ...]) -> list[str]:
    return [match.target.id for match in matches]


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # left as /proc/cpuinfo prints it
        ("Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", "intel-core-i7-8700k"),
        ("Intel(R) Core(TM) i5-6500 CPU @ 3.20GHz", "intel-core-i5-6500"),
        ("Intel(R) Xeon(R) CPU E5-2687W v4 @ 3.00GHz", "intel-xeon-e5-2687w-v4"),
        ("Intel(R) Xeon(R) Platinum 8480+", "intel-xeon-platinum-8480plus"),
        ("Intel(R) Core(TM) Ultra 7 155H", "intel-core-ultra-7-155h"),
        ("12th Gen Intel(R) Core(TM) i7-12700H", "intel-core-i7-12700h"),
        ("Intel(R) N100", "intel-n100"),
        ("Intel Atom(R) x7425E", "intel-atom-x7425e"),
    ],
)
def test_a_cpu_is_known_by_the_name_that_the_kernel_gives_it(name: str, expected: str) -> None:
    nearest = match_cpu(Cpu(name=name))[0]
    assert (nearest.target.id, nearest.exact) == (expected, True)


@pytest.mark.parametrize(
    ("name", "memory_gb", "expected"),
    [  # left as NVML names it
        ("Tesla T4", 15, "nvidia-tesla-t4"),
        ("Quadro P5000", 16, "nvidia-quadro-p5000"),
        ("NVIDIA GeForce GTX 1080 Ti", 11, "nvidia-gtx-1080-ti"),
        ("NVIDIA TITAN Xp", 12, "nvidia-titan-xp"),
        ("Tesla V100-SXM2-16GB", 16, "nvidia-tesla-v100-16gb"),
        ("Tesla V100-PCIE-32GB", 32, "nvidia-tesla-v100-32gb"),
        ("NVIDIA A100-SXM4-80GB", 80, "nvidia-a100-80gb-sxm"),
        ("NVIDIA A100-SXM4-40GB", 40, "nvidia-a100-40gb-sxm"),
        ("NVIDIA H100 80GB HBM3", 80, "nvidia-h100-sxm"),
        ("NVIDIA H200", 140, "nvidia-h200"),
        ("NVIDIA L4", 22.5, "nvidia-l4"),
        ("NVIDIA RTX A2000 12GB", 12, "nvidia-rtx-a2000-12gb"),
        ("NVIDIA RTX A2000", 6, "nvidia-rtx-a2000-6gb"),
        ("NVIDIA RTX 2000 Ada Generation", 16, "nvidia-rtx-2000-ada"),
        ("NVIDIA GeForce RTX 2060 Laptop GPU", 6, "nvidia-rtx-2060-laptop"),
    ],
)
def test_a_gpu_is_known_by_its_name_and_memory(name: str, memory_gb: float, expected: str) -> None:
    capability = targets()[expected].compute_capability
    card = Card(name=name, compute_capability=capability, memory_bytes=int(memory_gb * GIB))
    nearest = match_gpu(card)[0]
    assert (nearest.target.id, nearest.exact, nearest.differs) == (expected, True, ())


@pytest.mark.parametrize(
    ("module", "memory_gb", "mode", "expected"),
    [
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", 15.2, "2 15W", "-16gb-15w"),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", 15.2, "3 25W", "-16gb-25w"),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", 15.2, "0 MAXN", "-nx-16gb"),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", 7.2, "0 MAXN", "-nx-8gb"),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", 15.2, "4 40W", "16gb-super"),
        ("NVIDIA Jetson AGX Orin Developer Kit", 61.3, None, "agx-orin-64gb"),
        ("NVIDIA Jetson AGX Orin Developer Kit", 61.3, "3 MODE_50W", "agx-orin-64gb-50w"),
        ("NVIDIA Jetson AGX Orin Developer Kit", 29.9, "2 MODE_30W", "agx-orin-32gb-30w"),
        ("NVIDIA Jetson Orin Nano Developer Kit", 7.4, "0 15W", "orin-nano-8gb"),
        ("NVIDIA Jetson Orin Nano Developer Kit", 7.4, "1 25W", "orin-nano-8gb-25w"),
        ("NVIDIA Jetson Orin Nano Developer Kit", 7.4, "2 MAXN_SUPER", "orin-nano-super"),
    ],
)
def test_a_jetson_is_matched_in_the_power_mode_that_is_set(
    module: str, memory_gb: float, mode: str | None, expected: str
) -> None:
    card = Card(
        name=module,
        compute_capability="8.7",
        memory_bytes=int(memory_gb * GIB),
        power_mode=mode,
    )
    nearest = match_gpu(card)
    assert nearest[0].target.id.endswith(expected)
    assert nearest[0].exact
    assert not any(match.exact for match in nearest[1:])


@pytest.mark.parametrize(
    ("captured", "expected", "exact"),
    [
        ("vm_xeon_cascade_lake", "intel-xeon-gold-5218t-x2", False),
        ("xeon_platinum_8480", "intel-xeon-platinum-8480plus", True),
        ("core_i7_1370p", "intel-core-i7-12700h", False),  # Raptor Lake has Alder Lake's cores
        ("raspberry_pi_5", "raspberry-pi-5", False),
        ("jetson_agx_xavier", "nvidia-jetson-agx-xavier-cpu", False),
        ("jetson_orin_nano", "nvidia-jetson-orin-nano-cpu", True),
    ],
)
def test_the_cpu_of_a_captured_machine_is_matched(
    tmp_path: Path, captured: str, expected: str, exact: bool
) -> None:
    nearest = match_cpu(cpu_of(machine(captured, tmp_path / "root")))[0]
    assert (nearest.target.id, nearest.exact) == (expected, exact)


@pytest.mark.parametrize(
    ("captured", "expected"),
    [
        ("jetson_orin_nano", "nvidia-jetson-orin-nano-8gb"),
        ("synthetic_jetson_orin_nano_super", "nvidia-jetson-orin-nano-super"),
        ("synthetic_jetson_nano_jetpack_4", "nvidia-jetson-nano"),
        ("synthetic_jetson_xavier_nx", "nvidia-jetson-xavier-nx"),
        ("synthetic_nvidia_driver", "nvidia-rtx-3090"),
    ],
)
def test_the_gpu_of_a_captured_machine_is_matched(
    tmp_path: Path, captured: str, expected: str
) -> None:
    [card] = cards_of(machine(captured, tmp_path / "root"))
    assert match_gpu(card)[0].target.id == expected


def test_a_module_sold_with_two_sizes_is_not_this_device_until_its_memory_is_known() -> None:
    kit = Card(name="NVIDIA Jetson Orin Nano Developer Kit", compute_capability="8.7")
    nearest = match_gpu(kit)
    assert not any(match.exact for match in nearest)
    assert "memory, which is not known" in nearest[0].differs


def test_a_cpu_without_its_name_is_matched_by_microarchitecture_and_tier() -> None:
    guest = Cpu(
        name="Intel(R) Xeon(R) Processor @ 2.50GHz",
        microarchitecture="Cascade Lake",
        cores=2,
        tier="avx512-vnni",
    )
    nearest = match_cpu(guest)[0]
    assert nearest.target.architecture == "Cascade Lake"
    assert not nearest.exact
    assert "microarchitecture Cascade Lake" in nearest.same
    assert f"cores: 2, not {nearest.target.cores}" in nearest.differs


def test_a_product_with_older_cores_counts_as_these() -> None:
    guest = Cpu(name="unknown", microarchitecture="Skylake", cores=6, tier="avx2")
    assert match_cpu(guest)[0].target.architecture in {"Coffee Lake", "Comet Lake"}


def test_an_arm_cpu_is_never_near_an_x86_cpu() -> None:
    found = match_cpu(Cpu(name="x", microarchitecture="Cortex-A76", tier="neon-dot"), most=99)
    assert found[0].target.id == "raspberry-pi-5"
    assert all("neon" in match.target.isa for match in found)


def test_the_studies_are_those_of_the_device_or_else_of_its_architecture() -> None:
    t4 = match_gpu(Card(name="Tesla T4", compute_capability="7.5", memory_bytes=15 * GIB))[0]
    assert (t4.refs, t4.refs_of_architecture) == ((62, 105), False)
    a2 = match_gpu(Card(name="NVIDIA A2", compute_capability="8.6", memory_bytes=15 * GIB))[0]
    assert (a2.refs, a2.refs_of_architecture) == ((41,), True)


def test_what_has_nothing_in_common_matches_nothing() -> None:
    assert match_gpu(Card(name="GeForce GT 1030")) == ()
    assert match_cpu(Cpu(name="Loongson 3A6000")) == ()


def test_every_device_of_the_catalog_matches_itself() -> None:
    for target in targets().values():
        if target.kind == "gpu" and target.vendor == "NVIDIA" and target.module is None:
            card = Card(
                name=target.name,
                compute_capability=target.compute_capability,
                memory_bytes=int((target.memory_gb or 0) * GIB),
            )
            assert match_gpu(card)[0].target.id == target.id


@settings(deadline=None, max_examples=40)  # a busy machine is no fault
@given(st.text(max_size=80), st.text(max_size=20), st.integers(1, 2**45))
def test_no_name_that_a_driver_may_give_breaks_it(name: str, mode: str, memory: int) -> None:
    assert isinstance(words_of(name), frozenset)
    match_gpu(Card(name=name, compute_capability="8.6", memory_bytes=memory, power_mode=mode))
    match_cpu(Cpu(name=name, microarchitecture=mode, tier="avx2", cores=memory))
