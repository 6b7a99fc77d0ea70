"""What LoadGen runs one after the other: all scenarios, unshortened or within a time budget."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from medge.bench.scenario.loadgen import (
    GAUGE_NS,
    PICTURES,
    Gauge,
    Gauged,
    Mode,
    Pictures,
    Run,
    Scenario,
    gauge,
    run,
)

if TYPE_CHECKING:
    from medge.bench.profile.process import Worker
    from medge.bench.sections import LoadgenRun

SCENARIOS: tuple[Scenario, ...] = ("SingleStream", "MultiStream", "Server", "Offline")
OFFICIAL_S = 600.0  # mlperf.conf's min_duration, of every scenario
SHORT_PICTURES = 64
SHORT_PARTS = 10.0  # a shortened run is a tenth of the budget
PROBES = 5
PROBE_S = 20.0
TRIES = 3  # of a run whose rate was set too high, or whose queries were too few
BOUND_NS = 15_000_000  # mlperf.conf: resnet50.Server.target_latency
BOUND_FACTOR = 2  # of p99, where the network itself leaves no room under that bound
QUERIES = {"MultiStream": 662, "Offline": 24_576}  # mlperf.conf: min_query_count
FEW_QUERIES = 100  # LoadGen's own, for the others
# LoadGen makes queries for twice the time at the latency that it is told. At 1.6 of the median
# they last for 1.25 of the time, and need two thirds of the memory (200 bytes each and more).
SLACK = 1.6
TOO_HIGH = 0.9  # by which a rate that was not held is lowered
TOO_EARLY = "Min duration satisfied : NO"  # as LoadGen's summary has it
TOO_EARLY_RATIO = 0.7
LIMIT_FACTOR = 4.0
LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of LoadGen.

    Parameters
    ----------
    official
        Keep every number of mlperf.conf: 10 minutes a scenario, and 20 more with its audits.
    seconds
        About how long all of a shortened run may last.
    audits
        TEST01 and TEST04 of every scenario; a shortened run audits SingleStream alone.
    files
        Pictures of the user, as the system's own bytes.
    """

    official: bool = False
    seconds: float = 60.0
    audits: bool = True
    scenarios: Sequence[Scenario] = SCENARIOS
    files: tuple[bytes, ...] = ()

    @property
    def expected_s(self) -> float:
        """About how long it will take."""
        if not self.official:
            return self.seconds
        runs = 3 if self.audits else 1
        return len(self.scenarios) * runs * OFFICIAL_S


def loadgen_runs(
    worker: Worker, request: Request, folder: Path, told: Callable[[str], None] = lambda _: None
) -> Iterator[LoadgenRun]:
    """Let LoadGen ask a worker's candidate in every scenario; yield its runs as they end.

    Each scenario runs in accuracy mode, then for performance, then audited. Server's rate is found
    by bisection on short runs; a rate that is not held for the whole run is lowered and run again,
    and those runs are yielded too.

    Parameters
    ----------
    folder
        Where the logs go, a folder for each run; it must not hold runs yet.
    told
        Told each step when it begins.

    Raises
    ------
    MedgeError
        As ``loadgen.run`` and ``Worker.ask``.
    """
    return _Plan(worker, request, folder, told).runs()


@dataclass
class _Plan:
    worker: Worker
    request: Request
    folder: Path
    told: Callable[[str], None]
    pictures: Pictures = field(init=False)
    gauged: Gauged = field(init=False)

    def runs(self) -> Iterator[LoadgenRun]:
        wanted = PICTURES if self.request.official else SHORT_PICTURES
        self.pictures = Pictures(files=self.request.files, wanted=wanted)
        self.told("gauging the network for LoadGen")
        time_ns = GAUGE_NS
        if not self.request.official:
            time_ns = min(time_ns, round(1e9 * self.request.seconds / SHORT_PARTS / 4))
        asked = Gauge(pictures=self.pictures, time_ns=max(1, time_ns))
        self.gauged = self.worker.ask(gauge, asked, limit_s=LIMIT_S)
        for scenario in self.request.scenarios:
            yield from self._scenario(scenario)

    def _scenario(self, scenario: Scenario) -> Iterator[LoadgenRun]:
        accuracy = self._ask(self._asked(scenario, "AccuracyOnly"))
        yield accuracy
        asked = self._server() if scenario == "Server" else self._asked(scenario)
        for number in range(1, TRIES + 1):
            tried = msgspec.structs.replace(asked, folder=self._place(scenario, "run", number))
            found = self._ask(tried)
            yield found
            again = None if found.valid else self._again(asked, found)
            if again is None:
                break
            asked = again
        if found.valid and self._audits(scenario):
            for mode in ("TEST01", "TEST04"):
                yield self._ask(
                    msgspec.structs.replace(
                        asked,
                        mode=mode,
                        folder=self._place(scenario, mode),
                        reference=found,
                        answers=os.fsencode(accuracy.folder or ""),
                    )
                )

    def _audits(self, scenario: Scenario) -> bool:
        return self.request.audits and (self.request.official or scenario == "SingleStream")

    def _asked(self, scenario: Scenario, mode: Mode = "PerformanceOnly") -> Run:
        """Return a run with what LoadGen must expect, shortened where that is wanted."""
        gauged = self.gauged
        query_ns = gauged.one_ns
        if scenario == "MultiStream":
            query_ns = min(gauged.eight_ns, round(8e9 / gauged.pictures_per_s))
        asked = Run(
            scenario=scenario,
            mode=mode,
            folder=self._place(scenario, mode),
            pictures=self.pictures,
            expected_ns=max(1, round(SLACK * query_ns)),
            qps=gauged.pictures_per_s * (1.1 if self.request.official else 1.0),
        )
        if self.request.official:
            return asked
        short_s = self.request.seconds / SHORT_PARTS
        queries = max(1, int(short_s * 1e9 / query_ns))
        return msgspec.structs.replace(
            asked,
            min_duration_ms=max(1, round(short_s * 1e3)),
            min_queries=min(QUERIES.get(scenario, FEW_QUERIES), queries),
        )

    def _server(self) -> Run:
        """Return a run at the highest rate of which a short run kept the latency bound."""
        asked = self._asked("Server")
        own_ns = BOUND_FACTOR * self.gauged.one_p99_ns
        if own_ns > BOUND_NS:
            asked = msgspec.structs.replace(asked, bound_ns=own_ns)
        probe_s = PROBE_S if self.request.official else self.request.seconds / SHORT_PARTS / 2
        held, high = 0.0, self.gauged.pictures_per_s
        for number in range(1, PROBES + 1):
            qps = (held + high) / 2
            probe = msgspec.structs.replace(
                asked,
                qps=qps,
                folder=self._place("Server", "probe", number),
                min_duration_ms=max(1, round(probe_s * 1e3)),
                min_queries=1,
            )
            if self._ask(probe).in_time:
                held = qps
            else:
                high = qps
        return msgspec.structs.replace(asked, qps=TOO_HIGH * (held or high))

    def _ask(self, asked: Run) -> LoadgenRun:
        what = Path(os.fsdecode(asked.folder)).name
        seconds = (asked.min_duration_ms or OFFICIAL_S * 1e3) / 1e3
        minutes = f", {seconds / 60:.0f} minutes" if seconds >= 60 else ""
        self.told(f"LoadGen {what}{minutes if asked.mode != 'AccuracyOnly' else ''}")
        return self.worker.ask(run, asked, limit_s=LIMIT_FACTOR * seconds + LIMIT_S)

    def _place(self, scenario: Scenario, what: str, number: int = 1) -> bytes:
        """Return the folder of one run: ``Server-probe-2``."""
        return os.fsencode(self.folder / f"{scenario}-{what}{f'-{number}' * (number > 1)}")

    def _again(self, asked: Run, found: LoadgenRun) -> Run | None:
        """Return a run that may be valid where this one was not, None where nothing helps.

        Server had too high a rate, unless only its queries were too few for a short run. All others
        were faster than LoadGen was told to expect, and so were done too early.
        """
        if asked.scenario == "Server" and (self.request.official or not found.in_time):
            return msgspec.structs.replace(asked, qps=TOO_HIGH * asked.qps)
        if TOO_EARLY not in found.told:
            return None
        return msgspec.structs.replace(
            asked,
            qps=asked.qps / TOO_EARLY_RATIO,
            expected_ns=round(asked.expected_ns * TOO_EARLY_RATIO),
        )
