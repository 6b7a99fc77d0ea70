"""The comparison of `make test-arm` finds whatever a board decides, notes or refuses otherwise."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arm.decisions import differences, faults_of, golden_pictures, max_abs
from command_line import Typed

BENIGN = "normal or benign"
Results = list[dict[str, Any]]


@pytest.fixture
def here() -> Results:
    """Two frames: one judged, one refused."""
    scores = {"malignant": 0.25, BENIGN: 0.75}
    answer = {"output": "scores", "labels": ["malignant"], "scores": scores, "abstained": False}
    judged = {
        **{"file": "ok.dcm", "frame": 0, "status": "ok", "prediction": "malignant"},
        **{"answers": [answer], "fault": None, "notes": ["voi-full"], "precision": "fp32"},
        **{"bundle_sha256": "6283", "device": "cpu (one)", "timings": {"infer_ns": 1}},
    }
    fault = {"rule": "element-length", "message": "ends early"}
    refused = judged | {"file": "cut.dcm", "status": "refused", "answers": [], "fault": fault}
    return [judged, refused]


def test_another_device_and_other_timings_are_no_difference(here: Results) -> None:
    there = copy.deepcopy(here)
    there[0] |= {"device": "cpu (another)", "timings": {"infer_ns": 2}}
    there[0]["answers"][0]["scores"]["malignant"] += 9e-6
    assert list(differences(here, there)) == []
    assert max_abs(here, there) == pytest.approx(9e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[0].update(prediction=BENIGN), "prediction differs"),
        (lambda rows: rows[0].update(notes=[]), "notes differs"),
        (lambda rows: rows[0].update(bundle_sha256="77"), "bundle_sha256 differs"),
        (lambda rows: rows[1]["fault"].update(rule="cut-off"), "fault differs"),
        (lambda rows: rows[1].update(status="ok"), "status differs"),
        (lambda rows: rows[0]["answers"][0].update(labels=[]), "another decision"),
        (lambda rows: rows[0]["answers"][0].update(abstained=True), "another decision"),
        (lambda rows: rows[0]["answers"][0]["scores"].pop("malignant"), "another decision"),
        (lambda rows: rows[0].update(answers=[]), "another decision"),
        (lambda rows: rows[0]["answers"][0]["scores"].update(malignant=0.2501), "by 0.0001"),
        (lambda rows: rows[0]["answers"][0]["scores"].update(malignant=np.nan), "by nan"),
        (lambda rows: rows[0]["answers"][0]["scores"].update({BENIGN: np.nan}), "by nan"),
        (lambda rows: rows.pop(), "2 frames here, 1 there"),
        (lambda rows: rows.clear(), "2 frames here, 0 there"),
    ],
)
def test_whatever_is_decided_noted_or_refused_otherwise_is_told(
    here: Results, change: Callable[[Results], object], said: str
) -> None:
    there = copy.deepcopy(here)
    change(there)
    assert said in "\n".join(differences(here, there))


def test_only_an_arm_machine_with_the_wheel_and_neon_is_one() -> None:
    board = {"machine": "aarch64", "kernels": "neon", "medge": "/m/venv/lib/medge/__init__.py"}
    assert list(faults_of(board, Path("/m"))) == []
    for wrong in ({"machine": "x86_64"}, {"kernels": "scalar"}, {"medge": "/elsewhere/medge"}):
        assert len(list(faults_of(board | wrong, Path("/m")))) == 1


def test_golden_pictures_are_judged_both_ways(typed: Typed, tmp_path: Path) -> None:
    for case, picture in enumerate(golden_pictures("chest-x-ray")):
        np.save(tmp_path / f"{case}.npy", picture)
    said = typed("run", tmp_path, "--bundle", "chest-x-ray", "--format", "csv")
    assert said.code == 0
    assert {"normal", "pneumonia"} <= set(said.out.replace("\n", ",").split(","))
