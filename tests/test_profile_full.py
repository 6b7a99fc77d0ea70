"""`medge profile --full`: what it adds, how it is shown, and what it leaves alone when it fails."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from bundles import tiny_bundle
from command_line import Typed

from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure, WarmUp
from medge.bench.profile import full
from medge.bench.profile import idle_gaps as gaps
from medge.bench.profile.process import Worker
from medge.bench.profile.request import ProfileRequest
from medge.bench.profile.run import Profiled, profile
from medge.bench.result import Result
from medge.bench.sections import (
    Absent,
    Evidence,
    IdleGap,
    Layers,
    LayerTime,
    LoadPoint,
    Sections,
)
from medge.engine.bundle import open_bundle
from medge.engine.sealed import Candidate
from medge.errors import BackendError
from medge.pages.profile_full import FULL_SECTIONS, layers, load, pauses, tail
from medge.profiles.device import describe, identity
from medge.profiles.sensors import Sampler

MS = 1_000_000
S = 1_000_000_000
CANDIDATE = Candidate(backend="onnxruntime", device="cpu", variant="fp32", threads=4, streams=4)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every step of a full profile be over soon."""
    monkeypatch.setattr(full, "TAIL_NS", S // 10)
    monkeypatch.setattr(full, "SWEEP_NS", S // 10)
    monkeypatch.setattr(gaps, "BUDGET_NS", 8 * S // 10)


def asked(*, more: bool = True) -> ProfileRequest:
    return ProfileRequest(
        full=more, budget_ns=S // 10, cold_starts=0, overhead=False, energy=False, sensors=False
    )


def full_profile(folder: Path, *, more: bool = True) -> Profiled:
    with open_bundle(tiny_bundle(folder)) as bundle:
        return profile(bundle, asked(more=more))


@pytest.mark.usefixtures("short")
def test_a_full_profile_has_tail_operations_load_and_pauses_without_sensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    ask = Worker.ask

    def logged(self: Worker, function: object, *rest: object, **named: object) -> object:
        if function is full.paused:
            log.append("pauses")
        return ask(self, function, *rest, **named)  # type: ignore[arg-type, type-var]

    monkeypatch.setattr(Worker, "ask", logged)
    for name in ("pause", "resume"):
        monkeypatch.setattr(Sampler, name, lambda _, name=name: log.append(name))
    (result,) = full_profile(tmp_path).results
    assert log == ["pause", "pauses", "resume"]
    sections = result.sections
    assert sections is not None
    assert isinstance(sections.layers, Layers)
    assert sections.sweep[0].pictures_per_s is not None
    assert [gap.gap_ns for gap in sections.idle_gaps][:2] == [0, S // 10]
    stages = {taken.stage: taken for taken in result.measurements}
    assert stages["infer"].procedure.span == "infer"
    assert stages["infer-tail"].procedure.span == "infer-tail"
    for section in FULL_SECTIONS:
        assert list(section(result))
    assert msgspec.json.decode(msgspec.json.encode(result), type=Result) == result


def test_a_plain_profile_has_none_of_it(tmp_path: Path) -> None:
    (result,) = full_profile(tmp_path, more=False).results
    assert result.sections is not None
    assert result.sections.layers is None
    assert result.sections.sweep == result.sections.idle_gaps == ()
    assert not [row for section in FULL_SECTIONS for row in section(result)]


@pytest.mark.usefixtures("short")
def test_a_step_whose_process_dies_says_so_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Worker.ask

    def dying(self: Worker, function: object, body: object, limit_s: float = 60.0) -> object:
        if function in (full.swept, full.watched, full.paused):
            raise BackendError("worker-crash", "The process that measures crashed.")
        return ask(self, function, body, limit_s)  # type: ignore[arg-type, type-var]

    monkeypatch.setattr(Worker, "ask", dying)
    (result,) = full_profile(tmp_path).results
    assert result.sections is not None
    assert result.sections.layers == Absent(reason="The process that measures crashed.")
    (point,) = result.sections.sweep
    assert (point.pictures_per_s, point.reason) == (None, "The process that measures crashed.")
    assert result.sections.idle_gaps == ()
    said = "no pauses: The process that measures crashed."
    assert said in result.sections.evidence.deviations
    assert {taken.stage for taken in result.measurements} >= {"infer", "infer-tail"}


def test_quick_and_full_exclude_each_other(typed: Typed) -> None:
    said = typed("profile", "--quick", "--full")
    assert said.code == 2
    assert "Leave one of them out" in said.err


def shown(**parts: object) -> Result:
    evidence = Evidence(
        bundle="b 1", model_sha256="0" * 64, data_sha256=None, versions={}, seeds={}, command=("m",)
    )
    return Result(
        bundle_sha256="0" * 64,
        device=describe(),
        device_identity=identity(),
        sections=Sections(evidence=evidence, **parts),  # type: ignore[arg-type]
    )


def test_the_operations_that_take_most_come_first() -> None:
    several = tuple(
        LayerTime(
            name=f"block{index}/a/very/long/name/conv"
            if index < 13
            else f"conv_{index}/WithoutBiases",
            kind="Conv" if index % 2 else "Gemm",
            precision="int8",
            time_ns=index * MS,
            share_ratio=index / 105,
        )
        for index in range(1, 15)
    )
    found = shown(layers=Layers(runs=11, layers=several, source="a profiler, 1.0"))
    rows = list(layers(found))
    assert rows[0] == ("operations", "conv_14", "Gemm int8, 14 ms, 13.3 %")
    assert rows[2][1] == "block12/a/v…g/name/conv"
    assert max(len(what) for _, what, _ in rows) <= 24
    assert ("operations", "2 others", "2.86 % (--json lists all)") in rows
    assert ("operations", "by kind", "Gemm int8 53.3 %, Conv int8 46.7 %") in rows


def test_a_load_that_was_not_tried_says_why() -> None:
    procedure = Procedure(warm_up=WarmUp(max_calls=0))
    measured = LoadPoint(
        batch=2,
        streams=1,
        threads=2,
        measurement=Measurement("infer", (8 * MS, 9 * MS) * 40, procedure),
        pictures_per_s=240.0,
    )
    missed = full.missed(CANDIDATE, "the graph takes batches of 1")
    rows = list(load(shown(sweep=(measured, missed))))
    assert rows == [
        ("load", "most pictures a second", "240 at batch 2, 1 stream"),
        ("load", "batch 2, 1 stream", "240 a second; a call p50 8 ms, p90 9 ms"),
        ("load", "batch 1, 4 streams", "the graph takes batches of 1"),
    ]


def test_pauses_say_what_keeping_warm_gains() -> None:
    warm = IdleGap(gap_ns=0, calls_ns=((5 * MS,) * 10,) * 5)
    short_gap = IdleGap(gap_ns=S, calls_ns=((5 * MS,) * 10,) * 5)
    long_gap = IdleGap(gap_ns=10 * S, calls_ns=((92 * MS, 7 * MS, *(5 * MS,) * 8),) * 2)
    rows = list(pauses(shown(idle_gaps=(warm, short_gap, long_gap))))
    assert rows[2] == ("after a pause", "10 s", "1st 92, 2nd 7, 3rd 5, 10th 5 ms (2 pauses)")
    assert rows[3][2] == (
        "a call every 1 s makes the first picture after 10 s 87 ms sooner, for 0.498 % of the time"
    )
    assert "gains nothing" in list(pauses(shown(idle_gaps=(warm, short_gap))))[-1][2]


def test_a_tail_that_cannot_be_stated_says_how_many_calls_are_missing() -> None:
    found = shown()
    samples = tuple(MS + 1000 * (7919 * index % 400) for index in range(400))
    taken = Measurement("infer-tail", samples, Procedure(span="infer-tail"))
    whole = msgspec.structs.replace(found, measurements=(taken,))
    rows = {what: value for _, what, value in tail(whole)}
    assert rows["p50"].startswith("1.2 ms (")
    assert rows["p99.9"].startswith("needs ")
    assert rows["slowest"] == "1.4 ms, of 400 calls"
