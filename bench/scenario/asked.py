"""Which scenarios a profile is asked for beside its latencies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medge.bench.scenario.deadline import Pace
from medge.bench.scenario.loadgen_plan import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenarios:
    """What is replayed, and what LoadGen is asked for; None for neither.

    Parameters
    ----------
    cine
        The multi-frame file that is replayed at ``pace``; None for one that is made.
    logs
        Where LoadGen's logs go, in a folder of their own; None for the state folder.
    """

    pace: Pace | None = None
    cine: Path | None = None
    loadgen: Request | None = None
    logs: Path | None = None
