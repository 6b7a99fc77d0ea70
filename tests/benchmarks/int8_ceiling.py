"""How much faster INT8 can be than fp32 on this machine, and what was tried to come near it.

Run: ``python tests/benchmarks/int8_ceiling.py [BUNDLE...]``, bundles with the variant ``int8-cpu``.

First convolutions as INT8 likes them best, in fp32 and INT8: the machine's own ratio, which a whole
network can hardly beat. Then the bundle under several settings of the runtime, and where its time
goes by kind of layer.
"""

from __future__ import annotations

import io
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parent))
from pairs import ratio, sample

from medge.engine.backends.silence import silent_onnxruntime, silent_openvino
from medge.engine.bundle import find_bundle, open_bundle
from medge.profiles.device import allowed_cores

CHANNELS, SIDE = 256, 28  # 0.6 MB of INT8 weights, 0.2 MB of activations
MACS = CHANNELS * CHANNELS * 9 * SIDE * SIDE
DEPTH = 8  # such convolutions after each other, so that the start of a call is no part of it
ROUNDS = 61
PROPERTIES: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
ATTEMPTS: dict[str, dict[str, Any]] = {
    "as medge sets it": {"ENABLE_CPU_PINNING": False, "INFERENCE_NUM_THREADS": allowed_cores()},
    "threads pinned to cores": {
        "ENABLE_CPU_PINNING": True,
        "INFERENCE_NUM_THREADS": allowed_cores(),
    },
    "openvino's own defaults": {},
    "one thread": {"INFERENCE_NUM_THREADS": 1},
}


def main() -> None:
    """Print the machine's ratio, then the bundle's."""
    core = silent_openvino().Core()
    rates = {}
    for name, graph in (("fp32", convolutions(narrow=False)), ("int8", convolutions(narrow=True))):
        compiled = core.compile_model(
            core.read_model(io.BytesIO(graph)), "CPU", PROPERTIES | ATTEMPTS["as medge sets it"]
        )
        request = compiled.create_infer_request()
        picture = np.random.default_rng(0).random((1, CHANNELS, SIDE, SIDE), np.float32)
        taken = sample({"it": partial(request.infer, [picture])}, rounds=ROUNDS, warm=10)
        rates[name] = 2 * MACS * DEPTH / float(np.median(taken["it"]))
        print(f"3x3 convolutions of {CHANNELS} channels, {name}: {rates[name]:6.0f} Gop/s")
    print(f"most that INT8 can gain over fp32 here: {rates['int8'] / rates['fp32']:.2f} times")
    for name in sys.argv[1:]:
        of_bundle(core, name, rates)


def convolutions(*, narrow: bool) -> bytes:
    """Return a chain of equal convolutions with ReLU, with Q/DQ where it is to be INT8."""
    random = np.random.default_rng(0)
    nodes, constants, last = [], [], "in"

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def quantised(name: str, at: int) -> str:
        scale, zero = constant(f"s{at}", np.float32(1 / 255)), constant(f"z{at}", np.uint8(0))
        nodes.append(helper.make_node("QuantizeLinear", [name, scale, zero], [f"q{at}"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"q{at}", scale, zero], [f"d{at}"]))
        return f"d{at}"

    for at in range(DEPTH):
        weights = random.standard_normal((CHANNELS, CHANNELS, 3, 3)).astype(np.float32)
        if narrow:
            last = quantised(last, at)
            whole = constant(f"w{at}", np.clip(weights * 40, -127, 127).astype(np.int8))
            scale = constant(f"ws{at}", np.full(CHANNELS, 1 / (40 * CHANNELS), np.float32))
            zero = constant(f"wz{at}", np.zeros(CHANNELS, np.int8))
            nodes.append(
                helper.make_node("DequantizeLinear", [whole, scale, zero], [f"wf{at}"], axis=0)
            )
            weight = f"wf{at}"
        else:
            weight = constant(f"w{at}", weights / CHANNELS)
        nodes.append(helper.make_node("Conv", [last, weight], [f"c{at}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{at}"], [f"r{at}"]))
        last = f"r{at}"
    shape = [1, CHANNELS, SIDE, SIDE]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)],
        constants,
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    )


def of_bundle(core: Any, name: str, rates: dict[str, float]) -> None:
    """Print each layer's rate, and the whole under several settings beside onnxruntime's fp32."""
    with open_bundle(find_bundle(name)) as bundle:
        variant = bundle.manifest.variant("int8-cpu")
        if variant is None:
            raise SystemExit(f"{bundle.path.name} has no variant int8-cpu; see medge quantize")
        graph, fp32 = bundle.read(variant.file), bundle.read("model.onnx")
        spec = bundle.manifest.inputs[0]
        macs = sum(layer.flops for layer in bundle.layers().layers) / 2
    picture = np.random.default_rng(0).random((1, *spec.shape), np.float32)
    session = silent_onnxruntime().InferenceSession(fp32, providers=["CPUExecutionProvider"])
    fed = session.get_inputs()[0].name
    weights = sum(
        int(np.prod(each.dims)) for each in onnx.load_from_string(graph).graph.initializer
    )
    floor_ms = 2 * macs / rates["int8"] / 1e6
    print(f"\n{bundle.path.name}: {macs / 1e9:.2f} GMAC, {weights / 1e6:.1f} MB of weights")
    print(f"  at the rate above {floor_ms:.2f} ms")
    for told, properties in ATTEMPTS.items():
        request = request_of(core, graph, picture, properties)
        found = sample(
            {
                "fp32": lambda: session.run(None, {fed: picture}),
                "int8": partial(request.infer, [picture]),
            },
            rounds=ROUNDS,
            warm=5,
            rest_s=0.06,
        )
        ours = float(np.median(found["int8"])) / 1e6
        print(
            f"  {told:<26}{ours:8.2f} ms, {2 * macs / ours / 1e6:5.0f} Gop/s, "
            f"{ratio(found['fp32'], found['int8'])} times onnxruntime's fp32"
        )
    of_layers(core, graph, picture)


def request_of(core: Any, graph: bytes, picture: np.ndarray, properties: dict[str, Any]) -> Any:
    """Compile for the shape of the picture, as medge does."""
    model = core.read_model(io.BytesIO(graph))
    model.reshape({model.inputs[0].get_any_name(): list(picture.shape)})
    return core.compile_model(model, "CPU", PROPERTIES | properties).create_infer_request()


def of_layers(core: Any, graph: bytes, picture: np.ndarray) -> None:
    """Print where the time goes by kind and precision of layer, as the runtime counts it."""
    watched = ATTEMPTS["as medge sets it"] | {"PERF_COUNT": True}
    request = request_of(core, graph, picture, watched)
    spent: dict[str, float] = {}
    for _ in range(ROUNDS):
        time.sleep(0.01)
        request.infer([picture])
        for each in request.get_profiling_info():
            kind = f"{each.node_type} {each.exec_type}"
            spent[kind] = spent.get(kind, 0.0) + each.real_time.total_seconds() * 1e3 / ROUNDS
    for kind, took in sorted(spent.items(), key=lambda one: -one[1])[:8]:
        print(f"    {kind:<44}{took:8.3f} ms")


if __name__ == "__main__":
    main()
