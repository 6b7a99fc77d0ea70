"""Fixtures that several files of tests share."""

from __future__ import annotations

import pytest
from command_line import Typed


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Typed:
    """Type a command line and get exit code, stdout and stderr."""
    return Typed(monkeypatch, capfd)
