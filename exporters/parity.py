"""Parity: the exported graph gives the numbers of the network that it came from, or is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from medge.engine.manifest import Parity
from medge.errors import GateError
from medge.exporters.network import Tensor

if TYPE_CHECKING:
    from medge.exporters.network import Network
    from medge.exporters.runtime import Runtime

TOLERANCE_RATIO = 1e-4
"""Largest difference allowed, as a part of the largest output of the framework's network.

Two correct float32 runtimes differ by the order of their sums: 1e-7 to 1e-5 over a deep network.
An operator that means something else differs by 1e-3 or more.
"""

SMALL_RATIO = 1e-3  # outputs below this part of the largest have no meaningful relative difference
UNEVEN_BATCH = 3


def compare(
    against: str,
    inputs: Literal["seeded", "real"],
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
) -> Parity:
    """Measure the difference of two sets of answers (n, classes) over the same cases."""
    pairs = [(expected[name].astype("f8"), found[name].astype("f8")) for name in expected]
    differences = [np.abs(a - b) for a, b in pairs]
    return Parity(
        against=against,
        inputs=inputs,
        cases=len(pairs[0][0]),
        max_abs=max(float(d.max()) for d in differences),
        max_rel=max(_relative(a, d) for (a, _), d in zip(pairs, differences, strict=True)),
        cosine_min=min(_cosine(a, b) for a, b in pairs),
    )


def tolerance(expected: Mapping[str, Tensor]) -> float:
    """Return the largest difference allowed between answers of this size."""
    return TOLERANCE_RATIO * largest(expected)


def largest(answers: Mapping[str, Tensor]) -> float:
    """Return the largest magnitude among the answers."""
    return max(float(np.abs(array).max()) for array in answers.values())


def ask(network: Network, batch: Tensor) -> dict[str, Tensor]:
    """Return the network's own answers, finite ones.

    Raises
    ------
    GateError
        Rule ``parity``: it answers NaN or Inf.
    """
    expected = dict(network.answers(batch))
    for name, array in expected.items():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        if bad:
            raise GateError(
                "parity",
                f"The network itself answers {bad} NaN or Inf values in output {name} for "
                f"{len(array)} ordinary pictures. Check its weights, and mean and std of [input].",
            )
    return expected


def check_parity(
    network: Network,
    graph: bytes,
    runtime: Runtime,
    batch: Tensor,
    *,
    expected: Mapping[str, Tensor],
    inputs: Literal["seeded", "real"],
) -> Parity:
    """Hold the graph against what its network answers on one batch.

    Raises
    ------
    GateError
        Rule ``parity``: they differ by more than TOLERANCE_RATIO of the largest output, or the
        graph's answer is not finite; the message names the first node or layer that differs.
    """
    found = runtime.answers(batch)
    row = compare(network.against, inputs, expected, found)
    allowed = tolerance(expected)
    if not row.max_abs <= allowed:
        worst = _worst(expected, found)
        where = network.first_difference(graph, batch[worst : worst + 1])
        raise GateError(
            "parity",
            f"The exported graph differs from the network by {row.max_abs:.3g} on {inputs} "
            f"inputs, allowed is {allowed:.3g}. {where}",
        )
    return row


def check_batches(runtime: Runtime, batch: Tensor) -> None:
    """Hold batches of three against single pictures: no picture may change another's answer.

    Raises
    ------
    GateError
        Rule ``batch``: they differ by more than TOLERANCE_RATIO of the largest output.
    """
    if runtime.batch is not None:
        return
    alone = runtime.answers(batch)
    row = compare("itself", "seeded", alone, runtime.answers(batch, UNEVEN_BATCH))
    allowed = tolerance(alone)
    if not row.max_abs <= allowed:
        raise GateError(
            "batch",
            f"The graph answers a picture differently in a batch of {UNEVEN_BATCH}: by "
            f"{row.max_abs:.3g}, allowed is {allowed:.3g}. Its forward() mixes pictures of a "
            "batch, or was traced with a fixed size; take that out.",
        )


def _worst(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> int:
    """Return the case that differs most, or the first that is not finite."""
    apart = sum(np.abs(expected[name] - found[name]).max(axis=1) for name in expected)
    return int(np.argmax(np.where(np.isfinite(apart), apart, np.inf)))


def _relative(expected: Tensor, difference: Tensor) -> float:
    size = np.abs(expected)
    counted = size > SMALL_RATIO * size.max()
    return float((difference[counted] / size[counted]).max()) if counted.any() else 0.0


def _cosine(a: Tensor, b: Tensor) -> float:
    """Return the smallest cosine between the two answers to one case; 1 for two zero answers."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    equal = np.where((a == b).all(axis=1), 1.0, 0.0)
    products = (a * b).sum(axis=1)
    safe = np.where(lengths > 0, lengths, 1.0)
    # Rounding may lift the quotient of equal vectors above 1.
    return float(np.minimum(np.where(lengths > 0, products / safe, equal), 1.0).min())
