"""Run a graph that tells extremes and a sample of its tensors instead of the tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

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


@dataclass(frozen=True, slots=True)
class Watch:
    """What is wanted of a graph's tensors: extremes of all ``names``, and of some more.

    ``counted`` have their values counted. ``averaged`` have their mean for each channel taken: over
    the picture where the value is True, as they are where it is False (they hold channels only).
    """

    names: tuple[str, ...]
    counted: frozenset[str]
    averaged: Mapping[str, bool]


class Figures(NamedTuple):
    """What one picture shows of one tensor; ``means`` has a value for each channel."""

    low: float
    high: float
    sample: Tensor
    means: Tensor | None = None


class SampledRun:
    """One graph, watched at some tensors.

    The figures are computed in the graph, so that the runtime frees each tensor as it always does:
    collecting whole tensors of a picture would need as much memory as the network has layers.
    """

    def __init__(self, model: onnx.ModelProto, watch: Watch) -> None:
        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        del watched.graph.output[:]
        _add_constants(watched)
        self._watch = watch
        for place, name in enumerate(watch.names):
            _extremes(watched, name, f"watch.{place}")
            if name in watch.counted:
                _sample(watched, name, f"watch.{place}")
            if name in watch.averaged:
                _mean(watched, name, f"watch.{place}", pool=watch.averaged[name])
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

    def figures(self, picture: Tensor) -> Iterator[tuple[str, Figures]]:
        """Yield what was seen of each tensor."""
        found = iter(self._session.run(None, {self._fed: picture}))
        for name in self._watch.names:
            low, high = float(next(found)), float(next(found))
            sample = np.asarray(next(found)) if name in self._watch.counted else NO_SAMPLE
            means = np.ravel(next(found)) if name in self._watch.averaged else None
            yield name, Figures(low, high, sample, means)


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


def _extremes(model: onnx.ModelProto, name: str, place: str) -> None:
    for kind, operator in (("low", "ReduceMin"), ("high", "ReduceMax")):
        made = f"{place}.{kind}"
        model.graph.node.append(helper.make_node(operator, [name], [made], keepdims=0))
        model.graph.output.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, []))


def _mean(model: onnx.ModelProto, name: str, place: str, *, pool: bool) -> None:
    operator = "GlobalAveragePool" if pool else "Identity"
    model.graph.node.append(helper.make_node(operator, [name], [f"{place}.mean"]))
    model.graph.output.append(onnx.ValueInfoProto(name=f"{place}.mean"))


def _sample(model: onnx.ModelProto, name: str, place: str) -> None:
    """Add every k-th value, k odd so that the columns of a picture take turns."""
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
