"""Paired decisions: what a flip is, what a case is, and that failing never looks like ranking."""

from __future__ import annotations

import numpy as np
import pytest
from drift_kit import decisions
from hypothesis import given
from hypothesis import strategies as st

from medge.bench.pairing import Pairing

SCORES = st.lists(st.floats(0, 1, width=32), min_size=4, max_size=24)


def single(values: list[float], **options: object) -> Pairing:
    """A pairing of two-class scores with themselves, or of ``after`` with them."""
    after = options.pop("after", values)
    sides = [np.stack([1 - np.array(v), np.array(v)], axis=1) for v in (values, after)]
    return Pairing(*(decisions({"scores": side}, **options) for side in sides))  # type: ignore[arg-type]


def test_a_changed_label_is_a_flip_and_a_changed_score_is_none() -> None:
    pairing = single([0.1, 0.4, 0.6, 0.9], after=[0.2, 0.6, 0.4, 0.6])
    assert pairing.flipped.tolist() == [False, True, True, False]


def test_a_changed_label_set_of_any_output_is_a_flip() -> None:
    before = {"a": [[0.9, 0.9], [0.9, 0.1]], "b": [[0.9], [0.1]]}
    after = {"a": [[0.9, 0.1], [0.9, 0.1]], "b": [[0.9], [0.1]]}
    assert Pairing(decisions(before), decisions(after)).flipped.tolist() == [True, False]


def test_an_abstention_that_comes_or_goes_is_a_flip() -> None:
    # With a threshold of 0.7 the middle row chooses nothing.
    before = decisions({"scores": [[0.8, 0.2], [0.6, 0.4], [0.6, 0.4]]}, threshold=0.7)
    after = decisions({"scores": [[0.6, 0.4], [0.2, 0.8], [0.5, 0.5]]}, threshold=0.7)
    assert Pairing(before, after).flipped.tolist() == [True, True, False]


def test_no_valid_answer_on_one_side_is_a_flip_and_on_both_no_case() -> None:
    rows = {"scores": [[0.9, 0.1]] * 4}
    pairing = Pairing(decisions(rows, invalid=[0, 1]), decisions(rows, invalid=[1, 2]))
    assert pairing.files.tolist() == [0, 2, 3]
    assert pairing.flipped.tolist() == [True, True, False]


def test_a_file_is_one_case_and_flips_with_any_of_its_frames() -> None:
    pairing = single([0.9] * 5, after=[0.9, 0.1, 0.1, 0.9, 0.9], file=[0, 0, 0, 2, 2])
    assert pairing.files.tolist() == [0, 2]
    assert pairing.flipped.tolist() == [True, False]


def test_a_cine_that_lost_one_frame_is_lost_though_it_gained_another() -> None:
    pairing = single([0.9, 0.1, 0.1, 0.9], after=[0.1, 0.9, 0.9, 0.9], file=[0, 0, 1, 1])
    rights = pairing.rights("scores", 1, np.array([True, True]))
    assert rights.lost.tolist() == [True, False]
    assert rights.gained.tolist() == [False, True]


def test_without_an_answer_nothing_is_right() -> None:
    rows = {"scores": [[0.1, 0.9], [0.9, 0.1]]}
    pairing = Pairing(decisions(rows), decisions(rows, invalid=[0, 1]))
    # The positive is missed, and the negative is not cleared.
    assert pairing.rights("scores", 1, np.array([True, False])).lost.tolist() == [True, True]


def test_without_an_answer_a_case_has_the_worst_score() -> None:
    rows = {"scores": [[0.1, 0.9], [0.9, 0.1]]}
    pairing = Pairing(decisions(rows), decisions(rows, invalid=[0, 1]))
    _, after, having = pairing.scores("scores", 1, np.array([True, False]))
    assert having.all()
    assert after.tolist() == [0.0, 1.0]


def test_the_score_of_a_cine_is_the_mean_of_its_frames() -> None:
    pairing = single([0.2, 0.4, 0.9], after=[0.2, 0.6, 0.9], file=[0, 0, 1])
    before, after, _ = pairing.scores("scores", 1, np.array([False, True]))
    assert before == pytest.approx([0.3, 0.9])
    assert after == pytest.approx([0.4, 0.9])


@given(SCORES, st.data())
def test_what_is_lost_one_way_is_gained_the_other(values: list[float], data: st.DataObject) -> None:
    count = len(values)
    other = data.draw(st.lists(st.floats(0, 1, width=32), min_size=count, max_size=count))
    truth = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    one, turned = single(values, after=other), single(other, after=values)
    np.testing.assert_array_equal(one.flipped, turned.flipped)
    there, back = one.rights("scores", 1, truth), turned.rights("scores", 1, truth)
    np.testing.assert_array_equal(there.lost, back.gained)
    np.testing.assert_array_equal(there.gained, back.lost)


def test_constant_scores_prove_nothing() -> None:
    assert single([0.7] * 9).constant()
    assert not single([0.7] * 8 + [0.71]).constant()


def test_sessions_that_saw_different_frames_cannot_be_paired() -> None:
    rows = {"scores": [[0.9, 0.1]] * 2}
    with pytest.raises(ValueError, match="different frames"):
        Pairing(decisions(rows), decisions(rows, file=[0, 0]))
