"""Support tables: which release of which part runs on which hardware, and what else it needs."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec.toml
from msgspec import Meta, Struct

from medge.profiles.target import Target, targets

FOLDER = Path(__file__).parent / "data" / "toolchain"
OTHER_FILES = ("sources", "routes", "precision")

T = TypeVar("T")

Platform = Literal["x86_64", "aarch64", "jetson", "intel-gpu"]
HostClass = Literal["nvidia", "jetson", "intel-gpu", "x86-cpu", "arm-cpu", "other"]
Precision = Literal["fp16", "bf16", "tf32", "int8"]
Version = Annotated[str, Meta(pattern=r"^\d+(\.\d+)*$")]
Capability = Annotated[str, Meta(pattern=r"^\d+\.\da?$")]
Named = Annotated[tuple[str, ...], Meta(min_length=1)]

PLATFORMS: dict[HostClass, Platform] = {
    "nvidia": "x86_64",
    "jetson": "jetson",
    "intel-gpu": "intel-gpu",
    "x86-cpu": "x86_64",
    "arm-cpu": "aarch64",
}


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """A public document that a table was read from."""

    title: str
    read: datetime.date


class Release(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One release of a part of the toolchain, as its support table or its files show it.

    Parameters
    ----------
    documented
        Compute capabilities that the vendor's table lists.
    kernels, ptx
        Compute capabilities of the binaries and of the intermediate code in the wheel itself. A
        binary for 8.6 runs on 8.9, one for 9.0a on 9.0 only, none on a Jetson unless it is named.
    architectures, isa
        Intel's generations, and instruction sets that are enough.
    needs
        Parts that must be there, each with a range such as ``>=12.0,<13``; ``==8.9`` is any 8.9.x.
    limits
        As ``needs``, for parts that may be absent.
    excludes
        Parts that may not be installed beside it.
    archive
        Not to be had by pip or with JetPack: counted as the newest, never part of a set.
    """

    version: Version
    label: str = ""
    platforms: Named
    pins: tuple[str, ...] = ()
    index: str = ""
    documented: tuple[Capability, ...] = ()
    kernels: tuple[Capability, ...] = ()
    ptx: tuple[Capability, ...] = ()
    architectures: tuple[str, ...] = ()
    isa: tuple[str, ...] = ()
    needs: dict[str, str] = {}
    limits: dict[str, str] = {}
    excludes: tuple[str, ...] = ()
    preferred: bool = False
    archive: bool = False
    note: str = ""
    sources: Named

    @property
    def shown(self) -> str:
        """What a person calls this release."""
        return self.label or self.version

    @property
    def everywhere(self) -> bool:
        """Whether no hardware is named, so that the platform alone decides."""
        return not (self.documented or self.kernels or self.architectures or self.isa)


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the toolchain with its releases."""

    title: str
    release: Annotated[tuple[Release, ...], Meta(min_length=1)]


class RouteRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way to run a bundle: the parts that lead it, most important first.

    ``absent`` adds to the reason where a lead has no release for the hardware; ``sources`` are
    those of ``note`` and ``absent``.
    """

    id: str
    title: str
    classes: tuple[HostClass, ...]
    leads: Named
    unit: Literal["gpu", "cpu", "npu"]
    precisions: tuple[Precision, ...]
    note: str = ""
    absent: str = ""
    sources: Named


class PrecisionRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one kind of hardware makes of a precision; ``unless`` names better instruction sets."""

    precision: Precision
    how: str
    faster: bool = True
    compute_capabilities: tuple[Capability, ...] = ()
    isa: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    sources: Named


class Host(Struct, frozen=True, kw_only=True):
    """What the tables ask of a target; a Jetson's CPU has the compute capability of its module."""

    kind: HostClass
    unit: Literal["gpu", "cpu"]
    platform: Platform | None
    compute_capability: str | None
    architecture: str
    isa: tuple[str, ...]

    @property
    def called(self) -> str:
        """What support tables call this hardware: ``sm_61``, or its generation."""
        if self.compute_capability is None:
            return self.architecture
        return f"sm_{self.compute_capability.replace('.', '')}"


@cache
def parts() -> Mapping[str, Part]:
    """Return every part by name; the releases of each are sorted, newest first.

    Raises
    ------
    ValueError
        A table is damaged: names the file.
    """
    found = {}
    for path in sorted(FOLDER.glob("*.toml")):
        if path.stem not in OTHER_FILES:
            part = _read(path.stem, Part)
            newest_first = sorted(part.release, key=lambda row: key(row.version), reverse=True)
            found[path.stem] = Part(part.title, tuple(newest_first))
    return found


@cache
def sources() -> Mapping[str, Source]:
    """Return every cited document by its short name."""
    return _read("sources", dict[str, Source])


@cache
def routes() -> tuple[RouteRule, ...]:
    """Return the ways to run a bundle, best first."""
    return _read("routes", dict[str, tuple[RouteRule, ...]])["route"]


@cache
def precisions() -> tuple[PrecisionRule, ...]:
    """Return what hardware makes of each precision."""
    return _read("precision", dict[str, tuple[PrecisionRule, ...]])["rule"]


def _read(stem: str, form: type[T]) -> T:
    path = FOLDER / f"{stem}.toml"
    try:
        return msgspec.toml.decode(path.read_bytes(), type=form)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path.name}: {error}") from error


def key(version: str) -> tuple[int, ...]:
    """Return a version's numbers, so that 10.4 comes after 9.9."""
    return tuple(int(number) for number in version.split("."))


def within(version: str, wanted: str) -> bool:
    """Return whether a version lies in a range such as ``>=12.0,<13``; ``==8.9`` is any 8.9.x."""
    found = key(version)
    for bound in wanted.split(","):
        sign, limit = ("<", bound[1:]) if bound[1].isdigit() else (bound[:2], bound[2:])
        numbers = key(limit)
        kept = {
            ">=": found >= numbers,
            "<": found < numbers,
            "==": found[: len(numbers)] == numbers,
        }[sign]
        if not kept:
            return False
    return True


def host_of(target: Target) -> Host:
    """Return what the support tables ask of a catalog entry."""
    capability = target.compute_capability
    kind: HostClass = "other"
    if (target.module or "").startswith("jetson"):
        kind = "jetson"
        capability = capability or next(_of_module(target.module), None)
    elif target.kind == "gpu":
        kind = "nvidia" if capability else "intel-gpu" if target.vendor == "Intel" else "other"
    elif target.isa:
        kind = "arm-cpu" if "neon" in target.isa else "x86-cpu"
    return Host(
        kind=kind,
        unit=target.kind,
        platform=PLATFORMS.get(kind),
        compute_capability=capability,
        architecture=target.architecture.partition(" (")[0],
        isa=target.isa,
    )


def _of_module(module: str | None) -> Iterator[str]:
    for other in targets().values():
        if other.module == module and other.compute_capability:
            yield other.compute_capability


def supports(release: Release, host: Host) -> bool:
    """Return whether the tables say that a release runs on this hardware."""
    if host.platform not in release.platforms:
        return False
    if release.everywhere:
        return True
    if release.architectures or release.isa:
        # Every Jetson has an Arm v8 CPU, whichever of its parts the catalog entry describes.
        known = {*host.isa, *(("neon",) if host.kind == "jetson" else ())}
        return host.architecture in release.architectures or not known.isdisjoint(release.isa)
    capability = host.compute_capability
    return capability is not None and (
        capability in release.documented
        or any(_runs(binary, capability) for binary in release.kernels)
        or any(key(code) <= key(capability) for code in release.ptx)
    )


def _runs(binary: str, capability: str) -> bool:
    """Return whether a binary built for one compute capability runs on another (no Jetsons)."""
    if binary.endswith("a"):
        return binary[:-1] == capability
    built, found = key(binary), key(capability)
    return built[0] == found[0] and built[1] <= found[1]
