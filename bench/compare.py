"""Comparing: whether B is faster than A, slower, or these samples cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from medge.bench.effect import Effect, paired_effect, percentile_effect
from medge.bench.measure import Measurement
from medge.bench.other_effects import other_effects
from medge.bench.procedure import differences
from medge.bench.result import Result, bundle_name, ran_on, same_device
from medge.bench.stats import Verdict, percentile
from medge.engine.sealed import Candidate
from medge.errors import UsageError
from medge.profiles.terms import Sha256, Text

LEVEL = 0.01  # chance of any wrong verdict among the percentiles of one comparison
PERCENTILES = (0.5, 0.9, 0.99)
# MLPerf_Audit_Guidelines.adoc: a second run of the same system may differ by 2 %. So may a second
# process in the same rounds, by where its memory happens to lie (docs/decisions/doubting.md).
SESSION_RATIO = 0.02
# Fields of a procedure that say what was measured, not how: they are in every result's candidate.
CANDIDATES = frozenset({"threads"})
DEVICES = frozenset({"threads", "cpus"})  # another device must have its own


class LatencyComparison(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two measurements of one stage.

    Parameters
    ----------
    verdict
        What B is against A, by p50: the primary endpoint. The other percentiles have their own
        word in ``effects``.
    paired
        Whether sample i of both was taken in the same round.
    session_ratio
        What two sessions, or two processes in the same rounds, were allowed to differ by.
    """

    stage: Text
    verdict: Verdict
    paired: bool
    session_ratio: float
    effects: tuple[Effect, ...]


def compare_measurements(
    a: Measurement,
    b: Measurement,
    *,
    paired: bool = False,
    percentiles: Sequence[float] = PERCENTILES,
    level: float = LEVEL,
    session_ratio: float = SESSION_RATIO,
    may_differ: frozenset[str] = frozenset(),
) -> LatencyComparison:
    """Compare B with A, the one before.

    All percentiles together are wrong with at most the chance ``level``, which is divided among
    them (Bonferroni). Samples that follow each other count for less (``stats.worth``).

    Parameters
    ----------
    paired
        Sample i of both was taken in the same round, as by ``measure.measure_interleaved``. Then
        the median is compared pair by pair. Else each series bounds itself, and A's p50 is
        bounded by the earlier sessions that A knows of: did the machine ever do what B did, while
        nothing was changed?
    session_ratio
        The bounds are widened by this, because one process says nothing about the next one that
        runs the same.
    percentiles
        The first is the primary endpoint.
    may_differ
        Fields of the procedures that may differ, because they are what is compared.

    Raises
    ------
    UsageError
        Rules ``compare-procedures``: the procedures are unlike; ``compare-samples``: a side has no
        sample, or one of 0 ns.
    """
    _check_procedures(a, b, may_differ)
    for side, one in (("A", a), ("B", b)):
        if not one.samples_ns or min(one.samples_ns) <= 0:
            raise UsageError(
                "compare-samples",
                f"{side} has {len(one.samples_ns)} samples of {one.stage}; a comparison needs at "
                "least one, and all above 0 ns. Measure it again.",
            )
    confidence = 1.0 - level / len(percentiles)
    effects = tuple(
        paired_effect(a.samples_ns, b.samples_ns, confidence, session_ratio)
        if paired and p == 0.5
        else percentile_effect(
            a.samples_ns,
            b.samples_ns,
            p,
            confidence,
            session_ratio,
            earlier_p50_ns=_before(a, b),
        )
        for p in percentiles
    )
    words: dict[str, Verdict] = {"lower": "faster", "higher": "slower"}
    return LatencyComparison(
        stage=b.stage,
        verdict=words.get(effects[0].verdict, "cannot-tell"),
        paired=paired,
        session_ratio=session_ratio,
        effects=effects,
    )


def _before(a: Measurement, b: Measurement) -> tuple[int, ...]:
    """Return the earlier medians of A, without B itself where that is the older one."""
    of_b = percentile(b.samples_ns, 0.5)
    return tuple(middle for middle in a.earlier_p50_ns if middle != of_b)


def _check_procedures(a: Measurement, b: Measurement, may_differ: frozenset[str]) -> None:
    """Refuse measurements that were not taken alike, and name every field that differs."""
    unlike = [name for name in differences(a.procedure, b.procedure) if name not in may_differ]
    if unlike:
        told = "; ".join(f"{name} {_field(a, name)} and {_field(b, name)}" for name in unlike)
        raise UsageError(
            "compare-procedures",
            f"A and B were measured under unlike procedures: {told}. Measure one of them again as "
            "the other was.",
        )


def _field(one: Measurement, name: str) -> str:
    value: object = one.procedure
    for part in name.split("."):
        value = getattr(value, part)
    return str(value)


class Side(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which result stood on a side: how it was named, and what it is of."""

    name: Text
    bundle: Text
    bundle_sha256: Sha256
    device: Text
    device_identity: Text
    candidate: Candidate | None
    taken: Text


class Comparison(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two results: the latency of one stage, which decides, and what else both have.

    ``others`` have each their own level of 1 % and no part in the verdict. ``left_out`` says what
    only one side has, and why.
    """

    a: Side
    b: Side
    across_devices: bool
    latency: LatencyComparison
    others: tuple[Effect, ...] = ()
    left_out: tuple[Text, ...] = ()

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Everything that was compared, latency first."""
        return (*self.latency.effects, *self.others)


def compare_results(
    a: Result,
    b: Result,
    stage: str = "infer",
    *,
    names: tuple[str, str] = ("A", "B"),
    percentiles: Sequence[float] = PERCENTILES,
    across_devices: bool = False,
) -> Comparison:
    """Compare B with A, the one before, by the latency of a stage and by all that both have.

    Latencies are paired where both results name the same rounds (``Sections.rounds``). Threads may
    differ between two candidates, as backend and precision may; so may, across devices, the CPUs.

    Raises
    ------
    UsageError
        Rules ``compare-stage``, ``compare-devices``, ``compare-procedures``, ``compare-samples``.
    """
    of_a, of_b = _stage(a, stage, names[0]), _stage(b, stage, names[1])
    if not same_device(a, b) and not across_devices:
        raise UsageError(
            "compare-devices",
            f"{names[0]} was measured on {ran_on(a)}, {names[1]} on {ran_on(b)}, which is "
            "another device or another instruction set. Compare all the same with "
            "--across-devices.",
        )
    others, left_out = other_effects(a, b, 1.0 - LEVEL, SESSION_RATIO)
    return Comparison(
        a=_side(a, names[0]),
        b=_side(b, names[1]),
        across_devices=not same_device(a, b),
        latency=compare_measurements(
            of_a,
            of_b,
            paired=_share_rounds(a, b) and of_a.procedure.order == "interleaved",
            percentiles=percentiles,
            may_differ=_may_differ(a, b, across_devices),
        ),
        others=others,
        left_out=left_out,
    )


def _stage(result: Result, stage: str, name: str) -> Measurement:
    found = next((one for one in result.measurements if one.stage == stage), None)
    if found is None:
        stages = ", ".join(one.stage for one in result.measurements) or "none"
        raise UsageError(
            "compare-stage", f"{name} has no stage {stage[:40]!r}. Its stages are: {stages}."
        )
    return found


def _may_differ(a: Result, b: Result, across_devices: bool) -> frozenset[str]:
    told = a.candidate is not None and b.candidate is not None
    return (CANDIDATES if told else frozenset()) | (DEVICES if across_devices else frozenset())


def _share_rounds(a: Result, b: Result) -> bool:
    rounds = [one.sections and one.sections.rounds for one in (a, b)]
    return rounds[0] is not None and rounds[0] == rounds[1]


def _side(result: Result, name: str) -> Side:
    return Side(
        name=name,
        bundle=bundle_name(result),
        bundle_sha256=result.bundle_sha256,
        device=ran_on(result),
        device_identity=result.device_identity,
        candidate=result.candidate,
        taken=result.taken,
    )
