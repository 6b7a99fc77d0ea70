"""What `medge compile --target` built ahead of time, as rows for people and one object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medge.console import bytes_text

if TYPE_CHECKING:
    from medge.exporters.ahead_of_time import AheadOfTime, PlanRow

COLUMNS = ("variant", "plan", "size", "s", "sha256 or reason")


def plans_rows(found: AheadOfTime) -> Iterator[tuple[str, ...]]:
    """Yield one row a variant, in the bundle's order."""
    for row in found.rows:
        if row.outcome == "built":
            size = bytes_text(row.size_bytes)
            yield (row.variant, "built", size, f"{row.build_s:.2g}", row.sha256[:16])
        else:
            yield (row.variant, "refused", "", "", _why(row))


def plans_notes(found: AheadOfTime) -> Iterator[str]:
    """Yield what a person has to know of all rows together."""
    sm = f"sm_{found.compute_capability.replace('.', '')}"
    yield f"{found.package} {found.version} for {found.gpu} ({sm}), batch {found.batch}"
    yield "built, not run on any GPU"
    yield from found.notes


def _why(row: PlanRow) -> str:
    place = f"{row.operator}: " if row.operator else ""
    return f"by {row.refused_by}: {place}{row.reason}"
