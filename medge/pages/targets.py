"""The catalog as a list: which devices were asked for, as rows for people and one object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from medge.errors import UsageError
from medge.profiles.target import Target, targets

COLUMNS = ("id", "architecture", "GB", "published TFLOPS", "studies")
ALL_COLUMNS = tuple(field.name for field in msgspec.structs.fields(Target))
FIGURES = "published: by the vendor or public tables, see source; not measured by medge"


def select_targets(
    *,
    arch: str | None = None,
    kind: str | None = None,
    vendor: str | None = None,
    min_memory_gb: float | None = None,
    in_review: bool = False,
) -> list[Target]:
    """Return the devices that fit, by kind, vendor, architecture and speed, the oldest first.

    Raises
    ------
    UsageError
        No device has this architecture or vendor; the message names those that there are. Or none
        fits all that is asked.
    """
    everything = list(targets().values())
    capabilities = {one.compute_capability for one in everything if one.compute_capability}
    if arch not in capabilities:
        _known("architecture", arch, {one.architecture for one in everything})
    _known("vendor", vendor, {one.vendor for one in everything})
    found = [
        one
        for one in everything
        if (arch is None or _has_architecture(one, arch))
        and kind in (None, one.kind)
        and (vendor is None or one.vendor.lower() == vendor.lower())
        and (min_memory_gb is None or (one.memory_gb or 0) >= min_memory_gb)
        and (one.in_review or not in_review)
    ]
    if not found:
        raise UsageError(
            "filter",
            f"None of the {len(everything)} devices fits all that is asked. Leave one filter out, "
            "or see `medge targets`.",
        )
    first_year: dict[str, int] = {}
    for one in everything:
        year = one.release_year or 9999
        first_year[one.architecture] = min(year, first_year.get(one.architecture, 9999))
    vendors = ["NVIDIA", "Intel"]
    found.sort(
        key=lambda one: (
            one.kind != "gpu",
            vendors.index(one.vendor) if one.vendor in vendors else len(vendors),
            first_year[one.architecture],
            one.architecture,
            one.module or "",
            one.fp32_tflops or 0,
            one.id,
        )
    )
    return found


def list_object(found: Sequence[Target]) -> dict[str, Any]:
    """Return the devices in plain JSON types; what is unknown is null."""
    return {
        "schema": "medge.targets/1",
        "figures": FIGURES,
        "count": len(found),
        "targets": [msgspec.to_builtins(one) for one in found],
    }


def list_columns(form: str) -> Sequence[str]:
    """Return every column for a spreadsheet, and for people those that fit on a screen."""
    return ALL_COLUMNS if form == "csv" else COLUMNS


def list_rows(found: Sequence[Target], form: str) -> Iterator[tuple[str, ...]]:
    """Yield one row a device."""
    for one in found:
        if form == "csv":
            yield plain_cells(one)
            continue
        yield (
            one.id,
            architecture_text(one),
            "" if one.memory_gb is None else f"{one.memory_gb:g}",
            "" if one.fp32_tflops is None else f"{one.fp32_tflops:.3g}",
            str(len(one.refs)) if one.refs else "",
        )


def architecture_text(target: Target) -> str:
    """Name the architecture shortly: for NVIDIA with its compute capability."""
    name = target.architecture.partition(" (")[0]
    return f"{name} {target.compute_capability}" if target.compute_capability else name


def plain_cells(row: msgspec.Struct) -> tuple[str, ...]:
    """Return every field of a row for a spreadsheet, written as in the data files."""
    return tuple(_plain(getattr(row, field.name)) for field in msgspec.structs.fields(row))


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return ";".join(map(str, value))
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else str(value)


def _has_architecture(target: Target, arch: str) -> bool:
    return arch == target.compute_capability or arch.lower() in target.architecture.lower()


def _known(what: str, typed: str | None, names: set[str]) -> None:
    if typed is None or any(typed.lower() in name.lower() for name in names):
        return
    short = sorted({name.partition(" (")[0] for name in names})
    raise UsageError(
        "filter",
        f"{what} {typed[:40]!r} is that of no device in the catalog, which has "
        f"{', '.join(short)}. Choose one of them.",
    )
