"""Options of a soak: how long, and how much of it is work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from medge.verbs.options import seconds

if TYPE_CHECKING:
    from medge.bench.scenario.soak import Duty

USUAL_DUTY = "12s/48s"
LONGEST_S = 7 * 24 * 3600.0

F = TypeVar("F", bound=Callable[..., Any])


def soak_options(command: F) -> F:
    """Add ``--soak`` and ``--duty``; ``duty_of`` makes one thing of both."""
    command = click.option(
        "--duty",
        metavar="WORK/REST",
        help=f"Of the soak, again and again. [default: {USUAL_DUTY}]",
    )(command)
    return click.option(
        "--soak", metavar="TIME", help="Then work and rest in turn so long, such as 30m."
    )(command)


def duty_of(soak: str | None, duty: str | None) -> Duty | None:
    """Return what both options ask for, None for no soak.

    Raises
    ------
    click.UsageError
        They make no sense, alone or together.
    """
    from medge.bench.scenario.soak import Duty

    if soak is None:
        if duty is not None:
            raise click.UsageError("--duty needs --soak, how long to work and rest in turn.")
        return None
    total_s = _within(soak, "--soak")
    work, slash, rest = (duty or USUAL_DUTY).partition("/")
    if not slash:
        raise click.BadParameter("a duty is work and rest, such as 12s/48s.", param_hint="--duty")
    work_s, rest_s = _within(work, "--duty"), _within(rest, "--duty", zero=True)
    return Duty(*(round(1e9 * each) for each in (total_s, work_s, rest_s)))


def _within(text: str, option: str, *, zero: bool = False) -> float:
    try:
        found = seconds(text)
    except click.BadParameter as error:
        error.param_hint = option
        raise
    if found > LONGEST_S or (not found and not zero):
        raise click.BadParameter("a duration is above 0 and a week at most.", param_hint=option)
    return found
