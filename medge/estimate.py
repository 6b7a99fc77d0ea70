"""What `medge estimate` was asked: which networks, on which devices, measured how often before."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medge.engine.bundle import find_bundle, open_bundle
from medge.errors import UsageError
from medge.profiles.estimate.latency import Measured
from medge.profiles.estimate.plan import Plan, plan
from medge.profiles.here import HERE, targets_here
from medge.profiles.layers import Layers
from medge.profiles.network import architectures, networks
from medge.profiles.study import Study, gpus_of
from medge.profiles.target import Target, find_target, targets

COLUMNS = ("batch", "precision", "runtime", "latency_ms")
MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Subject:
    """A network to estimate for; ``note`` says what was taken for granted about it."""

    name: str
    layers: Layers
    note: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """How the network would run, the same for every device, and the rate that is wanted of it."""

    batch: int = 1
    precision: str = "fp32"
    runtime: str | None = None
    fps: float = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Every estimate, and what there is none for at all: a name and the reason."""

    subjects: tuple[Subject, ...]
    plans: tuple[Plan, ...]
    missing: tuple[tuple[str, str], ...] = ()
    study: Study | None = None


def find_subject(asked: str | None) -> Subject:
    """Return the network of a bundle, or a published one by its name (``resnet50``)."""
    known = networks().get(asked or "")
    if known is not None:
        picture = f"{known.channels}x{known.height}x{known.width}"
        return Subject(known.name, known.layers(), f"as published, {picture}; {known.source}")
    with open_bundle(find_bundle(asked)) as bundle:
        return Subject(f"{bundle.manifest.name} {bundle.manifest.version}", bundle.layers())


def on_target(subject: Subject, target_id: str, asked: Question, rows: Path | None) -> Answer:
    """Estimate for one device of the catalog, or for this machine."""
    target = _found(target_id)
    measured = () if rows is None else read_measured(rows)
    return Answer((subject,), tuple(_planned(subject, [target], asked, measured)))


def on_all(subject: Subject, asked: Question) -> Answer:
    """Estimate for every device of the catalog."""
    return Answer((subject,), tuple(_planned(subject, list(targets().values()), asked)))


def on_study(study: Study, subject: Subject | None, asked: Question) -> Answer:
    """Estimate on a study's hardware and here: its own networks, or the one that is given."""
    missing: list[tuple[str, str]] = []
    subjects = (subject,) if subject is not None else tuple(_networks_of(study, missing))
    devices = dict.fromkeys((*study.gpus, *((study.cpu,) if study.cpu else ())))
    hardware = [targets()[device] for device in devices]
    if not gpus_of(study) and study.cpu is None:
        missing.append((f"study {study.ref}", "no device of the catalog is named in it"))
    here = list(targets_here()) if subjects else []
    if subjects and not here:
        missing.append((HERE, "its processor resembles none of the catalog"))
    plans = [each for one in subjects for each in _planned(one, [*hardware, *here], asked)]
    return Answer(subjects, tuple(plans), tuple(missing), study)


def _planned(
    subject: Subject,
    devices: Sequence[Target],
    asked: Question,
    measured: Sequence[Measured] = (),
) -> list[Plan]:
    return plan(
        subject.name,
        subject.layers,
        devices,
        batch=asked.batch,
        precision=asked.precision,
        runtime=asked.runtime,
        measured=measured,
    )


def _found(target_id: str) -> Target:
    if target_id != HERE:
        return find_target(target_id)
    here = next(targets_here(), None)
    if here is None:
        raise UsageError(
            "estimate-here",
            "This machine's processor resembles none of the catalog. Choose the nearest yourself: "
            "`medge targets list --kind cpu`.",
        )
    return here


def _networks_of(study: Study, missing: list[tuple[str, str]]) -> Iterator[Subject]:
    """Yield the published networks that a study names; the others are told as missing."""
    for word in study.architectures:
        meant = architectures()[word]
        if meant.network is None:
            missing.append((word, str(meant.reason)))
            continue
        network = networks()[meant.network]
        yield Subject(network.name, network.layers(), meant.assumption or "")


def read_measured(path: Path) -> tuple[Measured, ...]:
    """Read what was measured on a device.

    A CSV file with ``network`` (as ``resnet50``) or ``bundle`` (a folder or a built-in name), then
    ``batch``, ``precision``, ``runtime`` and ``latency_ms``.

    Raises
    ------
    UsageError
        Rule ``measured-unreadable``, ``measured-columns`` or ``measured-row``.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError("measured-unreadable", f"{path}: {reason}. Check the path.") from None
    if len(raw) > MOST_BYTES:
        raise UsageError(
            "measured-unreadable", f"{path} is larger than 1 MB; a few rows are enough."
        )
    reader = csv.DictReader(io.StringIO(text, newline=""))
    names = set(reader.fieldnames or ())
    lacking = [name for name in COLUMNS if name not in names]
    if lacking or not names & {"network", "bundle"}:
        raise UsageError(
            "measured-columns",
            f"{path}: its first line must name network or bundle, and {', '.join(COLUMNS)}; "
            f"it lacks {', '.join(lacking) or 'network and bundle'}.",
        )
    rows = tuple(_measured(path, reader.line_num, row) for row in reader)
    if not rows:
        raise UsageError("measured-row", f"{path} has no row below its first line.")
    return rows


def _measured(path: Path, line: int, row: Mapping[str, str | None]) -> Measured:
    cells = {name: (cell or "").strip() for name, cell in row.items() if isinstance(cell, str)}
    try:
        batch, latency_ms = int(cells["batch"]), float(cells["latency_ms"])
    except (KeyError, ValueError):
        raise UsageError(
            "measured-row",
            f"{path}:{line}: batch must be a whole number and latency_ms a number.",
        ) from None
    asked = cells.get("network") or cells.get("bundle")
    if not asked:
        raise UsageError("measured-row", f"{path}:{line}: neither network nor bundle is named.")
    return Measured(
        layers=find_subject(asked).layers,
        latency_ms=latency_ms,
        batch=batch,
        precision=cells.get("precision") or "fp32",
        runtime=cells.get("runtime") or "onnxruntime",
    )
