"""A network that comes as an ONNX file: made to fit a bundle, and held against ONNX's reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from medge.engine.backends.silence import silent_onnxruntime
from medge.errors import UsageError
from medge.exporters.graph import cleaned, opset_of
from medge.exporters.layers_of import layers_of
from medge.exporters.network import Origin, Tensor
from medge.exporters.onnx_file import read_onnx
from medge.exporters.onnx_ports import fit_ports
from medge.exporters.plain_run import first_apart, run_plainly
from medge.exporters.quiet import quiet
from medge.exporters.sources import file_sha256

if TYPE_CHECKING:
    from medge.exporters.spec import Spec

REFERENCE_CAP_FLOPS = 500_000_000
"""ONNX's reference is NumPy: exact about meaning, and slow; this much takes about a second."""


class OnnxNetwork:
    """See Network. Asked through ONNX's reference, or, where that cannot be, node by node."""

    def __init__(self, path: Path) -> None:
        self._model, self.notes = read_onnx(path)
        self.origin = Origin(
            framework="onnx",
            framework_version=onnx.__version__,
            architecture=path.stem,
            weights_sha256=file_sha256(path),
        )
        self.against = f"onnx.reference {onnx.__version__}"
        self._outputs: tuple[str, ...] = ()
        self._evaluator: ReferenceEvaluator | None = None

    def to_onnx(self, spec: Spec, opset: int | None) -> bytes:
        """See Network.to_onnx; operators stay as they are, unless another opset is asked for."""
        if opset is not None and opset != opset_of(self._model):
            self._model = _converted(self._model, opset)
            self.notes.append(f"converted to opset {opset}")
        self.notes += fit_ports(self._model, spec)
        self._outputs = tuple(output.name for output in spec.outputs)
        graph = cleaned(self._model)
        self._model = onnx.load_from_string(graph)
        image = np.zeros((1, *spec.input.shape), spec.input.dtype)
        flops = sum(layer.flops for layer in layers_of(graph, image).layers)
        why = f"it has {flops / 1e9:.2g} GFLOP"
        if flops <= REFERENCE_CAP_FLOPS:
            self._evaluator = _evaluator(self._model, image)
            why = "ONNX's reference does not know all of its operators"
        if self._evaluator is None:
            self.against = f"onnxruntime {silent_onnxruntime().__version__}, node by node"
            self.notes.append(f"held against its own nodes, run one by one: {why}")
        return graph

    def answers(self, batch: Tensor) -> Mapping[str, Tensor]:
        """See Network.answers."""
        with quiet():  # NumPy warns of overflow; what is not finite is refused by its value
            rows = [self._answer(batch[i : i + 1]) for i in range(len(batch))]
        return {
            name: np.concatenate([row[name] for row in rows]).astype("f4") for name in self._outputs
        }

    def first_difference(self, graph: bytes, image: Tensor) -> str:
        """See Network.first_difference."""
        if self._evaluator is None:
            expected: Mapping[str, Any] = run_plainly(self._model, image)
        else:
            fed = {self._model.graph.input[0].name: image}
            with quiet():
                found = self._evaluator.run(None, fed, intermediate=True)
            expected = cast("dict[str, Any]", found)
        known = {k: np.asarray(v) for k, v in expected.items() if v is not None}
        return first_apart(graph, image, known, {})

    def _answer(self, image: Tensor) -> Mapping[str, Tensor]:
        if self._evaluator is None:
            return run_plainly(self._model, image, self._outputs)
        found = self._evaluator.run(list(self._outputs), {self._model.graph.input[0].name: image})
        return dict(zip(self._outputs, map(np.asarray, found), strict=True))


def _evaluator(model: onnx.ModelProto, image: Tensor) -> ReferenceEvaluator | None:
    """Return ONNX's reference for a graph, None where it has no code for one of the nodes."""
    try:
        with quiet():
            evaluator = ReferenceEvaluator(model)
            evaluator.run(None, {model.graph.input[0].name: image})
    except Exception:  # each operator of the reference has its own way to give up
        return None
    return evaluator


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    try:
        return onnx.version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError, TypeError) as error:
        raise UsageError(
            "opset",
            f"ONNX {onnx.__version__} cannot convert this graph from opset {opset_of(model)} to "
            f"{opset}. Leave out --opset.",
        ) from error
