"""Write a build bundle: one archive that a Jetson unpacks, builds, proves and times by itself."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from medge.engine.builds import (
    BUILD,
    Build,
    BuildGraph,
    BuildPort,
    LeftOut,
    encode_build,
    keep_build,
)
from medge.engine.manifest import GOLDEN, MANIFEST, FileEntry
from medge.engine.selftest import REDUCED_RATIO
from medge.engine.session import ports
from medge.errors import BundleError, GateError, StorageError, UsageError
from medge.exporters.graph import opset_of
from medge.exporters.jetson.graphs import Converted, compute_names, converted, wide_names
from medge.exporters.jetson.jetpack import JetPack, jetpack_of
from medge.exporters.jetson.told import notes
from medge.exporters.plan_folder import batch_name

if TYPE_CHECKING:
    from medge.engine.backends import Port
    from medge.engine.bundle import Bundle
    from medge.engine.manifest import Variant
    from medge.profiles.target import Target

Precision = Literal["fp32", "fp16", "int8"]

RUNNER = "medge.exporters.jetson.runner"
SCRIPTS = ("run.py", "gpu_engine.py", "board.py")
NOTES = "README.txt"
SUFFIX = ".build.tar"


@dataclass(frozen=True, slots=True)
class BuildBundle:
    """What was written.

    Attributes
    ----------
    path
        The archive.
    digest
        Of build.json in it: results name it.
    max_abs
        By variant, the largest difference between its graph and the bundle's. It is not in
        build.json: another CPU adds up in another order, and equal bundles give equal bytes.
    """

    path: Path
    digest: str
    build: Build
    max_abs: Mapping[str, float]


def write_build_bundle(
    bundle: Bundle, target: Target, folder: Path, *, batch: int = 1
) -> BuildBundle:
    """Write what a Jetson needs to build a bundle's engines: graphs, golden cases and a runner.

    Equal bundles give equal bytes. What its results will be held against is kept in the state
    folder, so that `medge results import` takes them on this machine.

    Parameters
    ----------
    folder
        Where the archive is put, under a name made of bundle and target; it must exist.
    batch
        Pictures in each call: the engines take this batch and no other.

    Raises
    ------
    UsageError
        Rule ``build-target``: it is no Jetson that a JetPack supports. Rule ``build-folder``: the
        folder is not there.
    BundleError
        Rule ``build-empty``: TensorRT there takes none of the graphs. And those of the bundle.
    GateError
        Rule ``conversion``: none is left, and a converted graph answers otherwise.
    StorageError
        Rules ``build-output`` and ``state-write``.
    """
    pack = jetpack_of(target)
    if not folder.is_dir():
        raise UsageError(
            "build-folder", f"{folder}: is no folder. Make it first, or name another with -o."
        )
    made, left_out = _graphs(bundle, pack, batch)
    if not made:
        raise BundleError(
            "build-empty",
            f"{bundle.manifest.name}: TensorRT of JetPack {pack.version} takes none of its graphs: "
            f"{left_out[0].reason} Choose a device with a newer JetPack.",
        )
    graphs = [_graph(bundle, variant, pack, one) for variant, one in made]
    files = {graph.file: one.raw for graph, (_, one) in zip(graphs, made, strict=True)}
    files |= {name: resources.files(RUNNER).joinpath(name).read_bytes() for name in SCRIPTS}
    files |= {MANIFEST: _manifest(bundle), GOLDEN: bundle.read(GOLDEN)}
    build = _described(bundle, target, pack, batch, graphs=graphs, left_out=left_out)
    files[NOTES] = notes(build).encode()
    entries = {
        name: FileEntry(sha256=hashlib.sha256(raw).hexdigest(), bytes=len(raw))
        for name, raw in sorted(files.items())
    }
    build = msgspec.structs.replace(build, files=entries)
    files[BUILD] = encode_build(build)
    name = f"{bundle.manifest.name}-{target.id}{batch_name(batch)}"
    path = folder / f"{name}{SUFFIX}"
    _write(path, _archive(name, files))
    apart = {variant.name: one.max_abs for variant, one in made}
    return BuildBundle(path, keep_build(files), build, apart)


def _graphs(
    bundle: Bundle, pack: JetPack, batch: int
) -> tuple[list[tuple[Variant, Converted]], list[LeftOut]]:
    """Return the graphs that TensorRT takes there, and why the others are not among them."""
    made, left_out = [], []
    wrong: GateError | None = None
    for variant in bundle.manifest.variants:
        reason = _hopeless(variant, pack)
        if reason is None:
            try:
                made.append((variant, _converted(bundle, variant, pack, batch)))
            except (BundleError, GateError) as error:
                reason = error.message
                wrong = wrong or (error if isinstance(error, GateError) else None)
                if batch != 1 and _is_made_for_one(bundle, variant, pack):
                    reason = (
                        f"It takes one picture in a call and not {batch}: sides or indices in it "
                        "are those of one. Leave --batch out."
                    )
        if reason is not None:
            left_out.append(LeftOut(variant=variant.name, reason=reason))
    if wrong is not None and not made:
        raise wrong
    return made, left_out


def _converted(bundle: Bundle, variant: Variant, pack: JetPack, batch: int) -> Converted:
    manifest = bundle.manifest
    return converted(
        bundle.read(variant.file),
        pack,
        batch,
        inputs=bundle.golden().inputs[manifest.inputs[0].name],
        manifest=manifest,
        allowed=variant.golden_tolerance,
    )


def _is_made_for_one(bundle: Bundle, variant: Variant, pack: JetPack) -> bool:
    """Whether a graph that cannot be written for several pictures can be for one."""
    try:
        _converted(bundle, variant, pack, 1)
    except (BundleError, GateError):
        return False
    return True


def _hopeless(variant: Variant, pack: JetPack) -> str | None:
    """Return why a variant is not worth a try, None where it is."""
    precision = _precision(variant)
    if precision not in pack.precisions:
        return f"{pack.slower.get(precision, f'{precision} is no faster there')}."
    if variant.drift is not None and variant.drift.verdict == "fail":
        return "Its decisions differ too much from those of fp32: drift fail."
    return None


def _graph(bundle: Bundle, variant: Variant, pack: JetPack, made: Converted) -> BuildGraph:
    precision = _precision(variant)
    # Later releases read the types from the graph itself.
    told = precision == "fp16" and pack.int8_weights == "pairs"
    return BuildGraph(
        variant=variant.name,
        file=f"{variant.name}.onnx",
        precision=precision,
        opset=opset_of(made.model),
        nodes=tuple(node.op_type for node in made.model.graph.node),
        compute=compute_names(made.model),
        kept_fp32=wide_names(made.model) if told else (),
        tolerance=_tolerance(bundle, variant),
        drift=None if variant.drift is None else variant.drift.verdict,
    )


def _tolerance(bundle: Bundle, variant: Variant) -> float:
    """Return how far answers may lie from the golden ones, as the self-test allows here."""
    if variant.name == "fp32":
        return bundle.manifest.golden_tolerance
    golden = bundle.golden()
    outputs = golden.variants.get(variant.name, golden.outputs)
    largest = max(float(np.abs(output).max()) for output in outputs.values())
    return variant.golden_tolerance or REDUCED_RATIO * largest


def _precision(variant: Variant) -> Precision:
    if variant.name == "fp32":
        return "fp32"
    return "fp16" if variant.name.startswith("fp16") else "int8"


def _described(
    bundle: Bundle,
    target: Target,
    pack: JetPack,
    batch: int,
    *,
    graphs: list[BuildGraph],
    left_out: list[LeftOut],
) -> Build:
    manifest = bundle.manifest
    taken, given = ports(manifest)
    return Build(
        medge=metadata.version("medge"),
        bundle=f"{manifest.name} {manifest.version}",
        bundle_sha256=bundle.digest,
        target=target.id,
        board=target.name,
        compute_capability=target.compute_capability or "",
        jetpack=pack.version,
        tensorrt=pack.tensorrt,
        python=pack.python,
        batch=batch,
        int8_weights=pack.int8_weights,
        inputs=tuple(_port(port, batch) for port in taken),
        outputs=tuple(_port(port, batch) for port in given),
        flops=sum(layer.flops for layer in bundle.layers().layers),
        graphs=tuple(graphs),
        left_out=tuple(left_out),
        files={},
    )


def _port(port: Port, batch: int) -> BuildPort:
    return BuildPort(name=port.name, shape=(batch, *port.shape), dtype=port.dtype)


def _manifest(bundle: Bundle) -> bytes:
    """Return the manifest's own bytes: their digest is the bundle's."""
    try:
        raw = (bundle.path / MANIFEST).read_bytes()
    except OSError:
        raw = b""
    if hashlib.sha256(raw).hexdigest() != bundle.digest:
        raise BundleError(
            "digest",
            f"{bundle.path.name}: {MANIFEST} was changed after the bundle was opened. Try again.",
        )
    return raw


def _archive(name: str, files: Mapping[str, bytes]) -> bytes:
    """Return a tar of plain files in one folder, free of the clock and of who made it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for file, raw in sorted(files.items()):
            entry = tarfile.TarInfo(f"{name}/{file}")
            entry.size = len(raw)
            entry.mode = 0o755 if file == SCRIPTS[0] else 0o644
            archive.addfile(entry, io.BytesIO(raw))
    return buffer.getvalue()


def _write(path: Path, raw: bytes) -> None:
    """Put the archive in place whole; an older one of this name is replaced."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StorageError(
            "build-output", f"{path}: cannot write: {reason}. Free space or choose another place."
        ) from error
    finally:
        part.unlink(missing_ok=True)
