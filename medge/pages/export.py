"""What an export wrote and how it proved itself, as rows for people and an object for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from medge.console import Row, bytes_text
from medge.pages.bundle import parity_text

if TYPE_CHECKING:
    from medge.exporters.export import ExportReport


def export_object(report: ExportReport) -> dict[str, Any]:
    """Return the report in plain JSON types; times in nanoseconds, sizes in bytes."""
    return {
        "schema": "medge.export/1",
        "path": str(report.path),
        "sha256": report.digest,
        "opset": report.opset,
        "flops": report.flops,
        "files_bytes": report.files_bytes,
        "parity": msgspec.to_builtins(report.parity),
        "notes": report.notes,
        "time_ns": report.time_ns,
    }


def export_rows(report: ExportReport) -> Iterator[Row]:
    """Yield what was written, its proof, what to know, and where the time went."""
    manifest = report.manifest
    yield ("bundle", "path", str(report.path))
    yield ("bundle", "name", f"{manifest.name} {manifest.version}")
    yield ("bundle", "sha256", report.digest)
    source = manifest.source
    framework = f"{source.framework} {source.framework_version}"
    yield ("graph", "from", f"{source.architecture}, {framework}")
    yield ("graph", "opset", str(report.opset))
    yield ("graph", "operations", f"{report.flops / 1e9:.3g} GFLOP a picture")
    for parity in report.parity:
        yield ("parity", f"{parity.cases} {parity.inputs}", parity_text(parity))
    for name, size_bytes in report.files_bytes.items():
        yield ("files", name, bytes_text(size_bytes))
    for note in report.notes:
        yield ("notes", "", note)
    for step, time_ns in report.time_ns.items():
        yield ("time", step, f"{time_ns / 1e9:.2f} s")
