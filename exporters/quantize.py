"""Quantize: from a bundle to a new one with narrower variants, each with what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np

from medge.engine.bundle_writer import check_place, write_bundle
from medge.engine.evidence import Drift
from medge.engine.golden import pack_golden
from medge.engine.manifest import GOLDEN, LAYERS, MODEL, VARIANTS, Variant
from medge.errors import UsageError
from medge.exporters.histogram import METHODS, Method
from medge.exporters.journal import Journal
from medge.exporters.memory import Judge, Memory, Stopwatch
from medge.exporters.mixed import Found, Means, can_improve, layer_groups, search

if TYPE_CHECKING:
    from medge.engine.bundle import Bundle
    from medge.engine.manifest import Manifest
    from medge.exporters.calibrate import CalibrationSet
    from medge.exporters.network import Tensor
    from medge.exporters.precision import Candidate, Precisions
    from medge.exporters.screening import Screen

PRECISIONS = ("fp16", "int8", "int8-cpu", "mixed")
MIXED = {"int8": "mixed", "int8-cpu": "mixed-cpu"}  # what is searched where full INT8 loses
AUTO = "auto"
NO_GAIN_RATIO = 0.95  # of fp32's time: a variant that is no faster is no gain


@dataclass(frozen=True, slots=True)
class QuantizeRequest:
    """What to quantize and how; the options of ``medge quantize``.

    Attributes
    ----------
    method
        How ranges are found: ``minmax``, ``percentile``, ``entropy``, or ``auto``: the one whose
        outputs stay closest on calibration pictures.
    precisions
        Of PRECISIONS. ``mixed`` is searched for only where full INT8 does not pass.
    time_budget_s
        What the search for mixed precision may take.
    judged_by
        Digest of all that verdicts depend on but the graph: pictures, labels, margins, runtimes. A
        search that was stopped goes on where this, the bundle and the calibration are the same.
    """

    out: Path
    method: str = AUTO
    precisions: tuple[str, ...] = PRECISIONS
    time_budget_s: float = 600.0
    judged_by: str = ""
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """One variant as it was written, and why it is what it is."""

    variant: Variant
    judged: tuple[Drift, ...]  # on every backend; empty without pictures to judge on
    bytes: int


@dataclass(frozen=True, slots=True)
class QuantizeReport:
    """What was written, what was found on the way, and how long each step took."""

    path: Path
    digest: str
    parent_sha256: str
    manifest: Manifest
    made: tuple[Made, ...]
    calibration_frames: int
    calibration_sha256: str
    refused: dict[str, int]  # calibration files by rule
    advice: tuple[str, ...]  # what is best here when no variant passed
    notes: tuple[str, ...]
    time_ns: dict[str, int]


@dataclass
class _Work:
    """One run: what it has, and its steps as they are told and timed."""

    bundle: Bundle
    pictures: CalibrationSet
    request: QuantizeRequest
    judge: Judge | None
    stopwatch: Stopwatch | None
    progress: Callable[[str], None]
    time_ns: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    journal: Memory = field(init=False)

    def __post_init__(self) -> None:
        said = [self.bundle.digest, self.pictures.sha256, self.request.judged_by]
        self.journal = Memory(Journal(said))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name)
        start = time.perf_counter_ns()
        yield
        self.time_ns[name] = self.time_ns.get(name, 0) + time.perf_counter_ns() - start


def quantize_bundle(
    bundle: Bundle,
    pictures: CalibrationSet,
    request: QuantizeRequest,
    *,
    judge: Judge | None = None,
    stopwatch: Stopwatch | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> QuantizeReport:
    """Calibrate, make the variants, have them judged, and write all in a new bundle.

    The new bundle is written whatever the verdicts are; they stand in its manifest. Of the old one
    it keeps the fp32 graph, byte for byte, and no other variant.

    Parameters
    ----------
    pictures
        What ``calibrate.read_calibration_set`` found; none of them may judge.
    judge
        None: nothing is judged, and the manifest holds no drift.
    stopwatch
        None: where several graphs are equally close to fp32, the closest is taken.

    Raises
    ------
    UsageError
        A precision or method is unknown, or a calibration picture gives no finite numbers.
    BundleError
        The bundle, or a graph made from it, is refused.
    StorageError
        The new bundle cannot be written there.
    """
    from medge.exporters.calibrate import observe
    from medge.exporters.precision import Precisions
    from medge.exporters.screening import Screen

    check_request(request)
    work = _Work(bundle, pictures, request, judge, stopwatch, progress)
    graph = bundle.read(MODEL)
    with work.step("fold the graph"):
        precisions = Precisions(graph)
    if not precisions.view.compute_nodes():
        raise UsageError(
            "nothing-to-quantize",
            "The graph has no convolution and no matrix product, so no precision would change it.",
        )
    with work.step("calibrate"):
        watch = precisions.watch(extremes="fp16" in request.precisions)
        precisions.learn(observe(precisions.model, watch, pictures))
    screen = Screen(precisions.model, pictures, bundle.manifest)
    made = [_best(work, ways) for ways in _candidates(work, precisions, screen)]
    if "mixed" in request.precisions and judge is not None:
        made += _mixed(work, precisions, made)
    work.notes += screen.notes
    return _written(work, graph, made)


def check_request(request: QuantizeRequest) -> None:
    """Refuse what makes no sense, before any work is done.

    Raises
    ------
    UsageError
        Rule ``export-packages``, ``precisions`` or ``quantize-method``, or those of
        ``check_place``.
    """
    if not any(metadata.distributions(name="onnx")):
        raise UsageError(
            "export-packages",
            'Quantizing needs the package onnx: python -m pip install "medge[export]"',
        )
    check_place(request.out, overwrite=request.overwrite)
    if set(request.precisions) - set(PRECISIONS) or not request.precisions:
        raise UsageError(
            "precisions", f"--precisions takes one or more of {', '.join(PRECISIONS)}, by commas."
        )
    if request.method not in (AUTO, *METHODS):
        raise UsageError("quantize-method", f"--method is one of {AUTO}, {', '.join(METHODS)}.")


def _candidates(work: _Work, precisions: Precisions, screen: Screen) -> list[list[Candidate]]:
    """Make each precision that was asked for in several ways, the one to try first in front."""
    from medge.exporters.precision import RECIPES

    request = work.request
    found: list[list[Candidate]] = []
    if "fp16" in request.precisions:
        with work.step("make fp16"):
            found.append([precisions.half()])
    methods = METHODS if request.method == AUTO else (cast(Method, request.method),)
    for precision in RECIPES:
        if not {precision, "mixed"} & set(request.precisions):
            continue
        with work.step(f"make {precision}"):
            made = [
                precisions.integer(precision, recipe, method)
                for recipe in precisions.recipes(precision)
                for method in methods
            ]
            found.append(screen.order(made, work.stopwatch))
    return found


def _best(work: _Work, ways: Sequence[Candidate]) -> Found:
    """Judge graphs until one loses nothing that matters; return it, else the least bad."""
    judge = work.judge
    if judge is None:
        return Found(ways[0], ())
    found: list[Found] = []
    for candidate in ways:
        with work.step(f"judge {candidate.precision}"):
            found.append(Found(candidate, work.journal.drifts(judge, candidate)))
        if not can_improve(found[-1].judged):
            return found[-1]
    return min(found, key=lambda one: min(drift.flips for drift in one.judged))


def _mixed(work: _Work, precisions: Precisions, full: Sequence[Found]) -> list[Found]:
    """Search for mixed precision where full INT8 lost decisions."""
    from medge.exporters.screening import MANY_PICTURES, Screen

    end = time.monotonic() + work.request.time_budget_s
    lossy = [one for one in full if one.candidate.recipe is not None and can_improve(one.judged)]
    found: list[Found] = []
    if not lossy:
        return found
    screen = Screen(precisions.model, work.pictures, work.bundle.manifest, MANY_PICTURES)
    for place, one in enumerate(lossy):
        base = one.candidate
        # The searches that are still to come get their share of the time.
        deadline = time.monotonic() + (end - time.monotonic()) / (len(lossy) - place)
        with work.step(f"search {MIXED[base.precision]}"):
            better = _search(work, precisions, screen, base, deadline)
        if better is None:
            work.notes.append(
                f"{base.precision}: no group of layers in fp32 betters it for certain"
            )
        else:
            found.append(better)
    return found


def _search(
    work: _Work, precisions: Precisions, screen: Screen, base: Candidate, deadline: float
) -> Found | None:
    recipe, ranges, judge = base.recipe, base.ranges, work.judge
    if recipe is None or ranges is None or judge is None:
        raise ValueError("the search needs an INT8 graph and a judge")
    name, journal, stopwatch = MIXED[base.precision], work.journal, work.stopwatch

    def make(wide: frozenset[int]) -> Candidate:
        return precisions.partly(name, recipe, ranges, wide)

    def slower(one: Candidate, other: Candidate) -> float:
        return journal.ratio(stopwatch, one.graph, other.graph) if stopwatch is not None else 1.0

    means = Means(
        make=make,
        errors=lambda candidate: journal.errors(screen, candidate),
        slower=slower,
        judge=lambda candidate: journal.drifts(judge, candidate),
        in_time=lambda: time.monotonic() < deadline,
        told=lambda said: work.progress(f"{name}: {said}"),
    )
    return search(layer_groups(precisions.view), means)


def _written(work: _Work, graph: bytes, found: Sequence[Found]) -> QuantizeReport:
    from medge.exporters.variant_golden import variant_golden

    bundle, pictures, request = work.bundle, work.pictures, work.request
    golden = bundle.golden()
    expected: dict[str, dict[str, Tensor]] = {}
    variants = [variant for variant in bundle.manifest.variants if variant.name == "fp32"]
    files = {MODEL: graph, LAYERS: bundle.read(LAYERS)}
    made: list[Made] = []
    for one in found:
        candidate = one.candidate
        with work.step("golden outputs"):
            own = variant_golden(candidate.graph, golden, pictures, bundle.manifest)
        variant = _variant(candidate, own.tolerance, one.judged, len(pictures))
        expected[candidate.precision] = own.outputs
        files[variant.file] = candidate.graph
        variants.append(variant)
        work.notes += [f"{candidate.precision}: {note}" for note in own.notes]
        made.append(Made(variant, one.judged, len(candidate.graph)))
    files[GOLDEN] = pack_golden(golden.inputs, golden.outputs, expected)
    draft = msgspec.structs.replace(
        bundle.manifest,
        variants=tuple(variants),
        calibration_sha256=pictures.sha256,
        parent_sha256=bundle.digest,
        files={},
    )
    with work.step("write bundle"):
        digest = write_bundle(request.out, draft, files, overwrite=request.overwrite)
    return QuantizeReport(
        path=request.out,
        digest=digest,
        parent_sha256=bundle.digest,
        manifest=draft,
        made=tuple(made),
        calibration_frames=len(pictures),
        calibration_sha256=pictures.sha256,
        refused=pictures.refused,
        advice=_advice(work, graph, found),
        notes=tuple(work.notes),
        time_ns=work.time_ns,
    )


def _advice(work: _Work, graph: bytes, found: Sequence[Found]) -> tuple[str, ...]:
    """Say what the verdicts mean for this network, where INT8 is no gain."""
    integer = [
        one
        for one in found
        if one.candidate.recipe is not None
        and any(drift.verdict != "not-judged" for drift in one.judged)
    ]
    if work.judge is None or not integer:
        return ()
    passed = [one for one in integer if any(drift.passed for drift in one.judged)]
    if not passed:
        few = [one.candidate.precision for one in integer if not can_improve(one.judged)]
        if few:
            return (
                f"The pictures are too few to show that {' and '.join(few)} keep the decisions: "
                "none of their losses would have to go, only pictures are missing.",
            )
        return (
            "No INT8 variant keeps the decisions: bf16 or fp16 is best here, where the device "
            "computes it, else fp32.",
        )
    if work.stopwatch is None:
        return ()
    told = []
    for one in passed:
        with work.step("time against fp32"):
            ratio = work.journal.ratio(work.stopwatch, graph, one.candidate.graph)
        if ratio > NO_GAIN_RATIO:
            told.append(
                f"{one.candidate.precision} takes {ratio:.2f} times as long as fp32 here: bf16 or "
                "fp16 is best for this network, where the device computes it, else fp32."
            )
    return tuple(told)


def _variant(
    candidate: Candidate, tolerance: float, drifts: tuple[Drift, ...], frames: int
) -> Variant:
    return Variant(
        name=candidate.precision,
        file=f"{VARIANTS}/{candidate.precision}.onnx",
        opset=candidate.opset,
        method=f"{candidate.method}; calibrated on {frames} pictures",
        narrow_layers=candidate.narrow_layers,
        compute_layers=candidate.compute_layers,
        golden_tolerance=float(np.format_float_scientific(tolerance, precision=1)),
        drift=best_drift(drifts),
    )


def best_drift(drifts: Sequence[Drift]) -> Drift | None:
    """Return the drift on the backend on which the variant did best, the earlier of equals."""
    order = ("pass", "inconclusive", "fail", "not-judged")
    return min(drifts, key=lambda drift: order.index(drift.verdict), default=None)
