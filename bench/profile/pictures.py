"""Pictures: the files that are timed from their bytes to a decision, the user's or made ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from medge.bench.images import set_digest
from medge.bench.scenario.digest import file_sha256
from medge.bench.scenario.phantom import usual_size, write_phantom
from medge.engine.frames.find import find
from medge.errors import InputError

if TYPE_CHECKING:
    from medge.engine.manifest import Manifest

MOST = 64  # files; more would be opened once and never again within the time
MADE = 6


@dataclass(frozen=True, slots=True)
class Pictures:
    """Files to time. ``made`` says what they are where medge made them, None for the user's."""

    paths: tuple[Path, ...]
    made: str | None = None

    def sha256(self) -> str:
        """Return the digest of their digests, the same for any order and names."""
        return set_digest([file_sha256(path) for path in self.paths])


@contextmanager
def pictures(data: Path | None, manifest: Manifest, seed: int) -> Iterator[Pictures]:
    """Choose at most 64 of the user's files by a seed; make some where there are none.

    Made files lie in a private folder that is gone afterwards.

    Raises
    ------
    InputError
        Rule ``nothing-found``: no file is where the user said.
    UsageError
        Rule ``phantom``: no picture can be made for this bundle.
    """
    if data is not None:
        yield Pictures(_chosen(data, seed))
        return
    with TemporaryDirectory(prefix="medge-profile-") as folder:
        paths = tuple(Path(folder) / f"phantom-{number}.dcm" for number in range(MADE))
        made = [
            write_phantom(path, manifest, frames=1, seed=number + 1, size=usual_size(manifest))
            for number, path in enumerate(paths)
        ]
        yield Pictures(paths, f"{MADE} files, each {made[0]}")


def _chosen(data: Path, seed: int) -> tuple[Path, ...]:
    found = [path.absolute() for path in find([str(data)])]
    if not found:
        raise InputError(
            "nothing-found",
            f"{data}: no DICOM, PNG, JPEG or NPY file. Name a file or another folder.",
        )
    if len(found) > MOST:
        chosen = random.Random(seed).sample(range(len(found)), MOST)  # noqa: S311 - not a secret
        found = [found[place] for place in sorted(chosen)]
    return tuple(found)
