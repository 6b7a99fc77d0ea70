"""Deadline: frames arrive at their rate whatever happens; which were judged in time, and how sure.

Nothing here reads a clock or sleeps by itself, so that every course of events can be tested.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from medge.bench.binomial import lower, upper
from medge.bench.sections import Deadline
from medge.bench.stats import cases_needed
from medge.errors import DeadlineError
from medge.profiles.terms import Count, Positive, Text

FRAMES = 900  # 30 s at 30 fps; certifies p99 with up to 2 misses, which need 838
RUN_FRAMES = 300  # frames between two freezes
FREEZE_NS = 2_000_000_000
LIMIT_RATIO = 0.01  # of frames that may miss: p99
CONFIDENCE = 0.99

Rate = Annotated[float, Meta(gt=0, le=1000)]


class Pace(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When frames arrive, and how long their decision may take.

    Parameters
    ----------
    fps
        Frames a second.
    frames
        How many arrive in all.
    deadline_ns
        From a frame's arrival to its decision.
    queue
        Frames that may wait; when one more arrives, the oldest of them is dropped.
    run_frames, freeze_ns
        After so many frames none arrives for this long, as when an image is frozen.
    """

    fps: Rate
    deadline_ns: Positive
    frames: Positive = FRAMES
    queue: Positive = 1
    run_frames: Positive = RUN_FRAMES
    freeze_ns: Count = FREEZE_NS

    def arrival_ns(self, frame: int) -> int:
        """Return when a frame arrives, counted from the first."""
        return round(frame * 1e9 / self.fps) + frame // self.run_frames * self.freeze_ns


def pace_of(fps: float, frames: int = FRAMES) -> Pace:
    """Return the pace at which a decision must be there before the next frame arrives.

    One frame may wait: whoever is dropped has then waited a whole period, and is late already.
    """
    return Pace(fps=fps, deadline_ns=math.floor(1e9 / fps), frames=frames)


def replay(
    judge: Callable[[int], object],
    pace: Pace,
    clock: Callable[[], int],
    sleep: Callable[[float], object],
) -> tuple[int | None, ...]:
    """Let frames arrive and judge them, the oldest that waits first.

    Arrivals follow the clock alone: a judge that is slow finds, when it is done, what has arrived
    meanwhile, and loses the oldest of it beyond the queue.

    Parameters
    ----------
    judge
        Decides on one frame, from its bytes on; called with its number.
    clock
        Nanoseconds that never go back.
    sleep
        Takes seconds; may return early.

    Returns
    -------
    tuple
        For every frame the time from its arrival to its decision in ns, None if it was dropped.
    """
    latency_ns: list[int | None] = [None] * pace.frames
    waiting: deque[int] = deque(maxlen=pace.queue)  # a full one drops the oldest
    coming, start = 0, clock()
    while True:
        now = clock() - start
        while coming < pace.frames and pace.arrival_ns(coming) <= now:
            waiting.append(coming)
            coming += 1
        if waiting:
            frame = waiting.popleft()
            judge(frame)
            latency_ns[frame] = clock() - start - pace.arrival_ns(frame)
        elif coming < pace.frames:
            sleep((pace.arrival_ns(coming) - now) / 1e9)
        else:
            return tuple(latency_ns)


def told(latency_ns: Sequence[int | None], pace: Pace, cine: Text) -> Deadline:
    """Account for every frame, and say what that proves.

    The bound is Clopper and Pearson's, one-sided at 99 %. What makes one frame late often makes the
    next ones late too, so that misses within a second of each other are one event, and the frames
    count as fewer in the same measure (the runs estimator of the extremal index: Smith and
    Weissman, J. R. Statist. Soc. B 56, 1994). With none missed, 459 frames certify p99; with one
    662, with two 838 (the early stopping of MLPerf's LoadGen).

    Parameters
    ----------
    latency_ns
        As ``replay`` returns it.
    cine
        Which pictures were replayed.
    """
    missed = np.array([each is None or each > pace.deadline_ns for each in latency_ns])
    dropped = sum(each is None for each in latency_ns)
    misses, frames = int(missed.sum()), len(missed)
    events = _events(missed, math.ceil(pace.fps))
    trials = max(1, frames * events // misses) if misses else frames
    high = upper(events, trials, CONFIDENCE)
    certified = high <= LIMIT_RATIO
    return Deadline(
        fps=pace.fps,
        deadline_ns=pace.deadline_ns,
        cine=cine,
        queue=pace.queue,
        latency_ns=tuple(latency_ns),
        on_time=frames - misses,
        late=misses - dropped,
        dropped=dropped,
        longest_late_run=_longest(missed.tolist()),
        miss_ratio=misses / frames,
        miss_high_ratio=high,
        limit_ratio=LIMIT_RATIO,
        certified=certified,
        missing_frames=0 if certified else _missing(misses, events, trials, frames),
        freeze_ns=pace.freeze_ns,
        first_ns=_first_ns(latency_ns, pace),
    )


def hold(deadline: Deadline) -> None:
    """Refuse what is not certified.

    Raises
    ------
    DeadlineError
        Rule ``deadline``, with what was missed and what to do.
    """
    if deadline.certified:
        return
    missed = deadline.late + deadline.dropped
    frames = missed + deadline.on_time
    found = (
        f"{missed} of {frames} frames missed {deadline.deadline_ns / 1e6:.4g} ms at "
        f"{deadline.fps:g} fps ({deadline.late} late, {deadline.dropped} dropped)"
    )
    if deadline.missing_frames:
        raise DeadlineError(
            "deadline",
            f"{found}: too few to prove that 99 % are on time. Replay {deadline.missing_frames} "
            "frames more.",
        )
    raise DeadlineError(
        "deadline",
        f"{found}; the deadline allows 1 %. Choose a faster precision or backend (`medge compile`),"
        " a smaller network, or a lower --fps.",
    )


def _events(missed: npt.NDArray[np.bool_], gap: int) -> int:
    """Count the misses, those with at most ``gap`` frames from one to the next as one."""
    places = np.flatnonzero(missed)
    return int(np.sum(np.diff(places) > gap)) + 1 if len(places) else 0


def _missing(misses: int, events: int, trials: int, frames: int) -> int:
    """Return how many more on-time frames would certify; 0 where more than the limit do miss."""
    if lower(misses, frames, CONFIDENCE) > LIMIT_RATIO:
        return 0
    needed = cases_needed(1.0 - LIMIT_RATIO, CONFIDENCE, events)
    return max(1, math.ceil((needed - trials) * frames / trials))


def _longest(missed: Sequence[bool]) -> int:
    longest = run = 0
    for each in missed:
        run = run + 1 if each else 0
        longest = max(longest, run)
    return longest


def _first_ns(latency_ns: Sequence[int | None], pace: Pace) -> tuple[int, ...]:
    """Return, for each freeze that ended, the time until a frame after it was decided."""
    found = []
    for first in range(pace.run_frames, len(latency_ns), pace.run_frames):
        start = pace.arrival_ns(first)
        for frame in range(first, len(latency_ns)):
            taken = latency_ns[frame]
            if taken is not None:
                found.append(pace.arrival_ns(frame) + taken - start)
                break
    return tuple(found)
