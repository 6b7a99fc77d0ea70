"""A new process that does once what `medge run` does, and says when each step was done.

Run as ``python -m medge.bench.profile.cold_worker``; one document on stdin, one line on stdout.
"""

from __future__ import annotations

import time

STARTED_NS = time.perf_counter_ns()  # before anything that `medge run` needs is imported

import os  # noqa: E402
import sys  # noqa: E402


def main() -> None:
    """Open, load, prove and judge one file; the answer is the moments after each step."""
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing may mix with the answer
    raw = sys.stdin.buffer.read()
    # From here on as `medge run`, whose imports are timed as a step of their own.
    from pathlib import Path  # noqa: PLC0415

    import msgspec  # noqa: PLC0415

    from medge.bench.profile.cold_moments import Cold, Moments  # noqa: PLC0415
    from medge.engine.bundle import open_bundle  # noqa: PLC0415
    from medge.engine.cache import EngineCache  # noqa: PLC0415
    from medge.engine.classify import Classifier  # noqa: PLC0415
    from medge.engine.select import Choice  # noqa: PLC0415
    from medge.engine.selftest import self_test  # noqa: PLC0415
    from medge.engine.session import Session  # noqa: PLC0415
    from medge.errors import MedgeError  # noqa: PLC0415

    asked = msgspec.json.decode(raw, type=Cold)
    candidate = asked.candidate
    choice = Choice(
        backend=candidate.backend,
        device=candidate.device,
        variant=candidate.variant,
        precision=candidate.precision,
        threads=candidate.threads,
        streams=candidate.streams,
        batch=candidate.batch,
    )
    moments = [STARTED_NS, time.perf_counter_ns()]
    fault = ""
    try:
        bundle = open_bundle(Path(os.fsdecode(asked.folder)), wait=False)
        moments.append(time.perf_counter_ns())
        session = Session(bundle, choice, cache=EngineCache() if asked.sealed else None)
        moments.append(time.perf_counter_ns())
        tested = self_test(session, bundle)
        moments.append(time.perf_counter_ns())
        classifier = Classifier(bundle, choice, session, tested)
        result = next(classifier.stream(Path(os.fsdecode(asked.file))))
        moments.append(time.perf_counter_ns())
        fault = "" if result.fault is None else result.fault.rule
    except MedgeError as error:
        fault = error.rule
    os.write(answers, msgspec.json.encode(Moments(tuple(moments), fault)) + b"\n")


if __name__ == "__main__":
    main()
