"""Hardware of the catalog: what each device can do on paper, with source and confidence."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from msgspec import Meta, Struct

from medge.errors import UsageError
from medge.profiles.rows import read_rows

FOLDER = Path(__file__).parent / "data" / "targets"
LISTS = ("refs", "isa")  # cells with several values, separated by semicolons

Slug = Annotated[str, Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class Target(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One device as its makers and public tables describe it; None is not applicable or unknown.

    Rates are peaks without sparsity: 1 TFLOPS is 1e12 floating-point operations a second, a
    multiplication and its addition counted as two. docs/targets.md says how each is counted.

    Parameters
    ----------
    module
        The board or chip that the device is a part of: its GPU and CPU share memory and power.
    cores
        CUDA cores or shader lanes of a GPU, physical cores of a CPU (all kinds together).
    memory_gb
        Memory of a GPU or module in the vendor's gigabytes; None where it is the host's.
    memory_bandwidth_gb_s
        Peak, decimal gigabytes a second.
    fp32_tflops
        At ``boost_clock_mhz``: 2 x cores x clock on a GPU; on a CPU an upper bound, since all cores
        together do not reach the highest clock of one.
    fp16_tflops
        Without matrix units.
    tensor_fp16_tflops, tensor_fp16_fp32acc_tflops
        Of the matrix units, adding up in fp16 and in fp32.
    int8_tops
        Dense; other parts of the module (DLA, NPU) left out.
    npu_int8_tops
        Of the NPU or DLAs beside it, dense, as the vendor states it.
    headline_fp32_tflops, headline_source
        The vendor's own figure, to be compared with ``fp32_tflops``, and where it is printed.
    refs
        References of the studies in the review (see ``study``) that name this device.
    date
        When the row was last compared with its source.
    """

    id: Slug
    kind: Literal["gpu", "cpu"]
    vendor: str
    name: str
    module: Slug | None = None
    architecture: str
    compute_capability: Annotated[str, Meta(pattern=r"^\d+\.\d$")] | None = None
    cores: Count
    threads: Count | None = None
    base_clock_mhz: Positive | None = None
    boost_clock_mhz: Positive | None = None
    memory_gb: Positive | None = None
    memory_bandwidth_gb_s: Positive | None = None
    fp32_tflops: Positive | None = None
    fp32_tflops_at_base: Positive | None = None
    fp16_tflops: Positive | None = None
    tensor_fp16_tflops: Positive | None = None
    tensor_fp16_fp32acc_tflops: Positive | None = None
    int8_tops: Positive | None = None
    npu_int8_tops: Positive | None = None
    headline_fp32_tflops: Positive | None = None
    headline_source: str | None = None
    tdp_w: Positive | None = None
    release_year: Annotated[int, Meta(ge=2005, le=2035)] | None = None
    isa: tuple[str, ...] = ()
    in_review: bool = False
    refs: tuple[int, ...] = ()
    source: Annotated[str, Meta(min_length=1)]
    confidence: Literal["high", "medium", "low"]
    date: datetime.date
    notes: str = ""


@cache
def targets() -> Mapping[str, Target]:
    """Return every device of the catalog by its id, in the order of the files.

    Raises
    ------
    ValueError
        A row of the catalog itself is wrong: the installation is damaged. Names file and line.
    """
    found: dict[str, Target] = {}
    for path in sorted(FOLDER.glob("*.csv")):
        for line, target in read_targets(path):
            if target.id in found:
                raise ValueError(f"{path.name}:{line}: {target.id} is in the catalog twice")
            found[target.id] = target
    return MappingProxyType(found)


def read_targets(path: Path) -> Iterator[tuple[int, Target]]:
    """Yield each row of one file of the catalog with its line."""
    return read_rows(path, Target, LISTS)


def find_target(target_id: str) -> Target:
    """Return the device with this id.

    Raises
    ------
    UsageError
        The catalog has none; the message names the nearest.
    """
    known = targets()
    found = known.get(target_id.strip().lower())
    if found is not None:
        return found
    near = nearest_ids(target_id, known)
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(
        "target",
        f"{target_id[:60]!r} is no device of the catalog, which has {len(known)}.{meant} "
        "`medge targets` lists all.",
    )


def nearest_ids(typed: str, known: Mapping[str, Target], most: int = 3) -> list[str]:
    """Return the ids that were most likely meant.

    First those with all the typed words in id or name, then those that are spelled alike.
    """
    import difflib  # noqa: PLC0415 - only a wrong id needs it

    words = typed.lower().replace("-", " ").split()[:8]
    holding = [
        target.id
        for target in known.values()
        if words and all(word in f"{target.id} {target.name.lower()}" for word in words)
    ]
    alike = difflib.get_close_matches(typed.lower()[:60], known, n=most, cutoff=0.6)
    return list(dict.fromkeys((*sorted(holding, key=len), *alike)))[:most]
