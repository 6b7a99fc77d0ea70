"""Hold what a runner told against the build that it was made from, and against what is possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from medge.bench.build_form import BuildAnswer, GraphAnswer, Series
from medge.engine.backends import Tensor
from medge.engine.builds import BuildGraph, KeptBuild
from medge.engine.decide import decide
from medge.errors import InputError
from medge.profiles.support import key
from medge.profiles.target import targets

ON_GPU = frozenset({"tensorrt", "tensorrt-rtx"})
FEWEST_CALLS = 10
MOST_CALLS = 200_000
MOST_BETWEEN = 20  # times as long as the calls themselves: another program had the CPU
CLOCKS_APART = 0.001  # the GPU's clock and the host's; time servers bend the latter by half of it
EVENT_STEP_NS = 2_000  # four events of half a microsecond each
FEWER_PRODUCTS = 4
"""How many products convolutions may save: Winograd's F(4x4, 3x3) needs a quarter of them (Lavin
and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016)."""


def faults(kept: KeptBuild, answer: BuildAnswer, graph: GraphAnswer) -> Iterator[tuple[str, str]]:
    """Yield rule and words of what cannot be so; the words end a sentence.

    ``build-board``: another board or software than the build is for. ``build-golden``: the answers
    are not those of the bundle. ``document-numbers``: nobody can have measured this.
    """
    built = kept.build.graph(graph.variant)
    if built is None:
        yield "document-numbers", "the build has no such graph"
        return
    yield from _board(kept, answer, graph)
    yield from _answers(kept, answer, graph, built)
    if graph.series is not None:
        yield from _times(answer, graph, graph.series)
        if answer.runtime in ON_GPU:
            yield from _gpu_times(kept, built, graph.series)


def _board(kept: KeptBuild, answer: BuildAnswer, graph: GraphAnswer) -> Iterator[tuple[str, str]]:
    if answer.runtime != "tensorrt" or graph.series is None:
        return
    build = kept.build
    found = None if graph.gpu is None else graph.gpu.compute_capability
    if found != build.compute_capability:
        yield "build-board", f"its GPU is {found}, the build is for {build.compute_capability}"
    if answer.board.machine != "aarch64":
        yield "build-board", f"it ran on {answer.board.machine[:20]!a}, a Jetson is aarch64"
    if graph.version is None or _version(graph.version)[:2] < key(build.tensorrt)[:2]:
        yield "build-board", f"its TensorRT is older than {build.tensorrt}"


def _answers(
    kept: KeptBuild, answer: BuildAnswer, graph: GraphAnswer, built: BuildGraph
) -> Iterator[tuple[str, str]]:
    """Compute the difference from the golden outputs anew, whatever the file says of it."""
    if answer.runtime == "null":
        if graph.outputs:
            yield "document-numbers", "the null runtime has no answers"
        return
    golden = kept.golden
    expected = golden.variants.get(graph.variant, golden.outputs)
    if set(graph.outputs) != set(expected):
        yield "build-golden", "its outputs are not those of the bundle"
        return
    rows = {
        name: np.array(graph.outputs[name], dtype="f4")
        for name in expected
        if _full(graph.outputs[name], expected[name])
    }
    if len(rows) != len(expected):
        yield "build-golden", "it does not answer every golden case"
        return
    max_abs = apart(kept, graph)
    if not max_abs <= built.tolerance:
        told = f"{max_abs:.3g} off, {built.tolerance:.3g} are allowed"
        yield "build-golden", f"its answers to the golden inputs are {told}"
        return
    for row in range(golden.cases):
        if _labels(rows, row, kept) != _labels(expected, row, kept):
            yield "build-golden", f"golden case {row + 1} leads to another decision"
            return


def apart(kept: KeptBuild, graph: GraphAnswer) -> float:
    """Return the largest difference of answers from the golden ones; 0 where there are none."""
    expected = kept.golden.variants.get(graph.variant, kept.golden.outputs)
    return max(
        (
            float(np.abs(np.array(rows) - expected[name]).max())
            for name, rows in graph.outputs.items()
        ),
        default=0.0,
    )


def _full(rows: Sequence[Sequence[float]], expected: Tensor) -> bool:
    return len(rows) == len(expected) and all(len(row) == expected.shape[1] for row in rows)


def _labels(rows: Mapping[str, Tensor], row: int, kept: KeptBuild) -> list[tuple[str, ...]]:
    """Return the decisions of one case; none where the answers are no probabilities."""
    try:
        return [answer.labels for answer in decide(rows, row, kept.manifest)]
    except InputError:
        return []


def _times(answer: BuildAnswer, graph: GraphAnswer, series: Series) -> Iterator[tuple[str, str]]:
    calls, spent_ns, lasted_ns = len(series.host_ns), sum(series.host_ns), graph.lasted_ns or 0
    if calls < FEWEST_CALLS:
        yield "document-numbers", f"it has {calls} calls, the runner takes {FEWEST_CALLS} at least"
    if calls < MOST_CALLS and lasted_ns < answer.duration_ns:
        yield "document-numbers", "it ended before its time was over"
    if spent_ns > lasted_ns:
        yield "document-numbers", "its calls take longer than all of them lasted"
    # The null runtime answers faster than the clock is read.
    if answer.runtime != "null" and spent_ns < lasted_ns // MOST_BETWEEN:
        yield "document-numbers", "its calls fill next to nothing of the time that they lasted"
    if answer.warm_up_ns and not graph.warm_up_calls_ns:
        yield "document-numbers", "it did not warm up"


def _gpu_times(kept: KeptBuild, built: BuildGraph, series: Series) -> Iterator[tuple[str, str]]:
    parts = (series.enqueue_ns, series.copy_in_ns, series.compute_ns, series.copy_out_ns)
    if any(len(part) != len(series.host_ns) for part in parts):
        yield "document-numbers", "its series are not of the same calls"
        return
    host = np.array(series.host_ns)
    enqueue, *events = (np.array(part) for part in parts)
    most = host + EVENT_STEP_NS + host * CLOCKS_APART
    if np.any(enqueue > host) or np.any(np.sum(events, axis=0) > most):
        yield "document-numbers", "the parts of a call take longer than the whole"
    least_ns = least_time_ns(kept, built)
    if least_ns is not None and float(np.min(events[1])) < least_ns:
        yield (
            "document-numbers",
            f"a call takes {np.min(events[1]) / 1e6:.3g} ms, and no board of sm_"
            f"{kept.build.compute_capability.replace('.', '')} computes it in less than "
            f"{least_ns / 1e6:.3g}",
        )


def least_time_ns(kept: KeptBuild, built: BuildGraph) -> float | None:
    """Return the least time that one call can take: its products at the highest published peak.

    That of the fastest board of this compute capability, of the fastest units that the precision
    can use. None where the catalog has no peak.
    """
    peaks = [
        peak
        for target in targets().values()
        if target.compute_capability == kept.build.compute_capability
        for peak in (
            target.fp32_tflops,
            *((target.fp16_tflops, target.tensor_fp16_tflops) if built.precision != "fp32" else ()),
            *((target.int8_tops,) if built.precision == "int8" else ()),
        )
        if peak is not None
    ]
    if not peaks:
        return None
    products = kept.build.flops * kept.build.batch
    return float(products / (FEWER_PRODUCTS * max(peaks) * 1e12) * 1e9)


def refusal(name: str, variant: str, rule: str, words: str) -> InputError:
    """Return the error for one graph of a runner's answer."""
    steps = {
        "build-board": "Make the build bundle for the board that it ran on.",
        "build-golden": "Do not use this engine there; see docs/jetson.md.",
    }
    step = steps.get(rule, "Run the build bundle again, and import what it wrote.")
    return InputError(rule, f"{name}: {variant}: {words}. {step}")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
