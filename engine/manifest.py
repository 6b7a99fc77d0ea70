"""The manifest of a bundle, version 1: what it may say, and in which words."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from medge.engine.evidence import Drift
from medge.profiles.terms import Count, Name, Positive, Probability, Sha256, Text, read_json

MANIFEST = "manifest.json"
MODEL = "model.onnx"  # the fp32 graph, the reference
VARIANTS = "variants"
GOLDEN = "golden.npz"
LAYERS = "layers.json"

WRITTEN = ("files", "schema", "seal")  # optional in a draft, required in a written manifest

_UNSEALED = "0" * 64


class Voi(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How stored values become display values 0..1 (PS3.3 C.11.2).

    ``file``: the file's own VOI (first window or LUT; ``index`` picks another), else its full
    stored range. ``required``: as ``file``, but a file without VOI is refused. ``full``: the full
    range that the stored bits can hold. ``minmax``: the smallest and largest value of the frame.
    ``percentile``: the frame's ``low`` and ``high`` percentiles (0..100). ``window``: always
    ``center`` and ``width``, in modality units, LINEAR. Eight-bit colour is never windowed.
    """

    rule: Literal["file", "required", "full", "minmax", "percentile", "window"] = "file"
    index: Annotated[int, Meta(ge=0)] = 0
    center: float | None = None
    width: float | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        given = {k for k in ("center", "width", "low", "high") if getattr(self, k) is not None}
        wanted = {"window": {"center", "width"}, "percentile": {"low", "high"}}
        if given != wanted.get(self.rule, set()):
            need = " and ".join(sorted(wanted.get(self.rule, set()))) or "no numbers"
            raise ValueError(f"VOI rule {self.rule!r} takes {need}")
        if self.width is not None and not self.width > 0:
            raise ValueError("VOI width must be above 0")
        if self.low is not None and not 0 <= self.low < (self.high or 0) <= 100:
            raise ValueError("VOI percentiles must be 0 <= low < high <= 100")


class Crop(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What part of the picture counts. Applied before the resize.

    ``none``; ``region``: the ultrasound region (0018,6011) with tissue data and the largest area,
    the whole frame when the file has none; ``center``: the central ``ratio`` of each side.
    """

    rule: Literal["none", "region", "center"] = "none"
    ratio: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0


class Resize(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the crop becomes the network's height and width.

    ``area`` averages the source box under each target pixel; ``bilinear`` is the antialiased
    triangle filter of torchvision ``Resize(antialias=True)``. ``stretch`` ignores the aspect ratio,
    ``letterbox`` pads with ``pad`` (display value) around the centred picture, ``cover`` resizes
    the shorter side and takes the centre. ``rounding``: ``uint8`` rounds each resized value half up
    to a multiple of 1/255, as networks trained on 8-bit files saw them.
    """

    filter: Literal["area", "bilinear"] = "bilinear"
    fit: Literal["stretch", "letterbox", "cover"] = "stretch"
    pad: Probability = 0.0
    rounding: Literal["none", "uint8"] = "none"


class Enhance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Steps at network resolution, on the resized gray picture rounded half up to 8 bit.

    Applied in this order: median (odd side, 3 or 5), then histogram equalisation or CLAHE
    (OpenCV's definitions for 8-bit pictures, so that training code can be matched).
    """

    median: Literal[0, 3, 5] = 0
    equalize: Literal["none", "histogram", "clahe"] = "none"
    clahe_clip: Annotated[float, Meta(gt=0.0)] = 2.0
    clahe_tiles: Annotated[int, Meta(ge=1, le=64)] = 8


class ImageInput(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="image"
):
    """One picture: from stored values to a tensor of ``shape`` without the batch dimension.

    ``colour``: ``gray`` has one channel, or three equal ones when ``channels`` is 3; ``rgb`` has
    three, and gray sources are replicated. ``mean`` and ``std`` hold one number per channel and
    act on display values 0..1: ``(x - mean) / std``. A ``uint8`` tensor takes no mean and std: it
    is the display value times 255, rounded half up.
    """

    name: Text
    height: Positive
    width: Positive
    channels: Literal[1, 3]
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: Literal["float32", "uint8"] = "float32"
    colour: Literal["gray", "rgb"] = "gray"
    accepts: tuple[str, ...] = (
        "MONOCHROME1",
        "MONOCHROME2",
        "RGB",
        "PALETTE COLOR",
        "YBR_FULL",
        "YBR_FULL_422",
        "YBR_ICT",
        "YBR_RCT",
    )
    voi: Voi = Voi()
    crop: Crop = Crop()
    resize: Resize = Resize()
    enhance: Enhance = Enhance()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    min_side: Positive = 8
    max_constant_ratio: Probability = 1.0

    def __post_init__(self) -> None:
        if self.colour == "rgb" and self.channels != 3:
            raise ValueError("colour 'rgb' needs channels = 3")
        want = 0 if self.dtype == "uint8" else self.channels
        if (len(self.mean), len(self.std)) != (want, want):
            raise ValueError(f"mean and std need {want} numbers each for dtype {self.dtype}")
        if not all(map(math.isfinite, (*self.mean, *self.std))) or not all(s > 0 for s in self.std):
            raise ValueError("mean must be finite and std above 0")
        plain = self.enhance.median == 0 and self.enhance.equalize == "none"
        if self.colour == "rgb" and not plain:
            raise ValueError("enhance works on gray pictures only")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Tensor shape of one picture, without the batch dimension."""
        if self.layout == "NCHW":
            return (self.channels, self.height, self.width)
        return (self.height, self.width, self.channels)


class Threshold(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The operating point of one class: predicted when its probability is at least ``value``."""

    label: Text
    value: Probability


class Output(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One named output: a row of scores, one per class.

    ``activation`` says what medge still has to apply: ``softmax`` or ``sigmoid`` on logits divided
    by ``temperature``, or ``none`` when the graph ends in probabilities. Single-label decision: the
    first class in ``thresholds`` whose probability reaches its value; else the most probable class
    without a threshold. ``abstain_below``: no prediction when the winner's probability is lower.
    Multi-label decision: every class whose probability reaches its threshold, 0.5 if it has none.
    """

    name: Text
    classes: Annotated[tuple[Text, ...], Meta(min_length=1)]
    task: Literal["single-label", "multi-label"] = "single-label"
    activation: Literal["softmax", "sigmoid", "none"] = "softmax"
    temperature: Annotated[float, Meta(gt=0.0)] = 1.0
    thresholds: tuple[Threshold, ...] = ()
    abstain_below: Probability = 0.0

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"output {self.name!r} names a class twice")
        labels = [t.label for t in self.thresholds]
        unknown = sorted(set(labels) - set(self.classes))
        if unknown or len(set(labels)) != len(labels):
            raise ValueError(f"output {self.name!r} has thresholds for unknown or repeated classes")
        self._check_task(len(labels))

    def _check_task(self, thresholds: int) -> None:
        if self.task == "single-label":
            if len(self.classes) == 1:
                raise ValueError(f"output {self.name!r}: one class alone is a multi-label task")
            if thresholds == len(self.classes):
                raise ValueError(f"output {self.name!r} needs one class without a threshold")
        elif self.activation == "softmax" or self.abstain_below > 0:
            raise ValueError(f"output {self.name!r}: multi-label takes no softmax, no abstention")
        if self.activation == "none" and self.temperature != 1.0:
            raise ValueError(f"output {self.name!r}: probabilities take no temperature")


class Scope(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the bundle may be run on. An empty tuple or None places no limit.

    A tag that contradicts refuses the file; a missing tag gives status ``unscoped``.
    """

    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    view: tuple[str, ...] = ()
    pixel_spacing_mm: tuple[float, float] | None = None


class Data(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One data set that the weights were trained on."""

    name: Text
    licence: Text
    citation: Text
    url: str | None = None


class Metric(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One measured quality figure with its 95 % interval and how it was measured."""

    name: Text
    value: float
    low: float | None = None
    high: float | None = None
    method: Text


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the network came from. ``weights_sha256`` is absent when the source had no file."""

    framework: Text
    framework_version: Text
    architecture: Text
    weights_sha256: Sha256 | None = None


class Variant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One graph of the bundle at one precision; ``fp32`` is always present and the reference.

    ``file`` is ``model.onnx`` for ``fp32`` and ``variants/NAME.onnx`` for every other. The rest is
    absent for ``fp32``: ``method`` says how the graph was made, ``narrow_layers`` how many of the
    ``compute_layers`` (convolutions and matrix products) it asks to be computed in fewer bits,
    ``golden_tolerance`` how far a runtime may stay from the variant's own golden outputs, and
    ``drift`` what was judged where it was made.
    """

    name: Name
    file: Text
    opset: Positive
    method: Text | None = None
    narrow_layers: Count | None = None
    compute_layers: Count | None = None
    golden_tolerance: Annotated[float, Meta(gt=0.0)] | None = None
    drift: Drift | None = None

    def __post_init__(self) -> None:
        expected = MODEL if self.name == "fp32" else f"{VARIANTS}/{self.name}.onnx"
        if self.file != expected:
            raise ValueError(f"variant {self.name!r} belongs into {expected}")


class Parity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Largest difference between the exported graph and its source, found at export."""

    against: Text
    inputs: Literal["seeded", "real", "synthetic"]
    cases: Positive
    max_abs: float
    max_rel: float
    cosine_min: float


class FileEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Digest and size of one file of the bundle."""

    sha256: Sha256
    bytes: Annotated[int, Meta(ge=0)]


class Manifest(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"schema_": "schema"}
):
    """All that a bundle says of itself (docs/bundle.schema.json is generated from this class).

    ``files`` and ``seal`` are filled in when the bundle is written; a manifest without them is a
    draft. ``seal`` is the SHA-256 of the manifest's own bytes with the seal set to 64 zeros: it
    finds damage, and proves nothing about who wrote it.
    """

    schema_: Literal["medge.bundle/1"] = "medge.bundle/1"
    name: Name
    version: Annotated[str, Meta(pattern=r"^\d+\.\d+\.\d+$")]
    task: Literal["single-label", "multi-label", "multi-task"]
    inputs: Annotated[tuple[ImageInput, ...], Meta(min_length=1, max_length=1)]
    outputs: Annotated[tuple[Output, ...], Meta(min_length=1)]
    scope: Scope = Scope()
    intended_use: Text
    demonstration: bool = False
    limits: tuple[Text, ...] = ()
    data: tuple[Data, ...] = ()
    metrics: tuple[Metric, ...] = ()
    licence: Text
    source: Source
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1)]
    parity: tuple[Parity, ...] = ()
    golden_tolerance: Annotated[float, Meta(gt=0.0)] = 1e-3
    calibration_sha256: Sha256 | None = None
    parent_sha256: Sha256 | None = None
    files: Annotated[dict[str, FileEntry], Meta(min_length=1)] = {}
    seal: Sha256 = _UNSEALED

    def __post_init__(self) -> None:
        names = [v.name for v in self.variants]
        if "fp32" not in names or len(set(names)) != len(names):
            raise ValueError("variants must hold 'fp32' and no name twice")
        outputs = [o.name for o in self.outputs]
        if len(set(outputs)) != len(outputs):
            raise ValueError("two outputs have the same name")
        if self.task != "multi-task" and (
            len(self.outputs) != 1 or self.outputs[0].task != self.task
        ):
            raise ValueError(f"task {self.task!r} needs exactly one output of that task")
        if self.files:
            self._check_files()

    def _check_files(self) -> None:
        missing = self.expected_files - self.files.keys()
        if missing:
            raise ValueError(f"files has no digest for {', '.join(sorted(missing))}")
        if self.files.keys() - self.expected_files:
            # The names themselves may hold anything; the reader's message must not.
            allowed = ", ".join(sorted(self.expected_files))
            raise ValueError(f"files names something else than {allowed}")

    @property
    def expected_files(self) -> frozenset[str]:
        """Names of the files that the bundle consists of, the manifest apart."""
        return frozenset({v.file for v in self.variants} | {GOLDEN, LAYERS})

    def variant(self, name: str) -> Variant | None:
        """Return the variant called ``name``, or None."""
        return next((v for v in self.variants if v.name == name), None)


def decode(raw: bytes) -> Manifest:
    """Read a sealed manifest strictly.

    Raises
    ------
    msgspec.ValidationError
        The text says something that the schema does not allow; names the path of the fault.
    msgspec.DecodeError
        Not JSON, or not UTF-8.
    """
    manifest = read_json(raw, Manifest)
    # Parsers disagree on which of two equal keys wins, so neither does.
    keys = json.loads(raw, object_pairs_hook=_no_key_twice)
    for field in WRITTEN:
        if field not in keys:
            raise msgspec.ValidationError(f"Object missing required field `{field}`")
    unsealed = raw.replace(manifest.seal.encode(), _UNSEALED.encode())
    if hashlib.sha256(unsealed).hexdigest() != manifest.seal:
        raise msgspec.ValidationError("The text does not match its seal - at `$.seal`")
    return manifest


def encode(manifest: Manifest) -> bytes:
    """Write and seal a manifest, so that equal manifests have equal bytes."""
    unsealed = msgspec.structs.replace(manifest, seal=_UNSEALED)
    raw = msgspec.json.format(msgspec.json.encode(unsealed, order="sorted"), indent=2) + b"\n"
    seal = hashlib.sha256(raw).hexdigest()
    # A quote inside a text is escaped, so that this can only be the key itself.
    return raw.replace(f'"seal": "{_UNSEALED}"'.encode(), f'"seal": "{seal}"'.encode())


def _no_key_twice(pairs: list[tuple[str, Any]]) -> set[str]:
    keys = {key for key, _ in pairs}
    if len(keys) != len(pairs):
        raise msgspec.ValidationError("Object names a field twice")
    return keys
