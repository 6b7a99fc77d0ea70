"""What a bundle says of itself, as rows for people and as one object for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from medge.console import Row, bytes_text
from medge.engine.passport import read_passport

if TYPE_CHECKING:
    from medge.engine.bundle import Bundle
    from medge.engine.evidence import Drift
    from medge.engine.manifest import ImageInput, Manifest, Metric, Output, Parity, Scope, Variant
    from medge.profiles.layers import Layers


def bundle_object(bundle: Bundle) -> dict[str, Any]:
    """Return the whole manifest with what only opening the bundle shows; plain JSON types."""
    layers = bundle.layers().layers
    return {
        "schema": "medge.inspect/1",
        "path": str(bundle.path),
        "sha256": bundle.digest,
        "manifest": msgspec.to_builtins(bundle.manifest),
        "golden_cases": bundle.golden().cases,
        "judged_here": msgspec.to_builtins(read_passport(bundle.digest).entries),
        "layers": {
            "count": len(layers),
            "flops": sum(layer.flops for layer in layers),
            "weight_bytes": sum(layer.weight_bytes for layer in layers),
        },
    }


def bundle_rows(bundle: Bundle) -> Iterator[Row]:
    """Yield what a person wants to know before trusting a bundle, most important first."""
    manifest = bundle.manifest
    yield ("bundle", "name", f"{manifest.name} {manifest.version}")
    yield ("bundle", "sha256", bundle.digest)
    yield ("bundle", "task", manifest.task)
    if manifest.demonstration:
        yield ("bundle", "warning", "demonstration model, not for clinical use")
    yield ("use", "intended", manifest.intended_use)
    for limit in manifest.limits:
        yield ("use", "limit", limit)
    yield from _scope(manifest.scope)
    for spec in manifest.inputs:
        yield from _input(spec)
    for output in manifest.outputs:
        yield from _output(output)
    yield from _origin(manifest)
    for metric in manifest.metrics:
        yield ("quality", metric.name, _metric(metric))
    for parity in manifest.parity:
        yield ("parity", f"{parity.cases} {parity.inputs}", parity_text(parity))
    for variant in manifest.variants:
        yield from _variant(variant)
    for drift in read_passport(bundle.digest).entries:
        where = f"{drift.backend} {drift.backend_version} on {drift.tier}"
        yield ("judged here", f"{drift.precision}, {drift.backend}", f"{_judged(drift)}; {where}")
    yield from _files(bundle)
    yield from _cost(bundle.layers())


def parity_text(parity: Parity) -> str:
    """Say how far the graph's outputs are from those of the framework it came from."""
    found = f"max abs {parity.max_abs:.2g}, cosine {parity.cosine_min:.6f}"
    return f"{found} against {parity.against}"


def _variant(variant: Variant) -> Iterator[Row]:
    """Say how a narrower graph was made and what became of the decisions; fp32 is the reference."""
    if variant.method is None:
        return
    part = f"variant {variant.name}"
    yield (part, "made by", variant.method)
    if variant.compute_layers:
        yield (part, "layers", f"{variant.narrow_layers} of {variant.compute_layers} in fewer bits")
    drift = variant.drift
    yield (part, "drift", "nobody judged its decisions" if drift is None else _judged(drift))


def _judged(drift: Drift) -> str:
    words = f"{drift.verdict}: {drift.flips} of {drift.cases} decisions differ from {drift.against}"
    if drift.missing_cases:
        words += f", {drift.missing_cases} more images are needed"
    return words + (", accepted" if drift.accepted else "")


def _scope(scope: Scope) -> Iterator[Row]:
    for name, allowed in (
        ("modality", scope.modality),
        ("body part", scope.body_part),
        ("view", scope.view),
    ):
        yield ("scope", name, " or ".join(allowed) or "any")
    if scope.pixel_spacing_mm is not None:
        low, high = scope.pixel_spacing_mm
        yield ("scope", "pixel spacing", f"{low:g} to {high:g} mm")


def _input(spec: ImageInput) -> Iterator[Row]:
    part = f"input {spec.name}"
    yield (part, "tensor", f"{spec.dtype} {'x'.join(map(str, spec.shape))} {spec.layout}")
    yield (part, "colour", spec.colour)
    voi = spec.voi
    numbers = {
        "window": f" center {voi.center} width {voi.width}",
        "percentile": f" {voi.low} to {voi.high}",
    }
    yield (part, "window", voi.rule + numbers.get(voi.rule, ""))
    crop = spec.crop
    yield (part, "crop", f"center {crop.ratio:g}" if crop.rule == "center" else crop.rule)
    resize = spec.resize
    rounding = "" if resize.rounding == "none" else f", rounded to {resize.rounding}"
    yield (part, "resize", f"{resize.filter}, {resize.fit}{rounding}")
    enhance = spec.enhance
    if enhance.median:
        yield (part, "enhance", f"median {enhance.median}x{enhance.median}")
    if enhance.equalize != "none":
        yield (part, "enhance", f"{enhance.equalize} equalization")
    if spec.mean:
        mean = ", ".join(f"{value:g}" for value in spec.mean)
        std = ", ".join(f"{value:g}" for value in spec.std)
        yield (part, "normalise", f"(x - [{mean}]) / [{std}]")


def _output(output: Output) -> Iterator[Row]:
    part = f"output {output.name}"
    yield (part, "classes", ", ".join(output.classes))
    temperature = "" if output.temperature == 1.0 else f", temperature {output.temperature:g}"
    yield (part, "activation", output.activation + temperature)
    for threshold in output.thresholds:
        yield (part, "threshold", f"{threshold.label} at {threshold.value:g}")
    if output.abstain_below:
        yield (part, "abstains", f"below {output.abstain_below:g}")


def _origin(manifest: Manifest) -> Iterator[Row]:
    source = manifest.source
    yield (
        "origin",
        "network",
        f"{source.architecture} ({source.framework} {source.framework_version})",
    )
    if source.weights_sha256 is not None:
        yield ("origin", "weights", f"sha256 {source.weights_sha256}")
    yield ("origin", "licence", manifest.licence)
    for data in manifest.data:
        yield ("origin", "data", f"{data.name}, {data.licence}")


def _metric(metric: Metric) -> str:
    interval = ""
    if metric.low is not None and metric.high is not None:
        interval = f" ({metric.low:.3f} to {metric.high:.3f})"
    return f"{metric.value:.3f}{interval}, {metric.method}"


def _files(bundle: Bundle) -> Iterator[Row]:
    for name, entry in sorted(bundle.manifest.files.items()):
        yield ("file", name, f"{bytes_text(entry.bytes)}, sha256 {entry.sha256[:16]}")
    yield ("check", "files", "kind, size and SHA-256 of each are as the manifest says")
    yield ("check", "golden", f"{bundle.golden().cases} cases to prove it on a device")


def _cost(layers: Layers) -> Iterator[Row]:
    rows = layers.layers
    yield ("cost", "layers", str(len(rows)))
    yield ("cost", "operations", f"{sum(layer.flops for layer in rows) / 1e9:.3g} GFLOP a picture")
    yield ("cost", "weights", bytes_text(sum(layer.weight_bytes for layer in rows)))
