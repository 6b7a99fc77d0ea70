"""Pairing: two sessions' decisions on the same frames, gathered to one case a file.

Frames of one file show one patient at one time: they are not independent, and bounds that counted
each would promise too much. So a file is one case; it flips when any of its frames does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from medge.bench.decisions import Decisions, paired

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rights:
    """Cases of one kind in which right decisions were lost, and gained; both shape (cases,).

    A case is lost when any of its frames is, and gained when one is and none is lost.
    """

    lost: Flags
    gained: Flags


@dataclass(frozen=True)
class Pairing:
    """Reference (``before``) and candidate (``after``), row by row on the same frames."""

    before: Decisions
    after: Decisions

    def __post_init__(self) -> None:
        if not paired(self.before, self.after):
            raise ValueError("the two sessions were asked about different frames")

    @cached_property
    def judged(self) -> Flags:
        """Frames that at least one side answered, (frames,); the others are no cases."""
        return self.before.valid | self.after.valid

    @cached_property
    def files(self) -> Counts:
        """Index of every case's file in ``before.files``, ascending."""
        return np.unique(self.before.file[self.judged]).astype(np.int64)

    @cached_property
    def case(self) -> Counts:
        """Every judged frame's case, (judged frames,)."""
        return np.searchsorted(self.files, self.before.file[self.judged]).astype(np.int64)

    @cached_property
    def flipped_frames(self) -> Flags:
        """Judged frames whose labels, or whose having an answer, changed in any output."""
        changed = self.before.valid != self.after.valid
        for name, answers in self.before.outputs.items():
            changed = changed | (answers.chosen != self.after.outputs[name].chosen).any(axis=1)
        flipped: Flags = changed[self.judged]
        return flipped

    @cached_property
    def flipped(self) -> Flags:
        """Which cases flipped, (cases,)."""
        return self.any_of(self.flipped_frames)

    def any_of(self, frames: Flags) -> Flags:
        """Return which cases have a flagged frame; ``frames`` has shape (judged frames,)."""
        found: Flags = np.bincount(self.case, weights=frames, minlength=len(self.files)) > 0
        return found

    def rights(self, output: str, label: int, positive: Flags) -> Rights:
        """Return where right decisions about one class were lost and gained.

        Right is: chosen in a positive case, answered and not chosen in a negative one.

        Parameters
        ----------
        label
            Index of the class.
        positive
            Whether the class is there, (cases,).
        """
        sides = []
        for side in (self.before, self.after):
            chosen = side.outputs[output].chosen[self.judged, label]
            sides.append(side.valid[self.judged] & (chosen == positive[self.case]))
        before, after = sides
        lost = self.any_of(before & ~after)
        return Rights(lost=lost, gained=self.any_of(after & ~before) & ~lost)

    def scores(self, output: str, label: int, positive: Flags) -> tuple[Floats, Floats, Flags]:
        """Return each case's mean probability of a class on either side, and which cases have one.

        Frames that the reference did not answer are left out. Where only the candidate gives no
        answer it gets the worst one, so that failing never looks like ranking well.
        """
        mine = self.before.valid[self.judged]
        before = self.before.outputs[output].scores[self.judged, label]
        after = self.after.outputs[output].scores[self.judged, label]
        worst = np.where(positive[self.case], 0.0, 1.0)
        after = np.where(self.after.valid[self.judged], after, worst)
        frames = np.bincount(self.case[mine], minlength=len(self.files))
        having = frames > 0
        return (
            self._mean(before, mine, frames)[having],
            self._mean(after, mine, frames)[having],
            having,
        )

    def _mean(self, values: Floats, mine: Flags, frames: npt.NDArray[Any]) -> Floats:
        total = np.bincount(self.case[mine], weights=values[mine], minlength=len(self.files))
        mean: Floats = total / np.maximum(frames, 1)
        return mean

    def constant(self) -> bool:
        """Whether the reference answers every frame alike: its decisions prove nothing."""
        valid = self.before.valid
        return bool(valid.sum() > 1) and all(
            float(np.ptp(answers.scores[valid], axis=0).max()) < 1e-6
            for answers in self.before.outputs.values()
        )
