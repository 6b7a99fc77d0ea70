"""Decisions: what sessions answer on the frames of files, all from the same prepared tensors."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medge.engine.decide import decide
from medge.engine.feed import Feed
from medge.errors import InputError

if TYPE_CHECKING:
    from medge.engine.backends import Tensor
    from medge.engine.bundle import Bundle
    from medge.engine.manifest import Manifest
    from medge.engine.session import Session

Progress = Callable[[int, int], None]  # files done, files in all


def silent(_done: int, _total: int) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True)
class Answers:
    """One output on every frame.

    ``raw`` (frames, classes) float32 as the graph gave them, ``scores`` (frames, classes) float64
    probabilities, ``chosen`` (frames, classes) bool: the labels. A frame without a valid answer
    has NaN, NaN and False.
    """

    raw: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float64]
    chosen: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file (``frame`` None) or a frame that no session was asked about."""

    file: int
    frame: int | None
    rule: str


@dataclass(frozen=True, slots=True)
class Decisions:
    """What one session answered, frame by frame in the order of ``files``.

    ``file`` (frames,) is each frame's index in ``files``, ``frame`` (frames,) its number in that
    file, ``invalid`` (frames,) the rule that its answer broke, "" where it is valid. ``refused``
    lists what never reached the session, and so is the same for every session.
    """

    files: tuple[Path, ...]
    file: npt.NDArray[np.int32]
    frame: npt.NDArray[np.int32]
    invalid: tuple[str, ...]
    outputs: Mapping[str, Answers]
    refused: tuple[Refusal, ...]

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Which frames have an answer, (frames,)."""
        return np.array([rule == "" for rule in self.invalid], dtype=bool)


def collect(
    bundle: Bundle, session: Session, files: Sequence[Path], progress: Progress = silent
) -> Decisions:
    """Return one session's decisions, made as ``medge run`` makes them."""
    (found,) = collect_all(bundle, [session], files, progress)
    return found


def collect_all(
    bundle: Bundle, sessions: Sequence[Session], files: Sequence[Path], progress: Progress = silent
) -> tuple[Decisions, ...]:
    """Return the decisions of several sessions; every frame is read and prepared once for all.

    Raises
    ------
    BackendError
        A runtime failed. A file that is refused, and an answer that is invalid, are told in the
        decisions instead.
    """
    feed = Feed(bundle.manifest)
    columns = [_Columns(bundle.manifest) for _ in sessions]
    places: list[tuple[int, int]] = []
    refused: list[Refusal] = []
    for index, path in enumerate(files):
        for fed in feed.file(path):
            if fed.fault is not None:
                refused.append(Refusal(index, fed.frame, fed.fault.rule))
                continue
            places.append((index, fed.frame or 0))
            for session, column in zip(sessions, columns, strict=True):
                column.add(session, fed.feeds)
        progress(index + 1, len(files))
    file, frame = np.array(places, dtype=np.int32).reshape(-1, 2).T
    return tuple(
        Decisions(
            files=tuple(files),
            file=file,
            frame=frame,
            invalid=tuple(column.invalid),
            outputs=column.outputs(),
            refused=tuple(refused),
        )
        for column in columns
    )


class _Columns:
    """Gathers one session's answers as plain numbers: 1e5 frames of 14 classes take 20 MB."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._raw = {output.name: array("f") for output in manifest.outputs}
        self._scores = {output.name: array("d") for output in manifest.outputs}
        self._chosen = {output.name: bytearray() for output in manifest.outputs}
        self.invalid: list[str] = []

    def add(self, session: Session, feeds: Mapping[str, Tensor]) -> None:
        try:
            outputs = session.infer(feeds)
            answers = decide(outputs, 0, self._manifest)
        except InputError as error:
            # Prepared by medge and checked by no session yet: a fault of the answer, or of the
            # tensor, which is the same for all.
            self._none(error.rule)
            return
        self.invalid.append("")
        for answer in answers:
            self._raw[answer.output].extend(outputs[answer.output][0].tolist())
            self._scores[answer.output].extend(answer.scores.values())
            self._chosen[answer.output].extend(label in answer.labels for label in answer.scores)

    def _none(self, rule: str) -> None:
        self.invalid.append(rule)
        for output in self._manifest.outputs:
            nothing = [float("nan")] * len(output.classes)
            self._raw[output.name].extend(nothing)
            self._scores[output.name].extend(nothing)
            self._chosen[output.name].extend(bytes(len(output.classes)))

    def outputs(self) -> dict[str, Answers]:
        return {
            output.name: Answers(
                raw=_table(self._raw[output.name], output.classes, np.float32),
                scores=_table(self._scores[output.name], output.classes, np.float64),
                chosen=_table(self._chosen[output.name], output.classes, np.bool_),
            )
            for output in self._manifest.outputs
        }


def _table(values: Any, classes: Sequence[str], dtype: type[Any]) -> npt.NDArray[Any]:
    return np.array(values).astype(dtype).reshape(-1, len(classes))


def paired(one: Decisions, other: Decisions) -> bool:
    """Whether two sessions were asked about the same frames, row by row."""
    return (
        one.files == other.files
        and one.refused == other.refused
        and np.array_equal(one.file, other.file)
        and np.array_equal(one.frame, other.frame)
    )
