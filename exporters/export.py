"""Export: from a trained network to a bundle that proved itself on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medge.engine.bundle_writer import check_place, write_bundle
from medge.engine.golden import pack_golden
from medge.engine.manifest import GOLDEN, LAYERS, MODEL, Manifest, Parity, Source, Variant
from medge.errors import BundleError
from medge.exporters.spec import Spec, read_spec
from medge.profiles.layers import encode_layers

if TYPE_CHECKING:
    from medge.exporters.network import Network, Tensor
    from medge.exporters.runtime import Runtime

CONSTANT_RATIO = 1e-6  # outputs that differ by less, between pictures, do not depend on them
GOLDEN_RATIO = 1e-3


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export and where to; the options of ``medge export``.

    Attributes
    ----------
    source
        ``FILE.onnx``, ``FILE.pt2``, ``timm:NAME``, ``torchvision:NAME``, ``monai:NAME`` or
        ``module.path:callable``.
    out
        The bundle's folder, ending in ``.medge``.
    weights
        safetensors, or a state dict; needed by all sources but files.
    spec
        spec.toml (``medge.exporters.spec``); needed.
    classes, task, name
        Add to the specification, or replace what it says.
    samples
        A folder of real pictures for a second parity row; nothing of them is stored.
    opset
        Default: 18 for networks of torch, the file's own for ONNX.
    random_weights
        A seed: keep the architecture's random start instead of weights, with BatchNorm set to what
        it meets on seeded pictures. The bundle says that it is untrained.
    """

    source: str
    out: Path
    weights: Path | None = None
    classes: Path | None = None
    spec: Path | None = None
    samples: Path | None = None
    task: str | None = None
    name: str | None = None
    opset: int | None = None
    overwrite: bool = False
    random_weights: int | None = None


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written, what was found on the way, and how long each step took."""

    path: Path
    digest: str
    manifest: Manifest
    parity: tuple[Parity, ...]
    opset: int
    flops: int  # of the fp32 graph at batch 1
    files_bytes: dict[str, int]
    notes: tuple[str, ...]
    time_ns: dict[str, int]


@dataclass
class _Work:
    """The steps of one export, as they are told and timed."""

    progress: Callable[[str], None]
    time_ns: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name)
        start = time.perf_counter_ns()
        yield
        self.time_ns[name] = time.perf_counter_ns() - start


def export_bundle(
    request: ExportRequest, progress: Callable[[str], None] = lambda _: None
) -> ExportReport:
    """Load, convert, compare, pack; nothing is written unless every step holds.

    Parameters
    ----------
    progress
        Told the name of each step when it begins.

    Raises
    ------
    UsageError
        The request, the specification or the weights do not fit each other.
    BackendError
        A library that the source needs is broken here.
    GateError
        Rule ``parity`` or ``batch``: the exported graph does not compute what the network does.
    BundleError
        The network cannot be a bundle: not expressible, NaN in its weights, a dead output.
    StorageError
        The bundle cannot be written there.
    """
    from medge.exporters.sources import load, parse_source

    work = _Work(progress)
    with work.step("read specification"):
        check_place(request.out, overwrite=request.overwrite)
        source = parse_source(request.source)
        spec = read_spec(
            request.spec, classes=request.classes, task=request.task, name=request.name
        )
    with work.step("load network"):
        network = load(source, spec, request.weights, request.random_weights)
    with work.step("convert to ONNX"):
        graph = network.to_onnx(spec, request.opset)
    return _prove_and_pack(request, spec, network, graph, work)


def _prove_and_pack(
    request: ExportRequest, spec: Spec, network: Network, graph: bytes, work: _Work
) -> ExportReport:
    import onnx

    from medge.exporters.golden_cases import ROUNDS, choose_golden
    from medge.exporters.graph import opset_of
    from medge.exporters.layers_of import layers_of
    from medge.exporters.runtime import Runtime
    from medge.exporters.trt_rules import refusal_notes

    model = onnx.load_from_string(graph)
    opset, refused = opset_of(model), tuple(refusal_notes(model))
    del model  # as large as the network
    with work.step("compare with the network"), closing(Runtime(graph, spec)) as runtime:
        rows, batch = _parity(request, spec, network, graph, runtime)
    draft = _manifest(spec, network, opset, rows)
    with work.step("choose golden cases"):
        rounds = ROUNDS if network.origin.seed is None else 0
        golden, note = choose_golden(spec.input, draft, network.answers, rounds=rounds)
        draft = _with_tolerance(draft, spec, golden.outputs)
    with work.step("count layers"):
        layers = layers_of(graph, batch[:1])
    files = {
        MODEL: graph,
        GOLDEN: pack_golden(golden.inputs, golden.outputs),
        LAYERS: encode_layers(layers),
    }
    with work.step("write bundle"):
        digest = write_bundle(request.out, draft, files, overwrite=request.overwrite)
    return ExportReport(
        path=request.out,
        digest=digest,
        manifest=draft,
        parity=draft.parity,
        opset=opset,
        flops=sum(layer.flops for layer in layers.layers),
        files_bytes={name: len(raw) for name, raw in files.items()},
        notes=(*network.notes, note, *refused),
        time_ns=work.time_ns,
    )


def _parity(
    request: ExportRequest, spec: Spec, network: Network, graph: bytes, runtime: Runtime
) -> tuple[tuple[Parity, ...], Tensor]:
    """Compare on seeded and real pictures; return the rows and the seeded batch."""
    from medge.exporters.activation import check_activation
    from medge.exporters.parity import ask, check_batches, check_parity
    from medge.exporters.synthetic import parity_batch

    batch = parity_batch(spec.input)
    answers = ask(network, batch)
    if network.origin.seed is None:
        _check_alive(answers)
    check_activation(graph, spec, answers)
    # First: a network that mixes its batch answers by itself differently in every size of one.
    check_batches(runtime, batch)
    rows = [check_parity(network, graph, runtime, batch, expected=answers, inputs="seeded")]
    if request.samples is not None:
        from medge.exporters.samples import sample_batch

        real, note = sample_batch(request.samples, spec)
        network.notes.append(note)
        theirs = ask(network, real)
        rows.append(check_parity(network, graph, runtime, real, expected=theirs, inputs="real"))
    return tuple(rows), batch


def _check_alive(answers: dict[str, Tensor]) -> None:
    for name, array in answers.items():
        spread = float(np.ptp(array, axis=0).max())
        if spread <= CONSTANT_RATIO * float(np.abs(array).max()):
            raise BundleError(
                "constant-output",
                f"Output {name} is the same for {len(array)} very different pictures (it varies "
                f"by {spread:.3g}). Check the weights, and mean and std of [input].",
            )


def _manifest(spec: Spec, network: Network, opset: int, rows: tuple[Parity, ...]) -> Manifest:
    origin = network.origin
    limits = spec.limits
    architecture = origin.architecture
    if origin.seed is not None:
        architecture = f"{architecture} (untrained, random weights of seed {origin.seed})"
        limits = (*limits, "The weights are random: its answers mean nothing, only its speed does.")
    return Manifest(
        name=spec.name,
        version=spec.version,
        task=spec.manifest_task,
        inputs=(spec.input,),
        outputs=spec.outputs,
        scope=spec.scope,
        intended_use=spec.intended_use,
        demonstration=spec.demonstration or origin.seed is not None,
        limits=limits,
        data=spec.data,
        metrics=spec.metrics,
        licence=spec.licence,
        source=Source(
            framework=origin.framework,
            framework_version=origin.framework_version,
            architecture=architecture,
            weights_sha256=origin.weights_sha256,
        ),
        variants=(Variant(name="fp32", file=MODEL, opset=opset),),
        parity=rows,
    )


def _with_tolerance(draft: Manifest, spec: Spec, golden: dict[str, Tensor]) -> Manifest:
    """Set the golden tolerance: what was asked for, else in proportion to the outputs."""
    import msgspec

    from medge.exporters.parity import largest

    allowed = spec.golden_tolerance or float(f"{GOLDEN_RATIO * largest(golden):.1e}")
    return msgspec.structs.replace(draft, golden_tolerance=allowed)
