"""Contests: candidates are timed in the same rounds, and who cannot win any more leaves early."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from medge.bench.binomial import at_least
from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure, Sampling, WarmUp
from medge.bench.stats import Comparison, compare
from medge.engine.sealed import Candidate

WARM_WAVES = 3
SCREEN_ROUNDS = 5
HOPELESS_RATIO = (
    1.5  # slower than the leader by this much, even at its best: leaves after screening
)
# Rounds after which it is looked at who has lost; at the first, whoever was slower in every round
# has lost for certain.
LOOKS = (12, 20, 30, 40, 50, 60)
MAX_ROUNDS = LOOKS[-1]
# Below this per picture the contest ends sooner: who is level after 30 rounds differs by so little
# that nobody at the device would wait for the answer.
SHORT_NS = 5_000_000
SHORT_ROUNDS = 30
FAR_RATIO = 1.1  # slower by this much, rounds may be correlated and still count one by one
ERROR = 0.01  # chance that any candidate leaves although it is not slower, over all looks
WAVE_NS = 2_000_000  # a wave lasts at least this long, so that the clock's cost vanishes
WAVE_CALLS = 50
# Threads of the turn before wait for their next call that long, on the CPUs of this one (ONNX
# Runtime's do, for a millisecond), so that turns begin later.
REST_S = 0.0012


@dataclass(frozen=True, slots=True)
class Entrant:
    """A candidate that is built.

    ``run(calls)`` makes so many calls after each other in every stream, and returns when all have
    answered; each call takes ``pictures`` pictures, all streams together.
    """

    candidate: Candidate
    run: Callable[[int], object]
    pictures: int = 1


@dataclass(slots=True)
class Standing:
    """What an entrant needed per picture, round by round.

    ``calls`` made one wave. ``beaten`` when it left before the end, because it had lost.
    """

    candidate: Candidate
    calls: int = 1
    beaten: bool = False
    picture_ns: list[int] = field(default_factory=list)

    @property
    def median_ns(self) -> int:
        """Median time per picture over its rounds."""
        return int(np.median(self.picture_ns))

    def measurement(self, seed: int = 0) -> Measurement:
        """Return the rounds as they are stored: times per picture, and how they were taken."""
        procedure = Procedure(
            span="infer, per picture",
            batch=self.candidate.batch,
            streams=self.candidate.streams,
            threads=self.candidate.threads,
            warm_up=WarmUp(max_calls=0),
            sampling=Sampling(min_samples=SCREEN_ROUNDS, max_samples=MAX_ROUNDS),
            lead_in=1,
            turn_calls=self.calls,
            order="interleaved",
            seed=seed,
        )
        return Measurement(procedure.span, tuple(self.picture_ns), procedure)


def contest(
    entrants: Sequence[Entrant],
    *,
    budget_ns: int,
    seed: int = 0,
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], object] = time.sleep,
) -> list[Standing]:
    """Time candidates against each other; return all, the best first, those that left last.

    In every round each remaining candidate has one turn, in shuffled order, so that what slows the
    machine down hits all alike. Before a turn there is a rest; its first call refills the caches
    and is not timed.
    A candidate leaves when even its best time is far behind, or when it is slower than the leader
    with confidence; that is spent over all looks and candidates (Bonferroni).

    Parameters
    ----------
    budget_ns
        No round begins after this; the screening rounds are always made.
    """
    standings = {id(entrant): Standing(entrant.candidate) for entrant in entrants}
    for entrant in entrants:
        standings[id(entrant)].calls = _calls(entrant, clock)
    confidence = 1 - ERROR / max(1, len(LOOKS) * (len(entrants) - 1))
    racing, order, start = list(entrants), random.Random(seed), clock()  # noqa: S311 - an order
    for round_ in range(1, MAX_ROUNDS + 1):
        order.shuffle(racing)
        for entrant in racing:
            standing = standings[id(entrant)]
            sleep(REST_S)
            standing.picture_ns.append(_turn(entrant, standing.calls, clock))
        if round_ == SCREEN_ROUNDS:
            racing = _screened(racing, standings)
        elif round_ in LOOKS:
            racing = _still_in(racing, standings, confidence)
        if round_ >= SCREEN_ROUNDS and (len(racing) == 1 or clock() - start > budget_ns):
            break
        if round_ >= SHORT_ROUNDS and _leader(racing, standings).median_ns < SHORT_NS:
            break
    for entrant in entrants:
        standings[id(entrant)].beaten = entrant not in racing
    return sorted(standings.values(), key=lambda one: (-len(one.picture_ns), one.median_ns))


def against(loser: Standing, winner: Standing, confidence: float = 1 - ERROR) -> Comparison:
    """Compare two standings over the rounds that both were in."""
    rounds = min(len(loser.picture_ns), len(winner.picture_ns))
    return compare(loser.picture_ns[:rounds], winner.picture_ns[:rounds], confidence=confidence)


def slower(loser: Standing, winner: Standing, confidence: float = 1 - ERROR) -> bool:
    """Whether one is slower than the other for certain, over the rounds that both were in.

    By the interval of the ratio, in which rounds that look correlated count for less: a few dozen
    may then be too few to bound anything. Or by the plain sign test that it is a tenth slower: no
    wave of a machine makes it so round by round, as both are met by it.
    """
    rounds = min(len(loser.picture_ns), len(winner.picture_ns))
    pairs = zip(loser.picture_ns[:rounds], winner.picture_ns[:rounds], strict=True)
    far = sum(one > FAR_RATIO * other for one, other in pairs)
    if at_least(far, rounds, 0.5) <= 1 - confidence:
        return True
    return against(loser, winner, confidence).verdict == "slower"


def _calls(entrant: Entrant, clock: Callable[[], int]) -> int:
    """Warm up; return how many calls make a wave long enough to time."""
    fastest = 1 << 62
    for _ in range(WARM_WAVES):
        start = clock()
        entrant.run(1)
        fastest = min(fastest, clock() - start)
    return max(1, min(WAVE_CALLS, -(-WAVE_NS // max(1, fastest))))


def _turn(entrant: Entrant, calls: int, clock: Callable[[], int]) -> int:
    entrant.run(1)
    start = clock()
    entrant.run(calls)
    return (clock() - start) // (calls * entrant.pictures)


def _leader(racing: list[Entrant], standings: dict[int, Standing]) -> Standing:
    return min((standings[id(entrant)] for entrant in racing), key=lambda one: one.median_ns)


def _screened(racing: list[Entrant], standings: dict[int, Standing]) -> list[Entrant]:
    limit = HOPELESS_RATIO * _leader(racing, standings).median_ns
    return [entrant for entrant in racing if min(standings[id(entrant)].picture_ns) <= limit]


def _still_in(
    racing: list[Entrant], standings: dict[int, Standing], confidence: float
) -> list[Entrant]:
    leader = _leader(racing, standings)
    return [
        entrant
        for entrant in racing
        if standings[id(entrant)] is leader
        or not slower(standings[id(entrant)], leader, confidence)
    ]
