"""torch on the same GPU: eager, compiled and as a CUDA graph, with what a session pays for too.

Inputs start and answers end in the host's memory, as those of a session do; TF32 is off, as it is
there. Pinned memory and one stream; the graph is captured after torch's own warm-up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

from gpu_record import Baseline, Latency

from medge.bench.stats import percentile, percentile_interval

Mode = Literal["eager", "compile", "cuda-graph"]
MODES: tuple[Mode, ...] = ("eager", "compile", "cuda-graph")
WARM_CALLS = 30
CALLS = 400


def latency_of(samples_ns: list[int], batch: int) -> Latency:
    """Summarise calls of one stream."""
    middle = percentile_interval(tuple(samples_ns), 0.5)
    tail = percentile_interval(tuple(samples_ns), 0.99)
    return Latency(
        p50_ns=percentile(tuple(samples_ns), 0.5),
        p50_low_ns=None if middle is None else middle.low,
        p50_high_ns=None if middle is None else middle.high,
        p99_ns=None if tail is None else percentile(tuple(samples_ns), 0.99),
        calls=len(samples_ns),
        pictures_per_s=batch * len(samples_ns) / (sum(samples_ns) / 1e9),
    )


def baselines(name: str, shape: tuple[int, ...], batches: tuple[int, ...]) -> Iterator[Baseline]:
    """Time a network of torchvision in every mode; a reason stands where there is no figure."""
    try:
        import torch
        from torchvision import models
    except ImportError as error:
        yield _absent(name, f"{error.name} is not installed")
        return
    if not torch.cuda.is_available():
        yield _absent(name, f"torch {torch.__version__} sees no GPU")
        return
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    for precision in ("fp32", "fp16"):
        network = models.get_model(name, weights=None).eval().cuda()
        network = network.half() if precision == "fp16" else network
        for batch in batches:
            for mode in MODES:
                told: dict[str, Any] = {"latency": None}
                try:
                    with torch.inference_mode():
                        call = _call(torch, network, (batch, *shape), mode)
                        told["latency"] = latency_of(_timed(call), batch)
                except Exception as error:  # a record says what failed, and goes on
                    told["reason"] = f"{mode} failed: {type(error).__name__}"
                yield Baseline(network=name, mode=mode, precision=precision, batch=batch, **told)


def _absent(name: str, reason: str) -> Baseline:
    return Baseline(
        network=name, mode="eager", precision="fp32", batch=1, latency=None, reason=reason
    )


def _call(torch: Any, network: Any, shape: tuple[int, ...], mode: Mode) -> Callable[[], None]:
    """Return what copies a batch to the GPU, runs it, and copies the answers back."""
    kind = next(network.parameters()).dtype
    host = torch.randn(shape).pin_memory()
    device = torch.empty(shape, device="cuda")
    run = torch.compile(network) if mode == "compile" else network
    for _ in range(3):
        answer = run(device.to(kind)).float()
    back = torch.empty(answer.shape).pin_memory()
    if mode == "cuda-graph":
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            answer = network(device.to(kind)).float()

        def replayed() -> None:
            device.copy_(host, non_blocking=True)
            graph.replay()
            back.copy_(answer, non_blocking=True)
            torch.cuda.synchronize()

        return replayed

    def called() -> None:
        device.copy_(host, non_blocking=True)
        back.copy_(run(device.to(kind)).float(), non_blocking=True)
        torch.cuda.synchronize()

    return called


def _timed(call: Callable[[], None]) -> list[int]:
    for _ in range(WARM_CALLS):
        call()
    samples = []
    for _ in range(CALLS):
        start = time.perf_counter_ns()
        call()
        samples.append(time.perf_counter_ns() - start)
    return samples
