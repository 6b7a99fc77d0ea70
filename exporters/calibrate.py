"""Calibration: every picture of a folder is seen, and of its tensors only figures are kept."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from medge.engine.frames.find import find
from medge.engine.frames.study import Asked, open_study
from medge.engine.preprocess import Preprocessor
from medge.engine.scope import missing_tags
from medge.errors import InputError, UsageError
from medge.exporters.histogram import Histogram
from medge.exporters.network import Tensor
from medge.exporters.sampled import SampledRun, Watch
from medge.exporters.samples import MOST_OF_ONE_FILE, spread

if TYPE_CHECKING:
    from medge.engine.manifest import Manifest

KEPT_BYTES = 256 << 20  # prepared pictures up to this size are kept from pass to pass
READ_BYTES = 1 << 20


@dataclass
class CalibrationSet:
    """The usable pictures of a folder, prepared anew for each pass when they are too many to keep.

    Attributes
    ----------
    frames
        Which frame of which file, in the order in which they are seen.
    digests
        SHA-256 of every file whose frames calibrate: none of them may judge.
    refused
        How many files were refused, by rule.
    """

    manifest: Manifest
    frames: tuple[tuple[Path, int], ...]
    digests: tuple[str, ...]
    refused: dict[str, int]
    _kept: list[Tensor] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        """Digest of the sorted digests of the files: order and names do not count."""
        return hashlib.sha256("\n".join(sorted(self.digests)).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield every picture as the network takes it, shape (1, ...).

        Raises
        ------
        UsageError
            Rule ``calibration-changed``: a file is not what it was in the first pass.
        """
        if self._kept:
            yield from self._kept
            return
        spec = self.manifest.inputs[0]
        each = int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize
        keep = each * len(self.frames) <= KEPT_BYTES
        kept: list[Tensor] = []
        prepare = Preprocessor(spec)
        for path, index in self.frames:
            try:
                tensor = _prepared(prepare, path, index, self.manifest)
            except InputError:
                raise UsageError(
                    "calibration-changed",
                    "A calibration picture could be used at first and cannot any more. Leave the "
                    "folder as it is while it is read.",
                ) from None
            if keep:
                kept.append(tensor)
            yield tensor
        self._kept = kept


def read_calibration_set(
    folder: Path, manifest: Manifest, progress: Callable[[int], None] = lambda _: None
) -> CalibrationSet:
    """Find the pictures of a folder that this bundle accepts, at most 4 frames of each file.

    Raises
    ------
    UsageError
        Rule ``calibration``: there is none; says by which rules they were refused.
    """
    prepare = Preprocessor(manifest.inputs[0])
    frames: list[tuple[Path, int]] = []
    digests: list[str] = []
    refused: Counter[str] = Counter()
    for path in find([str(folder)], None):
        try:
            usable = list(_usable(prepare, path, manifest))
            digests.append(file_sha256(path))
        except InputError as error:
            refused[error.rule] += 1
            continue
        frames += [(path, index) for index in usable]
        progress(len(frames))
    if not frames:
        told = ", ".join(f"{rule} {count}" for rule, count in sorted(refused.items()))
        raise UsageError(
            "calibration",
            f"{folder}: no picture can be used to calibrate{f' ({told})' if told else ''}. Name a "
            "folder with pictures that this bundle accepts.",
        )
    return CalibrationSet(manifest, tuple(frames), tuple(digests), dict(refused))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a whole file.

    Raises
    ------
    InputError
        Rule ``not-readable``.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while part := stream.read(READ_BYTES):
                digest.update(part)
    except OSError as error:
        raise InputError(
            "not-readable", f"{path.name}: cannot be read: {error.strerror}. Check its rights."
        ) from error
    return digest.hexdigest()


def observe(
    model: onnx.ModelProto,
    watch: Watch,
    pictures: CalibrationSet,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Histogram]:
    """Run every picture once and return what was seen of each tensor.

    Extremes are those of all values; the histogram holds up to 8192 evenly spaced values of each
    picture. Memory depends on the number of tensors, not on that of the pictures.

    Raises
    ------
    UsageError
        Rule ``calibration-not-finite``: a picture gives NaN or Inf in the fp32 network.
    """
    run = SampledRun(model, watch)
    seen = {name: Histogram() for name in watch.names}
    count = 0
    for picture in pictures:
        count += 1
        for name, found in run.figures(picture):
            if not (np.isfinite(found.low) and np.isfinite(found.high)):
                raise UsageError(
                    "calibration-not-finite",
                    f"Calibration picture {count} gives NaN or Inf inside the fp32 network. Take "
                    "it out of the folder, and check the pictures beside it.",
                )
            seen[name].add(*found)
        progress(count)
    if count != len(pictures):
        raise RuntimeError(f"{count} of {len(pictures)} calibration pictures were seen")
    return seen


def _usable(prepare: Preprocessor, path: Path, manifest: Manifest) -> Iterator[int]:
    """Yield the frames of a file that calibrate; the first refusal refuses the file."""
    with open_study(path, Asked(gray_only=prepare.wants_gray)) as study:
        missing_tags(study.context, manifest.scope)
        tensor = np.zeros(manifest.inputs[0].shape, manifest.inputs[0].dtype)
        for index in spread(study.frame_count, MOST_OF_ONE_FILE):
            prepare.prepare(study.frame(index), tensor)
            yield index


def _prepared(prepare: Preprocessor, path: Path, index: int, manifest: Manifest) -> Tensor:
    spec = manifest.inputs[0]
    tensor = np.zeros((1, *spec.shape), spec.dtype)
    with open_study(path, Asked(gray_only=prepare.wants_gray)) as study:
        missing_tags(study.context, manifest.scope)
        prepare.prepare(study.frame(index), tensor[0])
    return tensor
