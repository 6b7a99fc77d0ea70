"""Pipeline: frames of all files over several streams and in batches, results in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medge.engine.prediction import Result
from medge.engine.spread import Lanes
from medge.errors import InputError

if TYPE_CHECKING:
    from medge.engine.backends import Tensor
    from medge.engine.classify import Classifier
    from medge.engine.feed import Fed
    from medge.engine.frames.study import Asked

UNEVEN = 4  # times slower may a device be, and the others still work while it has the next result
REFUSED_PER_BATCH = 16  # refused frames that wait for a batch to fill before it runs as it is


@dataclass(slots=True)
class _Batch:
    """Frames that are inferred in one call, between what was refused around them.

    ``tensors`` are arrays (batch, ...) by input, of which the first ``rows`` are filled. An entry
    is a result that is known already, or a file with its frame, which takes the next row.
    """

    tensors: dict[str, Tensor]
    entries: list[Result | tuple[str, Fed]] = field(default_factory=list)
    rows: int = 0

    @property
    def feeds(self) -> Mapping[str, Tensor]:
        """The filled rows; the arrays themselves when all are, so that they stay bound."""
        whole = all(self.rows == len(tensor) for tensor in self.tensors.values())
        return self.tensors if whole else {name: t[: self.rows] for name, t in self.tensors.items()}


class Pipeline:
    """One producer, ``streams`` workers, results in order; ``streams`` + 3 batches at most.

    On several devices ``UNEVEN`` times as many: results wait for the slowest, the work does not.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        session = classifier.session
        self._streams = session.streams
        several = len({session.device_of(stream) for stream in range(self._streams)}) > 1
        # One more than run, so that no stream waits for a frame.
        self._ahead = self._streams * (UNEVEN if several else 1) + 2
        self._batch = batch = classifier.choice.batch
        self._tensors = [
            {
                spec.name: np.zeros((batch, *spec.shape), spec.dtype)
                for spec in classifier.bundle.manifest.inputs
            }
            for _ in range(self._ahead + 1)
        ]
        self._made = 0
        self._lanes = Lanes(self._streams, session.device_of)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Devices that failed again and again, so that the others did their work."""
        return self._lanes.left_out

    def judge(self, paths: Iterable[Path], asked: Asked) -> Iterator[Result]:
        """Judge every frame of every file; results come a few frames after they were read."""
        waiting: deque[Future[list[Result]]] = deque()
        pool = ThreadPoolExecutor(self._streams, "medge-stream")
        try:
            for batch in self._batches(paths, asked):
                waiting.append(pool.submit(self._run, batch))
                while waiting and (waiting[0].done() or len(waiting) >= self._ahead):
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _batches(self, paths: Iterable[Path], asked: Asked) -> Iterator[_Batch]:
        """Gather frames; the arrays of a batch are used again when its results were taken."""
        batch = self._next()
        for path in paths:
            for found in self._frames(path, asked):
                self._enter(batch, str(path), found)
                full = batch.rows == self._batch
                if full or len(batch.entries) >= self._batch + REFUSED_PER_BATCH:
                    yield batch
                    batch = self._next()
        if batch.entries:
            yield batch

    def _frames(self, path: Path, asked: Asked) -> Iterator[Fed | Result]:
        try:
            yield from self._classifier.feed.file(path, asked)
        except Exception as error:  # told with its exit code, never hidden
            yield self._classifier.failed(path, error)

    def _next(self) -> _Batch:
        self._made += 1
        return _Batch(self._tensors[self._made % len(self._tensors)])

    def _enter(self, batch: _Batch, file: str, found: Fed | Result) -> None:
        """Copy a frame into the next row: its own tensor is used again for the frame after it."""
        if isinstance(found, Result):
            batch.entries.append(found)
        elif found.fault is not None:
            batch.entries.append(self._classifier.told(file, found, found.fault))
        else:
            for name, tensor in batch.tensors.items():
                tensor[batch.rows] = found.feeds[name][0]
            batch.rows += 1
            batch.entries.append((file, found))

    def _run(self, batch: _Batch) -> list[Result]:
        stream = self._lanes.take()
        failed = True
        try:
            found = self._infer(batch.feeds, batch.rows, stream)
            failed = bool(found) and all(_is_failure(outputs) for outputs, _ in found)
        finally:
            self._lanes.give_back(stream, failed=failed)
        inferred = iter(found)
        return [
            entry if isinstance(entry, Result) else self._result(*entry, *next(inferred), stream)
            for entry in batch.entries
        ]

    def _infer(
        self, feeds: Mapping[str, Tensor], rows: int, stream: int
    ) -> list[tuple[Mapping[str, Tensor] | Exception, int]]:
        """Return for each row its outputs, or what stopped it, and its part of the time in ns.

        When a batch fails its rows run one by one, so that only the bad one is lost.
        """
        if rows == 0:
            return []
        start = time.perf_counter_ns()
        try:
            outputs = self._classifier.session.infer(feeds, stream)
        except Exception as error:  # handed to whoever owns the row, never hidden
            if rows == 1:
                return [(error, time.perf_counter_ns() - start)]
            alone = [{name: t[row : row + 1] for name, t in feeds.items()} for row in range(rows)]
            return [told for one in alone for told in self._infer(one, 1, stream)]
        row_ns = (time.perf_counter_ns() - start) // rows
        return [
            ({name: output[row : row + 1].copy() for name, output in outputs.items()}, row_ns)
            for row in range(rows)
        ]

    def _result(
        self,
        file: str,
        fed: Fed,
        found: Mapping[str, Tensor] | Exception,
        infer_ns: int,
        stream: int,
    ) -> Result:
        if isinstance(found, Exception) and not isinstance(found, InputError):
            return self._classifier.failed(Path(file), found, fed.frame, stream)
        return self._classifier.told(file, fed, found, infer_ns, stream)


def _is_failure(found: Mapping[str, Tensor] | Exception) -> bool:
    """Whether the runtime is at fault: a picture that is refused says nothing of its device."""
    return isinstance(found, Exception) and not isinstance(found, InputError)
