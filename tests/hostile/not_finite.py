"""NaN and Inf in weights and pixels, at every place where a file can hold them, on both runtimes.

Run: ``python tests/hostile/not_finite.py``. What must never happen is an answer. The last number of
a line counts how often the runtime itself, without medge, answers such graphs or pictures.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parent.parent))
from bundles import forge, reference, tiny_bundle, tiny_graph
from dicom_files import make
from narrow_graphs import golden_image, int8_graph

from medge.engine.backends import Options, Port, backend_class
from medge.engine.bundle import open_bundle
from medge.engine.classify import open_classifier
from medge.engine.select import choose
from medge.engine.selftest import self_test
from medge.engine.session import Session
from medge.errors import MedgeError

BACKENDS = ("onnxruntime", "openvino")
VALUES = {"NaN": np.nan, "Inf": np.inf, "-Inf": -np.inf}

Change = Callable[[onnx.ModelProto, float], None]


def _raw(name: str, at: int) -> Change:
    def change(model: onnx.ModelProto, value: float) -> None:
        tensor = _tensor(model, name)
        array = numpy_helper.to_array(tensor).copy()
        array.flat[at] = value
        tensor.CopyFrom(numpy_helper.from_array(array, name))

    return change


def _float_data(name: str, at: int) -> Change:
    def change(model: onnx.ModelProto, value: float) -> None:
        tensor = _tensor(model, name)
        array = numpy_helper.to_array(tensor).copy()
        array.flat[at] = value
        tensor.CopyFrom(helper.make_tensor(name, TensorProto.FLOAT, array.shape, array.ravel()))

    return change


def _cast_from(name: str, kind: int, at: int, *, raw: bool) -> Change:
    """Store a weight in another type, behind a cast."""

    def change(model: onnx.ModelProto, value: float) -> None:
        tensor = _tensor(model, name)
        array = numpy_helper.to_array(tensor).copy()
        array.flat[at] = value
        narrow = array.astype(helper.tensor_dtype_to_np_dtype(kind))
        given = narrow.tobytes() if raw else narrow.ravel()
        stored = helper.make_tensor(f"{name}.stored", kind, array.shape, given, raw=raw)
        tensor.CopyFrom(stored)
        cast = helper.make_node("Cast", [stored.name], [name], to=TensorProto.FLOAT)
        model.graph.node.insert(0, cast)

    return change


def _constant(name: str, at: int) -> Change:
    """Let a node hold the weight instead of the graph."""

    def change(model: onnx.ModelProto, value: float) -> None:
        tensor = _tensor(model, name)
        array = numpy_helper.to_array(tensor).copy()
        array.flat[at] = value
        model.graph.initializer.remove(tensor)
        node = helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))
        model.graph.node.insert(0, node)

    return change


def _floats(name: str, at: int) -> Change:
    def change(model: onnx.ModelProto, value: float) -> None:
        tensor = _tensor(model, name)
        array = numpy_helper.to_array(tensor).copy()
        array.flat[at] = value
        model.graph.initializer.remove(tensor)
        node = helper.make_node("Constant", [], [name], value_floats=array.ravel().tolist())
        model.graph.node.insert(0, node)

    return change


def _between(op: str, **attributes: Any) -> Change:
    """Put a node with such an attribute behind the ReLU; None stands for the value."""

    def change(model: onnx.ModelProto, value: float) -> None:
        given = {key: value if each is None else each for key, each in attributes.items()}
        _insert(model, helper.make_node(op, ["r"], ["r2"], **given))

    return change


def _operand(op: str) -> Change:
    """Put a node behind the ReLU whose second operand is the value alone."""

    def change(model: onnx.ModelProto, value: float) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.float32(value), "operand"))
        _insert(model, helper.make_node(op, ["r", "operand"], ["r2"]))

    return change


def _in_a_branch(model: onnx.ModelProto, value: float) -> None:
    """Put the value into a graph within the graph."""
    weights = numpy_helper.from_array(np.array([1, value], "f4"), "scale")
    output = helper.make_tensor_value_info("scaled", TensorProto.FLOAT, None)
    node = helper.make_node("Mul", ["wide", "scale"], ["scaled"])
    branch = helper.make_graph([node], "branch", [], [output], [weights])
    model.graph.initializer.append(numpy_helper.from_array(np.bool_(True), "yes"))
    model.graph.node[-1].output[0] = "wide"
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["scores"], then_branch=branch, else_branch=branch)
    )


WEIGHTS: dict[str, Change] = {
    "first convolution, raw": _raw("conv.w", 0),
    "convolution in the middle, raw": _raw("conv.w", 17),
    "last of the convolution, raw": _raw("conv.w", -1),
    "bias of the convolution, raw": _raw("conv.b", 2),
    "matrix, raw": _raw("head.w", 3),
    "bias of the matrix, raw": _raw("head.b", 1),
    "convolution, float_data": _float_data("conv.w", 5),
    "bias, float_data": _float_data("head.b", 0),
    "matrix, double raw": _cast_from("head.w", TensorProto.DOUBLE, 2, raw=True),
    "matrix, double_data": _cast_from("head.w", TensorProto.DOUBLE, 2, raw=False),
    "convolution, fp16 raw": _cast_from("conv.w", TensorProto.FLOAT16, 7, raw=True),
    "convolution, fp16 int32_data": _cast_from("conv.w", TensorProto.FLOAT16, 7, raw=False),
    "convolution, bf16 raw": _cast_from("conv.w", TensorProto.BFLOAT16, 9, raw=True),
    "convolution, Constant node": _constant("conv.w", 11),
    "bias, Constant node": _constant("head.b", 1),
    "bias, Constant value_floats": _floats("conv.b", 3),
    "weights in a branch of If": _in_a_branch,
    "slope of LeakyRelu": _between("LeakyRelu", alpha=None),
    "factor alone": _operand("Mul"),
    "summand alone": _operand("Add"),
}


def not_finite_graphs() -> Iterator[tuple[str, bytes]]:
    """Yield sixty graphs that were sound before one number in them was replaced."""
    for place, change in WEIGHTS.items():
        for name, value in VALUES.items():
            model = onnx.load_from_string(tiny_graph())
            with np.errstate(all="ignore"):
                change(model, value)
            yield f"{place}: {name}", model.SerializeToString()


def not_finite_scales() -> Iterator[tuple[str, bytes]]:
    """Yield quantized graphs with a scale that is no number."""
    for name, value in VALUES.items():
        for scale in ("image.s", "conv.w.s", "conv.b.s", "r.s", "wide.s"):
            model = onnx.load_from_string(int8_graph())
            _raw(scale, 0)(model, value)
            yield f"scale {scale}: {name}", model.SerializeToString()


def weights_outcome(graph: bytes, backend: str, folder: Path) -> str:
    """Force a graph into a bundle and run it; return the rule that stopped it, or "answered"."""
    path = tiny_bundle(folder, golden=reference(tiny_graph(), golden_image()))
    forge(path, "model.onnx", graph)
    try:
        with (
            open_bundle(path) as bundle,
            Session(bundle, choose(bundle, backend=backend, threads=1)) as session,
        ):
            self_test(session, bundle)
            session.infer({"image": golden_image()})
    except MedgeError as error:
        return error.rule
    return "answered"


def candidate_outcome(graph: bytes, backend: str, folder: Path) -> str:
    """Judge a graph that is in no bundle yet; return the rule that stopped it, or "answered"."""
    try:
        with open_bundle(tiny_bundle(folder)) as bundle:
            choice = choose(bundle, backend=backend, threads=1)
            with Session(bundle, choice, model=graph) as session:
                session.infer({"image": golden_image()})
    except MedgeError as error:
        return error.rule
    return "answered"


def bare_answers(graph: bytes, backend: str, image: np.ndarray) -> bool:
    """Return whether the runtime alone gives finite numbers."""
    options = Options(
        device="cpu",
        precision="fp32",
        threads=1,
        inputs=(Port("image", "float32", (1, 8, 8)),),
        outputs=(Port("scores", "float32", (2,)),),
    )
    runtime = backend_class(backend)()
    try:
        runtime.load(graph, options)
        return bool(np.isfinite(runtime.infer({"image": image})["scores"]).all())
    except MedgeError:
        return False
    finally:
        runtime.close()


def not_finite_pictures(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield sixty pictures, in memory and as files, with a number that is none."""
    random = np.random.default_rng(5)
    for name, value in VALUES.items():
        for place in (0, 31, 63, -1, "row", "all"):
            picture = random.random((8, 8)).astype("f4")
            _spoil(picture, place, value)
            yield f"array at {place}: {name}", picture
            path = folder / "picture.npy"
            np.save(path, picture)
            yield f"NPY at {place}: {name}", path
        for place in (0, 3):
            frames = random.random((3, 8, 8, 3)).astype("f4")
            _spoil(frames[1], place, value)
            yield f"colour cine at {place}: {name}", frames
        for tags in _dicom_lies(name, value):
            path = folder / "lie.dcm"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pydicom's own, of such numbers
                make(path, rows=8, columns=8, allocated=16, stored=12, tags=tags)
            yield f"DICOM {', '.join(tags)}: {name}", path


def pixels_outcome(classifier: Any, picture: Any) -> str:
    """Return the rule that refused the frame that is no number, or "answered"."""
    results = classifier.run(picture)
    faults = [result.fault.rule for result in results if result.fault is not None]
    silent = [result for result in results if result.fault is None]
    # A cine's other frames are sound and may be judged.
    return faults[0] if faults and len(silent) in (0, 2) else "answered"


def _dicom_lies(name: str, value: float) -> Iterator[dict[str, Any]]:
    huge = {"NaN": "NaN", "Inf": "1e308", "-Inf": "-1e308"}[name]
    yield {"RescaleSlope": huge, "RescaleIntercept": huge}
    yield {"RescaleIntercept": "NaN", "RescaleSlope": "1"}
    yield {"WindowCenter": huge, "WindowWidth": huge}
    yield {"WindowWidth": "NaN", "WindowCenter": "40"}
    yield {"RescaleSlope": "1e300", "RescaleIntercept": huge}
    yield {
        "RescaleSlope": {"NaN": "nan", "Inf": "inf", "-Inf": "-inf"}[name],
        "RescaleIntercept": "0",
    }


def _spoil(picture: np.ndarray, place: int | str, value: float) -> None:
    if place == "row":
        picture[3] = value
    elif place == "all":
        picture[:] = value
    else:
        picture.flat[place] = value


def _tensor(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(each for each in model.graph.initializer if each.name == name)


def _insert(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    at = next(i for i, each in enumerate(model.graph.node) if each.op_type == "Relu")
    model.graph.node[at + 1].input[0] = "r2"
    model.graph.node.insert(at + 1, node)


def main() -> int:
    """Run all and print what became of it; return 1 if anything was answered."""
    answered = 0
    for backend in BACKENDS:
        if not any(metadata.distributions(name=backend)):
            print(f"{backend} is not installed: nothing shown")
            continue
        with tempfile.TemporaryDirectory() as temporary:
            for kind, found, bare in _all(backend, Path(temporary)):
                count = sum(found.values())
                answered += found["answered"]
                rules = ", ".join(f"{rule} {n}" for rule, n in found.most_common())
                print(
                    f"{backend}, {kind}: {count} cases, {found['answered']} answered ({rules}); "
                    f"the bare runtime answered {bare}",
                    flush=True,
                )
    return int(answered > 0)


def _all(backend: str, folder: Path) -> Iterator[tuple[str, Counter[str], str]]:
    for kind, graphs in (("weights", not_finite_graphs), ("scales", not_finite_scales)):
        found: Counter[str] = Counter()
        bare = 0
        for number, (_, graph) in enumerate(graphs()):
            place = folder / f"{kind}{number}"
            place.mkdir()
            found[weights_outcome(graph, backend, place)] += 1
            bare += bare_answers(graph, backend, golden_image())
        yield kind, found, str(bare)
    found, bare = Counter(), 0
    path = tiny_bundle(folder, name="pixels")
    with open_classifier(path, backend=backend, threads=1) as classifier:
        for _, picture in not_finite_pictures(folder):
            found[pixels_outcome(classifier, picture)] += 1
            if isinstance(picture, np.ndarray) and picture.ndim == 2:
                bare += bare_answers(tiny_graph(), backend, picture[None, None])
    yield "pixels", found, f"{bare} of 18"


if __name__ == "__main__":
    raise SystemExit(main())
