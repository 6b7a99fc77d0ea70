"""Type a command: in this process for speed, in one of its own where signals and pipes matter."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medge import cli

TOOL = Path(sys.executable).with_name("medge")


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Typed:
    """Types commands in this process; stdout and stderr are real files, not terminals."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capfd = capfd

    def __call__(self, *words: object) -> Said:
        self._monkeypatch.setattr(sys, "argv", ["medge", *map(str, words)])
        before = signal.getsignal(signal.SIGTERM)
        self._capfd.readouterr()
        try:
            with pytest.raises(SystemExit) as caught:
                cli.main()
        finally:
            signal.signal(signal.SIGTERM, before)
        out, err = self._capfd.readouterr()
        return Said(int(caught.value.code or 0), out, err)


def process(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the installed command to its end."""
    command = [str(TOOL), *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **options
    )
