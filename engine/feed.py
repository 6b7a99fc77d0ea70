"""Feed: the frames of a file, read and prepared as a bundle's sessions take them, one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medge.engine.preprocess import Preprocessor
from medge.engine.scope import missing_tags
from medge.errors import InputError

if TYPE_CHECKING:
    from medge.engine.frames.study import Asked, Study
    from medge.engine.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Fed:
    """One frame ready for a session, or the reason why it, or its whole file, is refused.

    ``feeds`` holds a batch of one for every input and is valid until the next frame is asked for.
    ``frame`` is None when the file is refused as a whole. ``times_ns`` are those of reading (paid
    on a file's first frame), decoding and preparing, as far as they were reached.
    """

    frame: int | None
    feeds: Mapping[str, npt.NDArray[Any]]
    fault: InputError | None
    notes: tuple[str, ...]
    unscoped: bool
    times_ns: tuple[int, ...]


class Feed:
    """Reads studies for one bundle. Not thread-safe: every frame is written to the same tensor."""

    def __init__(self, manifest: Manifest) -> None:
        spec = manifest.inputs[0]
        self._scope = manifest.scope
        self._prepare = Preprocessor(spec)
        self._tensor = np.zeros((1, *spec.shape), dtype=spec.dtype)
        self._feeds = {spec.name: self._tensor}

    @property
    def wants_gray(self) -> bool:
        """Whether luminance is all that the bundle looks at."""
        return self._prepare.wants_gray

    def file(self, path: Path, asked: Asked | None = None) -> Iterator[Fed]:
        """Yield the frames of one file; a bad file gives one refusal."""
        from medge.engine.frames.study import Asked, open_study

        asked = asked or Asked(gray_only=self.wants_gray)
        return self.study(lambda: open_study(path, asked))

    def study(self, opener: Callable[[], Study]) -> Iterator[Fed]:
        """Yield the frames of what ``opener`` opens; a refusal while it opens is the only one."""
        start = time.perf_counter_ns()
        try:
            study = opener()
        except InputError as error:
            yield Fed(None, {}, error, (), unscoped=False, times_ns=(_since(start),))
            return
        with study:
            try:
                missing = missing_tags(study.context, self._scope)
            except InputError as error:
                yield Fed(None, {}, error, (), unscoped=False, times_ns=(_since(start),))
                return
            facts = tuple(f"absent: {tag}" for tag in missing)
            if study.context.synthetic:
                facts += ("synthetic: Synthetic Data (0008,001C) is YES",)
            read_ns = _since(start)
            for index in range(study.frame_count):
                yield self._frame(study, index, read_ns, facts, unscoped=bool(missing))
                read_ns = 0

    def _frame(
        self, study: Study, index: int, read_ns: int, facts: tuple[str, ...], *, unscoped: bool
    ) -> Fed:
        start = decoded = time.perf_counter_ns()
        applied: tuple[str, ...] = ()
        fault = None
        try:
            frame = study.frame(index)
            decoded = time.perf_counter_ns()
            applied = self._prepare.prepare(frame, self._tensor[0])
        except InputError as error:
            fault = error
        end = time.perf_counter_ns()
        # A refusal's time belongs to the step that refused.
        gaps = (end - start,) if decoded == start else (decoded - start, end - decoded)
        return Fed(
            frame=index,
            feeds=self._feeds,
            fault=fault,
            notes=(*study.notes, *facts, *applied),  # decoding may add to the study's notes
            unscoped=unscoped,
            times_ns=(read_ns, *gaps),
        )


def _since(start: int) -> int:
    return time.perf_counter_ns() - start
