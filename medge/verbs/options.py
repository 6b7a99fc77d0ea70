"""Options that mean the same on every verb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from medge.console import FORMATS

EXISTING = click.Path(path_type=Path)  # its reader says better what is wrong with it

F = TypeVar("F", bound=Callable[..., Any])


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
