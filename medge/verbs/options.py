"""Options that mean the same on every verb."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from medge.console import FORMATS

EXISTING = click.Path(path_type=Path)  # its reader says better what is wrong with it

MOST_BATCH = 4096

F = TypeVar("F", bound=Callable[..., Any])

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|)", re.ASCII)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


class FiniteRange(click.FloatRange):
    """A range of numbers; NaN lies within every range of click's, infinity within open ones."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def seconds(text: str) -> float:
    """Read a duration, such as ``90``, ``90s``, ``10m`` or ``1h``, in seconds."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise click.BadParameter("a duration is a number of seconds, or 90s, 10m, 1h.")
    return float(found[1]) * _SECONDS[found[2]]


def bundle_option(command: F) -> F:
    """Add ``--bundle``, the same on every verb."""
    return click.option(
        "--bundle",
        metavar="NAME|PATH",
        help="Bundle folder or built-in name. Default: $MEDGE_BUNDLE, else breast-ultrasound.",
    )(command)


def output_options(command: F) -> F:
    """Add ``--format``, ``--json`` and ``-o``, the same on every verb that shows results."""
    command = click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write here instead.",
    )(command)
    return format_options(command)


def format_options(command: F) -> F:
    """Add ``--format`` and ``--json``, for verbs whose ``-o`` names something else."""
    command = click.option("--json", "as_json", is_flag=True, help="Short for --format json.")(
        command
    )
    return click.option(
        "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True
    )(command)
