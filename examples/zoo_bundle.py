"""From a trained network of the zoo to its bundle, with figures that the bundle itself reached."""

from __future__ import annotations

import json
import shutil
import string
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import accuracy
import msgspec
import numpy as np
import torch
import zoo_training
from accuracy import Figure
from demo_model import margin_of
from safetensors.torch import save_file
from training import fit_temperature, probabilities
from zoo_data import Gray, ZooData
from zoo_members import Member
from zoo_training import Lesson

import medge
from medge.engine.bundle import open_bundle
from medge.engine.bundle_writer import write_bundle
from medge.engine.manifest import Metric
from medge.exporters.architectures import builder
from medge.exporters.export import ExportRequest, export_bundle
from medge.exporters.sources import parse_source
from medge.exporters.spec import Spec, read_spec

TEMPLATE = Path(__file__).resolve().with_name("zoo.toml")
DISEASE = "pneumonia"
WANTED = 0.95  # part of the diseased that the threshold finds, on the pictures it is set with

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Temperature of the scores, and probability from which the disease is predicted."""

    temperature: float
    threshold: float


def build(name: str, member: Member, data: ZooData, out: Path, say: Say) -> Path:
    """Train, export and measure one network; what an earlier run finished is kept.

    Parameters
    ----------
    out
        Gets ``NAME.medge``, and below ``work/NAME`` what is between.

    Returns
    -------
    Path
        The bundle.
    """
    work, path = out / "work" / name, out / f"{name}.medge"
    work.mkdir(parents=True, exist_ok=True)
    plain = work / "spec.toml"
    plain.write_text(specification(name, member), "utf-8")
    spec = read_spec(plain)
    everything = zoo_training.lesson_of(data, spec.input.mean[0], spec.input.std[0])
    learn = everything.of(data.parts.learn)
    mark = zoo_training.fingerprint(member.recipe, member.source, learn)
    whole = sha256((mark + plain.read_text("utf-8")).encode() + data.parts.threshold.tobytes())
    if _finished(path, work / "finished.json", whole.hexdigest()):
        say("kept, its recipe is the same")
        return path
    start = time.perf_counter()
    network = network_of(member, spec)
    zoo_training.train(network, member.recipe, learn, work, source=member.source, say=say)
    point = operating_point(network, everything.of(data.parts.threshold), member, spec, say)
    trained = time.perf_counter()
    draft = export(network, name, member, point, work)
    exported = time.perf_counter()
    metrics = measured(draft, everything.of(data.parts.validation), say)
    if metrics[0].value < member.aim:
        raise SystemExit(
            f"{name}: {metrics[0].name} is {metrics[0].value:.3f}, aimed at {member.aim}. "
            "Nothing was published; lengthen its stages in zoo_members.py."
        )
    digest = publish(draft, path, metrics)
    shutil.rmtree(draft)
    (work / "finished.json").write_text(json.dumps({"mark": whole.hexdigest(), "digest": digest}))
    say(
        f"trained in {trained - start:.0f} s, exported in {exported - trained:.0f} s, measured in "
        f"{time.perf_counter() - exported:.0f} s: {path}, digest {digest}"
    )
    return path


def specification(name: str, member: Member, learned: str = "") -> str:
    """Return what is said of a network, as TOML; ``learned`` belongs to its only output."""
    template = string.Template(TEMPLATE.read_text("utf-8"))
    said = template.substitute(name=f"zoo-{name}", side=member.side) + learned
    return f"{said}\n[arguments]\n{member.arguments}\n" if member.arguments else said


def network_of(member: Member, spec: Spec) -> torch.nn.Module:
    """Build a network with the start that its recipe's seed gives, as the export will build it."""
    source = parse_source(member.source)
    if source.kind == "timm":
        # The same weights; position embeddings are resampled while smaller pictures are shown.
        spec = msgspec.structs.replace(spec, arguments={**spec.arguments, "dynamic_img_size": True})
    torch.manual_seed(member.recipe.seed)
    return builder(source.kind)(source.name, spec)[0]


def operating_point(
    network: torch.nn.Module, lesson: Lesson, member: Member, spec: Spec, say: Say
) -> OperatingPoint:
    """Fit temperature and threshold on pictures that neither train, nor calibrate, nor judge."""
    scores = zoo_training.scores_of(network, lesson, member.side)
    place = spec.outputs[0].classes.index(DISEASE)
    diseased = lesson.labels == place
    temperature = round(fit_temperature(scores, lesson.labels), 3)
    chance = probabilities(scores, temperature)[:, place]
    threshold = accuracy.threshold_for(chance, diseased, WANTED)
    area = accuracy.area_under_curve(margin_of(scores, place), diseased)
    say(f"threshold {threshold:g}, temperature {temperature:g}; AUC where they were set: {area}")
    return OperatingPoint(temperature, threshold)


def export(
    network: torch.nn.Module, name: str, member: Member, point: OperatingPoint, work: Path
) -> Path:
    """Write the bundle without its figures, and return its path."""
    weights, spec, draft = work / "weights.safetensors", work / "learned.toml", work / "draft.medge"
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, weights)
    threshold = f"{{ label = {json.dumps(DISEASE)}, value = {point.threshold!r} }}"
    learned = f"temperature = {point.temperature!r}\nthresholds = [{threshold}]\n"
    spec.write_text(specification(name, member, learned), "utf-8")
    request = ExportRequest(
        source=member.source, out=draft, weights=weights, spec=spec, overwrite=True
    )
    return export_bundle(request).path


def measured(bundle: Path, lesson: Lesson, say: Say) -> tuple[Metric, ...]:
    """Run the bundle at fp32 on pictures on which nothing in it was chosen; return its figures.

    Pictures go in as their 28 x 28 stored values, so that medge prepares them as it does files.
    """
    with medge.open(bundle, backend="onnxruntime", precision="fp32") as classifier:
        output = classifier.bundle.manifest.outputs[0]
        chances = np.array([chances_of(classifier, picture) for picture in lesson.pictures])
    place, threshold = output.classes.index(DISEASE), output.thresholds[0].value
    diseased = lesson.labels == place
    # The logarithm tells apart what is near 0 and near 1; two classes' difference is the logit.
    area = accuracy.area_under_curve(margin_of(np.log(chances), place), diseased)
    judged = (
        f"this bundle under ONNX Runtime at fp32, {len(diseased)} pictures of PneumoniaMNIST's "
        "validation split, none of which resembles a picture that trained it"
    )
    at = f"the same pictures, at the threshold {threshold:g}, which was set on others"
    found = accuracy.sensitivity(chances[:, place], diseased, threshold)
    spared = accuracy.specificity(chances[:, place], diseased, threshold)
    rows = (
        (f"AUC for {DISEASE}", area, f"{judged}; DeLong interval"),
        (f"sensitivity for {DISEASE}", found, f"{at}; Wilson interval"),
        (f"specificity for {DISEASE}", spared, f"{at}; Wilson interval"),
    )
    for name, figure, method in rows:
        say(f"{name}: {figure}; {method}")
    return tuple(_metric(name, figure, method) for name, figure, method in rows)


def chances_of(classifier: medge.Classifier, picture: Gray) -> list[float]:
    """Return the probability of every class; a picture that is refused ends the build."""
    (result,) = classifier.run(picture)
    if result.fault is not None:
        raise SystemExit(f"{result.bundle} refuses a picture of its own data: {result.fault.rule}")
    return list(result.answers[0].scores.values())


def publish(draft: Path, path: Path, metrics: tuple[Metric, ...]) -> str:
    """Write the bundle again, with its figures, to its own place; return its digest."""
    with open_bundle(draft) as bundle:
        files = {name: bundle.read(name) for name in bundle.manifest.files}
        manifest = msgspec.structs.replace(bundle.manifest, metrics=metrics)
    return write_bundle(path, manifest, files, overwrite=True)


def _metric(name: str, figure: Figure, method: str) -> Metric:
    value, low, high = (round(n, 4) for n in (figure.value, figure.low, figure.high))
    return Metric(name=name, value=value, low=low, high=high, method=method)


def _finished(path: Path, record: Path, mark: str) -> bool:
    """Whether the bundle stands where an earlier build of the same recipe wrote it."""
    if not (record.is_file() and path.is_dir()):
        return False
    with open_bundle(path) as bundle:
        return json.loads(record.read_text("utf-8")) == {"mark": mark, "digest": bundle.digest}
