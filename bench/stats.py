"""Latencies compared and summed up: percentiles and ratios with distribution-free intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medge.bench.binomial import at_most, quantile

Samples = Sequence[int] | npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Verdict = Literal["faster", "slower", "cannot-tell"]

_PARTS = (16, 64)  # parts of a series between which the growth of waves is seen
# Powers of the length with which the variance of means may fall: below a half nothing measured in
# minutes would be worth more than a few samples, and the power itself is known too badly.
_POWERS = np.linspace(0.5, 1.0, 26)


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds of a percentile, in the unit of the samples; both are samples themselves."""

    low: int
    high: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """How long A takes against B, pair by pair: ``ratio`` is A / B, so 1.3 means A needs 30 % more.

    ``low`` and ``high`` bound the ratio with ``confidence``; 0 and infinity where the pairs are too
    few to bound it. ``verdict`` says what A is against B, and ``cannot-tell`` while 1 lies between
    the bounds. ``pairs`` were compared, worth as much as ``independent_pairs`` independent ones.
    """

    ratio: float
    low: float
    high: float
    verdict: Verdict
    pairs: int
    independent_pairs: float
    confidence: float


def percentile(samples: Samples, p: float) -> int:
    """Return a percentile by nearest rank: the smallest sample that p of all do not exceed.

    It is a value that was measured, never an average of two (Hyndman and Fan 1996, type 1).

    Parameters
    ----------
    samples
        At least one, in any order.
    p
        Above 0 and at most 1: 0.99 is p99.
    """
    ordered = np.sort(_whole(samples))
    return int(ordered[_rank(p, len(ordered)) - 1])


def percentile_interval(samples: Samples, p: float, confidence: float = 0.95) -> Interval | None:
    """Bound a percentile from both sides by order statistics (David and Nagaraja 2003, 7.1).

    No distribution is assumed. Samples that follow each other closely resemble each other, so the
    ranks are those of as many independent samples as these are ``worth``.

    Parameters
    ----------
    samples
        In the order taken.

    Returns
    -------
    Interval or None
        None where the samples cannot state it: ``interval_cases`` says how many could.
    """
    ordered = np.sort(_whole(samples))
    count = worth(samples, p)
    ranks = _ranks(count, p, confidence)
    if ranks is None:
        return None
    low, high = (_scaled(rank, count, len(ordered)) for rank in ranks)
    return Interval(int(ordered[low - 1]), int(ordered[high - 1]), confidence)


def median_interval(samples: Samples, confidence: float = 0.95) -> Interval | None:
    """Bound the median from both sides; None with fewer than 6 samples at 95 %, 8 at 99 %."""
    return percentile_interval(samples, 0.5, confidence)


def session_interval(
    samples: Samples, earlier_p50: Sequence[int], confidence: float = 0.95
) -> Interval | None:
    """Bound the median for all the times at which a machine was measured, not for this one alone.

    The samples' own interval, widened to that of the median over all sessions: their medians' order
    statistics, and where they are too few for ``confidence``, all of them. Samples of one session
    know nothing of a machine that is faster an hour later.

    Parameters
    ----------
    samples
        Of the last session, in the order taken.
    earlier_p50
        The medians of sessions before it.

    Returns
    -------
    Interval or None
        None where neither the samples nor the sessions can state it.
    """
    own = percentile_interval(samples, 0.5, confidence)
    if not earlier_p50:
        return own
    middle = percentile(samples, 0.5)
    medians = sorted((*earlier_p50, middle))
    ranks = _ranks(len(medians), 0.5, confidence)
    if own is None and ranks is None:
        return None
    low, high = (medians[rank - 1] for rank in ranks or (1, len(medians)))
    own = own or Interval(middle, middle, confidence)
    return Interval(min(low, own.low), max(high, own.high), confidence)


def percentile_upper(samples: Samples, p: float, confidence: float = 0.99) -> int | None:
    """Return a value that the percentile does not exceed; None below ``cases_needed`` samples."""
    ordered = np.sort(_whole(samples))
    count = worth(samples, p)
    trials = math.floor(count)
    rank = quantile(confidence, trials, p) + 1
    if rank > trials:
        return None
    return int(ordered[_scaled(rank, count, len(ordered)) - 1])


def cases_needed(p: float, confidence: float = 0.99, late: int = 0) -> int:
    """Return how many samples prove that p of all are in time when ``late`` of them were not.

    The early stopping rule of MLPerf's LoadGen: the smallest n at which so few late ones have at
    most the chance 1 - confidence if 1 - p of all were late. 459 for p99 at 99 % with none late.
    """
    high = late + 1
    while at_most(late, high, 1.0 - p) > 1.0 - confidence:
        high *= 2
    low = max(late, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        enough = at_most(late, middle, 1.0 - p) <= 1.0 - confidence
        low, high = (low, middle) if enough else (middle, high)
    return high


def interval_cases(p: float, confidence: float = 0.95) -> int:
    """Return how many independent samples ``percentile_interval`` needs."""
    side = 0.5 + confidence / 2.0
    return max(cases_needed(p, side), cases_needed(1.0 - p, side))


def worth(samples: Samples, p: float) -> float:
    """Return as how many independent samples these bound a percentile.

    What is correlated or not is whether a sample exceeds the percentile (Heidelberger and Welch,
    Operations Research 32, 1984, bound quantiles of series by the same indicator).
    """
    return independent(_whole(samples) <= percentile(samples, p))


def independent(marks: npt.NDArray[Any]) -> float:
    """Return how many independent observations a correlated series is worth, at most its length.

    n over the integrated autocorrelation time. That is estimated from short waves, and from how far
    long ones reach; where the second is longer, it is the geometric mean of both: the first errs
    downwards where waves are as long as the series, the second upwards where they are not.
    """
    count = len(marks)
    centred = np.asarray(marks, np.float64) - np.mean(marks)
    if count < 4 or not np.any(centred):
        return float(count)
    short = max(1.0, _short_waves(centred))
    return count / math.sqrt(short * max(short, _long_waves(centred)))


def _short_waves(centred: Floats) -> float:
    """Sum the autocorrelation as an initial monotone sequence.

    Geyer, Statistical Science 7, 1992, section 3.3. Waves that the series holds only a few of look
    shorter here than they are.
    """
    count = len(centred)
    size = 1 << (2 * count - 1).bit_length()  # padded, so that the end does not meet the start
    power = np.abs(np.fft.rfft(centred, size)) ** 2
    correlation = np.fft.irfft(power, size)[: count // 2 * 2]
    correlation = correlation / correlation[0]
    pairs = correlation[0::2] + correlation[1::2]
    ends = np.flatnonzero(pairs <= 0.0)
    pairs = np.minimum.accumulate(pairs[: ends[0]] if len(ends) else pairs)
    return 2.0 * float(np.sum(pairs)) - 1.0


def _long_waves(centred: Floats) -> float:
    """Extrapolate the variance of a mean from parts of the series to its whole length.

    Means of m samples vary with a power of m: m^-1 where samples that far apart are independent,
    m^(2H - 2) where a machine has waves of every length (Beran, "Statistics for Long-Memory
    Processes", 1994, chapter 2). The power is taken from parts of a 64th and a 16th, all that
    overlap; around the whole series' mean they vary less by what that itself varies.
    """
    count = len(centred)
    if count < _PARTS[1]:
        return 1.0
    sums = np.concatenate([[0.0], np.cumsum(centred)])
    large, small = (count // parts for parts in _PARTS)
    varies, more = (
        float(np.mean(((sums[size:] - sums[:-size]) / size) ** 2)) for size in (large, small)
    )
    if min(varies, more) <= 0.0:
        return 1.0
    expected = (small**-_POWERS - count**-_POWERS) / (large**-_POWERS - count**-_POWERS)
    power = _POWERS[np.argmin(np.abs(np.log(expected) - math.log(more / varies)))]
    whole = varies / ((count / large) ** power - 1.0)
    return float(count * whole / np.mean(centred**2))


def compare(a_ns: Samples, b_ns: Samples, confidence: float = 0.99) -> Comparison:
    """Compare two candidates that were timed in the same rounds; sample i of both is one pair.

    The ratio is the median over the pairs, its interval that of the sign test (order statistics of
    the log-ratios): what slows both members of a pair alike cancels, and no outlier counts more
    than its rank. If both are the same, A / B and B / A are equally likely, and 1 is missed with at
    most 1 - ``confidence``.

    Parameters
    ----------
    a_ns, b_ns
        Equally many latencies above 0, in the order taken.
    """
    a, b = _whole(a_ns), _whole(b_ns)
    if len(a) != len(b):
        raise ValueError(f"pairs need equally many samples, found {len(a)} and {len(b)}")
    if a.min() <= 0 or b.min() <= 0:
        raise ValueError("a ratio needs latencies above 0 ns")
    logs = np.log(a / b)
    ordered = np.sort(logs)
    ratio = math.exp(float(np.median(ordered)))
    count = independent(np.sign(logs - np.median(ordered)))
    ranks = _ranks(count, 0.5, confidence)
    if ranks is None:
        return Comparison(ratio, 0.0, math.inf, "cannot-tell", len(a), count, confidence)
    low, high = (math.exp(ordered[_scaled(rank, count, len(a)) - 1]) for rank in ranks)
    verdict: Verdict = "faster" if high < 1.0 else "slower" if low > 1.0 else "cannot-tell"
    return Comparison(ratio, low, high, verdict, len(a), count, confidence)


def spent(confidence: float, looks: int) -> float:
    """Return the confidence of one look when a verdict is sought ``looks`` times (Bonferroni).

    Whoever looks repeatedly and stops at the first verdict is wrong more often than one look says.
    """
    return 1.0 - (1.0 - confidence) / max(1, looks)


def _ranks(count: float, p: float, confidence: float) -> tuple[int, int] | None:
    """Return 1-based ranks of order statistics around a percentile, of ``count`` samples."""
    trials, side = math.floor(count), 0.5 - confidence / 2.0
    low = quantile(side, trials, p)
    if low and at_most(low, trials, p) <= side:
        low += 1  # equal, so one rank more is still within the chance
    high = quantile(1.0 - side, trials, p) + 1
    return (low, high) if low >= 1 and high <= trials else None


def _scaled(rank: int, count: float, length: int) -> int:
    """Return the rank among ``length`` samples that lies where ``rank`` lies among ``count``."""
    trials = math.floor(count)
    if trials == length:
        return rank
    # The middle of rank r of n is (r - 0.5) / n; outward where it falls between two.
    place = (rank - 0.5) / trials * length + 0.5
    outward = math.floor(place) if rank <= (trials + 1) / 2 else math.ceil(place)
    return min(length, max(1, outward))


def _rank(p: float, count: int) -> int:
    if not 0.0 < p <= 1.0:
        raise ValueError(f"p must be above 0 and at most 1, found {p}")
    # 0.07 * 100 is a little more than 7 in binary; its rank is 7 all the same.
    return max(1, math.ceil(p * count - 1e-9 * count))


def _whole(samples: Samples) -> npt.NDArray[np.int64]:
    whole = np.asarray(samples)
    if whole.ndim != 1 or not len(whole) or whole.dtype.kind not in "iu":
        raise ValueError(
            f"expected at least one sample in whole ns, found shape {whole.shape} of {whole.dtype}"
        )
    return whole.astype(np.int64, copy=False)
