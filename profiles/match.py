"""Which devices of the catalog are nearest to the hardware of a machine, and why."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from msgspec import Struct, structs

from medge.profiles.device import ARM_TIERS, X86_TIERS
from medge.profiles.study import Study, studies
from medge.profiles.target import Target, targets

MOST = 3  # matches of one part of the machine

X86 = tuple(name for name, _ in X86_TIERS)
ARM = tuple(name for name, _ in ARM_TIERS)
# Best first; the tier of a catalog entry is the first that is among its instruction sets.
TIER_OF_ISA = (
    ("amx", "amx"),
    ("vnni", "avx512-vnni"),
    ("avx512", "avx512"),
    ("avx_vnni", "avx2-vnni"),
    ("avx2", "avx2"),
    ("sse4.2", "sse4"),
    ("sve", "sve"),
    ("dotprod", "neon-dot"),
    ("neon", "neon"),
)
# Products whose cores are those of an older one: one list of events in intel/perfmon mapfile.csv.
SAME_CORES = {
    "coffee lake": "skylake",
    "comet lake": "skylake",
    "skylake-sp": "skylake",
    "raptor lake": "alder lake",
}
# Words of a product's name that tell nothing of the chip: makers, forms, sizes of memory.
EMPTY_WORDS = re.compile(
    r"\((r|tm)\)|@.*|\b(\d+th gen|nvidia|geforce|tesla|cpu|gpu|processor|integrated|graphics"
    r"|pcie|sxm\d?|hbm\d?e?|\d+x|\d+ ?gb|developer kit( super)?|engineering reference|jetson"
    r"|model [ab]|rev [\d.]+)\b"
)
# "(15 W mode)", "(Super mode)", "(40 W, MAXN_SUPER)": of one module, not names of products.
MODE = re.compile(r"\([^()]*(?:mode|MAXN_SUPER)\)")
PART = re.compile(r"\(CPU, [^()]*\)")  # as "(CPU, Cortex-A78AE)" of a module


class Cpu(Struct, frozen=True, kw_only=True):
    """What is known of a CPU; ``cores`` are physical, ``tier`` as in ``device``."""

    name: str
    microarchitecture: str | None = None
    cores: int | None = None
    tier: str | None = None


class Card(Struct, frozen=True, kw_only=True):
    """What is known of a GPU; on a Jetson the name of the module and its power mode."""

    name: str
    compute_capability: str | None = None
    memory_bytes: int | None = None
    power_mode: str | None = None


class Match(Struct, frozen=True, kw_only=True):
    """An entry of the catalog, and what it has in common with a part of the machine.

    Parameters
    ----------
    exact
        It is the same product.
    same, differs
        What was compared, in words.
    refs
        Studies that used this device; where none did, those that used its architecture.
    refs_of_architecture
        ``refs`` are those of the architecture.
    """

    part: str
    target: Target
    exact: bool
    same: tuple[str, ...]
    differs: tuple[str, ...]
    refs: tuple[int, ...]
    refs_of_architecture: bool


def match_cpu(cpu: Cpu, most: int = MOST) -> tuple[Match, ...]:
    """Return the nearest CPUs: by name, then microarchitecture, instruction tier, cores.

    An entry with none of the first three in common is no match.
    """
    found = []
    for target in targets().values():
        if target.kind != "cpu" or _other_world(cpu.tier, target):
            continue
        named = words_of(cpu.name) == words_of(target.name)
        alike = bool(_cores_of(cpu.microarchitecture) & _cores_of(target.architecture))
        steps = _tier_steps(cpu.tier, tier_of(target))
        if not (named or alike or steps == 0):
            continue
        key = (not named, not alike, abs(steps), _doublings(cpu.cores, target.cores), target.id)
        same, differs = _compared_cpu(cpu, target, named, alike)
        found.append((key, _match("cpu", target, named, same, differs)))
    return tuple(match for _, match in sorted(found, key=lambda pair: pair[0])[:most])


def match_gpu(card: Card, part: str = "gpu", most: int = MOST) -> tuple[Match, ...]:
    """Return the nearest GPUs: by name, then compute capability, power mode and memory.

    An entry with neither name nor compute capability in common is no match.
    """
    found = []
    memory_gb = None if card.memory_bytes is None else card.memory_bytes / 2**30
    for target in targets().values():
        if target.kind != "gpu":
            continue
        named = words_of(card.name) == words_of(target.name)
        capable = card.compute_capability is not None and (
            card.compute_capability == target.compute_capability
        )
        if not (named or capable):
            continue
        shared = len(words_of(card.name) & words_of(target.name))
        key = (
            not named,
            -shared,
            _doublings(memory_gb, target.memory_gb) > 0.5,
            _other_mode(card.power_mode, target),
            _doublings(memory_gb, target.memory_gb),
            -(target.fp32_tflops or 0),
            target.id,
        )
        same, differs = _compared_gpu(card, memory_gb, target, named, capable)
        near = _doublings(memory_gb, target.memory_gb) <= 0.5
        fits = named and near and _other_mode(card.power_mode, target) < 2
        found.append((key, _match(part, target, fits, same, differs)))
    nearest = [match for _, match in sorted(found, key=lambda pair: pair[0])[:most]]
    return tuple(_told_apart(nearest, memory_gb))


def _told_apart(nearest: list[Match], memory_gb: float | None) -> Iterator[Match]:
    """Yield at most one exact match: of one product there are sizes of memory and power modes."""
    sizes = {match.target.memory_gb for match in nearest if match.exact}
    for match in nearest:
        apart = None
        if match.exact and memory_gb is None and len(sizes) > 1:
            apart = "memory, which is not known"
        elif match.exact and match is not nearest[0]:
            apart = "power mode"
        if apart is None:
            yield match
        else:
            yield structs.replace(match, exact=False, differs=(*match.differs, apart))


def words_of(name: str) -> frozenset[str]:
    """Return the words of a product's name that tell one chip from another."""
    product = PART.sub(" ", MODE.sub(" ", name))
    plain = EMPTY_WORDS.sub(" ", product.lower().replace("-", " "))
    return frozenset(re.findall(r"[a-z0-9.+]+", plain))


def tier_of(target: Target) -> str | None:
    """Return the instruction tier of a CPU of the catalog, named as in ``device``."""
    return next((tier for isa, tier in TIER_OF_ISA if isa in target.isa), None)


def _other_world(tier: str | None, target: Target) -> bool:
    """Tell x86 from ARM; a machine without a known tier may be either."""
    theirs = tier_of(target)
    return tier is not None and theirs is not None and (tier in X86) != (theirs in X86)


def _tier_steps(ours: str | None, theirs: str | None) -> int:
    """Return how many tiers lie between, more than there are where one is unknown."""
    order = X86 if ours in X86 else ARM
    if ours not in order or theirs not in order:
        return len(X86)
    return order.index(ours) - order.index(theirs)


def _cores_of(architecture: str | None) -> set[str]:
    """Return the names that an architecture goes by: "Alder Lake-N (Gracemont)" has two."""
    parts = re.split(r"[()+]| and ", (architecture or "").lower())
    return {SAME_CORES.get(part.strip(), part.strip()) for part in parts if part.strip()}


def _doublings(ours: float | None, theirs: float | None) -> float:
    return abs(math.log2(ours / theirs)) if ours and theirs else 0.0


def _other_mode(mode: str | None, target: Target) -> int:
    """Return how far the power mode of a module's entry is from the one that is set: 0 to 2.

    Without a mode the entry is MAXN, or the only mode that there is: two modes may have the same
    limit in watts, as MAXN and 25W of the Orin NX 16GB.
    """
    named = (MODE.search(target.name) or [""])[0].lower()
    watts = re.search(r"(\d+) ?w\b", (mode or "").lower())
    if watts is None:
        return int(bool(named) != ("super" in (mode or "").lower()) or "w mode" in named)
    if target.tdp_w != float(watts[1]):
        return 2
    return 0 if "w mode" in named else 1


def _compared_cpu(
    cpu: Cpu, target: Target, named: bool, alike: bool
) -> tuple[list[str], list[str]]:
    same: list[str] = []
    differs: list[str] = []
    (same if named else differs).append("name")
    if cpu.microarchitecture is not None:
        words = "microarchitecture"
        (same if alike else differs).append(
            f"{words} {target.architecture}" if alike else f"{words}: {cpu.microarchitecture}"
        )
    if cpu.tier is not None:
        tiers = cpu.tier == tier_of(target)
        (same if tiers else differs).append(f"instructions{' ' if tiers else ': '}{cpu.tier}")
    if cpu.cores is not None:
        equal = cpu.cores == target.cores
        (same if equal else differs).append(
            f"{cpu.cores} cores" if equal else f"cores: {cpu.cores}, not {target.cores}"
        )
    return same, differs


def _compared_gpu(
    card: Card, memory_gb: float | None, target: Target, named: bool, capable: bool
) -> tuple[list[str], list[str]]:
    same: list[str] = []
    differs: list[str] = []
    (same if named else differs).append("name")
    if card.compute_capability is not None:
        words = f"compute capability {card.compute_capability}"
        (same if capable else differs).append(
            words if capable else f"{words}, not {target.compute_capability}"
        )
    if memory_gb is not None and target.memory_gb is not None:
        # The driver keeps a part, and a module its own: 15.7 of 16 GB is the whole.
        near = _doublings(memory_gb, target.memory_gb) <= 0.2
        (same if near else differs).append(
            f"{target.memory_gb:g} GB" if near else f"{memory_gb:.3g} GB, not {target.memory_gb:g}"
        )
    return same, differs


def _match(part: str, target: Target, exact: bool, same: list[str], differs: list[str]) -> Match:
    used = tuple(study.ref for study in _studies_on(target))
    return Match(
        part=part,
        target=target,
        exact=exact,
        same=tuple(same),
        differs=tuple(differs),
        refs=used or tuple(study.ref for study in _studies_like(target)),
        refs_of_architecture=not used,
    )


def _studies_on(target: Target) -> Iterator[Study]:
    for study in studies().values():
        if target.id in (*study.gpus, study.cpu):
            yield study


def _studies_like(target: Target) -> Iterator[Study]:
    """Yield the studies whose hardware is of the same kind and architecture."""
    names = _cores_of(target.architecture)
    for study in studies().values():
        used = [targets()[each] for each in (*study.gpus, study.cpu) if each is not None]
        if any(one.kind == target.kind and names & _cores_of(one.architecture) for one in used):
            yield study
