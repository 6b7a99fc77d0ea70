"""The machine that runs medge, as a device of the catalog that can be estimated for."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from msgspec import structs

from medge.profiles.cpu import cpu_facts
from medge.profiles.device import allowed_cpus
from medge.profiles.facts import Facts
from medge.profiles.machine import cards_of, cpu_of
from medge.profiles.match import Cpu, match_cpu, match_gpu
from medge.profiles.memory import measure_bandwidth, memory_facts
from medge.profiles.target import Target

HERE = "this-machine"
"""Its id: what no entry of the catalog has."""

RATES = ("fp32_tflops", "fp16_tflops", "int8_tops")  # they grow with cores and clock


def targets_here() -> Iterator[Target]:
    """Yield this machine's processor and those of its NVIDIA GPUs that the catalog has.

    The processor has the cores, clock and memory bandwidth that are found here; what one core does
    in a cycle comes from the nearest entry of the catalog. It takes half a second to measure.
    Nothing is yielded for a processor that resembles none.
    """
    cpu, facts = cpu_of(), cpu_facts()
    for match in match_cpu(cpu, most=1):
        yield _scaled(match.target, cpu, allowed_cpus(), facts)
    for card in cards_of():
        yield from (match.target for match in match_gpu(card, most=1) if match.exact)


def _scaled(nearest: Target, cpu: Cpu, threads: int, facts: Facts) -> Target:
    """Return an entry with this machine's cores, clock and bandwidth."""
    clock = facts.get("frequency_max") or facts.get("frequency")
    clock_mhz = nearest.boost_clock_mhz if clock is None else float(str(clock.value))
    cores = cpu.cores or nearest.cores
    ratio = cores / nearest.cores
    if clock_mhz and nearest.boost_clock_mhz:
        ratio *= clock_mhz / nearest.boost_clock_mhz
    rates = {
        name: None if getattr(nearest, name) is None else getattr(nearest, name) * ratio
        for name in RATES
    }
    memory = memory_facts()
    total, available = (_bytes(memory, name) for name in ("total", "available"))
    bandwidth = measure_bandwidth(_bytes(facts, "l3_cache"), cores, available)
    whole = nearest.memory_bandwidth_gb_s
    return structs.replace(
        nearest,
        id=HERE,
        name=f"{cpu.name}, {cores} cores",
        module=None,
        cores=cores,
        threads=threads,
        boost_clock_mhz=clock_mhz,
        base_clock_mhz=None,
        fp32_tflops_at_base=None,
        memory_gb=None if total is None else total / 2**30,
        memory_bandwidth_gb_s=whole if bandwidth is None else bandwidth.bytes_s / 1e9,
        tdp_w=None,
        in_review=False,
        refs=(),
        source=f"found here; rates of one core from {nearest.id}",
        confidence="low",
        date=datetime.date.today(),
        notes="",
        **rates,
    )


def _bytes(facts: Facts, name: str) -> int | None:
    fact = facts.get(name)
    return fact.value if fact is not None and isinstance(fact.value, int) else None
