"""Published measurements as cases of the latency model: rows, targets and layer tables joined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from estimator_rows import Row, read_rows, target_id
from estimator_tables import UnknownNetworkError, family, layers_of

from medge.profiles.estimate.hardware import NotRunnableError, hardware_of
from medge.profiles.estimate.kernels import Kernels, UnknownOperatorError, kernels_of
from medge.profiles.estimate.roofline import Case
from medge.profiles.target import Target, read_targets, targets


@dataclass(frozen=True, slots=True)
class Sample:
    """One comparable row with all that the model asks of it.

    Parameters
    ----------
    group
        The board or chip that is left out as a whole: a Jetson with its CPU, a laptop chip with
        its graphics, the sizes in which one cloud processor is sold.
    kind
        Runtime and kind of hardware: rows of one kind are compared with each other.
    """

    row: Row
    case: Case
    target: Target
    group: str
    kind: str

    @property
    def stack(self) -> str:
        """Return the runtime on this board."""
        return f"{self.group} {self.row.setting.runtime.id}"

    @property
    def family(self) -> str:
        """Return the family of networks."""
        return family(self.row.model)


def load(
    path: Path, more: Sequence[Path] = (), refused: Counter[str] | None = None
) -> tuple[list[Row], list[Sample]]:
    """Return every row of a CSV, and those that are comparable as samples.

    Parameters
    ----------
    more
        CSV files with the specifications of devices that the catalog lacks.
    refused
        Counts the rows whose device or network is not known, by their reason; without it such a
        row stops everything.
    """
    known = dict(targets())
    for extra in more:
        known |= {target.id: target for _, target in read_targets(extra)}
    names = {target.name.casefold(): target.id for target in known.values()}
    rows = read_rows(path)
    tables: dict[tuple[object, ...], Kernels] = {}
    made = []
    for row in rows:
        if row.excluded:
            continue
        try:
            made.append(_sample(row, known[target_id(row.device, names)], tables))
        except (KeyError, NotRunnableError, UnknownOperatorError, UnknownNetworkError) as error:
            if refused is None:
                raise
            refused[f"{type(error).__name__}: {error}"] += 1
    return rows, made


def _sample(row: Row, target: Target, tables: dict[tuple[object, ...], Kernels]) -> Sample:
    runtime = row.setting.runtime
    hardware = hardware_of(target, row.precision, row.setting)
    copies = row.copies and target.module is None  # a Jetson's GPU reads the host's memory
    case = Case(
        kernels=_table(row, tables),
        hardware=hardware,
        runtime=runtime,
        precision=row.precision,
        batch=row.batch,
        copied_bytes=12.0 * row.height * row.width * row.batch if copies else 0.0,
    )
    processor = hardware.kind if hardware.kind in ("x86", "arm") else "gpu"
    return Sample(row, case, target, target.module or target.id, f"{runtime.id} {processor}")


def _table(row: Row, tables: dict[tuple[object, ...], Kernels]) -> Kernels:
    fuses = row.setting.runtime.fuses
    key = (row.model, row.height, row.width, fuses, row.runtime if row.model == "alexnet" else "")
    if key not in tables:
        layers = layers_of(row.model, row.height, row.width, row.runtime)
        tables[key] = kernels_of(layers, fuses)
    return tables[key]


def single_device_kinds(samples: Sequence[Sample]) -> frozenset[str]:
    """Return the kinds that only one board has rows of: to leave it out leaves out the kind."""
    boards: dict[str, set[str]] = {}
    for sample in samples:
        boards.setdefault(sample.kind, set()).add(sample.group)
    return frozenset(kind for kind, found in boards.items() if len(found) == 1)
