"""Small graphs that ask for fewer bits, and bundles that hold them as variants."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from bundles import reference, tiny_files, tiny_graph, tiny_manifest
from msgspec.structs import replace
from onnx import TensorProto, helper, numpy_helper

from medge.engine.bundle_writer import write_bundle
from medge.engine.golden import pack_golden
from medge.engine.manifest import Variant

OPSET = 19  # ONNX's reference knows Q and DQ from here on
LAYERS = 2  # one convolution, one matrix product
STEPS = {"image": (0.03, 128), "r": (0.06, 0), "f": (0.014, 0), "wide": (0.025, 0)}
"""Scale and zero point of each activation; after a ReLU 0, so that runtimes can fuse it."""


def int8_graph(
    *, zero_after_relu: int = 0, weights: Mapping[str, npt.NDArray[Any]] | None = None
) -> bytes:
    """Return ``tiny_graph()`` with uint8 activations, int8 weights and int32 biases.

    ONNX Runtime fuses a convolution with its ReLU into an integer kernel only where the zero point
    behind them is 0; with any other it quietly computes in fp32.
    """
    tensors = weights_of(tiny_graph(weights=weights))
    constants: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def store(name: str, values: npt.NDArray[Any]) -> str:
        constants.append(numpy_helper.from_array(values, name))
        return name

    def activation(name: str) -> str:
        """Add Q and DQ behind ``name``; return what they give."""
        scale, zero = STEPS[name]
        zero = zero_after_relu if name == "r" else zero
        numbers = [store(f"{name}.s", np.float32(scale)), store(f"{name}.z", np.uint8(zero))]
        nodes.append(helper.make_node("QuantizeLinear", [name, *numbers], [f"{name}.q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}.q", *numbers], [f"{name}.d"]))
        return f"{name}.d"

    def weight(name: str, bias: str, input_scale: float) -> list[str]:
        scale = float(np.abs(tensors[name]).max()) / 127
        bias_scale = scale * input_scale
        values = np.rint(tensors[name] / scale).astype(np.int8)
        numbers = np.rint(tensors[bias] / bias_scale).astype(np.int32)
        parts = (
            (name, values, scale, np.int8(0)),
            (bias, numbers, bias_scale, np.int32(0)),
        )
        for part, stored, step, zero in parts:
            given = [store(f"{part}.q", stored), store(f"{part}.s", np.float32(step))]
            given.append(store(f"{part}.z", np.asarray(zero)))
            nodes.append(helper.make_node("DequantizeLinear", given, [f"{part}.d"]))
        return [f"{name}.d", f"{bias}.d"]

    given = [activation("image"), *weight("conv.w", "conv.b", STEPS["image"][0])]
    nodes.append(helper.make_node("Conv", given, ["c"], "conv", pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("Relu", ["c"], ["r"], "relu"))
    nodes.append(helper.make_node("GlobalAveragePool", [activation("r")], ["p"], "pool"))
    nodes.append(helper.make_node("Flatten", ["p"], ["f"], "flat"))
    given = [activation("f"), *weight("head.w", "head.b", STEPS["f"][0])]
    nodes.append(helper.make_node("Gemm", given, ["wide"], "head"))
    nodes.append(helper.make_node("Identity", [activation("wide")], ["scores"], "last"))
    return _model(nodes, constants)


def fp16_graph() -> bytes:
    """Return ``tiny_graph()`` computed in fp16 between two casts."""
    model = onnx.load_from_string(tiny_graph())
    for tensor in model.graph.initializer:
        narrow = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(narrow, tensor.name))
    nodes = [helper.make_node("Cast", ["image"], ["half"], "in", to=TensorProto.FLOAT16)]
    nodes += model.graph.node
    nodes[1].input[0] = "half"
    nodes[-1].output[0] = "narrow"
    nodes.append(helper.make_node("Cast", ["narrow"], ["scores"], "out", to=TensorProto.FLOAT))
    return _model(nodes, list(model.graph.initializer))


def narrow_bundle(
    folder: Path,
    name: str,
    graph: bytes,
    *,
    narrow_layers: int = LAYERS,
    golden: npt.NDArray[Any] | None = None,
    golden_tolerance: float | None = 0.2,
) -> Path:
    """Write ``folder/tiny.medge`` with the fp32 graph and one variant.

    ``golden`` replaces the variant's own golden outputs, those of ONNX's reference; a tolerance of
    None leaves them out.
    """
    files = tiny_files(tiny_graph(), variants={name: graph})
    own = golden_scores(graph) if golden is None else golden
    variants = None if golden_tolerance is None else {name: {"scores": own}}
    scores = golden_scores(tiny_graph())
    files["golden.npz"] = pack_golden({"image": golden_image()}, {"scores": scores}, variants)
    variant = Variant(
        name=name,
        file=f"variants/{name}.onnx",
        opset=OPSET,
        method="by hand",
        narrow_layers=narrow_layers,
        compute_layers=LAYERS,
        golden_tolerance=golden_tolerance,
    )
    draft = tiny_manifest()
    path = folder / "tiny.medge"
    write_bundle(path, replace(draft, variants=(*draft.variants, variant)), files)
    return path


def golden_image() -> npt.NDArray[Any]:
    """Return two cases, one of each class, that quantisation does not bring near a tie."""
    return np.random.default_rng(33).normal(size=(2, 1, 8, 8)).astype("f4")


def golden_scores(graph: bytes) -> npt.NDArray[Any]:
    """Return what ONNX's reference answers for the golden cases."""
    return reference(graph, golden_image())


def weights_of(graph: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return a graph's initializers by name."""
    tensors = onnx.load_from_string(graph).graph.initializer
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}


def _model(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
