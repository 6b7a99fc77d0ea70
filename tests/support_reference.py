"""The support tables read a second time, slowly: what medge.profiles.toolchain is checked by."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec.toml
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from medge.profiles.target import Target, targets

FOLDER = Path(__file__).parent.parent / "profiles" / "data" / "toolchain"
Row = dict[str, Any]


@cache
def table(stem: str) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.toml.decode((FOLDER / f"{stem}.toml").read_bytes())
    return found


@cache
def part_names() -> tuple[str, ...]:
    others = {"sources", "routes", "precision"}
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem not in others))


@cache
def inside(version: str, wanted: str) -> bool:
    """PEP 440's own reading; `==8.9` of the tables is `==8.9.*`."""
    bounds = [f"{b}.*" if b.startswith("==") else b for b in wanted.split(",")]
    return Version(version) in SpecifierSet(",".join(bounds))


def capability(target: Target) -> str | None:
    """A Jetson's CPU is on the module of its GPU."""
    if target.compute_capability is not None or target.module is None:
        return target.compute_capability
    same = (other for other in targets().values() if other.module == target.module)
    return next((other.compute_capability for other in same if other.compute_capability), None)


def platform(target: Target) -> str:
    if (target.module or "").startswith("jetson"):
        return "jetson"
    if target.kind == "gpu":
        return "x86_64" if target.compute_capability else "intel-gpu"
    return "aarch64" if "neon" in target.isa else "x86_64"


def listed(row: Row, target: Target) -> bool:
    """Whether a row of a table names this hardware, or names none."""
    if platform(target) not in row["platforms"]:
        return False
    names = [row.get(key, []) for key in ("documented", "kernels", "ptx", "architectures", "isa")]
    if not any(names):
        return True
    documented, kernels, ptx, architectures, isa = names
    if architectures or isa:
        arm = platform(target) in {"jetson", "aarch64"}
        return target.architecture.split(" (")[0] in architectures or (arm and "neon" in isa)
    found = capability(target)
    if found is None:
        return False
    return found in documented or runs(kernels, found) or any(float(c) <= float(found) for c in ptx)


def runs(kernels: list[str], found: str) -> bool:
    """CUDA's rule for binaries: same major, built for this minor or an older one; `a` is exact."""
    for kernel in kernels:
        if kernel == f"{found}a":
            return True
        if not kernel.endswith("a"):
            (major, minor), (has_major, has_minor) = kernel.split("."), found.split(".")
            if major == has_major and int(minor) <= int(has_minor):
                return True
    return False


def faults(chosen: dict[str, Row], whole: bool = True) -> list[str]:
    """Everything that the tables forbid in a set; an unfinished one may lack parts."""
    found = []
    for name, row in chosen.items():
        for other, wanted in row.get("needs", {}).items():
            if other not in chosen:
                found += [f"{name} {row['version']} needs {other}"] if whole else []
            elif not inside(chosen[other]["version"], wanted):
                found.append(f"{name} {row['version']} needs {other} {wanted}")
        for other, wanted in row.get("limits", {}).items():
            if other in chosen and not inside(chosen[other]["version"], wanted):
                found.append(f"{name} {row['version']} allows {other} {wanted}")
        found += [f"{name} beside {other}" for other in row.get("excludes", []) if other in chosen]
    return found


def installable(name: str, target: Target) -> list[Row]:
    rows = [r for r in table(name)["release"] if listed(r, target) and not r.get("archive")]
    rows.sort(key=lambda row: Version(row["version"]), reverse=True)
    return sorted(rows, key=lambda row: not row.get("preferred", False))


def every_set(
    leads: list[str], target: Target, first: Row | None = None
) -> Iterator[dict[str, Row]]:
    """Yield every set without a fault: each lead, and any of the other parts or none of them."""
    pools: list[tuple[str, list[Row | None]]] = [(n, [*installable(n, target)]) for n in leads]
    if first is not None:
        pools[0] = (leads[0], [first])
    others = sorted(needed(leads) - set(leads))
    pools += [(name, [None, *installable(name, target)]) for name in others]
    growing: list[dict[str, Row]] = [{}]
    for name, rows in pools:
        growing = [
            grown
            for chosen in growing
            for row in rows
            for grown in [chosen if row is None else {**chosen, name: row}]
            if not faults(grown, whole=False)
        ]
    yield from (chosen for chosen in growing if not faults(chosen))


def needed(leads: list[str]) -> set[str]:
    found = set(leads)
    while True:
        rows = [row for name in found for row in table(name)["release"]]
        wider = found.union(*(row.get("needs", {}) for row in rows))
        if wider == found:
            return found
        found = wider
