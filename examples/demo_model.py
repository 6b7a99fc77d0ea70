"""One way for every demo model: cross-validate, set the operating point, train, export."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import accuracy
import numpy as np
import numpy.typing as npt
import torch
from accuracy import Figure
from kernel_training import Recipe, fit
from near_duplicates import grouped_folds, groups_of, similarity
from safetensors.torch import save_file
from training import Scores, TrainingSet, fit_temperature, logits, probabilities

from medge.exporters.export import ExportRequest, export_bundle
from medge.exporters.spec import Spec, read_spec

HERE = Path(__file__).resolve().parent
BUILT_IN = HERE.parent / "medge" / "bundles"
Gray = npt.NDArray[np.uint8]

SOURCE = "scattering:build"  # what `medge export` calls the network
FOLDS = 5
FOLD_SEED = 0


@dataclass(frozen=True, slots=True)
class Pictures:
    """Gray pictures uint8 (n, h, w) at the network's size, classes (n,), and who may train.

    ``train`` is a mask of shape (n,): the shipped weights see only these. ``spoken`` names the
    data in the figures' method.
    """

    values: Gray
    labels: npt.NDArray[np.int64]
    train: npt.NDArray[np.bool_]
    spoken: str


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo model: the file of its specification, its recipe, and how it is judged.

    ``alike_above`` is the correlation from which two pictures are near-duplicates. ``disease`` is
    the class that gets a threshold, at which the ``wanted`` share of its cases is found.
    """

    name: str
    recipe: Recipe
    alike_above: float
    read: Callable[[Path | None, Spec], Pictures]
    bundle: Path
    disease: str | None = None
    wanted: float = 0.9


@dataclass
class Judgement:
    """What cross-validation found: the operating point, and rows of the manifest's metrics."""

    temperature: float
    threshold: float | None = None
    metrics: list[tuple[str, Figure, str]] = field(default_factory=list)

    def add(self, name: str, figure: Figure, method: str) -> None:
        """Keep a figure and print it."""
        self.metrics.append((name, figure, method))
        print(f"{name}: {figure}; {method}", flush=True)


def run(demo: Demo, arguments: Sequence[str] | None = None) -> None:
    """Parse ``cross-validate`` or ``build`` and do it."""
    parser = argparse.ArgumentParser(description=f"Train the demo bundle {demo.name}.")
    parser.add_argument("command", choices=("cross-validate", "build"))
    parser.add_argument("--data", type=Path, help="folder with the pictures; default: fetch them")
    parser.add_argument("--out", type=Path, default=demo.bundle, help="bundle that build writes")
    parser.add_argument("--work", type=Path, default=Path("out"), help="folder for what is between")
    asked = parser.parse_args(arguments)
    spec = read_spec(HERE / f"{demo.name}.toml")
    pictures = demo.read(asked.data, spec)
    scores = out_of_fold(demo, pictures, as_training_set(pictures, spec))
    judgement = judge(demo, pictures, scores, spec.outputs[0].classes)
    if asked.command == "build":
        build(demo, spec, pictures, judgement, asked)


def as_training_set(pictures: Pictures, spec: Spec) -> TrainingSet:
    """Return the pictures as the network's preprocessing shows them, before mean and std."""
    size = (spec.input.height, spec.input.width)
    if pictures.values.shape[1:] != size:
        raise SystemExit(f"Pictures are {pictures.values.shape[1:]}, the specification has {size}.")
    values = torch.from_numpy(pictures.values)[:, None].float() / 255
    classes = len(spec.outputs[0].classes)
    return TrainingSet(values, pictures.labels, classes, spec.input.mean[0], spec.input.std[0])


def out_of_fold(demo: Demo, pictures: Pictures, lesson: TrainingSet) -> Scores:
    """Return logits for every picture from a machine that saw neither it nor its doubles."""
    groups = groups_of(similarity(pictures.values) > demo.alike_above)
    print(f"{len(groups)} pictures in {groups.max() + 1} groups of near-duplicates", flush=True)
    fold = grouped_folds(pictures.labels, groups, FOLDS, FOLD_SEED)
    scores = np.zeros((len(fold), lesson.classes))
    for n in range(FOLDS):
        machine = fit(demo.recipe, lesson.part(fold != n))
        scores[fold == n] = logits(machine, lesson.part(fold == n))
    return scores


def judge(demo: Demo, pictures: Pictures, scores: Scores, classes: tuple[str, ...]) -> Judgement:
    """Fit temperature and threshold on out-of-fold scores; measure them there."""
    method = f"grouped {FOLDS}-fold cross-validation, {pictures.spoken}, near-duplicates in one"
    judgement = Judgement(round(fit_temperature(scores, pictures.labels), 3))
    chances = probabilities(scores, judgement.temperature)
    right = int((chances.argmax(1) == pictures.labels).sum())
    if demo.disease is None:
        figure = accuracy.share(right, len(chances))
        judgement.add("accuracy", figure, f"{method} fold; Wilson interval")
        return judgement
    place = classes.index(demo.disease)
    diseased, chance = pictures.labels == place, chances[:, place]
    figure = accuracy.area_under_curve(margin_of(scores, place), diseased)
    judgement.add(f"AUC for {demo.disease}", figure, f"{method} fold; DeLong interval")
    threshold = accuracy.threshold_for(chance, diseased, demo.wanted)
    judgement.threshold = threshold
    at = f"same scores, at the shipped threshold {threshold:g}, chosen on them; Wilson interval"
    judgement.add(
        f"sensitivity for {demo.disease}", accuracy.sensitivity(chance, diseased, threshold), at
    )
    judgement.add(
        f"specificity for {demo.disease}", accuracy.specificity(chance, diseased, threshold), at
    )
    return judgement


def build(
    demo: Demo, spec: Spec, pictures: Pictures, judgement: Judgement, asked: argparse.Namespace
) -> None:
    """Train the final weights on the train split, and export them."""
    lesson, work = as_training_set(pictures, spec), asked.work / demo.name
    work.mkdir(parents=True, exist_ok=True)
    machine = fit(demo.recipe, lesson.part(pictures.train))
    rest = lesson.part(~pictures.train)
    if demo.disease is not None and len(rest.labels):
        scores, place = logits(machine, rest), spec.outputs[0].classes.index(demo.disease)
        judgement.add(
            f"AUC for {demo.disease}, validation split",
            accuracy.area_under_curve(margin_of(scores, place), rest.labels == place),
            f"the shipped weights on the {len(scores)} pictures of the validation split, some of "
            "which are near-duplicates of training pictures; DeLong interval",
        )
    weights, learned = work / "weights.safetensors", work / "spec.toml"
    save_file({k: v.contiguous() for k, v in machine.state_dict().items()}, weights)
    said = (HERE / f"{demo.name}.toml").read_text("utf-8")
    learned.write_text(said + _learned(demo, judgement, machine.arguments), "utf-8")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    request = ExportRequest(
        source=SOURCE,
        out=asked.out,
        weights=weights,
        spec=learned,
        overwrite=True,
    )
    report = export_bundle(request, lambda step: print(step, file=sys.stderr))
    size = sum(file.stat().st_size for file in report.path.rglob("*") if file.is_file())
    print(f"{report.path}: {size} bytes, digest {report.digest}, {report.flops} FLOPs a picture")
    for note in report.notes:
        print(f"  {note}")


def margin_of(scores: Scores, place: int) -> Scores:
    """Return by how much a class leads the best other one.

    Orders the cases as the probability does, for two classes, without its rounding near 0 and 1.
    """
    return np.asarray(scores[:, place] - np.delete(scores, place, 1).max(1), np.float64)


def _learned(demo: Demo, judgement: Judgement, arguments: dict[str, int]) -> str:
    """Return what training adds to the specification, which ends in its only [[outputs]]."""
    lines = [f"temperature = {judgement.temperature!r}"]
    if judgement.threshold is not None:
        value = f"{{ label = {json.dumps(demo.disease)}, value = {judgement.threshold!r} }}"
        lines.append(f"thresholds = [{value}]")
    for name, figure, method in judgement.metrics:
        numbers = f"value = {figure.value:.4f}\nlow = {figure.low:.4f}\nhigh = {figure.high:.4f}"
        lines.append(
            f"\n[[metrics]]\nname = {json.dumps(name)}\n{numbers}\nmethod = {json.dumps(method)}"
        )
    lines.append("\n[arguments]")
    lines += [f"{name} = {value}" for name, value in arguments.items()]
    return "\n".join(lines) + "\n"
