"""Fixtures that several files of tests share."""

from __future__ import annotations

import gc

import pytest
from command_line import Typed

gc.disable()  # until all tests are collected: what they import stays


def pytest_collection_finish() -> None:
    """Leave half a million objects of imported modules out of every later collection."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what a test learns of this machine away from what its user learned, and from others."""
    monkeypatch.setenv("MEDGE_HOME", str(tmp_path_factory.mktemp("medge-home")))


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Typed:
    """Type a command line and get exit code, stdout and stderr."""
    return Typed(monkeypatch, capfd)
