"""Sensors of a recorded machine, as files: reading them costs what reading files costs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from medge.profiles.sensors import Sensors, open_sensors

sys.path.insert(0, str(Path(__file__).parents[1]))

from captured_machines import machine

NAME = "laptop_rapl"


@contextmanager
def recorded_sensors() -> Iterator[Sensors]:
    """Unpack a machine, and open what it has."""
    with (
        TemporaryDirectory(prefix="medge-recorded-") as folder,
        open_sensors(machine(NAME, Path(folder))) as sensors,
    ):
        yield sensors
