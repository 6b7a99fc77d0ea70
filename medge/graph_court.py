"""Judge and time graphs that are in no bundle yet: what bench does for exporters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import onnx

from medge.bench.drift import Judge
from medge.bench.graph_times import graph_times
from medge.engine.backends.presence import absence, installed_version
from medge.engine.placement import check_placement
from medge.engine.select import choose
from medge.engine.session import Session
from medge.errors import BundleError, GateError
from medge.exporters.layer_count import count_narrow
from medge.exporters.rounded import rounded_as_half
from medge.profiles.device import device_tier

if TYPE_CHECKING:
    from medge.engine.bundle import Bundle
    from medge.engine.evidence import Drift
    from medge.engine.select import Choice


class Court:
    """Judges graphs on every backend here that computes them as they ask."""

    def __init__(self, bundle: Bundle, images: Judge, labels_sha256: str) -> None:
        self._bundle = bundle
        self._labels_sha256 = labels_sha256
        self._images = images
        self.left_out: int = images.images.excluded

    @property
    def key(self) -> str:
        """Digest of all that a verdict depends on but the graph."""
        files = self._images.images
        said = [
            files.digests,
            self._labels_sha256,
            msgspec.to_builtins(self._images.margins),
            device_tier(),
            [installed_version(backend) for backend in ("onnxruntime", "openvino")],
        ]
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()

    def judge(self, precision: str, model: bytes) -> Sequence[Drift]:
        """Return a verdict for each backend that computes the graph in as few bits as it asks."""
        choices = [
            replace(_choice(self._bundle, backend), variant=precision)
            for backend in _backends(precision)
        ]
        if precision == "fp16":
            model = rounded_as_half(model)
        else:
            narrow = {choice: self._is_narrow(choice, model) for choice in choices}
            taken = [choice for choice in choices if narrow[choice] is not None]
            # Where none does, the first says what the graph means.
            choices = [choice for choice in taken if narrow[choice]] or (taken or choices)[:1]
        reports = self._images.judge_many([(choice, model) for choice in choices])
        return [report.drift for report in reports]

    def _is_narrow(self, choice: Choice, model: bytes) -> bool | None:
        """Whether a runtime computes in as few bits as the graph asks; None if it refuses it."""
        narrow, layers = count_narrow(onnx.load_from_string(model))
        golden = self._bundle.golden()
        try:
            opened = Session(self._bundle, choice, model)
        except BundleError:
            return None
        with opened as session:
            session.infer({name: array[:1].copy() for name, array in golden.inputs.items()})
            try:
                check_placement(session.placement, choice.backend, "int8", layers, narrow)
            except GateError:
                return False
        return True


def _backends(precision: str) -> tuple[str, ...]:
    """Return where a precision may be judged.

    No CPU runtime computes fp16 graphs in fp16, so a graph that rounds as they would is judged, and
    one runtime is enough for that.
    """
    wanted = ("onnxruntime",) if precision == "fp16" else ("openvino", "onnxruntime")
    return tuple(name for name in wanted if absence(name) is None)


def _choice(bundle: Bundle, backend: str) -> Choice:
    return choose(bundle, backend, precision="fp32")


def stopwatch(bundle: Bundle) -> Callable[[Sequence[bytes]], Sequence[float]]:
    """Return what times graphs in turn, on the backend where INT8 is judged first."""
    choice = _choice(bundle, _backends("int8")[0])
    return lambda graphs: graph_times(bundle, choice, graphs)
