"""Plans for a GPU that is somewhere else: every variant is checked, parsed and built here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from medge.engine.backends.trt.library import Flavour, package_version, require_package
from medge.engine.backends.trt.plan import (
    RTX_COMPUTE_CAPABILITIES,
    Batches,
    Plan,
    PlanRequest,
    build_plan,
)
from medge.engine.backends.trt.words import REASONS, PlanRefusedError
from medge.engine.session import ports
from medge.errors import BackendError, BundleError, UsageError
from medge.exporters.trt_tables import RTX, releases
from medge.profiles.support import host_of
from medge.profiles.toolchain import ladder

if TYPE_CHECKING:
    import onnx

    from medge.engine.bundle import Bundle
    from medge.engine.manifest import Variant
    from medge.profiles.target import Target

BACKEND: Flavour = "tensorrt-rtx"
Outcome = Literal["built", "refused"]
Route = Literal["plans", "build-bundle"]


@dataclass(frozen=True, slots=True)
class PlanRow:
    """What became of one variant.

    Attributes
    ----------
    refused_by
        ``medge``, whose rules saw it first, or the runtime; empty where it was built.
    operator, reason
        Where and why it was refused.
    """

    variant: str
    graph_sha256: str
    outcome: Outcome
    refused_by: str = ""
    operator: str = ""
    reason: str = ""
    sha256: str = ""
    size_bytes: int = 0
    build_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AheadOfTime:
    """The variants of a bundle as they were built for one kind of GPU, none of them run.

    Attributes
    ----------
    batch
        Pictures in each call: the plans take so many and no other number.
    notes
        What the tables say of the GPU, where that is less than full support.
    plans
        By variant.
    """

    bundle: str
    bundle_sha256: str
    target: str
    gpu: str
    compute_capability: str
    batch: int
    package: str
    version: str
    notes: tuple[str, ...]
    rows: tuple[PlanRow, ...]
    plans: dict[str, Plan]


def route_of(target: Target) -> Route:
    """Return how a target gets its engines, so far as that can be done on another machine.

    Raises
    ------
    BackendError
        Rule ``toolchain``: it cannot; the message has the tables' reason and the next step.
    """
    host = host_of(target)
    if host.kind == "jetson" and host.unit == "gpu":
        return "build-bundle"
    if host.compute_capability in RTX_COMPUTE_CAPABILITIES and host.kind == "nvidia":
        return "plans"
    if host.kind != "nvidia":
        raise BackendError(
            "toolchain",
            f"{target.name}: what runs there is built there, in seconds, and timed against the "
            "other ways to run. Copy the bundle to it, and type `medge compile` there without "
            "--target.",
        )
    known = ladder(target)
    reason = next((each.reason for each in known.routes if each.id == BACKEND), "")
    ways = ", ".join(each.title for each in known.routes if each.possible and each.id != "torch")
    raise BackendError(
        "toolchain",
        f"{target.name} ({known.hardware}): nothing can be built for it elsewhere: {reason}. "
        + (f"Type `medge compile` on it; ways to run: {ways}." if ways else "Run on its CPU."),
    )


def compile_ahead(
    bundle: Bundle,
    target: Target,
    told: Callable[[str], None] = lambda _: None,
    build: Callable[[bytes, PlanRequest], Plan] = build_plan,
    *,
    batch: int = 1,
) -> AheadOfTime:
    """Build every variant of a bundle with TensorRT-RTX for a GPU of the catalog.

    The same bundle, package and GPU give the same plans, byte for byte. No driver is needed.

    Parameters
    ----------
    told
        Told the name of each step when it begins.
    batch
        Pictures in each call. A graph that was exported for another number is refused.

    Raises
    ------
    BackendError
        Rule ``toolchain``: TensorRT-RTX does not build for this target. Those of ``build_plan``:
        the package is absent or broken, its process died or hangs.
    UsageError
        Rule ``export-packages``: onnx is not installed, which the rules need.
    BundleError
        The bundle is refused.
    """
    if route_of(target) != "plans":
        raise BackendError(
            "toolchain", f"{target.name} builds its own engines: TensorRT-RTX is not for it."
        )
    require_package(BACKEND)
    if not any(metadata.distributions(name="onnx")):
        raise UsageError(
            "export-packages",
            "To look at graphs before they are built needs the package onnx: "
            'python -m pip install "medge[export]"',
        )
    capability = host_of(target).compute_capability or ""
    rows: list[PlanRow] = []
    plans: dict[str, Plan] = {}
    for variant in bundle.manifest.variants:
        told(f"build {variant.name}")
        made = _built(bundle, variant, capability, batch, build)
        rows.append(_row(bundle, variant, made))
        if isinstance(made, Plan):
            plans[variant.name] = made
    return AheadOfTime(
        bundle=bundle.manifest.name,
        bundle_sha256=bundle.digest,
        target=target.id,
        gpu=target.name,
        compute_capability=capability,
        batch=batch,
        package=BACKEND,
        version=package_version(BACKEND) or "",
        notes=tuple(_notes(target)),
        rows=tuple(rows),
        plans=plans,
    )


def check_built(found: AheadOfTime) -> None:
    """Refuse a bundle of which nothing was built.

    Raises
    ------
    BundleError
        Rule ``graph``.
    """
    if not found.plans:
        first = found.rows[0]
        raise BundleError(
            "graph",
            f"{found.package} {found.version} builds no variant of {found.bundle} for "
            f"{found.gpu}: {first.variant}: {_place(first)}{first.reason}. `medge quantize` makes "
            "other variants.",
        )


def _built(
    bundle: Bundle,
    variant: Variant,
    capability: str,
    batch: int,
    build: Callable[[bytes, PlanRequest], Plan],
) -> Plan | PlanRow:
    """Return a plan, or the row that says who refused the graph: medge's rules come first."""
    import onnx

    from medge.exporters.trt_rules import breaches, plain

    graph = bundle.read(variant.file)
    sha256 = bundle.manifest.files[variant.file].sha256
    model = onnx.load_from_string(graph)
    only = _only_batch(model)
    if only not in (None, batch):
        reason = f"the graph takes calls of {only} and no others, asked for are {batch}"
        return PlanRow(variant.name, sha256, "refused", "medge", reason=reason)
    found = breaches(model, releases()[RTX])
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        reason = plain(found[0].found) + more
        return PlanRow(variant.name, sha256, "refused", "medge", found[0].operator, reason)
    inputs, outputs = ports(bundle.manifest)
    request = PlanRequest(
        flavour=BACKEND,
        inputs=inputs,
        outputs=outputs,
        batches=Batches(batch, batch, batch),
        compute_capabilities=(capability,),
    )
    try:
        return build(graph, request)
    except PlanRefusedError as error:
        return PlanRow(
            variant.name, sha256, "refused", BACKEND, error.operator, REASONS[error.reason]
        )


def _only_batch(model: onnx.ModelProto) -> int | None:
    """Return how many pictures a graph was exported for, None where that was left free."""
    side = model.graph.input[0].type.tensor_type.shape.dim[0]
    return side.dim_value if side.HasField("dim_value") else None


def _row(bundle: Bundle, variant: Variant, made: Plan | PlanRow) -> PlanRow:
    if isinstance(made, PlanRow):
        return made
    return PlanRow(
        variant.name,
        bundle.manifest.files[variant.file].sha256,
        "built",
        sha256=hashlib.sha256(made.plan).hexdigest(),
        size_bytes=len(made.plan),
        build_s=made.seconds,
    )


def _notes(target: Target) -> Iterator[str]:
    route = next(each for each in ladder(target).routes if each.id == BACKEND)
    if not route.possible:
        yield f"the package builds for it, and its support matrix does not list it: {route.reason}"


def _place(row: PlanRow) -> str:
    return f"{row.operator}: " if row.operator else ""
