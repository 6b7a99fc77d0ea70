"""Choose: build what may run, time it, prove its decisions, seal the winner and the evidence."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from typing import TYPE_CHECKING

import msgspec

from medge.bench.candidates import (
    around,
    candidates,
    is_reference,
    judged_as,
    precision_name,
    runtimes,
    stored_drift,
    unjudged,
)
from medge.bench.contest import SCREEN_ROUNDS, Entrant, Standing, against, contest, slower
from medge.bench.entrants import Built, build, choice_of
from medge.bench.result import Result
from medge.bench.store import Store
from medge.engine.cache import EngineCache
from medge.engine.passport import read_passport
from medge.engine.sealed import Candidate, Goal, Outcome, Row, SealedChoice, write_sealed
from medge.engine.select import Choice
from medge.engine.selftest import open_proven
from medge.errors import BackendError, GateError, MedgeError
from medge.profiles.cuda_gpus import (
    describe_device,
    identity_of_device,
    require_gpus,
    tier_of_device,
)
from medge.profiles.device import allowed_cores, device_tier, identity

if TYPE_CHECKING:
    from medge.engine.bundle import Bundle
    from medge.engine.evidence import Drift

INT8_TIERS = ("amx", "avx512-vnni", "avx2-vnni", "sve", "neon-dot")  # multiply bytes four at a time
CONTEST_NS = 30_000_000_000
SMALL_NS = 5_000_000  # below this per picture, threads are tried for every contender

Judge = Callable[[Choice], "Drift"]


@dataclass(frozen=True, slots=True)
class CompileRequest:
    """What ``medge compile`` is asked: ``device`` None takes every device that is here."""

    goal: Goal = "latency"
    device: str | None = None
    budget_ns: int = CONTEST_NS  # for each contest


def choose_fastest(
    bundle: Bundle,
    request: CompileRequest,
    judge: Judge | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> SealedChoice:
    """Find the fastest way to run a bundle here that makes the same decisions, and seal it.

    Every candidate's times, round by round, are kept in the store of results.

    Parameters
    ----------
    judge
        Judges the drift of a choice on images. Without it a precision needs a stored ``pass``.
    told
        Told each step when it begins.

    Raises
    ------
    BackendError
        Rule ``device``: nothing here can run the bundle on the device that was asked for. Rules
        ``cuda-driver``, ``cuda-device``, ``cuda-failed``: it is a GPU, and the driver offers none.
    GateError
        Rule ``compile``: not even fp32 passes its self-test here.
    StorageError
        The results or the engine cannot be kept, or the choice cannot be sealed.
    """
    start = time.perf_counter_ns()
    with _Search(bundle, request, judge, told) as search:
        winner = search.winner()
        sealed = search.sealed(winner, time.perf_counter_ns() - start)
        results = search.results()
    with Store.open() as store:
        for result in results:
            store.add(result)
    # Its engine is kept first: a sealed choice is one that opens as fast as it can.
    session, _ = open_proven(bundle, choice_of(sealed.chosen), EngineCache(strict=True))
    session.close()
    write_sealed(sealed)
    return sealed


@dataclass
class _Search:
    """One search: what is here, what was built, and what became of every candidate."""

    bundle: Bundle
    request: CompileRequest
    judge: Judge | None
    told: Callable[[str], None]
    rows: dict[Candidate, Row] = field(default_factory=dict)
    built: dict[Candidate, Built] = field(default_factory=dict)
    drifts: dict[tuple[str, str, str], Drift] = field(default_factory=dict)  # see judged_as
    standings: dict[Candidate, Standing] = field(default_factory=dict)  # of the last race of each

    def __post_init__(self) -> None:
        self.cores = allowed_cores()
        self.tier = device_tier()
        self.passport = read_passport(self.bundle.digest)
        self.found, absent = runtimes(self.request.device)
        self.rows |= {row.candidate: row for row in absent}
        if not self.found:
            if self.request.device is not None:
                require_gpus((self.request.device,))
            raise _no_device(self.request.device, absent)

    def __enter__(self) -> _Search:
        return self

    def __exit__(self, *_: object) -> None:
        for built in self.built.values():
            built.close()

    def winner(self) -> Standing:
        """Return the fastest candidate that may run; every other one has its row afterwards."""
        entered = self._build(self._admitted())
        if not any(map(is_reference, entered)):
            raise GateError(
                "compile",
                "Not even fp32 passes its self-test here, so there is nothing to compare with. "
                "`medge run` tells what differs.",
            )
        reference = next(filter(is_reference, entered))  # onnxruntime's, where it is present
        standings = self._fastest_that_passes(entered)
        best = standings[0].candidate
        finalists = [best, *self._nearby(standings), *({reference} - {best})]
        final = self._fastest_that_passes(finalists)
        first = final[0]
        for standing in final[1:]:
            # What is not shown to be faster than the reference does not replace it.
            if standing.candidate == reference and not standing.beaten:
                first = first if slower(standing, first) else standing
        self._settle(final, first)
        return first

    def sealed(self, winner: Standing, search_ns: int) -> SealedChoice:
        """Return the choice with its evidence, the chosen row first."""
        chosen = winner.candidate
        session = self.built[chosen].session
        row = Row(
            candidate=chosen,
            outcome="chosen",
            reason="fastest of those that may run",
            picture_ns=winner.median_ns,
            ratio=1.0,
            rounds=len(winner.picture_ns),
        )
        others = sorted(
            (row for row in self.rows.values() if row.candidate != chosen),
            key=lambda row: (row.ratio is None, row.ratio or 0.0),
        )
        return SealedChoice(
            bundle_sha256=self.bundle.digest,
            goal=self.request.goal,
            device=identity_of_device(chosen.device),
            backend_version=session.backend_version,
            chosen=chosen,
            placement=session.placement.shares,
            drift=self._drift(chosen),
            rows=(row, *others),
            search_ns=search_ns,
            date=datetime.now(timezone.utc).date().isoformat(),
            medge=metadata.version("medge"),
        )

    def results(self) -> list[Result]:
        """Return what was measured, a result for every candidate that was timed."""
        return [
            Result(
                bundle_sha256=self.bundle.digest,
                device=describe_device(candidate.device),
                device_identity=identity(),
                measurements=(standing.measurement(),),
                drifts=() if (drift := self._drift(candidate)) is None else (drift,),
                candidate=candidate,
                backend_version=self.built[candidate].session.backend_version,
            )
            for candidate, standing in self.standings.items()
        ]

    def _admitted(self) -> list[Candidate]:
        """Return those that may be built; without images only what somebody judged before."""
        worth, hopeless = candidates(
            self.bundle.manifest, self.found, self.request.goal, self.cores
        )
        self.rows |= {row.candidate: row for row in hopeless}
        if self.judge is not None:
            return worth
        admitted = []
        for candidate in worth:
            reason = unjudged(candidate, self._drift(candidate))
            if reason is None:
                admitted.append(candidate)
            else:
                self._row(candidate, "drift", reason)
        return admitted

    def _build(self, wanted: Sequence[Candidate]) -> list[Candidate]:
        """Build and self-test."""
        good = []
        for candidate in wanted:
            self.told(f"building {spoken(candidate)}")
            try:
                self.built[candidate] = build(self.bundle, candidate)
            except MedgeError as error:
                self._row(candidate, "failed", error.message)
            else:
                good.append(candidate)
        return good

    def _nearby(self, standings: Sequence[Standing]) -> list[Candidate]:
        """Build the neighbours of the best, and of others that could still win by theirs.

        In a small network threads cost more than they bring, by another amount in every runtime.
        """
        contenders = standings[:1]
        if standings[0].median_ns < SMALL_NS:
            contenders = [each for each in standings if len(each.picture_ns) > SCREEN_ROUNDS]
        wanted: list[Candidate] = []
        for each in contenders or standings[:1]:
            best, batch = each.candidate, self.built[each.candidate].session.batch
            wanted += around(best, self.request.goal, self.cores, batch)
        return self._build(wanted)

    def _fastest_that_passes(self, entered: list[Candidate]) -> Sequence[Standing]:
        """Race until the fastest is one whose decisions hold; fp32 always does."""
        while True:
            standings = self._race(entered)
            best = standings[0].candidate
            self._settle(standings, standings[0])
            if self.judge is not None and not is_reference(best):
                self._judge(best, self.judge)
            reason = unjudged(best, self._drift(best))
            if reason is None:
                return standings
            self._row(best, "drift", reason)
            entered = [each for each in entered if each != best]

    def _judge(self, candidate: Candidate, judge: Judge) -> None:
        """Judge the decisions of a backend at a precision on a device, once."""
        key = judged_as(candidate)
        if key not in self.drifts:
            self.told(f"judging the decisions of {spoken(candidate)}")
            self.drifts[key] = judge(choice_of(_plain(candidate)))

    def _race(self, entered: Sequence[Candidate]) -> list[Standing]:
        self.told(f"timing {len(entered)} candidates")
        entrants = [
            Entrant(candidate, self.built[candidate].run, self.built[candidate].pictures)
            for candidate in entered
        ]
        standings = contest(entrants, budget_ns=self.request.budget_ns)
        self.standings |= {standing.candidate: standing for standing in standings}
        return standings

    def _settle(self, standings: Sequence[Standing], winner: Standing) -> None:
        """Give everyone but the winner a row that says how much slower it is."""
        for standing in standings:
            if standing is winner:
                continue
            found = against(standing, winner)
            if standing.beaten or slower(standing, winner):
                reason = f"{found.ratio:.2f}x the time of {spoken(winner.candidate)}"
                on_cpu = standing.candidate.device == "cpu"
                if on_cpu and "int8" in standing.candidate.variant and self.tier not in INT8_TIERS:
                    reason += f"; {self.tier} has no INT8 dot product (VNNI)"
            else:
                reason = f"not shown to be faster than {spoken(winner.candidate)}"
            self.rows[standing.candidate] = Row(
                candidate=standing.candidate,
                outcome="slower",
                reason=reason,
                picture_ns=standing.median_ns,
                ratio=found.ratio,
                ratio_low=found.low or None,  # too few rounds bound nothing
                ratio_high=None if math.isinf(found.high) else found.high,
                rounds=len(standing.picture_ns),
            )

    def _drift(self, candidate: Candidate) -> Drift | None:
        """Return what is known of its decisions: judged now, here before, or elsewhere."""
        if is_reference(candidate):
            return None
        now = self.drifts.get(judged_as(candidate))
        version = next(r.version for r in self.found if r.backend == candidate.backend)
        manifest = self.bundle.manifest
        tier = tier_of_device(candidate.device)
        return now or stored_drift(manifest, self.passport, candidate, version, tier)

    def _row(self, candidate: Candidate, outcome: Outcome, reason: str) -> None:
        self.rows[candidate] = Row(candidate=candidate, outcome=outcome, reason=reason)


def spoken(candidate: Candidate) -> str:
    """Return a candidate in few words: "openvino int8, 2 threads"."""
    words = f"{candidate.backend} {precision_name(candidate)}"
    if candidate.device != "cpu":
        words += f" on {candidate.device}"
    words += f", {candidate.threads} thread{'s' * (candidate.threads > 1)}"
    if candidate.streams > 1:
        words += f" in {candidate.streams} streams"
    if candidate.batch > 1:
        words += f", batch {candidate.batch}"
    return words


def _plain(candidate: Candidate) -> Candidate:
    """Return a candidate as one stream of one picture: decisions do not depend on these."""
    return msgspec.structs.replace(candidate, streams=1, batch=1)


def _no_device(device: str | None, absent: Sequence[Row]) -> BackendError:
    reasons = " ".join(row.reason for row in absent)
    return BackendError(
        "device",
        f"No runtime here has the device {device or 'cpu'}. Leave out --device, or install its "
        f"driver. {reasons}".rstrip(),
    )
