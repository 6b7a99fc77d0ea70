"""Rows of a matrix: one for each cell, each refusal and each result of another machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medge.bench.candidates import is_reference, precision_name
from medge.bench.doubts import Doubt
from medge.bench.matrix.cells import Asked, Cell, Plan, Refusal, Subject
from medge.bench.matrix.places import Place
from medge.bench.matrix.results import drift_of, stored
from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure, differences
from medge.bench.result import Result, ran_on
from medge.bench.sections import Absent, Energy
from medge.bench.stats import percentile, percentile_interval
from medge.engine.evidence import Drift
from medge.engine.sealed import Candidate
from medge.profiles.cuda_gpus import kind_of
from medge.profiles.device import cpu_name, identity

SPAN = "infer"
OF_A_MACHINE = frozenset({"threads", "cpus", "order", "lead_in"})
"""What machines may differ in: how many CPUs there are, and who else was measured."""

HOUR_S = 3600.0
MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; figures are None where there is none, and ``reason`` says why.

    Parameters
    ----------
    device
        Name of the machine's processor; ``place`` is what the runtime used of it. ``gpu`` is the
        kind of GPU that it ran on.
    here
        Whether this machine measured it.
    latency
        The raw samples; None for a cell that was not measured.
    alone_per_s
        Of a row of several devices at once: what this one did while the others rested.
    verdict
        Of drift: ``reference``, ``not judged``, or that of the evidence.
    cost
        Of a million pictures, in the currency of the price.
    """

    bundle: str
    bundle_sha256: str
    device: str
    here: bool
    place: str
    backend: str
    backend_version: str | None
    precision: str
    gpu: str | None = None
    candidate: Candidate | None = None
    together: tuple[str, ...] = ()
    pictures_per_s: float | None = None
    alone_per_s: float | None = None
    latency: Measurement | None = None
    peak_rss_bytes: int | None = None
    device_bytes: int | Absent | None = None
    energy: Energy | Absent | None = None
    doubts: tuple[Doubt, ...] = ()
    verdict: str = "not judged"
    cost: float | None = None
    rule: str | None = None
    reason: str | None = None
    taken: str | None = None

    @property
    def contention_ratio(self) -> float | None:
        """How much faster it is alone than with the others: 1 when they cost it nothing."""
        if self.alone_per_s is None or self.pictures_per_s is None:
            return None
        return self.alone_per_s / self.pictures_per_s

    @property
    def p50_ns(self) -> int | None:
        """Median of a call, which takes ``candidate.batch`` pictures."""
        return None if self.latency is None else percentile(self.latency.samples_ns, 0.5)

    @property
    def p99_ns(self) -> int | None:
        """The 99th percentile, None where the calls are too few to bound it at 95 %."""
        if self.latency is None or percentile_interval(self.latency.samples_ns, 0.99) is None:
            return None
        return percentile(self.latency.samples_ns, 0.99)


@dataclass(frozen=True, slots=True)
class Matrix:
    """Everything that a matrix shows.

    Attributes
    ----------
    rows
        Of this machine, each device alone.
    at_once
        Of devices that worked at the same time.
    elsewhere
        Newest results of other machines for the same bundles, measured by a like procedure.
    unlike
        How many results of other machines were left out, by the fields that they differ in.
    before
        How many cells were taken from the store.
    """

    matrix: str
    rows: tuple[Row, ...]
    at_once: tuple[Row, ...]
    elsewhere: tuple[Row, ...]
    unlike: Mapping[tuple[str, ...], int]
    before: int
    price_per_hour: float | None


def matrix_of(
    plan: Plan,
    asked: Asked,
    results: Mapping[str, Result],
    *,
    before: int,
    price_per_hour: float | None = None,
) -> Matrix:
    """Return the rows of a plan whose cells were measured, beside those of other machines."""
    rows = [
        _here(cell, results[cell.key], price_per_hour) for cell in plan.cells if cell.key in results
    ]
    rows += [_refused(each) for each in plan.refused]
    subjects = list({cell.subject.digest: cell.subject for cell in plan.cells}.values())
    elsewhere, unlike = _elsewhere(subjects, plan.cells, asked)
    return Matrix(
        matrix=plan.matrix,
        rows=tuple(rows),
        at_once=tuple(
            row for row in (_row(each, price_per_hour) for each in results.values()) if row.together
        ),
        elsewhere=elsewhere,
        unlike=unlike,
        before=before,
        price_per_hour=price_per_hour,
    )


def _row(result: Result, price_per_hour: float | None = None) -> Row:
    candidate, sections = result.candidate, result.sections
    if candidate is None or sections is None:
        raise ValueError("a result of a cell has a candidate and sections")
    cell = sections.cell
    latency = _latency(result)
    rate = None if cell is None else cell.pictures_per_s
    here = result.device_identity == identity()
    return Row(
        bundle=sections.evidence.bundle,
        bundle_sha256=result.bundle_sha256,
        device=result.device.name if here else ran_on(result),
        here=here,
        gpu=None if result.device.gpu is None else kind_of(result.device.gpu),
        place=_place(candidate, latency),
        backend=candidate.backend,
        backend_version=result.backend_version,
        precision=precision_name(candidate),
        candidate=candidate,
        together=() if cell is None else cell.together,
        pictures_per_s=rate,
        alone_per_s=None if cell is None else cell.alone_per_s,
        latency=latency,
        peak_rss_bytes=None if cell is None else cell.peak_rss_bytes,
        device_bytes=None if cell is None else cell.device_bytes,
        energy=sections.energy,
        doubts=sections.doubts.get(SPAN, ()),
        verdict=_verdict(candidate, result.drifts),
        # A price is this machine's: what another costs is not known here.
        cost=None
        if rate is None or price_per_hour is None or not here
        else cost(rate, price_per_hour),
        rule=None if cell is None else cell.rule,
        reason=None if cell is None else cell.reason,
        taken=result.taken,
    )


def _here(cell: Cell, result: Result, price_per_hour: float | None) -> Row:
    """Return the row of a cell of this matrix, with the verdict that counts now."""
    row = _row(result, price_per_hour)
    drift = drift_of(cell)
    verdict = _verdict(cell.candidate, () if drift is None else (drift,))
    return replace(row, place=cell.place.name, verdict=verdict)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Devices that worked at the same time, in one way of running one bundle, as one.

    ``pictures_per_s`` and ``alone_per_s`` are sums over the devices: what they did at once, and
    what each did while the others rested; None where one of them was not measured.
    """

    bundle: str
    backend: str
    precision: str
    places: tuple[str, ...]
    pictures_per_s: float | None
    alone_per_s: float | None

    @property
    def scaling_ratio(self) -> float | None:
        """The part of the sum that is left when all work at once; 1 when they share nothing."""
        if self.pictures_per_s is None or not self.alone_per_s:
            return None
        return self.pictures_per_s / self.alone_per_s


def crowds(rows: Sequence[Row]) -> list[Crowd]:
    """Return one crowd for all rows that were measured at the same time."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        each = row.candidate
        how = None if each is None else (each.batch, each.streams)
        key = (row.bundle_sha256, row.backend, row.precision, how, row.together)
        groups.setdefault(key, []).append(row)
    return [
        Crowd(
            bundle=some[0].bundle,
            backend=some[0].backend,
            precision=some[0].precision,
            places=some[0].together,
            pictures_per_s=_sum([row.pictures_per_s for row in some], len(some[0].together)),
            alone_per_s=_sum([row.alone_per_s for row in some], len(some[0].together)),
        )
        for some in groups.values()
    ]


def _sum(rates: Sequence[float | None], devices: int) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if len(known) == devices else None


def cost(pictures_per_s: float, price_per_hour: float) -> float:
    """Return what a million pictures cost at this rate, if the device never rests."""
    return price_per_hour / HOUR_S / pictures_per_s * MILLION


def _refused(each: Refusal) -> Row:
    return Row(
        bundle=each.subject.name,
        bundle_sha256=each.subject.digest,
        device=cpu_name(),
        here=True,
        place=each.place,
        backend=each.backend,
        backend_version=None,
        precision=each.precision,
        verdict="-",
        rule=each.rule,
        reason=each.reason,
    )


def _elsewhere(
    subjects: Sequence[Subject], cells: Sequence[Cell], asked: Asked
) -> tuple[tuple[Row, ...], dict[tuple[str, ...], int]]:
    """Return the newest like results of other machines, and how many unlike ones there are."""
    newest: dict[tuple[object, ...], Row] = {}
    unlike: dict[tuple[str, ...], int] = {}
    for result in stored(subjects):
        each, latency = result.candidate, _latency(result)
        if result.device_identity == identity() or each is None or latency is None:
            continue
        cell = None if result.sections is None else result.sections.cell
        if cell is None or cell.together or not _asked_for(each, cells, asked):
            continue
        apart = _unlike(latency.procedure, cells)
        if apart:
            unlike[apart] = unlike.get(apart, 0) + 1
            continue
        newest[result.bundle_sha256, result.device_identity, each, latency.procedure.cpus] = _row(
            result
        )
    return tuple(newest.values()), unlike


def _asked_for(candidate: Candidate, cells: Sequence[Cell], asked: Asked) -> bool:
    """Whether a candidate of another machine stands for something that was asked for here."""
    precisions = asked.precisions or {precision_name(cell.candidate) for cell in cells}
    return (
        (not asked.backends or candidate.backend in asked.backends)
        and precision_name(candidate) in precisions
        and candidate.batch in asked.batches
        and candidate.streams in asked.streams
    )


def _unlike(found: Procedure, cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return the fields in which a procedure differs from that of every cell; () for a like one."""
    least: tuple[str, ...] | None = None
    for cell in cells:
        apart = tuple(
            name for name in differences(found, cell.procedure) if name not in OF_A_MACHINE
        )
        if least is None or len(apart) < len(least):
            least = apart
    return least or ()


def _latency(result: Result) -> Measurement | None:
    return next((each for each in result.measurements if each.stage == SPAN), None)


def _place(candidate: Candidate, latency: Measurement | None) -> str:
    cpus = None if latency is None else latency.procedure.cpus
    return Place(device=candidate.device, cpus=cpus).name


def _verdict(candidate: Candidate, drifts: Sequence[Drift]) -> str:
    if is_reference(candidate):
        return "reference"
    mine = [each for each in drifts if each.precision == precision_name(candidate)]
    if not mine:
        return "not judged"
    return "accepted" if mine[-1].accepted else mine[-1].verdict
