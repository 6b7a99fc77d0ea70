"""The demo scripts from pictures to bundle, on data made here."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import brain_mri
import breast_ultrasound
import chest_looks
import demo_model
import medmnist_files
import numpy as np
import pytest
from kernel_training import Recipe
from PIL import Image

import medge
from medge.exporters.spec import read_spec


def texture(kind: int, seed: int, side: int = 28) -> np.ndarray:
    """Gray noise: fine for kind 0, coarse for kind 1, coarser and darker for 2 and 3."""
    random = np.random.default_rng((kind, seed))
    step = 2 ** min(kind, 2)
    small = random.integers(60, 190 - 20 * kind, (side // step, side // step))
    return np.kron(small, np.ones((step, step))).astype(np.uint8)


def mnist_folder(folder: Path, train: int = 48, val: int = 16) -> Path:
    arrays = {}
    for split, count in (("train", train), ("val", val)):
        labels = np.arange(count) % 2
        shift = 0 if split == "train" else 1000
        pictures = [texture(label, shift + n) for n, label in enumerate(labels)]
        arrays |= {f"{split}_images": np.stack(pictures), f"{split}_labels": labels[:, None]}
    (folder / "deep").mkdir()
    np.savez(folder / "deep" / "breastmnist_trainval.npz", **arrays)
    return folder


def test_both_splits_are_read_and_only_train_may_train(tmp_path: Path) -> None:
    pictures = medmnist_files.as_pictures("breastmnist", mnist_folder(tmp_path))
    assert pictures.values.shape == (64, 28, 28)
    assert pictures.train.tolist() == [True] * 48 + [False] * 16
    assert pictures.labels.tolist() == [0, 1] * 32
    np.testing.assert_array_equal(pictures.values[48], texture(0, 1000))


def test_a_folder_without_the_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"holds no breastmnist\*\.npz.*medmnist\.com"):
        medmnist_files.read("breastmnist", tmp_path)


def test_pictures_of_another_size_are_refused_by_their_shape(tmp_path: Path) -> None:
    large = {"train_images": np.zeros((2, 64, 64), np.uint8), "train_labels": np.zeros((2, 1))}
    np.savez(tmp_path / "breastmnist_64.npz", **large)
    with pytest.raises(SystemExit, match=r"train holds uint8 \(2, 64, 64\)"):
        medmnist_files.read("breastmnist", tmp_path)


def test_build_goes_from_pictures_to_a_bundle_that_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_model, "FOLDS", 2)
    folder, bundle = mnist_folder(tmp_path), tmp_path / "made.medge"
    demo = dataclasses.replace(breast_ultrasound.DEMO, recipe=Recipe(components=20, views=1))
    said = ["--data", str(folder), "--out", str(bundle), "--work", str(tmp_path / "work")]
    demo_model.run(demo, ["build", *said])
    printed = capsys.readouterr().out
    found = re.search(r"AUC for malignant: ([\d.]+) \(95 % interval", printed)
    assert found is not None
    assert float(found[1]) > 0.95
    with medge.open(bundle, backend="onnxruntime") as classifier:
        answers = [next(iter(classifier.run(texture(kind, 5000)))).answers[0] for kind in (0, 1)]
    assert [answer.labels for answer in answers] == [("malignant",), ("normal or benign",)]


def test_brain_pictures_are_resized_by_the_engine_before_all_else(tmp_path: Path) -> None:
    spec = read_spec(demo_model.HERE / "brain-mri.toml")
    sizes = {
        "glioma": (112, 112),
        "meningioma": (56, 56),
        "notumor": (200, 90),
        "pituitary": (60, 61),
    }
    for kind, (folder, size) in enumerate(sizes.items()):
        (tmp_path / folder).mkdir()
        picture = Image.fromarray(texture(kind % 3, kind, 224)).resize(size)
        picture.save(tmp_path / folder / "one.png")
    pictures = brain_mri.read(tmp_path, spec)
    assert pictures.values.shape == (4, 56, 56)
    assert pictures.labels.tolist() == [0, 1, 2, 3]
    unresized = np.asarray(Image.open(tmp_path / "meningioma" / "one.png"))
    np.testing.assert_array_equal(pictures.values[1], unresized)


def test_large_classes_are_thinned_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brain_mri, "MOST", 2)
    for folder, count in (("glioma", 5), ("meningioma", 2), ("notumor", 1), ("pituitary", 3)):
        (tmp_path / folder).mkdir()
        for n in range(count):
            shade = np.full((56, 56), 10 * n, np.uint8)
            Image.fromarray(shade).save(tmp_path / folder / f"{n}.png")
    pictures = brain_mri.read(tmp_path, read_spec(demo_model.HERE / "brain-mri.toml"))
    assert pictures.labels.tolist() == [0, 0, 1, 1, 2, 3, 3]
    assert pictures.values[:, 0, 0].tolist() == [0, 30, 0, 10, 0, 0, 20]


def test_a_missing_class_is_named(tmp_path: Path) -> None:
    spec = read_spec(demo_model.HERE / "brain-mri.toml")
    with pytest.raises(SystemExit, match="'glioma'"):
        brain_mri.read(tmp_path, spec)


def test_looks_part_every_class_at_the_same_shares() -> None:
    labels = np.array([0] * 40 + [1] * 80)
    look = np.random.default_rng(0).normal(size=120) + 5 * labels
    known, judged = chest_looks.parted(look, labels)
    assert not (known & judged).any()
    for label, count in ((0, 40), (1, 80)):
        members = labels == label
        assert (known & members).sum() == 0.55 * count
        assert (judged & members).sum() == 0.25 * count
        assert look[known & members].max() < look[judged & members].min()


def test_a_blurred_darker_picture_has_less_of_every_look() -> None:
    sharp = texture(0, 1)
    dull = np.asarray(Image.fromarray(sharp).reduce(4).resize((28, 28)), np.float64) * 0.5
    for measure in chest_looks.looks(np.stack((dull.astype(np.uint8), sharp))).values():
        assert measure[0] < measure[1]
