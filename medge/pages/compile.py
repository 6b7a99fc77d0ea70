"""What `medge compile` chose and why the others lost, as rows for people and one object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from medge.bench.candidates import precision_name

if TYPE_CHECKING:
    from medge.engine.sealed import Candidate, Row, SealedChoice

COLUMNS = ("candidate", "threads", "ms", "ratio", "why")


def compile_object(sealed: SealedChoice) -> dict[str, Any]:
    """Return the sealed choice in plain JSON types."""
    found: dict[str, Any] = msgspec.to_builtins(sealed)
    return found


def compile_rows(sealed: SealedChoice) -> Iterator[tuple[str, ...]]:
    """Yield one row a candidate: the chosen first, then by their times, then those not timed."""
    for row in sealed.rows:
        yield (
            _name(row.candidate),
            _threads(row.candidate),
            "" if row.picture_ns is None else f"{row.picture_ns / 1e6:.3g}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            _why(row, sealed),
        )


def _why(row: Row, sealed: SealedChoice) -> str:
    if row.outcome != "chosen":
        return row.reason
    shares = ", ".join(
        f"{share * 100:.0f} % {name}" for name, share in sorted(sealed.placement.items()) if share
    )
    drift = sealed.drift
    judged = "the reference" if drift is None else f"drift {drift.verdict}, {drift.cases} images"
    return f"chosen: {shares}; {judged}"


def _name(candidate: Candidate) -> str:
    words = f"{candidate.backend} {precision_name(candidate)}"
    return words if candidate.device == "cpu" else f"{words} {candidate.device}"


def _threads(candidate: Candidate) -> str:
    words = str(candidate.threads)
    if candidate.streams > 1:
        words += f" in {candidate.streams}"
    return words if candidate.batch == 1 else f"{words}, batch {candidate.batch}"
