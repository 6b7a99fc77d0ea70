"""Golden cases: few synthetic pictures whose answers differ and stand firm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from medge.engine.decide import decide
from medge.engine.golden import Golden
from medge.engine.selftest import REDUCED_RATIO
from medge.exporters.network import Tensor
from medge.exporters.synthetic import golden_candidates

if TYPE_CHECKING:
    from medge.engine.manifest import ImageInput, Manifest, Output

CANDIDATES = 24
FEWEST = 4
MOST = 6
EDGE = 1e-6  # probabilities are kept this far from 0 and 1 when they are disturbed

# The self-test at reduced precision allows the largest of these, and asks for equal decisions.
DISTURBANCES = (REDUCED_RATIO, REDUCED_RATIO / 3, REDUCED_RATIO / 10, 0.0)


def choose_golden(
    spec: ImageInput, manifest: Manifest, answers: Callable[[Tensor], Mapping[str, Tensor]]
) -> tuple[Golden, str]:
    """Choose cases from seeded candidates, the network's answers being the expected ones.

    Preferred are cases whose decision stands when every output is off by 5 % of the largest, and
    at least one case for every decision that occurs.

    Returns
    -------
    tuple
        The cases, and one sentence on how many decisions they cover and how many stand firm.
    """
    batch = golden_candidates(spec, CANDIDATES)
    outputs = {name: array.astype("f4") for name, array in answers(batch).items()}
    top = max(float(np.abs(array).max()) for array in outputs.values())
    decisions = [_decision(outputs, row, manifest) for row in range(CANDIDATES)]
    firmness = [_firmness(outputs, row, manifest, top) for row in range(CANDIDATES)]
    rows = _chosen(decisions, firmness, np.concatenate(list(outputs.values()), axis=1))
    firm = sum(firmness[row] >= REDUCED_RATIO for row in rows)
    note = (
        f"golden cases: {len(rows)}; different decisions among them: "
        f"{len({decisions[row] for row in rows})}; decisions that stand when outputs are off by "
        f"{REDUCED_RATIO} of the largest: {firm}"
    )
    golden = Golden(
        inputs={spec.name: np.ascontiguousarray(batch[rows])},
        outputs={name: np.ascontiguousarray(array[rows]) for name, array in outputs.items()},
    )
    return golden, note


def _chosen(decisions: list[tuple[str, ...]], firmness: list[float], answers: Tensor) -> list[int]:
    """Take the firmest case of each decision, then the ones furthest from those taken."""
    order = sorted(range(len(decisions)), key=lambda row: -firmness[row])
    taken: list[int] = []
    for row in order:
        if len(taken) < MOST and decisions[row] not in {decisions[t] for t in taken}:
            taken.append(row)
    while len(taken) < FEWEST:
        rest = [row for row in order if row not in taken]
        taken.append(max(rest, key=lambda row: (firmness[row], _distance(answers, row, taken))))
    return sorted(taken)


def _distance(answers: Tensor, row: int, taken: list[int]) -> float:
    return min(float(np.abs(answers[row] - answers[t]).max()) for t in taken)


def _decision(outputs: Mapping[str, Tensor], row: int, manifest: Manifest) -> tuple[str, ...]:
    return tuple("+".join(answer.labels) for answer in decide(outputs, row, manifest))


def _firmness(outputs: Mapping[str, Tensor], row: int, manifest: Manifest, top: float) -> float:
    """Return the largest disturbance, as a part of ``top``, that leaves the decision as it is."""
    usual = _decision(outputs, row, manifest)
    for ratio in DISTURBANCES:
        disturbed = _disturbed(outputs, row, manifest, ratio * top)
        if all(_decision(each, 0, manifest) == usual for each in disturbed):
            return ratio
    return 0.0


def _disturbed(
    outputs: Mapping[str, Tensor], row: int, manifest: Manifest, by: float
) -> Iterator[Mapping[str, Tensor]]:
    """Yield the answers pushed where they hurt most: the best class down and the others up, ..."""
    for best, others in ((-by, by), (by, -by), (by, by), (-by, -by)):
        pushed = {}
        for output in manifest.outputs:
            raw = outputs[output.name][row].astype("f8")
            push = np.full(raw.shape, others)
            push[raw.argmax()] = best
            pushed[output.name] = _legal(raw + push, output)[None]
        yield pushed


def _legal(raw: Tensor, output: Output) -> Tensor:
    """Keep probabilities what they are; logits may be anything."""
    if output.activation != "none":
        return raw
    kept = np.clip(raw, EDGE, 1.0 - EDGE)
    return kept / kept.sum() if output.task == "single-label" else kept
