"""Run a graph that tells extremes and a sample of its tensors instead of the tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from medge.engine.backends.silence import silent_onnxruntime
from medge.errors import BundleError
from medge.exporters.network import Tensor
from medge.profiles.device import allowed_cores

FATAL = 4  # ONNX Runtime's highest log level: its texts must not reach stderr
SAMPLE = 8192  # values of one tensor and picture
NO_SAMPLE = np.zeros(0, "f4")


class SampledRun:
    """One graph, watched at some tensors.

    The figures are computed in the graph, so that the runtime frees each tensor as it always does:
    collecting whole tensors of a picture would need as much memory as the network has layers.
    """

    def __init__(
        self, model: onnx.ModelProto, names: Sequence[str], extremes: Sequence[str] = ()
    ) -> None:
        """Watch the tensors ``names``, and of the tensors ``extremes`` nothing but these."""
        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        del watched.graph.output[:]
        _add_constants(watched)
        self._names = [*names, *extremes]
        self._sampled = len(names)
        for place, name in enumerate(self._names):
            _watch(watched, name, f"watch.{place}", sampled=place < self._sampled)
        self._fed = model.graph.input[0].name
        onnxruntime = silent_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = allowed_cores()
        options.log_severity_level = FATAL
        # What the graph means counts here, so that no two nodes are made one.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        try:
            self._session = onnxruntime.InferenceSession(
                watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its classes have no base of their own
            raise BundleError(
                "graph",
                f"onnxruntime {onnxruntime.__version__} cannot watch the graph "
                f"({type(error).__name__}). Export the bundle again with a newer opset.",
            ) from None

    def figures(self, picture: Tensor) -> Iterator[tuple[str, float, float, Tensor]]:
        """Yield name, smallest and largest value, and up to SAMPLE values of each tensor."""
        found = iter(self._session.run(None, {self._fed: picture}))
        for place, name in enumerate(self._names):
            low, high = float(next(found)), float(next(found))
            sample = next(found) if place < self._sampled else NO_SAMPLE
            yield name, low, high, np.asarray(sample)


def _add_constants(model: onnx.ModelProto) -> None:
    values = {
        "watch.flat": np.array([-1], "i8"),
        "watch.first": np.array([0], "i8"),
        "watch.last": np.array([np.iinfo("i8").max], "i8"),
        "watch.axis": np.array([0], "i8"),
        "watch.room": np.array([SAMPLE], "i8"),
        "watch.one": np.array([1], "i8"),
        "watch.two": np.array([2], "i8"),
    }
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in values.items())


def _watch(model: onnx.ModelProto, name: str, place: str, *, sampled: bool) -> None:
    """Add smallest and largest; and every k-th value, k odd so that columns take turns."""
    model.graph.node.extend(
        [
            helper.make_node("ReduceMin", [name], [f"{place}.low"], keepdims=0),
            helper.make_node("ReduceMax", [name], [f"{place}.high"], keepdims=0),
        ]
    )
    for kind in ("low", "high"):
        model.graph.output.append(
            helper.make_tensor_value_info(f"{place}.{kind}", TensorProto.FLOAT, [])
        )
    if not sampled:
        return
    nodes = [
        helper.make_node("Reshape", [name, "watch.flat"], [f"{place}.flat"]),
        helper.make_node("Shape", [f"{place}.flat"], [f"{place}.size"]),
        helper.make_node("Div", [f"{place}.size", "watch.room"], [f"{place}.turns"]),
        helper.make_node("Div", [f"{place}.turns", "watch.two"], [f"{place}.half"]),
        helper.make_node("Mul", [f"{place}.half", "watch.two"], [f"{place}.even"]),
        helper.make_node("Add", [f"{place}.even", "watch.one"], [f"{place}.step"]),
        helper.make_node(
            "Slice",
            [f"{place}.flat", "watch.first", "watch.last", "watch.axis", f"{place}.step"],
            [f"{place}.sample"],
        ),
    ]
    model.graph.node.extend(nodes)
    model.graph.output.append(
        helper.make_tensor_value_info(f"{place}.sample", TensorProto.FLOAT, [None])
    )
