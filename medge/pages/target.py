"""One device of the catalog and what the review says of it, as rows and as one object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from medge.console import Row
from medge.pages.targets import FIGURES
from medge.profiles.study import Impossible, Study, impossible, studies_on
from medge.profiles.target import Target, targets

RATES = (
    ("fp32", "fp32_tflops", "TFLOPS"),
    ("fp32 at base clock", "fp32_tflops_at_base", "TFLOPS"),
    ("fp16", "fp16_tflops", "TFLOPS"),
    ("fp16, matrix units", "tensor_fp16_tflops", "TFLOPS"),
    ("the same, sums in fp32", "tensor_fp16_fp32acc_tflops", "TFLOPS"),
    ("int8", "int8_tops", "TOPS"),
    ("int8, NPU beside it", "npu_int8_tops", "TOPS"),
)


def target_object(target: Target) -> dict[str, Any]:
    """Return one device with what the review says of it; plain JSON types."""
    return {
        "schema": "medge.target/1",
        "figures": FIGURES,
        "target": msgspec.to_builtins(target),
        "same_module": [one.id for one in _same_module(target)],
        "studies": [msgspec.to_builtins(study) for study in studies_on(target)],
        "impossible": [msgspec.to_builtins(row) for row in impossible() if row.ref in target.refs],
    }


def target_rows(target: Target) -> Iterator[Row]:
    """Yield what is known of a device: figures, where they come from, and who used it."""
    yield from _device(target)
    for what, field, unit in RATES:
        value = getattr(target, field)
        if value is not None:
            yield ("published", what, f"{value:.4g} {unit}")
    yield from _memory_and_power(target)
    if target.headline_fp32_tflops is not None:
        headline = f"{target.headline_fp32_tflops:g} TFLOPS; {target.headline_source}"
        yield ("published", "fp32, vendor's figure", headline)
    yield ("source", "from", target.source)
    yield ("source", "confidence", f"{target.confidence}, as of {target.date.isoformat()}")
    if target.notes:
        yield ("source", "notes", target.notes)
    for study in studies_on(target):
        yield ("studies", f"{study.ref}", study_text(study))
    for row in impossible():
        if row.ref in target.refs and row.device in (None, target.id):
            what = f"{row.ref}, {row.field.replace('_', ' ')}"
            yield ("impossible", what, impossible_text(row))


def study_text(study: Study) -> str:
    """Say in one line who classified what with which network."""
    return (
        f"{study.first_author} {study.year}: {study.title}; {study.modality}, "
        f"{study.organ.lower()}, {study.model}"
    )


def impossible_text(row: Impossible) -> str:
    """Say what is stated, what is real where that is known, and why it cannot be."""
    real = f", really {row.real}" if row.real else ""
    return f"stated {row.stated}{real}. {row.explanation}"


def _device(target: Target) -> Iterator[Row]:
    yield ("device", "id", target.id)
    yield ("device", "name", target.name)
    year = f", {target.release_year}" if target.release_year else ""
    kind = f"{target.vendor} {target.kind.upper()}, {target.architecture}{year}"
    yield ("device", "kind", kind)
    if target.compute_capability:
        yield ("device", "compute capability", target.compute_capability)
    yield ("device", "cores", _cores(target))
    if target.isa:
        yield ("device", "instructions", ", ".join(target.isa))
    for one in _same_module(target):
        yield ("device", "same module", one.id)


def _cores(target: Target) -> str:
    threads = f", {target.threads} threads" if target.threads else ""
    clock = f" at up to {target.boost_clock_mhz:g} MHz" if target.boost_clock_mhz else ""
    base = f" (base {target.base_clock_mhz:g} MHz)" if target.base_clock_mhz else ""
    return f"{target.cores}{threads}{clock}{base}"


def _memory_and_power(target: Target) -> Iterator[Row]:
    if target.memory_gb is not None:
        yield ("published", "memory", f"{target.memory_gb:g} GB")
    elif target.kind == "gpu":
        yield ("published", "memory", "that of the host")
    if target.memory_bandwidth_gb_s is not None:
        yield ("published", "memory bandwidth", f"{target.memory_bandwidth_gb_s:g} GB/s at most")
    if target.tdp_w is not None:
        yield ("published", "power limit", f"{target.tdp_w:g} W")


def _same_module(target: Target) -> list[Target]:
    return [
        one
        for one in targets().values()
        if target.module is not None and one.module == target.module and one.id != target.id
    ]
