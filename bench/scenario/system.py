"""System: a loaded candidate as MLPerf LoadGen asks it, with little Python between the two."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from medge.bench.profile.loaded import Loaded
from medge.bench.scenario.samples import Samples
from medge.engine.backends import Tensor

Issued = tuple[Sequence[int], Sequence[int]]  # response ids, and the pictures they ask about
Complete = Callable[[list[Any]], object]
Response = Callable[[int, int, int], Any]  # id, address and length of an answer


class System:
    """Answers queries, as many at once as the candidate has streams and in batches of its size.

    An answer is the raw outputs of one picture, float32, one output after the other.

    Parameters
    ----------
    complete, response
        ``QuerySamplesComplete`` and ``QuerySampleResponse`` of LoadGen.

    Attributes
    ----------
    pictures, streams
        How many there are.
    fault
        What stopped the network. Every later query is answered with nothing and at once, so that
        LoadGen comes to its end: an exception must not pass through it, for it runs threads on
        what would be torn down.
    """

    def __init__(
        self, loaded: Loaded, samples: Samples, complete: Complete, response: Response
    ) -> None:
        choice = loaded.choice
        self.fault: BaseException | None = None
        self._infer = loaded.session.infer
        self._names = tuple(output.name for output in loaded.bundle.manifest.outputs)
        self.pictures, self.streams = len(samples), choice.streams
        self._samples, self._batch = samples, choice.batch
        self._complete, self._response = complete, response
        self._buffers = [
            {name: np.empty((choice.batch, *each.shape[1:]), each.dtype) for name, each in rows}
            for rows in [samples.tensors.items()] * choice.streams
        ]
        self._queue: SimpleQueue[Issued | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def issue(self, ids: Sequence[int], pictures: Sequence[int]) -> None:
        """Answer before this returns, in the first stream."""
        self._answer_all(ids, pictures, 0)

    def enqueue(self, ids: Sequence[int], pictures: Sequence[int]) -> None:
        """Leave the query to the streams."""
        batch = self._batch
        for first in range(0, len(ids), batch):
            self._queue.put((ids[first : first + batch], pictures[first : first + batch]))

    def answer(self, ids: Sequence[int], pictures: Sequence[int], stream: int) -> None:
        """Run the network on some pictures and tell LoadGen, batch after batch."""
        batch = self._batch
        for first in range(0, len(ids), batch):
            end = first + batch
            self._tell(ids[first:end], self._run(pictures[first:end], stream))

    def start(self) -> None:
        """Start one thread a stream; queries wait for them from now on."""
        self._threads = [
            threading.Thread(target=self._serve, args=(stream,), name="medge-stream", daemon=True)
            for stream in range(self.streams)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads when all that waits is answered."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _tell(self, ids: Sequence[int], answer: Tensor) -> None:
        """Hand over answers (n, values); LoadGen copies what it keeps before this returns."""
        place, length, respond = answer.ctypes.data, answer.strides[0], self._response
        self._complete(
            [respond(each, place + row * length, length) for row, each in enumerate(ids)]
        )

    def _run(self, pictures: Sequence[int], stream: int) -> Tensor:
        """Return the answers (n, values) to some pictures, valid until the stream's next call."""
        count = len(pictures)
        if count == 1:
            outputs = self._infer(self._samples.feeds[pictures[0]], stream)
        else:
            buffers = self._buffers[stream]
            feeds = {}
            for name, tensor in self._samples.tensors.items():
                feeds[name] = buffers[name] if count == self._batch else buffers[name][:count]
                np.take(tensor, pictures, axis=0, out=feeds[name])
            outputs = self._infer(feeds, stream)
        if len(self._names) == 1:
            return outputs[self._names[0]]
        return np.concatenate([outputs[name] for name in self._names], axis=1)

    def _serve(self, stream: int) -> None:
        while (issued := self._queue.get()) is not None:
            ids, pictures = issued
            last = False
            while len(ids) < self._batch and not last:  # what waits already joins the batch
                try:
                    more = self._queue.get_nowait()
                except Empty:
                    break
                if more is None:
                    last = True
                else:
                    ids, pictures = [*ids, *more[0]], [*pictures, *more[1]]
            self._answer_all(ids, pictures, stream)
            if last:
                return

    def _answer_all(self, ids: Sequence[int], pictures: Sequence[int], stream: int) -> None:
        """Answer; once the network has failed, with nothing."""
        batch = self._batch
        for first in range(0, len(ids), batch):
            some = ids[first : first + batch]
            answer = None
            if self.fault is None:
                try:
                    answer = self._run(pictures[first : first + batch], stream)
                except BaseException as error:  # raised again when LoadGen is done
                    self.fault = error
            if answer is None:
                self._complete([self._response(each, 0, 0) for each in some])
            else:
                self._tell(some, answer)
