"""The toolchain ladder: for each device of the catalog, sets of software that work together."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from msgspec import Struct

from medge.profiles.combine import RUNNER, Chosen, candidates, conflicts, demands, next_part, solve
from medge.profiles.support import (
    Host,
    Precision,
    PrecisionRule,
    Release,
    RouteRule,
    host_of,
    key,
    parts,
    precisions,
    routes,
    supports,
    within,
)
from medge.profiles.target import Target

# What must be there before what: a driver before CUDA, Python before its packages.
INSTALLED = (
    *("driver", "jetpack", "compute-runtime", "npu-driver", "cuda", "python", "numpy", "cudnn"),
    *("tensorrt", "tensorrt-rtx", "onnxruntime-gpu", "onnxruntime", "openvino", "torch", "medge"),
)


class Step(Struct, frozen=True, kw_only=True):
    """One part of a set, in the order in which it is installed.

    ``why`` says why no newer release was taken; ``sources`` are keys of ``support.sources``.
    """

    part: str
    title: str
    version: str
    shown: str
    pins: tuple[str, ...]
    index: str
    why: str
    note: str
    sources: tuple[str, ...]


class Route(Struct, frozen=True, kw_only=True):
    """One way to run a bundle: steps that work together, or the reason why there are none.

    ``precisions`` are those that the hardware computes faster and the runtime makes use of; empty
    also where the route runs on the other part of a module, which has an entry of its own.
    ``runner`` is true where medge itself cannot run, only the runner of a build bundle.
    ``gpu_wheel`` is true where onnxruntime-gpu stands in the place of medge's own onnxruntime.
    """

    id: str
    title: str
    possible: bool
    steps: tuple[Step, ...]
    reason: str
    precisions: tuple[Precision, ...]
    runner: bool
    gpu_wheel: bool
    note: str
    sources: tuple[str, ...]


class Speed(Struct, frozen=True, kw_only=True):
    """What the hardware makes of a precision, against fp32."""

    precision: Precision
    faster: bool
    how: str
    sources: tuple[str, ...]


class Newest(Struct, frozen=True, kw_only=True):
    """The newest release of one part that still supports the device, taken alone.

    ``version`` is None where the tables list none; ``note`` then says what they list.
    """

    part: str
    title: str
    version: str | None
    note: str
    sources: tuple[str, ...]


class Ladder(Struct, frozen=True, kw_only=True):
    """Everything that the tables say of one device; nothing here was measured."""

    target: str
    name: str
    hardware: str
    speeds: tuple[Speed, ...]
    routes: tuple[Route, ...]
    newest: tuple[Newest, ...]


@lru_cache(maxsize=512)
def ladder(target: Target) -> Ladder:
    """Return the sets of software for a device, by route, with the reason where there is none."""
    host = host_of(target)
    speeds = tuple(_speeds(host))
    return Ladder(
        target=target.id,
        name=target.name,
        hardware=host.called,
        speeds=speeds,
        routes=tuple(_route(rule, host, speeds) for rule in routes() if host.kind in rule.classes),
        newest=tuple(_newest(host)),
    )


def _route(rule: RouteRule, host: Host, speeds: tuple[Speed, ...]) -> Route:
    chosen = solve(rule.leads, {}, host)
    gained = {speed.precision for speed in speeds if speed.faster and rule.unit == host.unit}
    return Route(
        id=rule.id,
        title=rule.title,
        possible=chosen is not None,
        steps=() if chosen is None else tuple(_steps(chosen, host)),
        reason=_reason(rule, host) if chosen is None else "",
        precisions=tuple(name for name in rule.precisions if name in gained),
        runner=chosen is not None and chosen["medge"].version == RUNNER,
        gpu_wheel=chosen is not None and "onnxruntime-gpu" in chosen,
        note=rule.note,
        sources=rule.sources,
    )


def _steps(chosen: Chosen, host: Host) -> Iterator[Step]:
    for name in sorted(chosen, key=INSTALLED.index):
        release = chosen[name]
        yield Step(
            part=name,
            title=parts()[name].title,
            version=release.version,
            shown=release.shown,
            pins=release.pins,
            index=release.index,
            why=_why(name, release, chosen, host),
            note=release.note,
            sources=release.sources,
        )


def _why(name: str, release: Release, chosen: Chosen, host: Host) -> str:
    """Say why a newer release of the part was not taken."""
    newer = [row for row in _of_platform(name, host) if key(row.version) > key(release.version)]
    if not newer:
        return "newest"
    nearest = newer[-1]
    if not supports(nearest, host):
        return f"the last for {host.called}"
    if nearest.archive and "jetpack" not in chosen:
        return f"{nearest.version} is an archive, not for pip"
    others = {part: row for part, row in chosen.items() if part != name}
    kept = conflicts(name, nearest, others)
    if kept:
        return "; ".join(kept)
    return f"preferred to {nearest.shown}" if release.preferred else "fits the others"


def _of_platform(name: str, host: Host) -> list[Release]:
    return [row for row in parts()[name].release if host.platform in row.platforms]


def _reason(rule: RouteRule, host: Host) -> str:
    """Say why no set works: which part gave the hardware up, or which parts do not meet."""
    said = [_given_up(name, host) for name in rule.leads if not candidates(name, host)]
    if said:
        return "; ".join((*said, rule.absent) if rule.absent else said)
    chosen: dict[str, Release] = {}
    while (name := next_part(rule.leads, chosen)) is not None:
        found = candidates(name, host)
        fitting = [row for row in found if not conflicts(name, row, chosen)]
        if not fitting:
            asked = demands(name, chosen) or conflicts(name, found[0], chosen)
            last = [
                text for part in rule.leads if part in {*chosen, name} for text in _last(part, host)
            ]
            return "; ".join(dict.fromkeys((*last, *asked)))
        chosen[name] = fitting[0]
    raise ValueError(f"{rule.id}: the newest parts for {host.called} fit, but no set was found")


def _last(name: str, host: Host) -> list[str]:
    """Say that a part's newer releases gave the hardware up, if they did."""
    newest = _of_platform(name, host)[0]
    found = next((row for row in _of_platform(name, host) if supports(row, host)), None)
    if found is None or supports(newest, host):
        return []
    return [f"{parts()[name].title} {found.version} was the last for {host.called}"]


def _given_up(name: str, host: Host) -> str:
    """Say that the tables list no release of a part for this hardware, and which they list."""
    title = parts()[name].title
    rows = _of_platform(name, host)
    if not rows:
        where = "Jetson" if host.kind == "jetson" else host.called
        return f"the tables list no {title} for {where}"
    listed = f"{rows[-1].version} to {rows[0].version}" if len(rows) > 1 else rows[0].version
    return f"no {title} in the tables ({listed}) lists {host.called}"


def _newest(host: Host) -> Iterator[Newest]:
    """Yield each part's newest release for this hardware, archives and all."""
    asked = _asked(host) if host.platform else set()
    for name in INSTALLED:
        if name in {"medge", "numpy"} or name not in asked:
            continue
        rows = [row for row in _of_platform(name, host) if _python_fits(row, host)]
        found = next((row for row in rows if supports(row, host)), None)
        yield Newest(
            part=name,
            title=parts()[name].title,
            version=None if found is None else found.shown,
            note=_given_up(name, host) if found is None else found.note,
            sources=() if found is None else found.sources,
        )


def _asked(host: Host) -> set[str]:
    """Return the parts that the routes of this kind of hardware may need."""
    leads = {lead for rule in routes() if host.kind in rule.classes for lead in rule.leads}
    found = leads - {"medge"} | {"onnxruntime"}
    while True:
        rows = [row for name in found for row in _of_platform(name, host)]
        wider = found | {name for row in rows for name in row.needs}
        if wider == found:
            return found
        found = wider


def _python_fits(release: Release, host: Host) -> bool:
    """Return whether a Python of a Jetson can load a package; elsewhere any can be installed."""
    if host.kind != "jetson" or "python" not in release.needs:
        return True
    python = candidates("python", host)
    return bool(python) and any(within(row.version, release.needs["python"]) for row in python)


def _speeds(host: Host) -> Iterator[Speed]:
    for rule in precisions():
        if _applies(rule, host):
            yield Speed(
                precision=rule.precision, faster=rule.faster, how=rule.how, sources=rule.sources
            )


def _applies(rule: PrecisionRule, host: Host) -> bool:
    if host.unit == "cpu":
        return not set(rule.isa).isdisjoint(host.isa) and set(rule.unless).isdisjoint(host.isa)
    if rule.compute_capabilities:
        return host.compute_capability in rule.compute_capabilities
    return host.architecture in rule.architectures
