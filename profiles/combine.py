"""Sets of releases that work together: the newest first, and what keeps two apart."""

from __future__ import annotations

from collections.abc import Mapping

from medge.profiles.support import Host, Release, parts, supports, within

# What is chosen first decides what the others may be; parts that a rule needs but does not lead
# follow in this order.
ORDER = (
    *("jetpack", "tensorrt", "tensorrt-rtx", "onnxruntime-gpu", "torch", "openvino"),
    *("compute-runtime", "npu-driver", "cuda", "cudnn", "driver", "medge", "onnxruntime"),
    *("python", "numpy"),
)
RUNNER = "0"  # version of the row of medge.toml that stands for the stand-alone runner

Chosen = Mapping[str, Release]


def solve(leads: tuple[str, ...], chosen: Chosen, host: Host) -> Chosen | None:
    """Return the first set that works: leads newest first, then what they need."""
    name = next_part(leads, chosen)
    if name is None:
        return chosen
    for release in candidates(name, host):
        if not conflicts(name, release, chosen):
            found = solve(leads, {**chosen, name: release}, host)
            if found is not None:
                return found
    return None


def next_part(leads: tuple[str, ...], chosen: Chosen) -> str | None:
    """Return the next part to choose; None when the set is complete."""
    needed = {part for release in chosen.values() for part in release.needs}
    return next(
        (name for name in (*leads, *ORDER) if name not in chosen and name in {*leads, *needed}),
        None,
    )


def candidates(name: str, host: Host) -> list[Release]:
    """Return the releases of a part that run on this hardware: preferred first, then newest."""
    found = [row for row in parts()[name].release if supports(row, host) and not row.archive]
    return sorted(found, key=lambda row: not row.preferred)


def conflicts(name: str, release: Release, chosen: Chosen) -> list[str]:
    """Return what keeps a release out of a set, in words; empty when it fits."""
    found = []
    for other, row in chosen.items():
        if other in release.excludes or name in row.excludes:
            found.append(f"{called(name, release)} cannot stand beside {called(other, row)}")
        for part, wanted_by, asked, version in (
            (other, called(name, release), _asks(release, other), row.version),
            (name, called(other, row), _asks(row, name), release.version),
        ):
            if asked is not None and not within(version, asked):
                found.append(f"{wanted_by} needs {parts()[part].title} {asked}")
    return found


def demands(name: str, chosen: Chosen) -> list[str]:
    """Return what the parts of a set ask of another part, in words."""
    return [
        f"{called(other, row)} needs {parts()[name].title} {asked}"
        for other, row in chosen.items()
        if (asked := _asks(row, name)) is not None
    ]


def called(name: str, release: Release) -> str:
    """Return a part and its version as a person says it."""
    if release.version == RUNNER:
        return f"the {release.label}"
    return f"{parts()[name].title} {release.version}"


def _asks(release: Release, other: str) -> str | None:
    return release.needs.get(other, release.limits.get(other))
