"""Golden cases: few synthetic pictures whose answers differ and stand firm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from medge.engine.decide import decide
from medge.engine.golden import Golden
from medge.engine.selftest import REDUCED_RATIO
from medge.exporters.network import Tensor
from medge.exporters.synthetic import GOLDEN_SEED, as_input, bred, golden_candidates

if TYPE_CHECKING:
    from medge.engine.manifest import ImageInput, Manifest, Output

CANDIDATES = 24
FEWEST = 4
MOST = 6
ROUNDS = 4
CHILDREN = 24  # of a round
PARENTS = 4
GOALS = 3  # classes that are bred for in one round
EDGE = 1e-6  # probabilities are kept this far from 0 and 1 when they are disturbed

# The self-test at reduced precision allows the largest of these, and asks for equal decisions.
DISTURBANCES = (REDUCED_RATIO, REDUCED_RATIO / 3, REDUCED_RATIO / 10, 0.0)


def choose_golden(
    spec: ImageInput,
    manifest: Manifest,
    answers: Callable[[Tensor], Mapping[str, Tensor]],
    *,
    rounds: int = ROUNDS,
) -> tuple[Golden, str]:
    """Choose cases from seeded candidates, the network's answers being the expected ones.

    Wanted is a case for every class, with a decision that stands when every output is off by 5 %
    of the largest.

    Parameters
    ----------
    rounds
        How often candidates are bred towards the classes that none of them has reached.

    Returns
    -------
    tuple
        The cases, and one sentence on how many decisions they cover and how many stand firm.
    """
    pool = _Pool(spec, manifest, answers)
    pool.add(golden_candidates(spec, CANDIDATES))
    random = np.random.default_rng(GOLDEN_SEED)
    for _ in range(rounds):
        if pool.satisfied():
            break
        pool.add(pool.children(random))
    outputs, batch = pool.outputs, pool.batch
    top = max(float(np.abs(array).max()) for array in outputs.values())
    firmness = [_firmness(outputs, row, manifest, top) for row in range(len(batch))]
    rows = _chosen(pool.decisions, firmness, np.concatenate(list(outputs.values()), axis=1))
    firm = sum(firmness[row] >= REDUCED_RATIO for row in rows)
    note = (
        f"golden cases: {len(rows)}; different decisions among them: "
        f"{len({pool.decisions[row] for row in rows})}; decisions that stand when outputs are off "
        f"by {REDUCED_RATIO} of the largest: {firm}"
    )
    golden = Golden(
        inputs={spec.name: np.ascontiguousarray(batch[rows])},
        outputs={name: np.ascontiguousarray(array[rows]) for name, array in outputs.items()},
    )
    return golden, note


class _Pool:
    """Candidates, what the network answers to each, and what follows from that."""

    def __init__(
        self,
        spec: ImageInput,
        manifest: Manifest,
        answers: Callable[[Tensor], Mapping[str, Tensor]],
    ) -> None:
        self._spec, self._manifest, self._answers = spec, manifest, answers
        self._display: list[Tensor] = []
        self._found: list[Mapping[str, Tensor]] = []
        self.decisions: list[tuple[str, ...]] = []
        self._reached: set[tuple[str, str]] = set()

    def add(self, display: Tensor) -> None:
        """Ask the network about more pictures (n, h, w, planes) of display values."""
        found = self._answers(as_input(display, self._spec))
        self._display.append(display)
        self._found.append(found)
        for row in range(len(display)):
            answers = decide(found, row, self._manifest)
            self.decisions.append(tuple("+".join(answer.labels) for answer in answers))
            self._reached |= {(a.output, label) for a in answers for label in a.labels}

    @property
    def outputs(self) -> dict[str, Tensor]:
        """Every answer so far, (candidates, classes) by the name of the output."""
        names = (output.name for output in self._manifest.outputs)
        return {
            name: np.concatenate([found[name] for found in self._found]).astype("f4")
            for name in names
        }

    @property
    def batch(self) -> Tensor:
        """Every candidate as the network takes it."""
        return as_input(np.concatenate(self._display), self._spec)

    def satisfied(self) -> bool:
        """Whether every class was reached, or as many decisions as there can be cases."""
        return len(set(self.decisions)) >= MOST or not self._missing()

    def children(self, random: np.random.Generator) -> Tensor:
        """Breed candidates from those that come nearest to the nearest classes still missing."""
        goals = self._missing()[:GOALS]
        display = np.concatenate(self._display)
        each = CHILDREN // len(goals)
        return np.concatenate(
            [bred(display[np.argsort(-gap)[:PARENTS]], each, random) for gap in goals]
        )

    def _missing(self) -> list[Tensor]:
        """Return for every class still missing how near each candidate is to it, nearest first."""
        gaps = []
        for output in self._manifest.outputs:
            raw = self.outputs[output.name].astype("f8")
            for column, label in enumerate(output.classes):
                if (output.name, label) not in self._reached:
                    others = np.delete(raw, column, axis=1)
                    rival = others.max(axis=1) if output.task == "single-label" else 0.0
                    gaps.append(raw[:, column] - rival)
        return sorted(gaps, key=lambda gap: -float(gap.max()))


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
