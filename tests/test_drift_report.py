"""Reports of decisions that are given: several outputs, abstentions, silent frames, many flips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundles import tiny_manifest
from drift_kit import decisions

from medge.bench.decisions import Decisions, Refusal
from medge.bench.drift_report import MOST_FLIPS, Report, judged_classes, report_of
from medge.bench.images import Images
from medge.bench.labels import Labels
from medge.bench.pairing import Pairing
from medge.engine.evidence import Drift, Margins
from medge.engine.manifest import Output, Threshold

SEX = Output(name="sex", classes=("f", "m"))
FINDINGS = Output(
    name="findings", classes=("mass", "effusion"), task="multi-label", activation="sigmoid"
)


def reported(
    before: Decisions, after: Decisions, labels: Labels | None, *outputs: Output
) -> Report:
    images = Images(
        files=before.files,
        digests=tuple("" for _ in before.files),
        states=tuple((0, 0) for _ in before.files),
        labels=labels,
        copies=0,
        excluded=0,
    )
    pairing = Pairing(before, after)
    drift = Drift(
        verdict="not-judged",
        precision="int8",
        against="fp32",
        backend="onnxruntime",
        backend_version="1",
        tier="avx2",
        cases=len(pairing.files),
        flips=int(pairing.flipped.sum()),
        labelled=labels is not None,
        margins=Margins(),
        checks=(),
        data_sha256="0" * 64,
    )
    manifest = tiny_manifest(task="multi-task", outputs=outputs)
    return report_of(drift, pairing, images, manifest, "")


def table(rows: int, *, first: float = 0.9, second: float = 0.1) -> np.ndarray:
    return np.tile([first, second], (rows, 1))


def test_every_output_of_a_multi_task_bundle_has_its_checks_and_figures() -> None:
    rows = 24
    truth = np.arange(rows) % 2 == 0
    scores = {
        "sex": np.stack([truth * 0.8 + 0.1, 0.9 - truth * 0.8], axis=1),
        "findings": table(rows),
    }
    changed = {"sex": scores["sex"], "findings": table(rows, second=0.6)}
    labels = Labels(
        files=tuple(f"{row}.png" for row in range(rows)),
        truth={"sex": np.stack([truth, ~truth], 1), "findings": np.stack([truth, truth], 1)},
        known={"sex": np.ones(rows, bool), "findings": np.arange(rows) < 20},
        groups={},
    )
    report = reported(decisions(scores), decisions(changed), labels, SEX, FINDINGS)
    checks = {check.name: check for check in report.drift.checks}
    assert len(checks) == 1 + 3 * 3
    assert checks["flips"].value == 1.0
    assert checks["specificity drop of effusion (findings)"].value == 1.0
    assert checks["specificity drop of effusion (findings)"].cases == 10
    assert checks["sensitivity drop of effusion (findings)"].value == -1.0
    assert checks["specificity drop of m (sex)"].cases == 12
    assert {flip.output for flip in report.flipped} == {"findings"}
    assert [flip.truth is None for flip in report.flipped] == [False] * 20 + [True] * 4
    assert [(o.output, o.frames, o.accuracy_before) for o in report.outputs] == [
        ("sex", 24, 1.0),
        ("findings", 20, 0.0),
    ]


def test_frames_that_neither_side_answers_are_listed_and_are_no_cases() -> None:
    rows = {"sex": table(3)}
    before = decisions(rows, invalid=[1], refused=[Refusal(2, None, "truncated")])
    after = decisions(rows, invalid=[1, 2], refused=[Refusal(2, None, "truncated")])
    report = reported(before, after, None, SEX)
    assert [(each.file, each.frame, each.rule) for each in report.refused] == [
        ("2.png", None, "truncated"),
        ("1.png", 0, "not-finite-output"),
    ]
    assert (report.drift.cases, report.drift.flips, report.invalid) == (2, 1, 1)
    assert [(flip.before, flip.after) for flip in report.flipped] == [(("f",), None)]


def test_an_abstention_is_an_empty_label_set() -> None:
    before, after = ({"sex": table(1, first=value, second=1 - value)} for value in (0.8, 0.6))
    report = reported(decisions(before, threshold=0.7), decisions(after, threshold=0.7), None, SEX)
    assert [(flip.before, flip.after) for flip in report.flipped] == [(("f",), ())]


def test_the_list_of_flips_is_bounded_and_their_count_is_not() -> None:
    rows = MOST_FLIPS + 500
    before, after = {"sex": table(rows)}, {"sex": table(rows, first=0.2, second=0.8)}
    report = reported(decisions(before), decisions(after), None, SEX)
    assert (len(report.flipped), report.drift.flips) == (MOST_FLIPS, rows)


def test_no_name_of_a_file_breaks_json() -> None:
    rows = {"sex": table(1)}
    before = decisions(rows, refused=[Refusal(0, 1, "x")])
    strange = Decisions(
        files=(Path("\udcff.png"),),
        file=before.file,
        frame=before.frame,
        invalid=before.invalid,
        outputs=before.outputs,
        refused=before.refused,
    )
    assert reported(strange, strange, None, SEX).refused[0].file == r"\xff.png"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (SEX, ("m",)),
        (Output(name="x", classes=("a", "b", "c")), ("a", "b", "c")),
        (
            Output(
                name="x", classes=("a", "b", "c"), thresholds=(Threshold(label="b", value=0.2),)
            ),
            ("b",),
        ),
        (FINDINGS, ("mass", "effusion")),
        (Output(name="x", classes=("a",), task="multi-label", activation="sigmoid"), ("a",)),
    ],
)
def test_the_classes_that_count(output: Output, expected: tuple[str, ...]) -> None:
    assert judged_classes(output) == expected
