"""The review's shares, counted again: the counts, and where the printed figures differ."""

from __future__ import annotations

import pytest

from medge.profiles.shares import RULES, Share, shares
from medge.profiles.study import studies

# Counts of the survey of the review, section "Counts"; of 45 studies for GPUs, else of 80.
COUNTS = {
    "modality": {"X-ray": 35, "MRI": 29, "ultrasound": 16},
    "organ": {
        "lungs": 27,
        "brain": 25,
        "mammary gland": 8,
        "thoracic cavity": 6,
        "liver": 5,
        "thyroid gland": 4,
        "bones": 2,
        "spine": 1,
        "uterus": 1,
        "prostate gland": 1,
    },
    "size": {
        "fewer than 1000 samples": 23,
        "1000 to 10000": 38,
        "10000 to 100000": 14,
        "more than 100000": 5,
    },
    "model": {
        "a CNN of their own": 29,
        "several networks or a hybrid": 17,
        "ResNet": 7,
        "VGG-16": 6,
        "EfficientNet": 4,
        "DenseNet": 4,
        "genetic DCNN": 2,
        "others": 11,
    },
    "network": {
        "VGG as a part": 9,
        "ResNet as a part": 16,
        "DenseNet as a part": 7,
        "EfficientNet as a part": 5,
        "Inception or GoogLeNet as a part": 6,
        "Xception as a part": 2,
        "MobileNet as a part": 2,
        "a transformer as a part": 2,
    },
    "framework": {
        "TensorFlow or Keras": 31,
        "TensorFlow with Keras or Colab": 22,
        "PyTorch": 14,
        "Caffe": 4,
        "MATLAB": 4,
        "Theano with Keras": 2,
        "no framework named": 24,
    },
    "hardware": {
        "any hardware named": 50,
        "GPU model named": 45,
        "any words on a CPU": 25,
        "CPU model identifiable": 10,
        "system memory stated": 27,
        "GPU memory stated": 26,
        "GPU memory that the card does not have": 8,
        "more than one GPU": 5,
        "training time listed": 7,
        "a cloud named": 9,
    },
    "GPU": {
        "Kepler": 2,
        "Maxwell": 7,
        "Pascal": 21,
        "Volta": 5,
        "Turing": 10,
        "Ampere": 1,
        "Ada Lovelace, Hopper, Blackwell": 0,
    },
    "GPU rates": {
        "with tensor cores": 16,
        "FP16 no faster than FP32": 27,
        "only compute capability below 7.5": 34,
    },
    "GPU memory": {
        "2 GB in the card itself": 4,
        "4 GB": 2,
        "5 GB": 2,
        "6 GB": 1,
        "8 GB": 7,
        "11 GB": 7,
        "12 GB": 11,
        "16 GB": 8,
        "24 GB": 2,
        "32 GB": 1,
    },
}
DIFFERENT = {
    ("modality", "MRI"),
    ("modality", "ultrasound"),
    ("size", "1000 to 10000"),
    ("model", "EfficientNet"),
    ("framework", "TensorFlow with Keras or Colab"),
}


def found(group: str, what: str) -> Share:
    return next(share for share in shares() if (share.group, share.what) == (group, what))


def test_every_share_is_counted_as_in_the_survey() -> None:
    counted: dict[str, dict[str, int]] = {}
    for share in shares():
        counted.setdefault(share.group, {})[share.what] = share.count
    assert counted == COUNTS


def test_every_rule_is_used_and_every_group_has_one() -> None:
    assert set(RULES) == {share.group for share in shares()}


@pytest.mark.parametrize("group", ["modality", "organ", "size", "model"])
def test_a_partition_holds_every_study_once(group: str) -> None:
    refs = [ref for share in shares() if share.group == group for ref in share.refs]
    assert sorted(refs) == list(studies())


def test_the_printed_shares_that_differ_are_named_and_explained() -> None:
    different = {(share.group, share.what) for share in shares() if share.agrees is False}
    assert different == DIFFERENT
    assert all(share.explanation for share in shares() if share.agrees is False)


def test_a_printed_share_agrees_when_the_count_rounds_to_it() -> None:
    assert found("organ", "lungs").agrees  # 27 of 80 is 33.75 %, printed 34 %
    assert found("framework", "Theano with Keras").agrees  # 2.5 %, printed 3 %
    assert found("GPU", "Pascal").agrees is None


def test_gpu_shares_are_of_the_45_studies_that_name_one() -> None:
    ratio = found("GPU", "Pascal").ratio
    assert ratio == pytest.approx(21 / 45)
    assert found("hardware", "GPU model named").count == 45


def test_refs_let_a_reader_check_a_count() -> None:
    assert found("GPU", "Kepler").refs == (63, 95)
    assert found("GPU", "Ampere").refs == (41,)
    assert found("model", "EfficientNet").refs == (49, 91, 98, 102)
