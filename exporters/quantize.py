"""Quantize: from a bundle to a new one with narrower variants, each with what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import msgspec
import numpy as np

from medge.engine.bundle_writer import check_place, write_bundle
from medge.engine.evidence import Drift
from medge.engine.golden import pack_golden
from medge.engine.manifest import GOLDEN, LAYERS, MODEL, VARIANTS, Variant
from medge.errors import UsageError
from medge.exporters.histogram import METHODS, Method

if TYPE_CHECKING:
    from medge.engine.bundle import Bundle
    from medge.engine.manifest import Manifest
    from medge.exporters.calibrate import CalibrationSet
    from medge.exporters.network import Tensor
    from medge.exporters.precision import Candidate, Precisions

PRECISIONS = ("fp16", "int8", "int8-cpu", "mixed")
AUTO = "auto"

Judge: TypeAlias = Callable[[str, bytes], Sequence[Drift]]
"""Judges a graph under the name of its precision, on every backend that can run it here."""

Stopwatch: TypeAlias = Callable[[Sequence[bytes]], Sequence[float]]
"""Runs graphs in turn and returns how long each takes, in any unit that is the same for all."""


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
    """

    out: Path
    method: str = AUTO
    precisions: tuple[str, ...] = PRECISIONS
    time_budget_s: float = 600.0
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
        precisions.learn(observe(precisions.model, precisions.watched(), pictures))
    candidates = _candidates(work, precisions)
    judged: dict[str, tuple[Drift, ...]] = {}
    for candidate in candidates:
        if judge is not None:
            with work.step(f"judge {candidate.precision}"):
                judged[candidate.precision] = tuple(judge(candidate.precision, candidate.graph))
    return _written(work, graph, candidates, judged)


def check_request(request: QuantizeRequest) -> None:
    """Refuse what makes no sense, before any work is done.

    Raises
    ------
    UsageError
        Rule ``precisions`` or ``quantize-method``, or those of ``check_place``.
    """
    check_place(request.out, overwrite=request.overwrite)
    if set(request.precisions) - set(PRECISIONS) or not request.precisions:
        raise UsageError(
            "precisions", f"--precisions takes one or more of {', '.join(PRECISIONS)}, by commas."
        )
    if request.method not in (AUTO, *METHODS):
        raise UsageError("quantize-method", f"--method is one of {AUTO}, {', '.join(METHODS)}.")


def _candidates(work: _Work, precisions: Precisions) -> list[Candidate]:
    """Make each precision that was asked for, the best of several ways to make it."""
    from medge.exporters.precision import RECIPES
    from medge.exporters.screening import Screen

    request = work.request
    found: list[Candidate] = []
    if "fp16" in request.precisions:
        with work.step("make fp16"):
            found.append(precisions.half())
    methods = METHODS if request.method == AUTO else (cast(Method, request.method),)
    screen = Screen(precisions.model, work.pictures, work.bundle.manifest)
    for precision, recipes in RECIPES.items():
        if precision not in request.precisions:
            continue
        with work.step(f"make {precision}"):
            made = [
                precisions.integer(precision, recipe, method)
                for recipe in recipes
                for method in methods
            ]
            found.append(screen.best(made, work.stopwatch))
    work.notes += screen.notes
    return found


def _written(
    work: _Work,
    graph: bytes,
    candidates: Sequence[Candidate],
    judged: Mapping[str, tuple[Drift, ...]],
) -> QuantizeReport:
    from medge.exporters.variant_golden import variant_golden

    bundle, pictures, request = work.bundle, work.pictures, work.request
    golden = bundle.golden()
    expected: dict[str, dict[str, Tensor]] = {}
    variants = [variant for variant in bundle.manifest.variants if variant.name == "fp32"]
    files = {MODEL: graph, LAYERS: bundle.read(LAYERS)}
    made: list[Made] = []
    for candidate in candidates:
        with work.step("golden outputs"):
            found = variant_golden(candidate.graph, golden, pictures, bundle.manifest)
        drifts = judged.get(candidate.precision, ())
        variant = _variant(candidate, found.tolerance, drifts, len(pictures))
        expected[candidate.precision] = found.outputs
        files[variant.file] = candidate.graph
        variants.append(variant)
        work.notes += [f"{candidate.precision}: {note}" for note in found.notes]
        made.append(Made(variant, drifts, len(candidate.graph)))
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
        advice=(),
        notes=tuple(work.notes),
        time_ns=work.time_ns,
    )


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
