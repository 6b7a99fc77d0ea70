"""Progress of long work: one line that is written over, with the time that is left."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable

import click

KNOWN_RATIO = 0.02  # before so much is done, what is left cannot be told


class Eta:
    """Tells a person at a terminal what is being done and how long it will still take.

    Nothing is written where stderr is no terminal.

    Parameters
    ----------
    clock
        Seconds that never go back.
    live
        None asks whether stderr is a terminal.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, live: bool | None = None
    ) -> None:
        self._clock = clock
        self._start_s = clock()
        self._live = sys.stderr.isatty() if live is None else live
        self._width = 0

    def __call__(self, what: str, done_ratio: float) -> None:
        """Say what begins, and that ``done_ratio`` (0 to 1) of all is behind."""
        if self._live:
            self._write(f"{what}{self._left(done_ratio)}")

    def clear(self) -> None:
        """Take the line away, so that what follows begins on an empty one."""
        if self._live and self._width:
            self._write("")
            click.echo("\r", err=True, nl=False)

    def _left(self, done_ratio: float) -> str:
        percent = f" · {100 * done_ratio:.0f} %"
        if not KNOWN_RATIO <= done_ratio < 1:
            return percent
        left_s = (self._clock() - self._start_s) * (1 - done_ratio) / done_ratio
        return f"{percent} · {duration_text(left_s)} left"

    def _write(self, line: str) -> None:
        line = line[: shutil.get_terminal_size((80, 24)).columns - 1]  # a wrapped line would stay
        click.echo(f"\r{line.ljust(self._width)}", err=True, nl=False)
        self._width = len(line)


def duration_text(seconds: float) -> str:
    """Write a time as a person would: 40 s, 3 min, 1 h 20 min."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
