"""Self-test: a bundle proves on this device that it answers as it did where it was made."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medge.engine.decide import decide
from medge.errors import GateError, InputError

if TYPE_CHECKING:
    from medge.engine.bundle import Bundle
    from medge.engine.golden import Golden
    from medge.engine.session import Session

# Lower precision may differ from the fp32 reference by this part of the largest golden output.
# bf16 keeps 8 bits: half a step is 0.2 %, and a deep network adds up some of them.
REDUCED_RATIO = 0.05


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What the golden cases showed.

    ``max_abs`` is the largest difference from a golden output and ``tolerance`` what is allowed,
    both in units of the graph's outputs. ``cases`` is 0 for a backend that runs no network.
    """

    cases: int
    max_abs: float
    tolerance: float
    time_ns: int


def self_test(session: Session, bundle: Bundle) -> SelfTest:
    """Run the golden cases.

    At fp32 the outputs must lie within the manifest's ``golden_tolerance``. At any other precision
    they must lie within 5 % of the largest golden output, and every decision must be the same.

    Raises
    ------
    GateError
        Rule ``self-test``: the answers differ here.
    BundleError
        The golden cases are damaged.
    """
    start = time.perf_counter_ns()
    if not session.answers:
        return SelfTest(cases=0, max_abs=0.0, tolerance=0.0, time_ns=0)
    golden = bundle.golden()
    exact = session.precision == "fp32"
    largest = max(float(np.abs(output).max()) for output in golden.outputs.values())
    tolerance = bundle.manifest.golden_tolerance if exact else REDUCED_RATIO * largest
    max_abs = 0.0
    for case in range(golden.cases):
        max_abs = max(max_abs, _difference(session, bundle, golden, case, exact=exact))
        if not max_abs <= tolerance:
            raise _fault(
                session, case, f"differ by {max_abs:.3g}, more than the {tolerance:.3g} allowed"
            )
    return SelfTest(
        cases=golden.cases,
        max_abs=max_abs,
        tolerance=tolerance,
        time_ns=time.perf_counter_ns() - start,
    )


def _difference(
    session: Session, bundle: Bundle, golden: Golden, case: int, *, exact: bool
) -> float:
    """Run one case, as a frame would be run; return the largest difference."""
    row = slice(case, case + 1)
    try:
        found = session.infer({name: array[row] for name, array in golden.inputs.items()})
    except InputError as error:
        raise _fault(session, case, f"are unusable ({error.rule})") from None
    expected = {name: array[row] for name, array in golden.outputs.items()}
    if not exact:
        pairs = zip(
            decide(found, 0, bundle.manifest), decide(expected, 0, bundle.manifest), strict=True
        )
        if any(a.labels != b.labels for a, b in pairs):
            raise _fault(session, case, "lead to another decision")
    return max(float(np.abs(found[name] - array).max()) for name, array in expected.items())


def _fault(session: Session, case: int, found: str) -> GateError:
    return GateError(
        "self-test",
        f"Golden case {case + 1}: the answers of {session.backend} at {session.precision} {found}. "
        "Do not use this combination here; choose another backend or precision.",
    )
