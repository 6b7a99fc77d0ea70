"""What stands in a build bundle for the person who unpacks it."""

from __future__ import annotations

from collections.abc import Iterator

from medge.engine.builds import Build, BuildGraph

TRTEXEC = "/usr/src/tensorrt/bin/trtexec"  # where JetPack installs it


def notes(build: Build) -> str:
    """Return the text of README.txt: how to run it, what is in it."""
    lines = [
        f"{build.bundle} for {build.board}",
        f"JetPack {build.jetpack}, TensorRT {build.tensorrt} or later",
        "",
        f"    python3 run.py          Python {build.python} or later, numpy, TensorRT",
        "",
        "It builds each engine on this Jetson, compares its answers with the golden ones, times it",
        "and writes result.json. On the machine that made this folder:",
        "",
        "    medge results import result.json",
        "",
        "Numbers hold for the power mode and the clocks of that time, which are recorded.",
        "Engines are for this board and this TensorRT alone; none is shipped, and none is kept.",
        "",
        "Graphs",
        *(f"    {graph.file:<16}{_said(graph)}" for graph in build.graphs),
        *(f"    {one.variant:<16}left out: {one.reason}" for one in build.left_out),
        "",
        f"The same with trtexec alone, which proves no answer (batch {build.batch}):",
        *(f"    {line}" for graph in build.graphs for line in _trtexec(build, graph)),
        "From TensorRT 11 on add --noCudaGraph --noSpinWait --includeDataTransfers, which were the",
        "defaults before.",
        "",
    ]
    return "\n".join(lines)


def _said(graph: BuildGraph) -> str:
    judged = {None: "decisions not judged", "pass": "drift pass"}
    told = "the reference" if graph.variant == "fp32" else ""
    told = told or judged.get(graph.drift, f"drift {graph.drift}")
    return f"{len(graph.nodes)} operators, {told}"


def _trtexec(build: Build, graph: BuildGraph) -> Iterator[str]:
    """Yield the command; TensorRT 8 has to be told which precisions it may use."""
    words = {"fp32": [], "fp16": ["--fp16"], "int8": ["--int8"]}[graph.precision]
    if build.int8_weights == "integers":
        words = ["--stronglyTyped"]
    yield " ".join(
        [
            f"{TRTEXEC} --onnx={graph.file} --saveEngine={graph.variant}.plan --noTF32",
            *words,
            "--warmUp=200 --duration=3 --iterations=10",
        ]
    )
