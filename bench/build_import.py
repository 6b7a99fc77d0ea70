"""A runner's answer as results of the store: each graph checked, then kept whole or refused."""

from __future__ import annotations

import hashlib
import json
import math
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from medge.bench.build_form import AnswerDocument, BuildAnswer, GraphAnswer, Series
from medge.bench.build_proof import ON_GPU, apart, faults, refusal
from medge.bench.doubts import Doubt, doubts, meant_shares, placement_doubts
from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure, Sampling, WarmUp
from medge.bench.result import Result
from medge.bench.sections import Evidence, Golden, Sections
from medge.bench.sound import faults as unsound
from medge.bench.warm_up import settled
from medge.engine.backends.trt.layers import nodes_of
from medge.engine.builds import BuildGraph, KeptBuild, kept_build
from medge.engine.manifest import MODEL
from medge.engine.sealed import Candidate
from medge.errors import InputError
from medge.profiles.cuda_driver import CudaGpu
from medge.profiles.device import Device, first_cpu, identity, name_of, tier_of
from medge.profiles.jetson import jetson_facts

_CLOCK = re.compile(r"[0-9]{1,15}", re.ASCII)  # Hz
KIND = "medge.build-result/"
SCHEMA = "medge.build-result/1"
GPU_WORDS = ("gpu", "gp10b", "gv11b", "ga10b")  # in the names of its devfreq folders
STAGES: tuple[tuple[str, str, Literal["perf_counter_ns", "cuda-event"]], ...] = (
    ("infer", "host_ns", "perf_counter_ns"),
    ("infer: GPU alone", "compute_ns", "cuda-event"),
    ("infer: copy in", "copy_in_ns", "cuda-event"),
    ("infer: copy out", "copy_out_ns", "cuda-event"),
    ("infer: enqueue", "enqueue_ns", "perf_counter_ns"),
)
"""Stage, series, and the clock that it was taken with."""


def is_answer(plain: object) -> bool:
    """Whether parsed JSON says that a runner wrote it."""
    kind = plain.get("schema") if isinstance(plain, dict) else None
    return isinstance(kind, str) and kind.startswith(KIND)


def results(plain: dict[str, Any], name: str) -> Iterator[Result | InputError]:
    """Yield the result of each graph, or why it is refused.

    Parameters
    ----------
    plain
        The parsed file, of which ``is_answer`` holds.
    name
        Of the file, for messages.

    Raises
    ------
    InputError
        Rules ``document-newer``, ``document-damaged`` and ``document-numbers``: of the file as a
        whole. ``build-unknown``: this machine made no such build. ``build-stale``: the bundle is
        another by now.
    """
    answer = _checked(plain, name)
    kept = _kept(answer, name)
    for graph in answer.graphs:
        yield _result(kept, answer, graph, name)


def _checked(plain: dict[str, Any], name: str) -> BuildAnswer:
    if plain["schema"] != SCHEMA:
        raise InputError(
            "document-newer",
            f"{name}: was written by another version of medge. Install the newest of both.",
        )
    told = json.dumps(plain.get("result"), sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(told.encode()).hexdigest() != plain.get("sha256"):
        raise InputError(
            "document-damaged",
            f"{name}: is damaged: its content does not match its digest. Copy it again.",
        )
    try:
        return msgspec.convert(plain, AnswerDocument).result
    except msgspec.ValidationError as error:
        raise InputError(
            "document-numbers",
            f"{name}: cannot have been measured: a fact is missing or outside what the schema "
            "allows. Run the build bundle again, and import what it wrote.",
        ) from error


def _kept(answer: BuildAnswer, name: str) -> KeptBuild:
    kept = kept_build(answer.build_sha256)
    if kept is None:
        raise InputError(
            "build-unknown",
            f"{name}: its build bundle {answer.build_sha256[:12]} was not made on this machine. "
            "Import it where `medge compile --target` was run, or run that here again.",
        )
    if kept.build.bundle_sha256 != answer.bundle_sha256:
        raise InputError(
            "build-stale",
            f"{name}: names bundle {answer.bundle_sha256[:12]}, its build was made from "
            f"{kept.build.bundle_sha256[:12]}. Make the build bundle again, and run that.",
        )
    return kept


def _result(
    kept: KeptBuild, answer: BuildAnswer, graph: GraphAnswer, name: str
) -> Result | InputError:
    for rule, words in faults(kept, answer, graph):
        if graph.rule is None:
            return refusal(name, graph.variant, rule, words)
    built = kept.build.graph(graph.variant)
    if graph.rule is not None or graph.series is None or built is None:
        words = f"was not measured there ({graph.rule}): {_plain(graph.reason or 'no reason')}"
        return refusal(name, graph.variant, "build-not-run", words)
    made = _made(kept, answer, graph, graph.series, built)
    for fault in unsound(made):
        return refusal(name, graph.variant, "document-numbers", fault)
    return made


def _made(
    kept: KeptBuild, answer: BuildAnswer, graph: GraphAnswer, series: Series, built: BuildGraph
) -> Result:
    measurements = tuple(_measurements(kept, answer, graph, series))
    found: dict[str, tuple[Doubt, ...]] = {one.stage: tuple(doubts(one)) for one in measurements}
    candidate = Candidate(
        backend=answer.runtime,
        device="nvidia:0" if answer.runtime in ON_GPU else "cpu",
        variant=graph.variant,
        threads=answer.board.cpus if answer.runtime == "onnxruntime" else 1,
        batch=kept.build.batch,
    )
    golden = _golden(kept, graph, built)
    if answer.runtime in ON_GPU:
        meant = meant_shares(kept.manifest, candidate)
        found["infer"] = (*found["infer"], *placement_doubts(golden, meant))
    device, whose, facts = _device(answer, graph)
    return Result(
        bundle_sha256=answer.bundle_sha256,
        device=device,
        device_identity=whose,
        measurements=measurements,
        candidate=candidate,
        backend_version=graph.version,
        sections=Sections(
            evidence=_evidence(kept, answer, graph, facts),
            golden=golden,
            doubts={stage: each for stage, each in found.items() if each},
        ),
        taken=answer.taken,
        medge=kept.build.medge,
    )


def _measurements(
    kept: KeptBuild, answer: BuildAnswer, graph: GraphAnswer, series: Series
) -> Iterator[Measurement]:
    warm_up = WarmUp(max_calls=len(graph.warm_up_calls_ns), max_ns=answer.warm_up_ns)
    for stage, field, clock in STAGES:
        samples = getattr(series, field)
        if not samples:
            continue
        whole = stage == "infer"
        procedure = Procedure(
            span=stage,
            batch=kept.build.batch,
            copies_in=whole or stage.endswith("copy in"),
            copies_out=whole or stage.endswith("copy out"),
            warm_up=warm_up,
            sampling=Sampling(min_samples=10, max_samples=len(samples), max_ns=answer.duration_ns),
            spinning="runtime",
            clock=clock,
        )
        warm = graph.warm_up_calls_ns if whole else ()
        yield Measurement(
            stage=stage,
            samples_ns=tuple(max(1, sample) for sample in samples),
            procedure=procedure,
            warm_up_ns=warm,
            settled=settled(warm, warm_up) if warm else None,
        )


def _device(answer: BuildAnswer, graph: GraphAnswer) -> tuple[Device, str, dict[str, str]]:
    """Read the board's texts as this machine's own files are read."""
    with tempfile.TemporaryDirectory(prefix="medge-") as folder:
        root = Path(folder)
        texts = {**answer.board.files, "proc/cpuinfo": f"{answer.board.cpuinfo}\n"}
        for known in (*_FILES, "proc/cpuinfo"):  # no other name becomes a path here
            if known in texts:
                path = root / known
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(texts[known], encoding="utf-8", errors="replace")
        cpu = first_cpu(root)
        name, source = name_of(root, cpu)
        facts = {key: str(fact.value) for key, fact in jetson_facts(root).items()}
        whose = identity(root)
        tier = tier_of(cpu)
    module = _plain(facts.get("module", "GPU of an unnamed board"))
    told = {"name": source, "cpus": "sched_getaffinity(2)", "tier": "/proc/cpuinfo"}
    cpus = answer.board.cpus
    # Cores of a Jetson have one thread each.
    return Device(_plain(name), cpus, cpus, tier, told, _gpu(graph, module)), whose, facts


def _gpu(graph: GraphAnswer, module: str) -> CudaGpu | None:
    if graph.gpu is None:
        return None
    return CudaGpu(
        ordinal=0,
        name=module,
        compute_capability=graph.gpu.compute_capability,
        sm_count=graph.gpu.sm_count,
        memory_bytes=graph.gpu.memory_bytes,
    )


_FILES = (
    "proc/device-tree/model",
    "proc/device-tree/compatible",
    "etc/nv_tegra_release",
    "etc/nvpmodel.conf",
    "var/lib/nvpmodel/status",
)


def _golden(kept: KeptBuild, graph: GraphAnswer, built: BuildGraph) -> Golden:
    """Return what the golden cases showed, and in what the engine computes by its own account."""
    counts: dict[str, int] = {}
    for node in nodes_of(graph.layers or "", built.compute):
        if node.layers:
            counts[node.precision] = counts.get(node.precision, 0) + node.layers
    total = sum(counts.values())
    return Golden(
        cases=kept.golden.cases if graph.outputs else 0,
        max_abs=apart(kept, graph),
        tolerance=built.tolerance,
        shares={name: count / total for name, count in counts.items()} if total else {},
    )


def _evidence(
    kept: KeptBuild, answer: BuildAnswer, graph: GraphAnswer, facts: dict[str, str]
) -> Evidence:
    versions = {
        "python": answer.python,
        "numpy": answer.numpy,
        answer.runtime: graph.version or "unknown",
    }
    if graph.gpu is not None:
        versions["cuda"] = _cuda(graph.gpu.cuda)
    versions |= {key: facts[key] for key in ("l4t", "jetpack") if key in facts}
    said = [
        f"measured by the runner of build {kept.digest[:12]} for {kept.build.target}",
        "the warm-up lasts its time, settled or not; one call at a time, no copy beside another",
        f"power mode: {facts.get('power_mode', 'not told')}; clocks: {_clocks(graph)}",
    ]
    if answer.runtime not in ON_GPU:
        said.append(f"{answer.runtime}: a check of the files, no measurement of a Jetson's GPU")
    return Evidence(
        bundle=kept.build.bundle,
        model_sha256=kept.manifest.files[MODEL].sha256,
        data_sha256=None,
        versions={name: _plain(words) for name, words in versions.items()},
        seeds={},
        command=("python3", "run.py", "--runtime", answer.runtime),
        deviations=tuple(_plain(words) for words in said),
    )


def _clocks(graph: GraphAnswer) -> str:
    """Say whether the GPU's clock could move: jetson_clocks sets its bounds to one value."""
    states = graph.states.after
    for name, low in states.items():
        if name.endswith("/min_freq") and any(word in name for word in GPU_WORDS):
            high = states.get(name.replace("min_freq", "max_freq"), "")
            if _CLOCK.fullmatch(low) and _CLOCK.fullmatch(high):
                bounds = f"{int(low) / 1e6:.4g} to {int(high) / 1e6:.4g} MHz"
                return f"{'fixed at' if low == high else 'free,'} {bounds}"
    return "not told"


def _cuda(version: int) -> str:
    """Return 12.6 for 12060."""
    return f"{version // 1000}.{math.floor(version % 1000 / 10)}"


def _plain(text: str) -> str:
    """Return what may come from elsewhere so that it cannot drive a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:400]).strip() or "unknown"
