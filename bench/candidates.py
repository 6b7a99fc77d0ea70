"""Candidates: every way to run a bundle here that is worth building, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medge.engine.backends import BACKENDS, backend_class
from medge.engine.backends.presence import absence
from medge.engine.sealed import Candidate, Goal, Row
from medge.engine.select import GPU_ONLY, RUNTIME_PRECISIONS
from medge.errors import BackendError
from medge.profiles.cuda_gpus import nvidia_devices, tier_of_device
from medge.profiles.device_names import ordinal

if TYPE_CHECKING:
    from medge.engine.evidence import Drift
    from medge.engine.manifest import Manifest
    from medge.engine.passport import Passport

REFERENCE = "fp32"
BATCHES = (1, 4, 16)  # pictures in a call, tried for throughput
GPU_BATCHES = (*BATCHES, 64)  # one picture of a small network fills no GPU
NOWHERE = "none"  # the device of a backend that finds none
GPU_STREAMS = 2  # while one call computes, the next one's pictures are copied


@dataclass(frozen=True, slots=True)
class Runtime:
    """One backend on one of its devices, both present.

    ``precisions`` are the runtime precisions that the device computes in its own arithmetic.
    """

    backend: str
    version: str
    device: str
    precisions: tuple[str, ...]


def runtimes(device: str | None, also: Sequence[str] = ()) -> tuple[list[Runtime], list[Row]]:
    """Return what is present, on ``device`` only when one is named, and a row for what is not.

    Parameters
    ----------
    also
        Backends that are tried only where somebody names them.
    """
    found: list[Runtime] = []
    absent: list[Row] = []
    for name in (*BACKENDS, *also):
        if not backend_class(name).answers:
            continue
        missing = absence(name)
        if missing is not None and beside_the_point(name):
            continue
        if missing is not None:
            nowhere = Candidate(backend=name, device=device or "cpu", variant=REFERENCE)
            absent.append(not_eligible(nowhere, missing.message))
            continue
        backend = backend_class(name)()
        try:
            devices = backend.devices()
        except BackendError as error:  # its package is broken, which others do not suffer from
            devices, reason = (), error.message
        else:
            reason = "it finds no device here that it runs on (`medge doctor` says why)"
        found += [
            Runtime(name, backend.version, each, backend.precisions(each))
            for each in devices
            if device is None or each.lower() == device.lower()
        ]
        backend.close()
        if not devices:
            nowhere = Candidate(backend=name, device=device or NOWHERE, variant=REFERENCE)
            absent.append(not_eligible(nowhere, reason))
    return found, absent


def judged_as(candidate: Candidate) -> tuple[str, str, str]:
    """Return what one verdict on decisions holds for: backend, precision and tier of device."""
    return candidate.backend, precision_name(candidate), tier_of_device(candidate.device)


def beside_the_point(backend: str) -> bool:
    """Whether a backend runs on NVIDIA GPUs alone and there is none, so that nobody misses it."""
    return backend in GPU_ONLY and not nvidia_devices()


def candidates(
    manifest: Manifest, found: Sequence[Runtime], goal: Goal, cores: int
) -> tuple[list[Candidate], list[Row]]:
    """Return one candidate for every precision of every runtime, and rows for the hopeless.

    Every candidate uses all cores: one stream of so many threads for latency, as many streams of
    one thread for throughput; on an NVIDIA GPU, whose calls need no threads, one stream or
    ``GPU_STREAMS``. ``around`` then varies the best.
    """
    worth: list[Candidate] = []
    hopeless: list[Row] = []
    for runtime in found:
        for variant in manifest.variants:
            for precision in _precisions(variant.name, runtime):
                on_gpu = ordinal(runtime.device) is not None
                streams = 1 if goal == "latency" else GPU_STREAMS if on_gpu else cores
                candidate = Candidate(
                    backend=runtime.backend,
                    device=runtime.device,
                    variant=variant.name,
                    precision=precision,
                    threads=streams if on_gpu else cores,
                    streams=streams,
                )
                reason = _hopeless(candidate, runtime)
                if reason is None:
                    worth.append(candidate)
                else:
                    hopeless.append(not_eligible(candidate, reason))
    return worth, hopeless


def around(best: Candidate, goal: Goal, cores: int, batch: int | None) -> Iterator[Candidate]:
    """Yield the neighbours of the best: other threads, and for throughput streams and batches.

    Parameters
    ----------
    batch
        The only batch that the graph takes, None for any.
    """
    if ordinal(best.device) is not None:
        yield from _around_on_nvidia(best, goal, batch)
        return
    if best.device != "cpu":
        cores = 1
    if goal == "latency":
        for threads in _halves(cores):
            yield _changed(best, threads=threads)
        return
    for streams in (*_halves(cores), cores):
        for size in BATCHES if batch is None else (batch,):
            changed = _changed(best, streams=streams, batch=size)
            if changed != best:
                yield changed


def _around_on_nvidia(best: Candidate, goal: Goal, batch: int | None) -> Iterator[Candidate]:
    """Yield streams and batches for throughput; no thread makes one picture faster."""
    for streams in () if goal == "latency" else range(1, GPU_STREAMS + 1):
        for size in GPU_BATCHES if batch is None else (batch,):
            changed = _changed(best, threads=streams, streams=streams, batch=size)
            if changed != best:
                yield changed


def unjudged(candidate: Candidate, stored: Drift | None) -> str | None:
    """Return why a candidate may not run although it can, None when nothing speaks against it.

    fp32 is the reference; any other needs a verdict that passed, or was accepted.
    """
    if is_reference(candidate):
        return None
    if stored is None:
        return "nobody judged its decisions: add --data and --labels"
    if stored.passed:
        return None
    reason = f"drift: {stored.verdict} on {stored.cases} images"
    if stored.verdict == "inconclusive":
        reason += f", {stored.missing_cases} more are needed"
    return reason


def stored_drift(
    manifest: Manifest, passport: Passport, candidate: Candidate, version: str, tier: str
) -> Drift | None:
    """Return the verdict that counts for a candidate: this machine's own, else the bundle's.

    A verdict of another machine counts because the self-test compares the variant's own golden
    outputs here. A runtime's precision (bf16) has none, so that only its own verdict counts.
    """
    here = passport.find(precision_name(candidate), candidate.backend, version, tier)
    variant = manifest.variant(candidate.variant)
    if here is None and candidate.precision == REFERENCE and variant is not None:
        return variant.drift
    return here


def is_reference(candidate: Candidate) -> bool:
    """Whether it computes the bundle's own fp32 graph in fp32, so that nothing is to be judged."""
    return candidate.variant == candidate.precision == REFERENCE


def precision_name(candidate: Candidate) -> str:
    """Return variant and runtime precision in one word, as ``Choice.precision_name`` does."""
    if candidate.precision == REFERENCE:
        return candidate.variant
    if candidate.variant == REFERENCE:
        return candidate.precision
    return f"{candidate.variant}+{candidate.precision}"


def not_eligible(candidate: Candidate, reason: str) -> Row:
    """Return the row of a candidate that is not built."""
    return Row(candidate=candidate, outcome="not-eligible", reason=reason)


def _precisions(variant: str, runtime: Runtime) -> Iterator[str]:
    """Yield what a runtime may be told to compute a graph in.

    bf16 is tried for the fp32 graph wherever the runtime knows it, so that its row can say why not;
    for narrow graphs, whose remaining layers it would narrow, only where it is computed.
    """
    yield REFERENCE
    for precision, able in RUNTIME_PRECISIONS.items():
        computed = precision in runtime.precisions
        if runtime.backend in able and (computed or (variant, precision) == (REFERENCE, "bf16")):
            yield precision


def _hopeless(candidate: Candidate, runtime: Runtime) -> str | None:
    if ordinal(candidate.device) is not None:
        reason = _hopeless_on_nvidia(candidate)
        if reason is not None:
            return reason
    if candidate.precision not in runtime.precisions:
        return f"no {candidate.precision} arithmetic on this device"
    if candidate.variant == "fp16" and "fp16" not in runtime.precisions:
        return "no fp16 arithmetic on this device: it would be computed in fp32"
    return None


def _hopeless_on_nvidia(candidate: Candidate) -> str | None:
    if candidate.variant.endswith("-cpu"):
        return "made for CPUs: its zero points are none that an NVIDIA GPU computes with"
    if candidate.backend.startswith("onnxruntime") and candidate.variant not in ("fp32", "fp16"):
        return "ONNX Runtime has no int8 kernels for this GPU: it would be computed in fp32"
    return None


def _halves(cores: int) -> Iterator[int]:
    """Yield cores/2, cores/4, ... down to 1."""
    while cores > 1:
        cores //= 2
        yield cores


def _changed(
    best: Candidate,
    threads: int | None = None,
    streams: int | None = None,
    batch: int | None = None,
) -> Candidate:
    return Candidate(
        backend=best.backend,
        device=best.device,
        variant=best.variant,
        precision=best.precision,
        threads=best.threads if threads is None else threads,
        streams=best.streams if streams is None else streams,
        batch=best.batch if batch is None else batch,
    )
