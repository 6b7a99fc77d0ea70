"""Runs where onnxruntime-gpu is: ``onnxruntime_gpu.py`` starts it, and reads the last line.

Arguments: the site-packages that hold medge; ``one`` or ``both`` packages of ONNX Runtime, as pip
would know them; ``states`` or ``graphs``; bundles.
"""

# ruff: noqa: E402 - what is imported from where is decided first
from __future__ import annotations

import json
import site
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from importlib import metadata
from typing import Any

SITE, PACKAGES, MODE, *BUNDLES = sys.argv[1:]
site.addsitedir(SITE)  # after its own packages: onnxruntime stays the one for GPUs
_VERSION = metadata.version


def version(name: str) -> str:
    """Return what pip knows of this environment alone: the other one has the package for CPUs."""
    if name == "onnxruntime" and PACKAGES == "one":
        raise metadata.PackageNotFoundError(name)
    return _VERSION(name)


metadata.version = version

import numpy as np
from onnx import TensorProto, helper

from medge.engine.backends import Options, Port, backend_class
from medge.engine.backends.ort import OnnxRuntime
from medge.engine.backends.ort_cuda import NO_CPU
from medge.engine.backends.silence import silent_onnxruntime
from medge.engine.bundle import Bundle, find_bundle, open_bundle
from medge.engine.select import choose
from medge.engine.selftest import open_proven
from medge.engine.session import ports
from medge.errors import MedgeError

Told = Iterator[tuple[str, object]]


def states() -> Told:
    """Yield what ONNX Runtime does by itself, and what medge says of each device."""
    library = silent_onnxruntime()
    library.set_default_logger_severity(4)
    yield "onnxruntime", library.__version__
    yield "available", library.get_available_providers()
    with open_bundle(find_bundle(None)) as bundle:
        graph = bundle.read("model.onnx")
        alone = library.InferenceSession(graph, providers=["CUDAExecutionProvider"])
        yield "onnxruntime alone took", alone.get_providers()
        yield "devices", backend_class("onnxruntime")().devices()
        for device in ("cpu", "nvidia:0", "nvidia:9"):
            for name in ("onnxruntime", "onnxruntime-tensorrt"):
                yield f"{name} {device}", opened(bundle, name, device)


def opened(bundle: Bundle, name: str, device: str) -> str:
    """Open a bundle, or say what stops it."""
    try:
        session, tested = open_proven(bundle, choose(bundle, name, device))
    except MedgeError as error:
        return str(error)
    session.close()
    return f"{session.device}: {tested.cases} golden cases"


def graphs() -> Told:
    """Yield which nodes the provider takes of each graph, and of two that it must refuse."""
    for name in BUNDLES:
        with open_bundle(find_bundle(name)) as bundle:
            for variant in bundle.manifest.variants:
                if variant.name in ("fp32", "fp16"):
                    taken = loaded(bundle.read(variant.file), *ports(bundle.manifest))
                    yield f"{bundle.manifest.name} {variant.name}", taken
    for operator, graph in integer_graphs():
        shapes = (Port("image", "float32", (1, 4, 4)),), (Port("scores", "float32", (2, 2, 2)),)
        yield f"must fail: {operator}", loaded(graph, *shapes)


def loaded(graph: bytes, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> str:
    """Load a graph on the second GPU in two streams, and write three pictures into its memory."""
    backend = OnnxRuntime()
    try:
        backend.load(graph, Options("nvidia:1", "fp32", 2, inputs, outputs, streams=2))
    except MedgeError as error:
        return str(error)
    lane: Any = backend._streams[1]
    same = {port.name: np.zeros((1, *port.shape), port.dtype) for port in inputs}
    for number in range(3):
        for array in same.values():
            array[:] = number
        lane.feed(same)
        for name in same:
            held = lane._held[name][1]
            if held.device_name() != "cuda" or not (held.numpy() == number).all():
                return "the GPU's memory holds an older picture"
    where = on_cpu(backend._session)
    backend.close()
    return f"taken, {where}"


def on_cpu(session: Any) -> str:
    """Say what the CPU has of a session."""
    if session.get_session_options().get_session_config_entry(NO_CPU) == "1":
        return "all of it"
    on: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for part in session.get_provider_graph_assignment_info():
        on[part.ep_name].update(node.op_type for node in part.get_nodes())
    sizes = ", ".join(f"{count} {name}" for name, count in on["CPUExecutionProvider"].items())
    return f"{on['CUDAExecutionProvider'].total()} nodes; on the CPU, for sizes: {sizes}"


def integer_graphs() -> Iterator[tuple[str, bytes]]:
    """Yield convolutions of integers, which the provider has no kernels for."""
    int8, fp32 = TensorProto.INT8, TensorProto.FLOAT
    constants = [
        helper.make_tensor("w", int8, [2, 1, 3, 3], [1] * 18),
        helper.make_tensor("s", fp32, [], [0.1]),
        helper.make_tensor("z", int8, [], [0]),
    ]
    scaled = ["q", "s", "z", "w", "s", "z", "s", "z"]
    for operator, nodes in {
        "QLinearConv": [
            helper.make_node("QLinearConv", scaled, ["y"]),
            helper.make_node("DequantizeLinear", ["y", "s", "z"], ["scores"]),
        ],
        "ConvInteger": [
            helper.make_node("ConvInteger", ["q", "w"], ["y"]),
            helper.make_node("Cast", ["y"], ["scores"], to=fp32),
        ],
    }.items():
        quantize = helper.make_node("QuantizeLinear", ["image", "s", "z"], ["q"])
        graph = helper.make_graph(
            [quantize, *nodes],
            operator,
            [helper.make_tensor_value_info("image", fp32, ["n", 1, 4, 4])],
            [helper.make_tensor_value_info("scores", fp32, ["n", 2, 2, 2])],
            constants,
        )
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        yield operator, model.SerializeToString()


if __name__ == "__main__":
    print(json.dumps(dict(states() if MODE == "states" else graphs())))
