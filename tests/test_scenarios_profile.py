"""Scenarios within a profile: what is asked for is in the result, and shown on its page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import msgspec
import pytest
from bundles import tiny_bundle
from dicom_files import make
from stored_results import result

from medge.bench.profile.request import ProfileRequest
from medge.bench.profile.run import Profiled, profile
from medge.bench.result import Result
from medge.bench.scenario import steps
from medge.bench.scenario.asked import Scenarios
from medge.bench.scenario.deadline import Pace, pace_of, told
from medge.bench.scenario.loadgen_plan import Request
from medge.bench.sections import Absent, Deadline, Evidence, LoadgenRun, Sections
from medge.engine.bundle import Bundle, open_bundle
from medge.errors import InputError
from medge.pages import scenarios as page

MS = 1_000_000
FAST = Pace(fps=500.0, deadline_ns=5_000 * MS, frames=20, run_frames=10, freeze_ns=5 * MS, queue=20)


def installed() -> bool:
    try:
        metadata.version("mlcommons-loadgen")
    except metadata.PackageNotFoundError:
        return False
    return True


needs_loadgen = pytest.mark.skipif(
    not installed(), reason='needs `pip install "medge[bench]"` (x86-64)'
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    with open_bundle(tiny_bundle(tmp_path_factory.mktemp("bundle"))) as opened:
        yield opened


def request(scenarios: Scenarios) -> ProfileRequest:
    return ProfileRequest(
        budget_ns=50 * MS,
        cold_starts=0,
        overhead=False,
        energy=False,
        sensors=False,
        scenarios=scenarios,
    )


def sections(profiled: Profiled) -> Sections:
    (found,) = profiled.results
    assert found.sections is not None
    return found.sections


def test_a_profile_replays_the_users_cine(bundle: Bundle, tmp_path: Path) -> None:
    cine = tmp_path / "cine.dcm"
    make(cine, frames=4)
    said: list[str] = []
    found = sections(
        profile(bundle, request(Scenarios(pace=FAST, cine=cine)), said.append)
    ).deadline
    assert isinstance(found, Deadline)
    assert (found.on_time, found.late, found.dropped) == (20, 0, 0)
    assert found.cine.startswith("file of 4 frames")
    assert "replaying 20 frames at 500 fps for 0 s on onnxruntime fp32" in " ".join(said)


def test_a_cine_that_is_refused_ends_the_profile_before_the_long_measurements(
    bundle: Bundle, tmp_path: Path
) -> None:
    said: list[str] = []
    with pytest.raises(InputError) as error:
        profile(bundle, request(Scenarios(pace=FAST, cine=tmp_path / "none.dcm")), said.append)
    assert error.value.rule == "not-found"
    begun = [step.partition(" ")[0] for step in said]
    assert begun.index("replaying") < begun.index("timing")


@needs_loadgen
def test_a_profile_keeps_loadgens_runs_and_their_logs(bundle: Bundle, tmp_path: Path) -> None:
    asked = Request(seconds=1.0, scenarios=("SingleStream",), audits=False)
    found = sections(profile(bundle, request(Scenarios(loadgen=asked)))).loadgen
    assert [(run.scenario, run.mode) for run in found][:2] == [
        ("SingleStream", "AccuracyOnly"),
        ("SingleStream", "PerformanceOnly"),
    ]
    for run in found:
        folder = Path(run.folder or "")
        assert folder.is_relative_to(os.environ["MEDGE_HOME"])
        assert {path.name for path in folder.iterdir()} >= set(run.logs)


@needs_loadgen
def test_what_stops_loadgen_takes_nothing_of_what_was_measured(
    bundle: Bundle, tmp_path: Path
) -> None:
    place = tmp_path / "file"
    place.write_text("no folder")
    asked = Scenarios(loadgen=Request(seconds=1.0), logs=place)
    profiled = profile(bundle, request(asked))
    assert sections(profiled).loadgen == ()
    assert profiled.results[0].measurements
    assert "E6 loadgen-folder" in " ".join(sections(profiled).evidence.deviations)


def test_ctrl_c_keeps_what_loadgen_found_until_then(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def until_ctrl_c(*_: object) -> Iterator[LoadgenRun]:
        yield RUN
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "loadgen_runs", until_ctrl_c)
    profiled = profile(bundle, request(Scenarios(loadgen=Request())))
    assert sections(profiled).loadgen == (RUN,)
    assert profiled.interrupted


RUN = LoadgenRun(
    scenario="SingleStream",
    mode="PerformanceOnly",
    version="6.0.17",
    official=False,
    settings={"pictures": "4 golden cases"},
    valid=True,
    metric="p90, early stopping",
    value=1_250_000.0,
    unit="ns",
    told=("Min duration satisfied : Yes",),
    deviations=("min_duration_ms 6000, mlperf.conf has 600000",),
    folder="/logs/SingleStream-run",
)
WRONG = msgspec.structs.replace(
    RUN,
    scenario="Server",
    valid=False,
    metric="completed",
    unit="pictures/s",
    value=88.0,
    told=(
        "Performance constraints satisfied : NO",
        "Min duration satisfied : Yes",
        "Reduce target QPS to improve latency.",
        "Would discard 3 highest latency queries.",
    ),
)


def shown(changes: dict[str, object]) -> Result:
    evidence = Evidence(
        bundle="tiny 1.0.0",
        model_sha256="0" * 64,
        data_sha256=None,
        versions={},
        seeds={},
        command=(),
    )
    plain = Sections(evidence=evidence)
    return msgspec.structs.replace(result(1), sections=msgspec.structs.replace(plain, **changes))


def rows_of(misses: int, frames: int = 900) -> dict[str, str]:
    pace = pace_of(30.0, frames)
    taken: list[int | None] = [5 * MS] * frames
    taken[100 : 100 + misses] = [None] * misses
    found = told(taken, pace, "8 synthetic frames")
    return {name: text for _, name, text in page.deadline(shown({"deadline": found}))}


def test_the_page_says_first_whether_the_deadline_is_certified() -> None:
    rows = rows_of(0)
    assert rows["30 fps"] == "certified: p99 <= 33.3 ms"
    assert rows["frames"] == "900: 900 on time, 0 late, 0 dropped"
    assert rows["missed"] == "0 %, at most 0.51 % (one-sided 99 % bound)"
    assert rows["arrival to decision"] == "p50 5, p99 5, slowest 5 ms"
    assert rows["after unfreeze"] == "5 ms, the slowest of 2 freezes of 2 s"


def test_the_page_says_what_is_missing_or_missed() -> None:
    few = rows_of(0, frames=300)
    assert few["30 fps"] == "not certified: p99 <= 33.3 ms needs 159 more frames on time"
    late = rows_of(90)
    assert late["30 fps"] == "missed: p99 <= 33.3 ms does not hold"
    assert late["longest late run"] == "90 frames"


def test_the_page_never_calls_a_run_of_loadgen_mlperfs() -> None:
    rows = list(page.loadgen(shown({"loadgen": (RUN, WRONG)})))
    text = "\n".join(" ".join(row) for row in rows)
    assert "shortened, not official (LoadGen 6.0.17)" in text
    assert "not an MLPerf result" in text
    assert "SingleStream VALID: p90, early stopping 1.25 ms" in text
    assert "Server INVALID: completed 88 pictures/s" in text
    assert "Performance constraints satisfied : NO; Reduce target QPS to improve latency\n" in text
    assert text.count("min_duration_ms 6000, mlperf.conf has 600000") == 1
    assert text.endswith("logs /logs")


def test_the_page_gives_the_reason_where_nothing_was_measured() -> None:
    assert list(page.deadline(shown({"deadline": Absent(reason="no picture")}))) == [
        ("deadline", "not measured", "no picture")
    ]
    assert list(page.deadline(shown({}))) == []
    assert list(page.loadgen(shown({}))) == []
    assert list(page.deadline(result(1))) == []
