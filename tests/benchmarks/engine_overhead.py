"""What medge adds to the bare runtime call: null backend, and ResNet-18 in pairs.

Run: ``python tests/benchmarks/engine_overhead.py``. Prints medians in microseconds; the rounds of a
pair alternate in order, so that drift of the clock hits both alike.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parent.parent))
from bundles import OPSET, tiny_files, tiny_manifest

from medge.engine.backends.silence import silent_onnxruntime
from medge.engine.bundle import open_bundle
from medge.engine.bundle_writer import write_bundle
from medge.engine.decide import decide
from medge.engine.select import choose
from medge.engine.selftest import self_test
from medge.engine.session import Session

SIDE = 224
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels and first stride of ResNet-18's stages


class ResNet18:
    """ResNet-18 (He et al. 2016, table 1), batch norms folded, seeded weights scaled by fan-in."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        self.random = np.random.default_rng(0)

    def weights(self, *shape: int) -> str:
        fan_in = int(np.prod(shape[1:])) or 1
        values = self.random.normal(size=shape) / np.sqrt(fan_in)
        self.tensors.append(numpy_helper.from_array(values.astype("f4"), f"w{len(self.tensors)}"))
        return str(self.tensors[-1].name)

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def convolution(self, x: str, before: int, after: int, side: int, stride: int) -> str:
        weights = self.weights(after, before, side, side)
        return self.node("Conv", x, weights, strides=[stride] * 2, pads=[side // 2] * 4)

    def block(self, x: str, before: int, after: int, stride: int) -> str:
        y = self.node("Relu", self.convolution(x, before, after, 3, stride))
        y = self.convolution(y, after, after, 3, 1)
        if stride != 1 or before != after:
            x = self.convolution(x, before, after, 1, stride)
        return self.node("Relu", self.node("Add", x, y))

    def model(self) -> bytes:
        x = self.node("Relu", self.convolution("image", 3, 64, 7, 2))
        x = self.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
        before = 64
        for after, stride in STAGES:
            x = self.block(x, before, after, stride)
            x = self.block(x, after, after, 1)
            before = after
        x = self.node("Flatten", self.node("GlobalAveragePool", x))
        weights = self.weights(2, 512)
        self.nodes.append(helper.make_node("Gemm", [x, weights], ["scores"], "head", transB=1))
        shape = ["batch", 3, SIDE, SIDE]
        graph = helper.make_graph(
            self.nodes,
            "resnet18",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
            self.tensors,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return bytes(
            helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
        )


def sampled_us(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Time each call in every round, in alternating order."""
    names = list(calls)
    samples: dict[str, list[int]] = {name: [] for name in names}
    for round_ in range(rounds):
        for name in names if round_ % 2 else reversed(names):
            start = time.perf_counter_ns()
            calls[name]()
            samples[name].append(time.perf_counter_ns() - start)
    return {name: np.array(values) / 1e3 for name, values in samples.items()}


def write(folder: Path, model: bytes) -> Path:
    """Write ResNet-18 as a bundle whose golden case comes from onnxruntime itself."""
    onnxruntime = silent_onnxruntime()
    image = np.random.default_rng(1).normal(size=(1, 3, SIDE, SIDE)).astype("f4")
    runtime = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    golden = np.asarray(runtime.run(None, {"image": image})[0])
    files = tiny_files(model, cases=1, shape=(3, SIDE, SIDE), golden=golden)
    write_bundle(folder / "resnet18.medge", tiny_manifest(channels=3, size=SIDE), files)
    return folder / "resnet18.medge"


def main() -> None:
    """Measure and print."""
    image = np.random.default_rng(2).normal(size=(1, 3, SIDE, SIDE)).astype("f4")
    feeds = {"image": image}
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), ResNet18().model())
        opening = sampled_us({"open": lambda: open_bundle(path).close()}, 9)["open"]
        with open_bundle(path) as bundle:
            print(
                f"open {sum(e.bytes for e in bundle.manifest.files.values()) / 1e6:.1f} MB bundle"
            )
            print(f"  {np.median(opening) / 1e3:8.1f} ms, digests and graph checked")
            null = Session(bundle, choose(bundle, backend="null"))
            real = Session(bundle, choose(bundle))
            tested = self_test(real, bundle)
            print(f"self-test, {tested.cases} case\n  {tested.time_ns / 1e6:8.1f} ms")
            outputs = real.infer(feeds)
            alone = sampled_us({"bare": lambda: null._runtime.infer(feeds)}, 3000)
            alone |= sampled_us({"session": lambda: null.infer(feeds)}, 3000)
            alone |= sampled_us({"decide": lambda: decide(outputs, 0, bundle.manifest)}, 3000)
            added = np.median(alone["session"]) - np.median(alone["bare"])
            print(f"null backend, 3x{SIDE}x{SIDE}\n  {added:8.1f} us added by Session.infer")
            print(f"  {np.median(alone['decide']):8.1f} us decide")
            pair = {
                "bare": lambda: real._runtime.infer(feeds),
                "session": lambda: real.infer(feeds),
            }
            sampled_us(pair, 20)
            found = sampled_us(pair, 200)
            ratio = np.median(found["session"] / found["bare"])
            print(f"ResNet-18, onnxruntime, {real.choice.threads} threads, 200 pairs")
            print(
                f"  {np.median(found['bare']) / 1e3:8.2f} ms bare, paired median ratio {ratio:.4f}"
            )
            null.close()
            real.close()


if __name__ == "__main__":
    main()
