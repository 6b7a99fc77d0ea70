"""Build bundles: what build.json says, and what is kept of each so that its results can be held."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from medge.engine.golden import Golden, unpack_golden
from medge.engine.manifest import GOLDEN, MANIFEST, FileEntry, Manifest, decode
from medge.engine.state import read_state, state_folder, write_state
from medge.errors import BundleError
from medge.profiles.terms import Count, Name, Positive, Sha256, Text, read_json

BUILD = "build.json"
KEPT = (BUILD, MANIFEST, GOLDEN)


class BuildPort(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One input or output of every graph, with its batch."""

    name: Text
    shape: tuple[Positive, ...]
    dtype: Text


class BuildGraph(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One graph to be built there.

    Parameters
    ----------
    precision
        In what its narrow layers compute: TensorRT 8 has to be told, later ones read it.
    nodes
        The type of every operator, in the order of the graph: a refusal names a place in it.
    compute
        Names of the convolutions and matrix products.
    kept_fp32
        Names of the operators that compute in fp32 although others do not.
    tolerance
        How far its answers may lie from the golden ones.
    drift
        The verdict on its decisions that the bundle has; None where nobody judged them.
    """

    variant: Name
    file: Text
    precision: Literal["fp32", "fp16", "int8"]
    opset: Positive
    nodes: tuple[Text, ...]
    compute: tuple[Text, ...]
    kept_fp32: tuple[Text, ...] = ()
    tolerance: float
    drift: Text | None = None


class LeftOut(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A variant of the bundle that is not built there, and why."""

    variant: Name
    reason: Text


class Build(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"schema_": "schema"}
):
    """What a build bundle is made for and holds; its digest is that of build.json.

    Parameters
    ----------
    target, jetpack, tensorrt, python
        The catalog's device, and the software that the toolchain tables list for it. TensorRT is
        the oldest that takes the graphs.
    int8_weights
        ``pairs``: weights are float with Q and DQ behind them, as TensorRT 8 wants them;
        ``integers``: they are stored as int8.
    flops
        Of one picture, a multiplication and its addition counted as two.
    """

    schema_: Literal["medge.build/1"] = "medge.build/1"
    medge: Text
    bundle: Text  # name and version
    bundle_sha256: Sha256
    target: Name
    board: Text
    compute_capability: Text
    jetpack: Text
    tensorrt: Text
    python: Text
    batch: Positive
    int8_weights: Literal["pairs", "integers"]
    inputs: tuple[BuildPort, ...]
    outputs: tuple[BuildPort, ...]
    flops: Count
    graphs: tuple[BuildGraph, ...]
    left_out: tuple[LeftOut, ...] = ()
    files: dict[str, FileEntry]

    def graph(self, variant: str) -> BuildGraph | None:
        """Return the graph of a variant, None where it was left out."""
        return next((graph for graph in self.graphs if graph.variant == variant), None)


@dataclass(frozen=True, slots=True)
class KeptBuild:
    """A build that this machine made: what results of it are held against."""

    digest: str
    build: Build
    manifest: Manifest
    golden: Golden


def encode_build(build: Build) -> bytes:
    """Write build.json so that equal builds have equal bytes."""
    return msgspec.json.format(msgspec.json.encode(build, order="sorted"), indent=1) + b"\n"


def keep_build(files: Mapping[str, bytes]) -> str:
    """Keep what a build's results will be held against; return its digest.

    Parameters
    ----------
    files
        ``build.json``, ``manifest.json`` and ``golden.npz``, as the build bundle holds them.

    Raises
    ------
    StorageError
        Rule ``state-write``.
    """
    digest = hashlib.sha256(files[BUILD]).hexdigest()
    for name in reversed(KEPT):  # build.json last: where it is, the others are
        write_state(_folder(digest) / name, files[name])
    return digest


def kept_build(digest: str) -> KeptBuild | None:
    """Return a build that was made here, None where none is of this digest.

    Raises
    ------
    BundleError
        Rule ``build-damaged``: what was kept of it is not what was written.
    StorageError
        Rule ``state-unreadable``.
    """
    raw = {name: read_state(_folder(digest) / name) for name in KEPT}
    if raw[BUILD] is None:
        return None
    return _read(digest, {name: found or b"" for name, found in raw.items()})


def _read(digest: str, raw: Mapping[str, bytes]) -> KeptBuild:
    try:
        build = read_json(raw[BUILD], Build)
        manifest = decode(raw[MANIFEST])
    except msgspec.DecodeError:
        raise _damaged(digest) from None
    stated = (digest, build.bundle_sha256, manifest.files[GOLDEN].sha256)
    found = (hashlib.sha256(raw[name]).hexdigest() for name in KEPT)
    if stated != tuple(found):
        raise _damaged(digest)
    return KeptBuild(digest, build, manifest, unpack_golden(raw[GOLDEN], manifest))


def _damaged(digest: str) -> BundleError:
    return BundleError(
        "build-damaged",
        f"What was kept of build {digest[:12]} is not what was written. Make the build bundle "
        "again with `medge compile --target`.",
    )


def _folder(digest: str) -> Path:
    return state_folder() / "builds" / digest
