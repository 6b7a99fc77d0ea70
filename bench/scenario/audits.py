"""Audits of MLPerf: were answers of the performance run right, and were any kept from before."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from medge.bench.scenario import loadgen_logs as logs
from medge.bench.sections import LoadgenRun
from medge.engine.manifest import Manifest

# As mlcommons/inference has them in compliance/TEST01/resnet50 and compliance/TEST04.
AUDIT_CONFIGS = {
    "TEST01": (
        "*.*.mode = 2\n"
        "*.*.accuracy_log_rng_seed = 720381539243781796\n"
        "*.*.accuracy_log_sampling_target = 4096\n"
    ),
    "TEST04": "".join(
        f"*.{scenario}.mode = 2\n"
        f"*.{scenario}.performance_issue_unique = 0\n"
        f"*.{scenario}.performance_issue_same = 1\n"
        f"*.{scenario}.performance_issue_same_index = 3\n"
        for scenario in ("SingleStream", "MultiStream", "Server", "Offline")
    ),
}
TOLERANCE_RATIO = 0.10
SHORT_RATIO = 0.20  # where a query is so short that its overhead weighs
SHORT_NS = {"SingleStream": 200_000, "MultiStream": 1_600_000}


def audited(
    found: LoadgenRun, reference: LoadgenRun | None, answers: bytes | None, manifest: Manifest
) -> LoadgenRun:
    """Return an audit's run with MLPerf's verdict instead of LoadGen's alone.

    TEST01: the answers that were kept in performance mode decide as those of the accuracy run, and
    keeping them cost at most 10 % (compliance/TEST01/verify_performance.py: 20 % where queries are
    short). TEST04: the same picture again and again is at most 10 % faster than different ones, or
    answers are kept from query to query.

    Parameters
    ----------
    reference
        The run in performance mode with the same settings.
    answers
        Folder of the run in accuracy mode, which only TEST01 needs.
    """
    if reference is None:
        raise ValueError("an audit needs the run that it audits")
    said, passed = [], found.valid and reference.valid
    faster = _rate(found) / _rate(reference)
    limit = TOLERANCE_RATIO
    if found.mode == "TEST01":
        short = reference.value <= SHORT_NS.get(found.scenario, -1)
        limit = SHORT_RATIO if short else limit
        within = abs(found.value / reference.value - 1.0) <= limit
        alike, kept = _alike(found, answers, manifest)
        said.append(f"{alike} of {kept} answers decide as in the accuracy run")
        passed = passed and within and kept > 0 and alike == kept
    else:
        passed = passed and faster <= 1.0 + limit
    said.append(f"{faster:.3f} of the audited run's rate; the limit is {1.0 + limit:g}")
    return msgspec.structs.replace(found, valid=passed, told=(*said, *found.told))


def _rate(run: LoadgenRun) -> float:
    """Return a figure of which more is faster."""
    return 1e9 / run.value if run.unit == "ns" else run.value


def _alike(found: LoadgenRun, answers: bytes | None, manifest: Manifest) -> tuple[int, int]:
    """Return how many kept answers decide as those of the accuracy run, and how many there are."""
    if answers is None or found.folder is None:
        raise ValueError("TEST01 needs the answers of the accuracy run")
    truth = dict(logs.read_answers(Path(os.fsdecode(answers)), manifest))
    kept = list(logs.read_answers(Path(found.folder), manifest))
    return sum(truth.get(picture) == decision for picture, decision in kept), len(kept)
