"""Make small bundles of real ONNX graphs; what they must answer comes from ONNX's own reference."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from medge.engine.bundle_writer import write_bundle
from medge.engine.golden import pack_golden
from medge.engine.manifest import (
    FileEntry,
    ImageInput,
    Manifest,
    Output,
    Source,
    Threshold,
    Variant,
    decode,
    encode,
)
from medge.profiles.layers import Layer, Layers, encode_layers

OPSET = 17
CLASSES = ("benign", "malignant")

Tensor = npt.NDArray[Any]


def tiny_graph(
    *,
    channels: int = 1,
    size: int = 8,
    classes: int = 2,
    batch: int | str = "batch",
    seed: int = 0,
    probabilities: bool = False,
    weights: Mapping[str, Tensor] | None = None,
) -> bytes:
    """Conv 3x3, ReLU, global average, linear; ``image`` (n, channels, size, size) -> ``scores``.

    ``weights`` replaces initializers by name: ``conv.w`` (4, channels, 3, 3), ``conv.b`` (4,),
    ``head.w`` (4, classes), ``head.b`` (classes,). ``probabilities`` ends the graph in a softmax.
    """
    random = np.random.default_rng(seed)
    shapes = {
        "conv.w": (4, channels, 3, 3),
        "conv.b": (4,),
        "head.w": (4, classes),
        "head.b": (classes,),
    }
    tensors = {name: random.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    tensors |= weights or {}
    last = "logits" if probabilities else "scores"
    nodes = [
        helper.make_node("Conv", ["image", "conv.w", "conv.b"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "head.w", "head.b"], [last], "head"),
    ]
    if probabilities:
        nodes.append(helper.make_node("Softmax", ["logits"], ["scores"], "softmax", axis=1))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, channels, size, size])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, classes])],
        [numpy_helper.from_array(tensor, name) for name, tensor in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def reference(graph: bytes, image: Tensor) -> Tensor:
    """Return ``scores`` for a batch as ONNX's reference evaluator computes them, row by row."""
    evaluator = ReferenceEvaluator(onnx.load_from_string(graph))
    rows = [np.asarray(evaluator.run(["scores"], {"image": row[None]})[0]) for row in image]
    return np.concatenate(rows).astype("f4")


def tiny_manifest(
    *,
    channels: int = 1,
    size: int = 8,
    classes: Sequence[str] = CLASSES,
    activation: str = "softmax",
    thresholds: Mapping[str, float] | None = None,
    variants: Sequence[str] = (),
    **changes: Any,
) -> Manifest:
    """Return a draft that fits ``tiny_graph``; ``changes`` replaces any field of it."""
    draft = Manifest(
        name="tiny",
        version="1.0.0",
        task="single-label",
        inputs=(
            ImageInput(
                name="image",
                height=size,
                width=size,
                channels=1 if channels == 1 else 3,
                mean=(0.5,) * channels,
                std=(0.25,) * channels,
            ),
        ),
        outputs=(
            Output(
                name="scores",
                classes=tuple(classes),
                activation=activation,
                thresholds=tuple(
                    Threshold(label=k, value=v) for k, v in (thresholds or {}).items()
                ),
            ),
        ),
        intended_use="Tests.",
        demonstration=True,
        licence="Apache-2.0",
        source=Source(framework="onnx", framework_version=onnx.__version__, architecture="tiny"),
        variants=(
            Variant(name="fp32", file="model.onnx", opset=OPSET),
            *(Variant(name=v, file=f"variants/{v}.onnx", opset=OPSET) for v in variants),
        ),
    )
    return msgspec.structs.replace(draft, **changes)


def tiny_files(
    graph: bytes,
    *,
    variants: Mapping[str, bytes] | None = None,
    cases: int = 2,
    shape: tuple[int, int, int] = (1, 8, 8),
    golden: Tensor | None = None,
    seed: int = 1,
) -> dict[str, bytes]:
    """Return the files of a bundle around ``graph``; ``golden`` replaces its golden outputs."""
    image = np.random.default_rng(seed).normal(size=(cases, *shape)).astype("f4")
    scores = reference(graph, image) if golden is None else golden
    head = Layer(
        name="head",
        op="Gemm",
        input_shapes=((1, 4),),
        output_shapes=((1, scores.shape[1]),),
        flops=8 * scores.shape[1],
        weight_bytes=4 * 5 * scores.shape[1],
        input_bytes=16,
        output_bytes=4 * scores.shape[1],
    )
    return {
        "model.onnx": graph,
        "golden.npz": pack_golden({"image": image}, {"scores": scores}),
        "layers.json": encode_layers(Layers(layers=(head,))),
        **{f"variants/{name}.onnx": raw for name, raw in (variants or {}).items()},
    }


def tiny_bundle(
    folder: Path,
    name: str = "tiny",
    *,
    graph: bytes | None = None,
    variants: Mapping[str, bytes] | None = None,
    golden: Tensor | None = None,
    channels: int = 1,
    size: int = 8,
    classes: Sequence[str] = CLASSES,
    **changes: Any,
) -> Path:
    """Write ``folder/NAME.medge`` and return its path.

    ``graph`` defaults to ``tiny_graph`` of these sizes; ``golden`` replaces its golden outputs;
    ``changes`` goes to ``tiny_manifest``.
    """
    if graph is None:
        graph = tiny_graph(channels=channels, size=size, classes=len(classes))
    path = folder / f"{name}.medge"
    draft = tiny_manifest(
        channels=channels, size=size, classes=classes, variants=tuple(variants or ()), **changes
    )
    files = tiny_files(graph, variants=variants, shape=(channels, size, size), golden=golden)
    write_bundle(path, draft, files)
    return path


def forge(bundle: Path, name: str, raw: bytes) -> None:
    """Replace a file and make the manifest agree, as only a hand outside medge would."""
    (bundle / name).write_bytes(raw)
    manifest = decode((bundle / "manifest.json").read_bytes())
    entry = FileEntry(sha256=hashlib.sha256(raw).hexdigest(), bytes=len(raw))
    changed = msgspec.structs.replace(manifest, files={**manifest.files, name: entry})
    (bundle / "manifest.json").write_bytes(encode(changed))
