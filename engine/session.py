"""Sessions: one variant of one bundle on one backend, finite values in and finite values out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from medge._native import all_finite
from medge.engine.backends import Backend, EngineError, Options, Port, Tensor, backend_class
from medge.engine.backends.presence import require
from medge.engine.engine_facts import engine_facts
from medge.engine.graph_scan import check_graph
from medge.errors import BackendError, InputError, UsageError
from medge.profiles.cuda_gpus import name_of_device
from medge.profiles.device import cpu_name

if TYPE_CHECKING:
    from medge.engine.bundle import Bundle
    from medge.engine.cache import EngineCache
    from medge.engine.manifest import Manifest
    from medge.engine.placement import Placement, TimedNode
    from medge.engine.select import Choice


class Session:
    """A loaded network.

    Attributes
    ----------
    backend, device, precision
        What runs, as results tell it: ``onnxruntime``, ``cpu (NAME)``, ``fp32``.
    backend_version
        The runtime's.
    from_bundle, from_cache
        Whether the graph is the variant's own, and whether a kept engine of it was opened.
    answers
        False for a backend that runs no network; what it returns must not become a prediction.

    A stream's output arrays are reused from call to call, so one stream is used by one thread at a
    time; different streams may run at once.
    """

    def __init__(
        self,
        bundle: Bundle,
        choice: Choice,
        model: bytes | None = None,
        cache: EngineCache | None = None,
        *,
        watched: bool = False,
    ) -> None:
        """Load one variant.

        Parameters
        ----------
        model
            An ONNX graph that takes the place of the variant's own: one that is still to be judged
            and so is in no bundle yet. Its tensors are those of the manifest, and it is checked as
            those of a bundle are.
        cache
            Where an engine is looked for, and kept when it had to be built. Graphs that are in no
            bundle, and engines that ``engine_facts`` has no facts for, are not kept.
        """
        _check_streams(choice)
        require(choice.backend)
        file = "" if model is not None else _file_of(bundle, choice.variant)
        self.from_bundle = model is None
        self.choice = choice
        self.backend = choice.backend
        self.precision = choice.precision_name
        self.device = name_of_device(choice.device, cpu_name())
        self._inputs, self._outputs = ports(bundle.manifest)
        # Made before the model is read: the import overlaps with the check of the bundle's files.
        self._runtime: Backend = backend_class(choice.backend)()
        self.answers = self._runtime.answers
        self.backend_version = self._runtime.version
        options = Options(
            device=choice.device,
            precision=choice.precision,
            threads=choice.threads,
            streams=choice.streams,
            inputs=self._inputs,
            outputs=self._outputs,
            watched=watched,
            batch=choice.batch,
            fixed_batch=True,
        )
        kept = cache is not None and self.from_bundle and self.answers
        self._cache = cache
        self._facts = engine_facts(bundle, choice, self.backend_version) if kept else None
        self.from_cache = False
        try:
            if model is None:
                model = bundle.read(file)
            else:
                check_graph("the graph", model)
            self._load(model, options)
        except BaseException:  # Ctrl-C too must leave nothing of the runtime behind
            self._runtime.close()
            raise
        bundle.release()

    @property
    def batch(self) -> int | None:
        """The only batch that the graph takes, None for any."""
        return self._runtime.batch

    @property
    def streams(self) -> int:
        """How many calls may run at once."""
        return self.choice.streams

    def device_of(self, _stream: int) -> str:
        """Return the device of a stream, as results tell it: a session has one."""
        return self.device

    @cached_property
    def placement(self) -> Placement:
        """What the loaded network really runs in, as its runtime tells."""
        return self._runtime.placement()

    def timed_nodes(self) -> tuple[TimedNode, ...]:
        """Return what each operation took in every call of a watched session, and end that."""
        return self._runtime.timed_nodes()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the cache has to say: damage that was found, an engine that could not be kept."""
        return tuple(self._cache.notes) if self._cache is not None else ()

    def distrust_engine(self) -> None:
        """Let the cache forget the engine that this session was opened from."""
        if self._cache is not None and self._facts is not None:
            self._cache.drop(self._facts, "an engine failed its self-test")

    def infer(self, inputs: Mapping[str, Tensor], stream: int = 0) -> Mapping[str, Tensor]:
        """Run one batch.

        Parameters
        ----------
        inputs
            For every input of the bundle a C-contiguous array (n, ...) of its shape and dtype. The
            runtime is always given ``choice.batch`` items at once: more are split, fewer filled up.
        stream
            0 to ``choice.streams - 1``; each may be used by another thread at the same time.

        Returns
        -------
        Mapping
            For every output an array (n, classes), float32, valid until the stream's next call.

        Raises
        ------
        InputError
            Rule ``not-finite-input`` or ``not-finite-output``: some runtimes turn NaN into
            plausible answers, so it must not reach them, and must not leave them.
        ValueError
            The arrays are not what the bundle declares.
        """
        batch = self._check(inputs)
        size = self._runtime.batch or self.choice.batch
        if batch == size:
            outputs = self._runtime.infer(inputs, stream)
        else:
            outputs = self._in_parts(inputs, batch, size, stream)
        for port in self._outputs:
            if not all_finite(outputs[port.name]):
                raise InputError(
                    "not-finite-output",
                    f"The network's output {port.name} holds NaN or Inf, so there is no decision. "
                    "Check the picture; if others do the same, do not use this bundle here.",
                )
        return outputs

    def close(self) -> None:
        """Release the runtime."""
        self._runtime.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _load(self, model: bytes, options: Options) -> None:
        """Open what the cache has of this graph; else build it, and keep what was built."""
        cache, facts = self._cache, self._facts
        if cache is None or facts is None:
            self._runtime.load(model, options)
            return
        engine = cache.find(facts)
        if engine:
            start = time.perf_counter_ns()
            try:
                self._runtime.load(model, options, engine)
            except EngineError:
                cache.drop(facts, f"{self.backend} does not take an engine back")
                engine = None
            else:
                self.from_cache = True
                if self._runtime.renewed:
                    load_ns = time.perf_counter_ns() - start
                    cache.keep(facts, self._runtime.engine(), load_ns)
                return
        unknown = engine is None
        start = time.perf_counter_ns()
        self._runtime.load(model, replace(options, keep_engine=unknown))
        if unknown:
            build_ns = time.perf_counter_ns() - start
            cache.keep(facts, self._runtime.engine(), build_ns)

    def _check(self, inputs: Mapping[str, Tensor]) -> int:
        """Return the batch size of arrays that are as declared, and finite."""
        batch = -1
        for port in self._inputs:
            array = inputs[port.name]
            if batch < 0:
                batch = len(array)
            if array.shape != (batch, *port.shape) or array.dtype != port.dtype:
                raise ValueError(f"input {port.name!r} is not {port.dtype} (n, *{port.shape})")
            if not array.flags.c_contiguous:
                raise ValueError(f"input {port.name!r} is not C-contiguous")
            if port.dtype == "float32" and not all_finite(array):
                raise InputError(
                    "not-finite-input",
                    f"The prepared picture {port.name} holds NaN or Inf. Check the file's pixel "
                    "values and its rescale and window numbers.",
                )
        return batch

    def _in_parts(
        self, inputs: Mapping[str, Tensor], batch: int, size: int, stream: int
    ) -> Mapping[str, Tensor]:
        """Run any number of items in calls of ``size``; the last one is filled up with 0."""
        outputs = {port.name: np.empty((batch, *port.shape), port.dtype) for port in self._outputs}
        for first in range(0, batch, size):
            rows = min(size, batch - first)
            part = {name: array[first : first + rows] for name, array in inputs.items()}
            if rows < size:
                part = {name: _filled(array, size) for name, array in part.items()}
            answer = self._runtime.infer(part, stream)
            for name, output in outputs.items():
                output[first : first + rows] = answer[name][:rows]
        return outputs


def _filled(array: Tensor, size: int) -> Tensor:
    whole = np.zeros((size, *array.shape[1:]), array.dtype)
    whole[: len(array)] = array
    return whole


def _check_streams(choice: Choice) -> None:
    if not 1 <= choice.streams <= choice.threads:
        raise UsageError(
            "streams",
            f"{choice.streams} streams were asked for with {choice.threads} threads. Every stream "
            "needs a thread of its own.",
        )


def _file_of(bundle: Bundle, name: str) -> str:
    variant = bundle.manifest.variant(name)
    if variant is None:
        raise BackendError(
            "precision", f"{bundle.path.name} has no variant {name}. Choose another."
        )
    return variant.file


def ports(manifest: Manifest) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Return the input and output tensors that a manifest promises of its graph."""
    return (
        tuple(Port(spec.name, spec.dtype, spec.shape) for spec in manifest.inputs),
        tuple(Port(output.name, "float32", (len(output.classes),)) for output in manifest.outputs),
    )
