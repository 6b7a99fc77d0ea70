"""Mixed precision: layer groups go back to fp32, the ones first that give most back per time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medge.engine.evidence import Drift
from medge.exporters.network import Tensor

if TYPE_CHECKING:
    from medge.exporters.graph_view import GraphView
    from medge.exporters.precision import Candidate

GROUPS = 12
FEWEST_GROUPS = 2  # halves of what is left; all of it would be fp32
BY_CHANCE = 0.05  # how often a round may take any group whose effect is chance
RESAMPLES = 2000
SEED = 20_263
LEAST_COST_RATIO = 0.005  # below this, differences in time cannot be told from noise

NOTHING: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Ranked:
    """A group of layers, and what it gives back when it keeps fp32.

    ``gain`` is the part of the graph's error that goes; ``cost_ratio`` how much slower the graph
    becomes, as a part of its time.
    """

    layers: frozenset[int]
    gain: float
    cost_ratio: float

    @property
    def worth(self) -> float:
        """Error that goes per time that is lost."""
        return self.gain / max(self.cost_ratio, LEAST_COST_RATIO)


@dataclass(frozen=True, slots=True)
class Found:
    """A graph and its verdicts, none where nobody judged."""

    candidate: Candidate
    judged: tuple[Drift, ...]


@dataclass(frozen=True, slots=True)
class Means:
    """What a search works with.

    Attributes
    ----------
    make
        Makes the graph in INT8 but for some layers.
    errors
        Returns the squared error of a graph's outputs on each of the screening pictures.
    slower
        Returns how many times as long as the first graph the second takes.
    judge
        Returns the verdicts on a graph.
    in_time
        Asked before each step that takes long; none begins once it says no.
    told
        Is told each such step.
    clock
        Seconds, to tell how long the rest may take.
    """

    make: Callable[[frozenset[int]], Candidate]
    errors: Callable[[Candidate], Tensor]
    slower: Callable[[Candidate, Candidate], float]
    judge: Callable[[Candidate], tuple[Drift, ...]]
    in_time: Callable[[], bool]
    told: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic


def layer_groups(view: GraphView) -> list[frozenset[int]]:
    """Return consecutive layers in at most GROUPS groups; the first and the last stand alone.

    These two see the picture and the scores themselves, and are known to be the most sensitive.
    """
    layers = view.weighted_nodes()
    if len(layers) <= GROUPS:
        return [frozenset({layer}) for layer in layers]
    inner = np.array_split(np.array(layers[1:-1]), GROUPS - 2)
    groups = [[layers[0]], *(part.tolist() for part in inner), [layers[-1]]]
    return [frozenset(int(layer) for layer in group) for group in groups]


def can_improve(judged: Sequence[Drift]) -> bool:
    """Whether fewer losses could better the verdict: more images alone would not do.

    A check that is inconclusive without any loss needs images, not another graph.
    """
    if any(drift.passed or drift.verdict == "not-judged" for drift in judged):
        return False
    return any(
        check.verdict == "fail" or (check.verdict == "inconclusive" and check.value > 0)
        for drift in judged
        for check in drift.checks
    )


def search(groups: Sequence[frozenset[int]], means: Means) -> Found | None:
    """Revert groups until fewer losses would not better the verdict.

    Each round ranks the groups that are still in INT8, given those that no longer are, and then
    finds how many of the ranking it takes. Where no group's effect is more than chance, neighbours
    are joined to groups of twice the size. Rounds end when the verdict is as good as the pictures
    allow, when even halves of the network show no effect, or when the time is over.

    Returns
    -------
    Found
        The best so far; None when nothing was judged.
    """
    best: Found | None = None
    wide = NOTHING
    left = list(groups)
    while left and means.in_time():
        ranked = rank_groups(left, wide, means)
        if not ranked and len(left) > FEWEST_GROUPS:
            left = [frozenset().union(*left[i : i + 2]) for i in range(0, len(left), 2)]
            continue
        found = _fewest(ranked, wide, means)
        if found is None:
            break
        best, wide = found, found.candidate.wide
        left = [group for group in left if not group <= wide]
        if not can_improve(found.judged):
            break
    return best


def rank_groups(
    groups: Sequence[frozenset[int]], wide: frozenset[int], means: Means
) -> list[Ranked]:
    """Return the groups whose revert brings the outputs closer, the most worthwhile first.

    A group is left out when resampling the pictures explains its effect: reverting on noise costs
    time and helps nobody.

    Parameters
    ----------
    wide
        Layers that keep fp32 already.
    """
    base = means.make(wide)
    before = means.errors(base)
    ranked = []
    for place, group in enumerate(groups):
        if not means.in_time():
            break
        means.told(f"layer group {place + 1} of {len(groups)}")
        candidate = means.make(wide | group)
        saved = before - means.errors(candidate)
        # Bonferroni: the chance is that of any group, not of each.
        if surely_positive(saved, BY_CHANCE / len(groups)):
            cost = means.slower(base, candidate) - 1
            ranked.append(Ranked(group, float(saved.sum() / before.sum()), cost))
    return sorted(ranked, key=lambda group: -group.worth)


def surely_positive(saved: Tensor, by_chance: float) -> bool:
    """Whether the mean over pictures stays above 0 when the pictures are drawn anew."""
    random = np.random.default_rng(SEED)
    drawn = random.integers(0, len(saved), (RESAMPLES, len(saved)))
    return bool(np.quantile(saved[drawn].mean(axis=1), by_chance) > 0)


def _fewest(ranked: Sequence[Ranked], wide: frozenset[int], means: Means) -> Found | None:
    """Find the fewest reverts of a ranking after which fewer losses would not help.

    Their number is doubled until the verdict is as good as the pictures allow, then halved back
    towards the last that was not. None when there was nothing to revert, or no time.
    """
    known: dict[int, Found] = {}
    low, high = 0, 0
    longest = 0.0
    while (count := _next(low, high, len(ranked))) and means.in_time():
        left = _most_left(low, high, len(ranked))
        eta = f", {left * longest:.0f} s" if longest else ""
        means.told(
            f"{count} of {len(ranked)} layer groups in fp32; at most {left} judgements left{eta}"
        )
        begin = means.clock()
        candidate = means.make(wide.union(*(group.layers for group in ranked[:count])))
        known[count] = Found(candidate, means.judge(candidate))
        longest = max(longest, means.clock() - begin)
        if can_improve(known[count].judged):
            low = count
        else:
            high = count
    return known[high or max(known)] if known else None


def _next(low: int, high: int, most: int) -> int:
    """Return how many groups to revert next; 0 when the answer is known.

    ``low`` reverts were too few, ``high`` enough, 0 while no number was.
    """
    if high:
        return (low + high) // 2 if high - low > 1 else 0
    return min(max(1, 2 * low), most) if low < most else 0


def _most_left(low: int, high: int, most: int) -> int:
    """Return how many judgements a round may still need, the one to come included."""
    count = _next(low, high, most)
    if not count:
        return 0
    return 1 + max(_most_left(low, count, most), _most_left(count, high, most))
