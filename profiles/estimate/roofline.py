"""Roofline of each kernel: the time of many networks on many targets, and its derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medge.profiles.estimate.hardware import Hardware
from medge.profiles.estimate.kernels import CLASSES, MATRIX, Floats, Kernels
from medge.profiles.estimate.runtimes import Runtime
from medge.profiles.estimate.terms import (
    SCALARS,
    Term,
    compute_terms,
    device_class,
    memory_terms,
    scalar_terms,
)

KINDS = len(CLASSES)
OVERLAP = 3.0  # power with which the device's and the host's time combine


@dataclass(frozen=True, slots=True)
class Case:
    """One network on one target, as one runtime runs it."""

    kernels: Kernels
    hardware: Hardware
    runtime: Runtime
    precision: str
    batch: int
    copied_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of each case, shape (cases,), with the logarithm's slope by each parameter.

    Parameters
    ----------
    log_s
        Natural logarithm of the seconds a batch.
    jacobian
        Shape (cases, parameters).
    by_kernel
        Shares of the time that each class of kernels explains, shape (cases, classes).
    compute, memory, launch
        Shares of the time that arithmetic, memory, and launches with the host's work explain.
    """

    log_s: Floats
    jacobian: Floats
    by_kernel: Floats
    compute: Floats
    memory: Floats
    launch: Floats


class Roofline:
    """The cases as arrays: built once, timed for any values of the parameters."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = cases
        self.names: list[str] = []
        self._places: dict[str, int] = {}
        self._slots = _slots(cases, self._place)
        self._flat = np.concatenate(
            [s.row() * len(self.names) + s.place for s in self._slots.values()]
        )
        sizes = [len(case.kernels.kind) for case in cases]
        self._row = np.repeat(np.arange(len(cases)), sizes)
        self._cell = self._row * KINDS + np.concatenate([case.kernels.kind for case in cases])
        batch = np.repeat([float(case.batch) for case in cases], sizes)

        def joined(name: str) -> Floats:
            return np.concatenate([getattr(case.kernels, name) for case in cases])

        def spread(values: list[float]) -> Floats:
            return np.repeat(values, sizes)

        element = spread([case.hardware.element_bytes for case in cases])
        self._count = joined("count")
        self._compute = joined("flops") * batch / spread([c.hardware.flops_per_s for c in cases])
        moved = (joined("moved") * batch + joined("weights")) * element
        self._memory = moved / spread([c.hardware.bytes_per_s for c in cases])
        self._thin = spread([c.hardware.lanes for c in cases]) / (joined("outputs") * batch)
        self._shallow = 1 / joined("depth")
        self._narrow = 1 / joined("width")
        self._launches = np.array([case.kernels.launches for case in cases])
        self._copied = np.array([case.copied_bytes for case in cases])
        self._hosted = np.array([device_class(c.hardware) == "gpu" for c in cases], float)

    def _place(self, name: str) -> int:
        if name not in self._places:
            self._places[name] = len(self.names)
            self.names.append(name)
        return self._places[name]

    def times(self, values: Floats) -> Times:
        """Return every case's time for parameter values in the order of ``names``."""
        n = len(self.cases)
        slot = {name: self._slots[name].value(values) for name in self._slots}
        scalar = {name: np.exp(slot[name]) for name in SCALARS}
        thin = self._thin * scalar["saturation"][self._row]
        shallow = self._shallow * scalar["depth"][self._row]
        narrow = self._narrow * scalar["width"][self._row]
        matrix = (np.arange(KINDS) < MATRIX).astype(float)
        speed = (matrix * np.exp(-slot["compute"])).ravel()[self._cell]
        compute = self._compute * speed * (1 + thin) * (1 + shallow) * (1 + narrow)
        memory = self._memory * np.exp(-slot["memory"]).ravel()[self._cell]
        kernel = np.sqrt(compute**2 + memory**2)
        both = np.maximum(kernel, 1e-30)
        by_compute = self._count * compute**2 / both
        by_memory = self._count * memory**2 / both

        def per_row(values: Floats) -> Floats:
            return _sums(self._row, values, n)

        def per_cell(values: Floats) -> Floats:
            return _sums(self._cell, values, n * KINDS).reshape(n, KINDS)

        launch = scalar["launch"] * self._launches
        host = scalar["host"] * self._launches * self._hosted
        device = per_row(self._count * kernel) + launch
        joint = (device**OVERLAP + host**OVERLAP) ** (1 / OVERLAP)
        copy = scalar["copy"] * self._copied
        total = joint + scalar["fixed"] + copy  # before the runtime's own factor
        on_device = (device / joint) ** (OVERLAP - 1) / total
        on_host = (host / joint) ** (OVERLAP - 1) / total
        slopes = {
            "compute": -per_cell(by_compute) * on_device[:, None],
            "memory": -per_cell(by_memory) * on_device[:, None],
            "launch": launch * on_device,
            "host": host * on_host,
            "fixed": scalar["fixed"] / total,
            "copy": copy / total,
            "scale": np.ones(n),
            "saturation": per_row(by_compute * thin / (1 + thin)) * on_device,
            "depth": per_row(by_compute * shallow / (1 + shallow)) * on_device,
            "width": per_row(by_compute * narrow / (1 + narrow)) * on_device,
        }
        entries = np.concatenate([s.entries(slopes[name]) for name, s in self._slots.items()])
        size = n * len(self.names)
        jacobian = _sums(self._flat, entries, size).reshape(n, len(self.names))
        return Times(
            log_s=np.log(total) + slot["scale"],
            jacobian=jacobian,
            by_kernel=-slopes["compute"] - slopes["memory"],
            compute=-slopes["compute"].sum(1),
            memory=-slopes["memory"].sum(1),
            launch=slopes["launch"] + slopes["host"] + slopes["fixed"],
        )


def _sums(places: NDArray[np.intp], values: Floats, size: int) -> Floats:
    return np.bincount(places, values, size).astype(np.float64, copy=False)


@dataclass(slots=True)
class _Slot:
    """Sums of factor x parameter, one for each cell; cells without a term are 0."""

    cell: NDArray[np.intp]
    place: NDArray[np.intp]
    factor: Floats
    shape: tuple[int, ...]

    def value(self, values: Floats) -> Floats:
        size = int(np.prod(self.shape))
        return _sums(self.cell, values[self.place] * self.factor, size).reshape(self.shape)

    def row(self) -> NDArray[np.intp]:
        return self.cell // (self.shape[1] if len(self.shape) > 1 else 1)

    def entries(self, slopes: Floats) -> Floats:
        return slopes.ravel()[self.cell] * self.factor


def _slots(cases: Sequence[Case], place: Callable[[str], int]) -> dict[str, _Slot]:
    entries: dict[str, list[tuple[int, int, float]]] = {
        name: [] for name in ("compute", "memory", *SCALARS)
    }

    def add(slot: str, cell: int, terms: Sequence[Term]) -> None:
        for term in terms:
            if term.factor:
                entries[slot].append((cell, place(term.name), term.factor))

    for row, case in enumerate(cases):
        used = set(case.kernels.kind.tolist())
        for slot, (shared, each) in (
            ("compute", compute_terms(case.hardware, case.runtime, case.precision)),
            ("memory", memory_terms(case.hardware, case.runtime)),
        ):
            for kind, own in enumerate(each):
                if kind in used:
                    add(slot, row * KINDS + kind, [*shared, *own])
        for slot, terms in scalar_terms(case.hardware, case.runtime):
            add(slot, row, terms)
    made = {}
    for name, found in entries.items():
        table = np.array(found, np.float64).reshape(-1, 3)
        shape = (len(cases), KINDS) if name in ("compute", "memory") else (len(cases),)
        made[name] = _Slot(
            table[:, 0].astype(np.intp), table[:, 1].astype(np.intp), table[:, 2], shape
        )
    return made
