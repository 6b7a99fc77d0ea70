"""Options of `medge profile` that ask for scenarios: the frame deadline and MLPerf LoadGen."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from medge.errors import DeadlineError
from medge.verbs.options import EXISTING, FiniteRange

if TYPE_CHECKING:
    from medge.bench.profile.run import Profiled
    from medge.bench.scenario.asked import Scenarios
    from medge.bench.sections import Deadline

SHORT, OFFICIAL, AUDITED = "short", "official", "audited"

F = TypeVar("F", bound=Callable[..., Any])


def scenario_options(command: F) -> F:
    """Add what ``scenarios_of`` reads, and ``--hold``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def scenarios_of(
    *,
    fps: float | None,
    cine: Path | None,
    frames: int | None,
    hold: bool,
    loadgen: str | None,
    loadgen_logs: Path | None,
) -> Scenarios | None:
    """Return the scenarios that were asked for, None for none.

    Raises
    ------
    click.UsageError
        An option stands without the one that it belongs to.
    BackendError
        Rule ``loadgen-absent``: at once, and not after all else was measured.
    """
    from medge.bench.scenario.asked import Scenarios
    from medge.bench.scenario.deadline import FRAMES, pace_of
    from medge.bench.scenario.loadgen import load_library
    from medge.bench.scenario.loadgen_plan import Request

    alone = {"--cine": cine, "--frames": frames, "--hold": hold or None}
    for name, value in alone.items():
        if value is not None and fps is None:
            raise click.UsageError(f"{name} needs --fps, the rate at which frames arrive.")
    if fps is not None and math.isnan(fps):  # which is within any range
        raise click.BadParameter("a rate is a number.", param_hint="--fps")
    if loadgen_logs is not None and loadgen is None:
        raise click.UsageError("--loadgen-logs needs --loadgen.")
    if fps is None and loadgen is None:
        return None
    if loadgen is not None:
        load_library()
    return Scenarios(
        pace=None if fps is None else pace_of(fps, frames or FRAMES),
        cine=cine,
        loadgen=(
            None
            if loadgen is None
            else Request(official=loadgen != SHORT, audits=loadgen != OFFICIAL)
        ),
        logs=loadgen_logs,
    )


def late_code(profiled: Profiled, *, hold: bool) -> int:
    """Return the exit code of deadlines that were to be held: 7 where one is not certified."""
    return DeadlineError.exit_code if hold and _late(profiled) else 0


def hold_all(profiled: Profiled) -> None:
    """Refuse the first deadline that is not certified.

    Raises
    ------
    DeadlineError
        Rule ``deadline``.
    """
    from medge.bench.scenario.deadline import hold

    for found in _late(profiled):
        hold(found)


def _late(profiled: Profiled) -> list[Deadline]:
    from medge.bench.sections import Deadline

    sections = [result.sections for result in profiled.results if result.sections is not None]
    found = [each.deadline for each in sections if isinstance(each.deadline, Deadline)]
    return [each for each in found if not each.certified]


_OPTIONS = (
    click.option(
        "--fps",
        type=FiniteRange(0, 1000, min_open=True),
        metavar="HZ",
        help="Replay a cine at this rate: which decisions come before the next frame?",
    ),
    click.option("--cine", type=EXISTING, metavar="FILE", help="The cine. Default: a made one."),
    click.option(
        "--frames", type=click.IntRange(1, 1_000_000), help="Frames to replay.  [default: 900]"
    ),
    click.option("--hold", is_flag=True, help="Exit code 7 unless 99 % are proven to be in time."),
    click.option(
        "--loadgen",
        is_flag=False,
        flag_value=SHORT,
        type=click.Choice([SHORT, OFFICIAL, AUDITED]),
        help="Let MLPerf LoadGen ask: a minute; with its own settings 50, audited 2 hours.",
    ),
    click.option("--loadgen-logs", type=EXISTING, metavar="DIR", help="Keep its logs here."),
)
