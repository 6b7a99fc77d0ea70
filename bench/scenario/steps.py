"""Steps of a profile that measure scenarios, each candidate alone while it is measured."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from medge.bench.choose import spoken
from medge.bench.profile.request import Run
from medge.bench.scenario.cine import Cine, limit_s, replay_cine
from medge.bench.scenario.loadgen_plan import loadgen_runs
from medge.engine.state import state_folder
from medge.errors import MedgeError

if TYPE_CHECKING:
    from medge.bench.profile.subject import Subject


def replay(run: Run) -> None:
    """Replay a cine at its frame rate."""
    asked = run.request.scenarios
    if asked is None or asked.pace is None:
        return
    pace = asked.pace
    path = None if asked.cine is None else os.fsencode(asked.cine.absolute())
    seconds = pace.arrival_ns(pace.frames) / 1e9

    def step(subject: Subject) -> None:
        run.told(
            f"replaying {pace.frames} frames at {pace.fps:g} fps for {seconds:.0f} s on "
            f"{spoken(subject.candidate)}"
        )
        subject.deadline = subject.worker.ask(
            replay_cine, Cine(pace=pace, path=path), limit_s(pace)
        )

    run.each(step)


def loadgen(run: Run) -> None:
    """Let LoadGen ask every candidate; what stops it takes nothing of what was found before.

    The last step: after a failure the worker is not to be asked again. Ctrl-C ends it, and what
    was found until then is kept.
    """
    asked = run.request.scenarios
    if asked is None or asked.loadgen is None or run.interrupted:
        return
    folder = _folder(run, asked.logs)
    for number, subject in enumerate(run.going, 1):
        name = f"{number}-{subject.candidate.backend}-{subject.candidate.variant}"
        try:
            for found in loadgen_runs(subject.worker, asked.loadgen, folder / name, run.told):
                subject.loadgen += (found,)
        except MedgeError as error:
            subject.deviations.append(f"LoadGen was stopped: {error}")
        except KeyboardInterrupt:
            subject.deviations.append("LoadGen was interrupted")
            run.interrupted = True
            return


def _folder(run: Run, logs: Path | None) -> Path:
    """Return a folder for the logs of this profile that no other has."""
    moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    place = logs.absolute() if logs is not None else state_folder() / "loadgen"
    return place / f"{run.bundle.manifest.name}-{run.bundle.digest[:8]}-{moment}"
