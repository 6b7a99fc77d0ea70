"""Self-test: a bundle proves on this device that it answers as it did where it was made."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from medge.engine.cache import EngineCache
from medge.engine.decide import decide
from medge.engine.placement import Placement, check_placement
from medge.engine.select import GPU_ONLY
from medge.engine.session import Session
from medge.errors import GateError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medge.engine.backends import Tensor
    from medge.engine.bundle import Bundle
    from medge.engine.golden import Golden
    from medge.engine.select import Choice

# Lower precision may differ from what it is compared with by this part of the largest golden
# output. bf16 keeps 8 bits: half a step is 0.2 %, and a deep network adds up some of them.
REDUCED_RATIO = 0.05


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What the golden cases showed.

    ``max_abs`` is the largest difference from a golden output and ``tolerance`` what is allowed,
    both in units of the graph's outputs. ``cases`` is 0 for a backend that runs no network.
    ``placement`` is what the network was seen to run in.
    """

    cases: int
    max_abs: float
    tolerance: float
    time_ns: int
    placement: Placement = field(default_factory=Placement)


@dataclass(frozen=True, slots=True)
class _Expected:
    """What the golden cases must give on one session."""

    golden: Golden
    outputs: Mapping[str, Tensor]
    tolerance: float
    same_decisions: bool


def self_test(session: Session, bundle: Bundle) -> SelfTest:
    """Run the golden cases, on every stream, and see what the network runs in.

    The fp32 graph at fp32 must answer within the manifest's ``golden_tolerance``. A variant with
    golden outputs of its own must answer within its own tolerance of them. Any other precision must
    lie within 5 % of the largest golden output. Below fp32 every decision must be the same too, and
    the runtime must compute as many layers in fewer bits as it was asked to.

    Raises
    ------
    GateError
        Rule ``self-test``: the answers differ here. Rule ``precision-read-back``: the network runs
        in another precision than was asked for.
    BundleError
        The golden cases are damaged.
    """
    start = time.perf_counter_ns()
    if not session.answers:
        return SelfTest(cases=0, max_abs=0.0, tolerance=0.0, time_ns=0)
    expected = _expected(session, bundle)
    cases = expected.golden.cases
    max_abs = 0.0
    for run in range(max(cases, session.choice.streams)):
        case, stream = run % cases, run % session.choice.streams
        max_abs = max(max_abs, _difference(session, bundle, expected, case, stream))
        if not max_abs <= expected.tolerance:
            raise _fault(
                session,
                case,
                f"differ by {max_abs:.3g}, more than the {expected.tolerance:.3g} allowed",
            )
    _check_precision(session, bundle)
    return SelfTest(
        cases=cases,
        max_abs=max_abs,
        tolerance=expected.tolerance,
        time_ns=time.perf_counter_ns() - start,
        placement=session.placement,
    )


def kept_at(choice: Choice) -> EngineCache | None:
    """Return where the engine of a choice is kept, None where it is built anew each time.

    Kept are those that `medge compile` sealed, and all of TensorRT: they take minutes to build.
    """
    return EngineCache() if choice.sealed or choice.backend in GPU_ONLY else None


def open_proven(
    bundle: Bundle, choice: Choice, cache: EngineCache | None = None
) -> tuple[Session, SelfTest]:
    """Load a variant and let it prove itself; an engine from the cache that fails is built anew.

    Raises
    ------
    BackendError, BundleError, GateError
        As ``Session`` and ``self_test``.
    """
    session = Session(bundle, choice, cache=cache)
    try:
        return session, self_test(session, bundle)
    except BaseException as error:  # Ctrl-C too must leave nothing of the runtime behind
        session.close()
        if not (session.from_cache and isinstance(error, GateError)):
            raise
        session.distrust_engine()
    return open_proven(bundle, choice, cache)


def _expected(session: Session, bundle: Bundle) -> _Expected:
    golden, manifest = bundle.golden(), bundle.manifest
    variant = manifest.variant(session.choice.variant)
    own = golden.variants.get(session.choice.variant) if session.from_bundle else None
    outputs = golden.outputs if own is None else own
    exact = session.precision == "fp32"
    if exact:
        tolerance = manifest.golden_tolerance
    elif own is not None and variant is not None and session.choice.precision == "fp32":
        tolerance = variant.golden_tolerance or 0.0
    else:
        largest = max(float(np.abs(output).max()) for output in outputs.values())
        tolerance = REDUCED_RATIO * largest
    return _Expected(golden, outputs, tolerance, same_decisions=not exact)


def _difference(
    session: Session, bundle: Bundle, expected: _Expected, case: int, stream: int
) -> float:
    """Run one case, as a frame would be run; return the largest difference."""
    row = slice(case, case + 1)
    inputs = {name: array[row] for name, array in expected.golden.inputs.items()}
    try:
        found = session.infer(inputs, stream)
    except InputError as error:
        raise _fault(session, case, f"are unusable ({error.rule})") from None
    wanted = {name: array[row] for name, array in expected.outputs.items()}
    if expected.same_decisions:
        pairs = zip(
            decide(found, 0, bundle.manifest), decide(wanted, 0, bundle.manifest), strict=True
        )
        if any(a.labels != b.labels for a, b in pairs):
            raise _fault(session, case, "lead to another decision")
    return max(float(np.abs(found[name] - array).max()) for name, array in wanted.items())


def _check_precision(session: Session, bundle: Bundle) -> None:
    """Hold what runs against what the graph asks for, and against the runtime's own precision."""
    placement, choice = session.placement, session.choice
    layers, narrow = placement.compute_layers, 0
    variant = bundle.manifest.variant(choice.variant)
    if session.from_bundle and variant is not None and variant.narrow_layers is not None:
        narrow = variant.narrow_layers
        layers = variant.compute_layers or layers
        asked = "fp16" if variant.name.startswith("fp16") else "int8"
        check_placement(placement, session.backend, asked, layers, narrow)
    if choice.precision != "fp32":  # what the graph leaves at fp32 is to run in this
        check_placement(placement, session.backend, choice.precision, layers, layers - narrow)


def _fault(session: Session, case: int, found: str) -> GateError:
    return GateError(
        "self-test",
        f"Golden case {case + 1}: the answers of {session.backend} at {session.precision} {found}. "
        "Do not use this combination here; choose another backend or precision.",
    )
