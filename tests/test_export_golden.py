"""Golden cases: few, synthetic, of every class within reach, with decisions that stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from bundles import tiny_manifest

from medge.engine.decide import decide
from medge.engine.manifest import ImageInput, Manifest, Output
from medge.exporters.golden_cases import choose_golden

Scores = dict[str, npt.NDArray[np.float32]]

INPUT = ImageInput(name="image", height=16, width=16, channels=1, mean=(0.0,), std=(1.0,))


def draft(*outputs: Output) -> Manifest:
    task: Any = outputs[0].task if len(outputs) == 1 else "multi-task"
    return tiny_manifest(inputs=(INPUT,), outputs=outputs, task=task)


def left_brighter(image: npt.NDArray[Any]) -> Scores:
    """Answer "rare" for pictures whose left half is brighter than the right one by 0.45."""
    halves = (
        image.mean(axis=(1, 2))[:, :8].mean(axis=1),
        image.mean(axis=(1, 2))[:, 8:].mean(axis=1),
    )
    logit = 10 * (halves[0] - halves[1] - 0.45)
    return {"scores": np.stack([-logit, logit], axis=1).astype("f4")}


RARE = Output(name="scores", classes=("usual", "rare"))


def labels(golden: Any, manifest: Manifest) -> set[tuple[str, ...]]:
    return {
        tuple(label for answer in decide(golden.outputs, row, manifest) for label in answer.labels)
        for row in range(golden.cases)
    }


def test_a_class_that_no_candidate_reaches_is_bred() -> None:
    manifest = draft(RARE)
    drawn, _ = choose_golden(INPUT, manifest, left_brighter, rounds=0)
    assert labels(drawn, manifest) == {("usual",)}, "too easy to prove anything"
    golden, note = choose_golden(INPUT, manifest, left_brighter)
    assert labels(golden, manifest) == {("usual",), ("rare",)}
    assert "different decisions among them: 2" in note


def test_what_they_expect_is_what_the_network_answers_to_them() -> None:
    golden, _ = choose_golden(INPUT, draft(RARE), left_brighter)
    assert 4 <= golden.cases <= 6
    assert golden.inputs["image"].dtype == np.float32
    np.testing.assert_array_equal(
        golden.outputs["scores"], left_brighter(golden.inputs["image"])["scores"]
    )


def test_a_class_out_of_reach_is_said() -> None:
    def never(image: npt.NDArray[Any]) -> Scores:
        mean = image.mean(axis=(1, 2, 3))
        return {"scores": np.stack([mean, mean - 9], axis=1).astype("f4")}

    golden, note = choose_golden(INPUT, draft(RARE), never)
    assert golden.cases == 4
    assert "different decisions among them: 1" in note


def test_the_firmest_case_of_a_decision_is_taken() -> None:
    manifest = draft(RARE)
    golden, note = choose_golden(INPUT, manifest, left_brighter)
    margin = np.abs(np.diff(golden.outputs["scores"], axis=1)).ravel()
    top = np.abs(golden.outputs["scores"]).max()
    stands = int((margin > 2 * 0.05 * top).sum())
    # The note goes by the largest of all candidates, which is no smaller.
    assert stands >= int(note.rpartition(" ")[2]) >= 3


def test_every_label_of_a_multi_label_output_is_wanted() -> None:
    output = Output(
        name="findings", classes=("a", "b", "c"), task="multi-label", activation="sigmoid"
    )

    def findings(image: npt.NDArray[Any]) -> Scores:
        corners = image[:, 0, :6, :6], image[:, 0, :6, 10:], image[:, 0, 10:, :6]
        bright = [30 * (corner.mean(axis=(1, 2)) - 0.6) for corner in corners]
        return {"findings": np.stack(bright, axis=1).astype("f4")}

    manifest = draft(output)
    golden, _ = choose_golden(INPUT, manifest, findings)
    assert {label for found in labels(golden, manifest) for label in found} == {"a", "b", "c"}


@pytest.mark.parametrize("activation", ["softmax", "none"])
def test_the_same_network_gives_the_same_cases(activation: str) -> None:
    def probable(image: npt.NDArray[Any]) -> Scores:
        raw = np.exp(left_brighter(image)["scores"])
        return {"scores": raw / raw.sum(axis=1, keepdims=True)}

    output = Output(name="scores", classes=("usual", "rare"), activation=activation)
    manifest = draft(output)
    one, _ = choose_golden(INPUT, manifest, probable)
    other, _ = choose_golden(INPUT, manifest, probable)
    np.testing.assert_array_equal(one.inputs["image"], other.inputs["image"])
