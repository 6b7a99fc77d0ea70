"""The soak of a profile: every candidate in turn works and rests in its own process."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from medge.bench.choose import spoken
from medge.bench.energy import nvml_part
from medge.bench.scenario.burst import Work, Worked, work
from medge.bench.scenario.soak import Duty, Soaking
from medge.bench.sections import Absent
from medge.errors import MedgeError

if TYPE_CHECKING:
    from medge.bench.profile.process import Worker
    from medge.bench.profile.request import Run
    from medge.bench.profile.subject import Subject

WARM_NS = 1_000_000_000  # of calls before the first minute, which the last is compared with
ANSWER_S = 60.0  # for a burst to be answered, beside ten times its own length


def soak(run: Run) -> None:
    """Soak one candidate after the other; on Ctrl-C keep what there is, and soak no more."""
    duty = run.request.soak
    if duty is None:
        return

    def step(subject: Subject) -> None:
        if run.interrupted:
            subject.soak = Absent(reason="the profile was interrupted before its soak")
            return
        run.told(f"soaking {spoken(subject.candidate)} for {duty.total_ns / 60e9:g} min")
        _soak(run, subject, duty)

    run.each(step)


def _soak(run: Run, subject: Subject, duty: Duty) -> None:
    burst = partial(_burst, subject.worker)
    burst(WARM_NS)
    soaking = Soaking(duty)
    begun_ns = time.perf_counter_ns()
    try:
        soaking.run(burst)
    except KeyboardInterrupt:
        run.interrupted = True
    except MedgeError as error:  # what was measured until then is worth as much as before
        subject.deviations.append(f"the soak ended before its time: {error.rule}")
    trace = run.sampler.trace(0, begun_ns, time.perf_counter_ns())
    parts = nvml_part(subject.candidate) or "cpu"
    subject.soak = soaking.result(trace if run.request.sensors else None, parts)


def _burst(worker: Worker, duration_ns: int) -> Worked:
    asked = Work(duration_ns=duration_ns)
    return worker.ask(work, asked, limit_s=ANSWER_S + 10.0 * duration_ns / 1e9)
