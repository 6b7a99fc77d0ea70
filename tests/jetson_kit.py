"""A tiny bundle with two variants, its build bundle unpacked, and what its runner writes there."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from bundles import reference, tiny_files, tiny_graph, tiny_manifest
from msgspec.structs import replace
from onnx import helper, numpy_helper

from medge.engine.bundle import open_bundle
from medge.engine.bundle_writer import write_bundle
from medge.engine.golden import pack_golden
from medge.engine.manifest import Variant
from medge.exporters.jetson.write import BuildBundle, write_build_bundle
from medge.profiles.target import find_target

NANO, XAVIER = "nvidia-jetson-nano", "nvidia-jetson-agx-xavier"
ORIN, THOR = "nvidia-jetson-agx-orin-64gb", "nvidia-jetson-thor-t5000"


OPSET = 19  # ONNX's reference knows Q and DQ from here on


def fp32_graph() -> bytes:
    """Return ``tiny_graph()`` in an opset that JetPack 4 and 5 do not know."""
    model = onnx.load_from_string(tiny_graph())
    model.opset_import[0].version, model.ir_version = OPSET, 9
    return bytes(model.SerializeToString())


def int8_graph() -> bytes:
    """Return ``fp32_graph()`` with symmetric int8 in front of its convolution, legal everywhere."""
    model = onnx.load_from_string(fp32_graph())
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weight = numpy_helper.to_array(tensors["conv.w"])
    scales = (np.abs(weight).reshape(4, -1).max(1) / 127).astype("f4")
    values = np.rint(weight / scales.reshape(4, 1, 1, 1)).astype("i1")
    constants = {
        "conv.q": values,
        "conv.s": scales,
        "conv.z": np.zeros(4, "i1"),
        "x.s": np.float32(0.03),
        "x.z": np.int8(0),
    }
    before = [
        helper.make_node("QuantizeLinear", ["image", "x.s", "x.z"], ["x.q"], "Q"),
        helper.make_node("DequantizeLinear", ["x.q", "x.s", "x.z"], ["x.d"], "DQ"),
        helper.make_node(
            "DequantizeLinear", ["conv.q", "conv.s", "conv.z"], ["w.d"], "weight", axis=0
        ),
    ]
    nodes = [*before, *model.graph.node]
    nodes[3].input[:] = ["x.d", "w.d", "conv.b"]
    kept = [tensor for name, tensor in tensors.items() if name != "conv.w"]
    made = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", model.graph.input, model.graph.output, [*kept, *made])
    return bytes(
        helper.make_model(graph, opset_imports=model.opset_import, ir_version=9).SerializeToString()
    )


def bundle_at(folder: Path, *, drift: Any = None) -> Path:
    """Write a bundle of fp32, int8, and an int8-cpu that no TensorRT takes."""
    graph, narrow = fp32_graph(), int8_graph()
    foreign = onnx.load_from_string(narrow)
    for tensor in foreign.graph.initializer:
        if tensor.name == "x.z":
            tensor.CopyFrom(numpy_helper.from_array(np.int8(3), "x.z"))
    files = tiny_files(graph)
    image = np.random.default_rng(1).normal(size=(2, 1, 8, 8)).astype("f4")
    variants = {"int8": narrow, "int8-cpu": foreign.SerializeToString()}
    golden = {name: {"scores": reference(raw, image)} for name, raw in variants.items()}
    files["golden.npz"] = pack_golden({"image": image}, {"scores": reference(graph, image)}, golden)
    files |= {f"variants/{name}.onnx": raw for name, raw in variants.items()}
    draft = tiny_manifest()
    made = tuple(
        Variant(
            name=name,
            file=f"variants/{name}.onnx",
            opset=OPSET,
            method="by hand",
            narrow_layers=1,
            compute_layers=2,
            golden_tolerance=0.05,
            drift=drift,
        )
        for name in variants
    )
    path = folder / "tiny.medge"
    write_bundle(path, replace(draft, variants=(*draft.variants, *made)), files)
    return path


def built(folder: Path, target: str = ORIN, **changes: Any) -> BuildBundle:
    """Write the build bundle of the tiny bundle for a target into a folder."""
    folder.mkdir(exist_ok=True)
    path = folder / "tiny.medge"
    with open_bundle(path if path.exists() else bundle_at(folder)) as bundle:
        return write_build_bundle(bundle, find_target(target), folder, **changes)


def unpacked(made: BuildBundle) -> Path:
    """Unpack the archive beside itself, as a person would; return the folder."""
    with tarfile.open(made.path) as archive:
        archive.extractall(made.path.parent, filter="data")
    return made.path.parent / made.path.name.removesuffix(".build.tar")


def ran(folder: Path, *words: str, python: str = sys.executable) -> tuple[int, str, str]:
    """Run the runner in a folder; return exit code, stdout and stderr."""
    done = subprocess.run(
        [python, "-B", str(folder / "run.py"), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def resealed(raw: bytes, *changes: Callable[[dict[str, Any]], None]) -> bytes:
    """Change an answer and give it a digest that is right, as a forger would."""
    plain = json.loads(raw)
    for change in changes:
        change(plain["result"])
    told = json.dumps(plain["result"], sort_keys=True, separators=(",", ":"))
    plain["sha256"] = hashlib.sha256(told.encode()).hexdigest()
    return json.dumps(plain).encode()
