"""Decisions: the bundle's operating points applied to the network's raw outputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.special
from bundles import tiny_manifest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from medge.engine.decide import decide
from medge.engine.manifest import Manifest, Output, Threshold
from medge.engine.prediction import INVALID_RULES, Answer
from medge.errors import InputError

CLASSES = ("a", "b", "c")


def manifest(*, thresholds: dict[str, float] | None = None, **changes: Any) -> Manifest:
    output = Output(
        name="scores",
        classes=changes.pop("classes", CLASSES),
        thresholds=tuple(Threshold(label=k, value=v) for k, v in (thresholds or {}).items()),
        **changes,
    )
    return tiny_manifest(task=output.task, outputs=(output,))


def answer(raw: list[float], **changes: Any) -> Answer:
    outputs = {"scores": np.array([[9.0] * len(raw), raw], "f4")}
    (only,) = decide(outputs, 1, manifest(**changes))
    return only


def logits(*probabilities: float) -> list[float]:
    return [math.log(p) for p in probabilities]


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(finite, min_size=3, max_size=3), st.floats(0.01, 100))
def test_softmax_is_scipys_for_any_finite_logits(raw: list[float], temperature: float) -> None:
    found = list(answer(raw, temperature=temperature).scores.values())
    expected = scipy.special.softmax(np.array(raw, "f4").astype("f8") / temperature)
    assert found == pytest.approx(expected.tolist(), abs=1e-12)
    assert math.fsum(found) == pytest.approx(1.0, abs=1e-12)


@given(st.lists(finite, min_size=3, max_size=3), st.floats(0.01, 100))
def test_sigmoid_is_scipys_for_any_finite_logits(raw: list[float], temperature: float) -> None:
    found = answer(raw, task="multi-label", activation="sigmoid", temperature=temperature)
    expected = scipy.special.expit(np.array(raw, "f4").astype("f8") / temperature)
    assert list(found.scores.values()) == pytest.approx(expected.tolist(), abs=1e-12)


def test_scores_are_plain_floats_in_the_bundles_order() -> None:
    scores = answer([1.0, 3.0, 2.0]).scores
    assert tuple(scores) == CLASSES
    assert {type(score) for score in scores.values()} == {float}


def test_without_thresholds_the_most_probable_class_is_chosen() -> None:
    assert answer([1.0, 3.0, 2.0]).labels == ("b",)


def test_equal_scores_give_the_class_that_the_bundle_names_first() -> None:
    assert answer([2.0, 2.0, 2.0]).labels == ("a",)


@pytest.mark.parametrize(
    ("probabilities", "label"),
    [
        ((0.6, 0.25, 0.15), "c"),  # c reaches 0.1 and stands first
        ((0.6, 0.35, 0.05), "b"),  # b reaches 0.3
        ((0.6, 0.29, 0.09), "a"),  # neither does: the rest is a
        ((0.05, 0.29, 0.09), "a"),  # a, though it is the least probable: it is what remains
    ],
)
def test_the_first_threshold_that_is_reached_decides(
    probabilities: tuple[float, ...], label: str
) -> None:
    total = sum(probabilities)
    thresholds = {"c": 0.1 / total, "b": 0.3 / total}
    assert answer(logits(*probabilities), thresholds=thresholds).labels == (label,)


def test_a_threshold_that_is_just_met_is_met() -> None:
    raw = [0.75, 0.25, 0.0]
    assert answer(raw, activation="none", thresholds={"b": 0.25}).labels == ("b",)


def test_a_winner_below_the_limit_of_abstention_is_no_prediction_but_keeps_its_scores() -> None:
    found = answer(logits(0.5, 0.3, 0.2), abstain_below=0.51)
    assert (found.labels, found.abstained) == ((), True)
    assert found.scores["a"] == pytest.approx(0.5)
    assert answer(logits(0.52, 0.28, 0.2), abstain_below=0.51).labels == ("a",)


def test_multi_label_names_every_class_that_reaches_its_threshold_or_one_half() -> None:
    raw = [scipy.special.logit(p) for p in (0.6, 0.35, 0.45)]
    found = answer(raw, task="multi-label", activation="sigmoid", thresholds={"b": 0.3})
    assert (found.labels, found.abstained) == (("a", "b"), False)
    none = answer([-9.0] * 3, task="multi-label", activation="sigmoid")
    assert (none.labels, none.abstained) == ((), False)


@pytest.mark.parametrize(
    "raw", [[0.5, 0.4, 0.0], [0.5, 0.5, 0.1], [1.2, -0.2, 0.0], [0.0, 0.0, 0.0]]
)
def test_scores_that_should_be_probabilities_and_are_not_give_no_class(raw: list[float]) -> None:
    with pytest.raises(InputError) as caught:
        answer(raw, activation="none")
    assert caught.value.rule == "not-probabilities"
    assert caught.value.rule in INVALID_RULES


def test_multi_label_probabilities_need_no_sum() -> None:
    assert answer([0.9, 0.9, 0.1], task="multi-label", activation="none").labels == ("a", "b")


def test_rounding_beyond_0_and_1_is_no_fault_and_is_taken_off() -> None:
    scores = answer([1.0 + 5e-7, -5e-7, 0.0], activation="none").scores
    assert list(scores.values()) == [1.0, 0.0, 0.0]


def test_every_output_of_a_multi_task_network_is_answered() -> None:
    first = manifest(classes=("x", "y")).outputs[0]
    both = tiny_manifest(task="multi-task", outputs=(first, replace(first, name="view")))
    outputs = {"scores": np.array([[0.0, 1.0]], "f4"), "view": np.array([[1.0, 0.0]], "f4")}
    assert [(a.output, a.labels) for a in decide(outputs, 0, both)] == [
        ("scores", ("y",)),
        ("view", ("x",)),
    ]
