"""What a machine tells of its CPU and NVIDIA GPUs, in the terms that the catalog is searched by."""

from __future__ import annotations

from pathlib import Path

from medge.profiles.cpu import cpu_facts
from medge.profiles.device import describe
from medge.profiles.jetson import jetson_facts
from medge.profiles.kernel_files import ROOT
from medge.profiles.match import Card, Cpu
from medge.profiles.memory import memory_facts
from medge.profiles.nvidia import gpus


def cpu_of(root: Path = ROOT) -> Cpu:
    """Return the CPU with the cores that this process may use."""
    here = describe(root)
    core = cpu_facts(root).get("microarchitecture")
    return Cpu(
        name=here.name,
        microarchitecture=None if core is None else str(core.value),
        cores=here.cores,
        tier=here.tier,
    )


def cards_of(root: Path = ROOT) -> tuple[Card, ...]:
    """Return the NVIDIA GPUs; that of a Jetson has its module's name, memory and power mode."""
    board, memory = jetson_facts(root), memory_facts(root).get("total")
    module, mode = board.get("module"), board.get("power_mode")
    shared_bytes = memory.value if memory is not None and isinstance(memory.value, int) else None
    return tuple(
        Card(
            name=str(module.value) if gpu.integrated and module else gpu.name,
            compute_capability=gpu.compute_capability,
            memory_bytes=shared_bytes if gpu.integrated else gpu.memory_bytes,
            power_mode=str(mode.value) if gpu.integrated and mode else None,
        )
        for gpu in gpus(root)
    )
