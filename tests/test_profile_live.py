"""Profiles of real runtimes: every candidate in its own process, and what fails stops no other."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dicom_files as made
import msgspec
import psutil
import pydicom
import pytest
from bundles import tiny_bundle, tiny_graph

from medge.bench.profile.cold_moments import Cold
from medge.bench.profile.cold_start import STEPS, cold_starts
from medge.bench.profile.loaded import load_of
from medge.bench.profile.overhead import overhead
from medge.bench.profile.pictures import MOST, pictures
from medge.bench.profile.process import Worker
from medge.bench.profile.request import ProfileRequest
from medge.bench.profile.run import Profiled, keep, profile
from medge.bench.profile.stages import procedure_of
from medge.bench.profile.turns import INFER, PARTS, WHOLE, Files, Turns, take_files
from medge.bench.sections import Absent, ColdStart, Memory, Overhead
from medge.bench.store import Store
from medge.engine.backends.presence import installed_version
from medge.engine.bundle import Bundle, open_bundle
from medge.engine.manifest import Scope
from medge.engine.passport import read_passport
from medge.engine.sealed import Candidate, Row, SealedChoice, write_sealed
from medge.engine.select import Choice, choose
from medge.errors import BackendError, InputError, MedgeError
from medge.profiles.device import device_tier, identity
from medge.profiles.sensors import Sampler, Sensors
from medge.profiles.sensors.source import Source
from medge.profiles.sensors.trace import Channel

SHORT = ProfileRequest(budget_ns=400_000_000, cold_starts=0, energy=False, overhead=False)
PARTS_STAGES = set(PARTS.values())
NULL = Candidate(backend="null", device="cpu", variant="fp32")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    """Yield a bundle with a variant that nobody judged."""
    folder = tmp_path_factory.mktemp("bundles")
    with open_bundle(tiny_bundle(folder, variants={"int8": tiny_graph()})) as opened:
        yield opened


@pytest.fixture
def study(tmp_path: Path) -> Path:
    made.make(tmp_path / "study.dcm")
    return tmp_path / "study.dcm"


def with_threads(bundle: Bundle, backend: str, precision: str = "fp32") -> Choice:
    return choose(bundle, backend, precision=precision, threads=1)


def workers() -> list[psutil.Process]:
    """Every process in which a candidate of ours is measured."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if any("medge.bench.profile" in word for word in child.cmdline()):
                found.append(child)
        except psutil.Error:  # it ended meanwhile
            continue
    return found


# Turns in a worker


def test_a_call_from_file_to_decision_has_its_parts(bundle: Bundle, study: Path) -> None:
    procedure = procedure_of(WHOLE, 0)
    with Worker() as worker:
        worker.load(load_of(bundle, NULL, sealed=False))
        sifted = worker.ask(take_files, Files((os.fsencode(study),)))
        assert sifted.rules == (None,)
        timer = Turns(worker, procedure)
        samples_ns = [timer.turn(place) or 0 for place in range(5)]
        parts = timer.parts_ns
        assert set(parts) == PARTS_STAGES
        for place, sample_ns in enumerate(samples_ns):
            assert 0 < sum(part[place] for part in parts.values()) <= sample_ns
        alone = Turns(worker, procedure_of(INFER, 0))
        assert (alone.turn(0) or 0) > 0
        assert alone.parts_ns == {}
        assert len(alone.window(7, 1 << 62)) == 7
        assert len(alone.window(7, 0)) == 1  # the time was over: one call all the same


def test_a_worker_that_dies_gives_no_sample_and_says_why(bundle: Bundle) -> None:
    with Worker() as worker:
        worker.load(load_of(bundle, NULL, sealed=False))
        timer = Turns(worker, procedure_of(INFER, 0))
        assert timer.turn(0) is not None
        os.kill(worker.pid, signal.SIGKILL)
        assert timer.turn(1) is None
        assert isinstance(timer.fault, BackendError)
        assert timer.window(3, 1 << 62) == ()


def test_sensors_cost_blocks_of_both_kinds(bundle: Bundle) -> None:
    reads: list[int] = []

    def read() -> float:
        reads.append(1)
        return 1.0

    channel = Channel(quantity="clock", part="cpu", unit="MHz", source="a test")
    sensors = Sensors([Source(channel, read, lambda: None)], {})
    with Worker() as worker, Sampler(sensors, period_ns=5_000_000) as sampler:
        worker.load(load_of(bundle, NULL, sealed=False))
        found = overhead(worker, sampler, 4000, budget_ns=0)
        assert found.null_ns == 4000
        assert found.ratio is not None
        assert found.ratio == pytest.approx(1.0, abs=0.5)
        before = len(reads)
        assert before >= 12  # at least one reading in each block with sensors on
        sampler.read_now()  # it goes on as before
        assert len(reads) > before


def test_without_sensors_there_is_no_ratio_to_tell(bundle: Bundle) -> None:
    with Worker() as worker, Sampler(Sensors((), {})) as sampler:
        found = overhead(worker, sampler, 4000, budget_ns=0)
    assert (found.null_ns, found.ratio, found.low, found.high) == (4000, None, None, None)


# Pictures and cold starts


def test_pictures_are_made_where_none_are_given_and_gone_afterwards(bundle: Bundle) -> None:
    with pictures(None, bundle.manifest, 0) as found:
        folder = found.paths[0].parent
        assert folder.stat().st_mode & 0o077 == 0
        assert found.made is not None
        first = found.sha256()
    assert not folder.exists()
    with pictures(None, bundle.manifest, 1) as again:
        assert again.sha256() == first


def test_made_pictures_are_as_large_as_those_of_their_modality(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path, scope=Scope(modality=("DX",)))
    with open_bundle(path) as opened, pictures(None, opened.manifest, 0) as found:
        dataset = pydicom.dcmread(found.paths[0])
        assert (dataset.Rows, dataset.Columns, dataset.BitsStored) == (2500, 2048, 12)
        assert dataset.SyntheticData == "YES"
        assert dataset.pixel_array.max() > 3000


def test_at_most_so_many_of_the_users_files_are_timed(bundle: Bundle, tmp_path: Path) -> None:
    for number in range(MOST + 6):
        made.make(tmp_path / f"{number}.dcm")
    with pictures(tmp_path, bundle.manifest, 3) as one, pictures(tmp_path, bundle.manifest, 3) as b:
        assert one.paths == b.paths
        assert len(set(one.paths)) == MOST
    with pictures(tmp_path, bundle.manifest, 4) as other:
        assert other.paths != one.paths


def test_no_file_is_an_error_that_says_so(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused, pictures(tmp_path, bundle.manifest, 0):
        pass
    assert refused.value.rule == "nothing-found"


def test_a_new_process_comes_to_a_decision_step_by_step(bundle: Bundle, study: Path) -> None:
    asked = Cold(
        folder=os.fsencode(bundle.path),
        file=os.fsencode(study),
        candidate=Candidate(backend="onnxruntime", device="cpu", variant="fp32"),
        sealed=False,
    )
    absent = msgspec.structs.replace(asked, candidate=replace_variant(asked.candidate, "none"))
    good, bad = cold_starts([asked, absent], 1)
    assert isinstance(good, ColdStart)
    assert tuple(good.steps_ns) == STEPS
    assert sum(good.steps_ns.values()) == good.total_ns[0]
    assert all(good.steps_ns.values())
    assert bad == Absent(reason="a new process was stopped by precision")
    assert workers() == []


def replace_variant(candidate: Candidate, variant: str) -> Candidate:
    return msgspec.structs.replace(candidate, variant=variant)


# Whole profiles


@pytest.fixture(scope="module")
def measured(bundle: Bundle) -> Profiled:
    """Two runtimes, and a candidate that cannot be loaded between them."""
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    del openvino
    onnxruntime = with_threads(bundle, "onnxruntime")
    choices = (
        onnxruntime,
        replace(onnxruntime, precision="bf16"),
        with_threads(bundle, "openvino"),
    )
    # Without sensors, which some machines have and idle for: energy and Sampler have tests.
    request = replace(SHORT, choices=choices, overhead=True, energy=True)
    request = replace(request, sensors=False)
    return profile(bundle, replace(request, command=("medge", "profile", "tiny")))


def test_without_a_choice_it_measures_what_medge_run_would_use(bundle: Bundle, study: Path) -> None:
    chosen = Candidate(backend="onnxruntime", device="cpu", variant="int8", threads=1)
    row = Row(candidate=chosen, outcome="chosen", reason="fastest", picture_ns=1000, ratio=1.0)
    write_sealed(
        SealedChoice(
            bundle_sha256=bundle.digest,
            goal="latency",
            device=identity(),
            backend_version=installed_version("onnxruntime") or "",
            chosen=chosen,
            placement={"fp32": 1.0},
            drift=None,
            rows=(row,),
            search_ns=1,
            date="2026-11-21",
            medge="0.1.0",
        )
    )
    found = profile(bundle, replace(SHORT, data=study))
    (result,) = found.results
    assert result.candidate == chosen
    assert "sealed on 2026-11-21" in found.reasons[0]


def test_who_cannot_be_loaded_is_a_failure_and_stops_no_other(measured: Profiled) -> None:
    names = [result.candidate.backend for result in measured.results if result.candidate]
    assert names == ["onnxruntime", "openvino"]
    (failure,) = measured.failures
    assert (failure.fault.rule, failure.fault.exit_code) == ("backend-option", 5)
    assert failure.candidate.precision == "bf16"
    assert workers() == []


def test_all_stages_are_measured_in_the_same_rounds(measured: Profiled) -> None:
    one, other = measured.results
    stages = {"infer", "file-to-decision", *PARTS_STAGES}
    for result in (one, other):
        taken = {each.stage: each for each in result.measurements}
        assert set(taken) == stages
        assert {each.procedure.order for each in taken.values()} == {"interleaved"}
        assert {each.procedure.threads for each in taken.values()} == {1}
        assert all(each.procedure.span == stage for stage, each in taken.items())
        whole = taken["file-to-decision"]
        for place, sample_ns in enumerate(whole.samples_ns):
            parts = sum(taken[stage].samples_ns[place] for stage in PARTS_STAGES)
            assert 0 < parts <= sample_ns
    for a, b in zip(one.measurements, other.measurements, strict=True):
        assert len(a.samples_ns) == len(b.samples_ns) >= 30
        assert a.procedure == b.procedure
    assert one.sections is not None
    assert other.sections is not None
    assert one.sections.rounds == other.sections.rounds is not None


def test_sections_say_what_was_found_or_why_not(measured: Profiled) -> None:
    for result in measured.results:
        sections = result.sections
        assert sections is not None
        assert sections.golden is not None
        assert sections.golden.cases == 2
        assert isinstance(sections.memory, Memory)
        assert 0 < sections.memory.base_rss_bytes < sections.memory.peak_rss_bytes
        assert sections.cold_start is None  # not asked for
        assert isinstance(sections.overhead, Overhead)
        assert 0 < sections.overhead.null_ns < 1_000_000
        assert isinstance(sections.energy, Absent)
        assert isinstance(sections.trace, Absent)
        assert "--no-sensors" in sections.energy.reason
        evidence = sections.evidence
        assert evidence.bundle == "tiny 1.0.0"
        assert evidence.versions[result.candidate.backend if result.candidate else ""]
        assert evidence.command == ("medge", "profile", "tiny")
        assert any("no pictures were given" in said for said in evidence.deviations)


def test_results_come_out_of_the_store_as_they_went_in(measured: Profiled, bundle: Bundle) -> None:
    numbers = keep(measured, bundle)
    with Store.open(writable=False) as store:
        assert tuple(store.get(number) for number in numbers) == measured.results
    assert read_passport(bundle.digest).entries == ()  # nothing was judged


def test_a_candidate_that_crashes_meanwhile_has_no_result(bundle: Bundle) -> None:
    choices = (with_threads(bundle, "onnxruntime"), with_threads(bundle, "null"))
    seen: list[str] = []

    def told(step: str) -> None:
        if step == "timing infer and file-to-decision" and not seen:
            seen.append(step)
            victim = max(workers(), key=lambda process: process.pid)  # the second to be started
            victim.kill()

    found = profile(bundle, replace(SHORT, choices=choices), told)
    (result,) = found.results
    assert result.candidate is not None
    assert result.candidate.backend == "onnxruntime"
    (failure,) = found.failures
    assert failure.fault.rule == "worker-crash"
    assert "SIGKILL" in failure.fault.message


def test_nothing_measured_is_the_error_of_the_first(bundle: Bundle) -> None:
    broken = replace(with_threads(bundle, "onnxruntime"), precision="bf16")
    with pytest.raises(BackendError) as refused:
        profile(bundle, replace(SHORT, choices=(broken,)))
    assert refused.value.rule == "backend-option"
    assert workers() == []


def test_files_that_a_bundle_refuses_are_left_out_and_counted(
    bundle: Bundle, tmp_path: Path
) -> None:
    made.make(tmp_path / "good.dcm")
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "good.dcm").read_bytes()[:-300])
    choices = (with_threads(bundle, "null"),)
    found = profile(bundle, replace(SHORT, choices=choices, data=tmp_path))
    (result,) = found.results
    assert result.sections is not None
    said = result.sections.evidence.deviations
    assert "1 of 2 files were refused and not timed" in said
    (tmp_path / "good.dcm").unlink()
    with pytest.raises(InputError, match="truncated") as refused:
        profile(bundle, replace(SHORT, choices=choices, data=tmp_path))
    assert refused.value.rule == "nothing-to-time"


def test_the_users_pictures_judge_and_the_passport_is_stamped(
    bundle: Bundle, tmp_path: Path
) -> None:
    made.make(tmp_path / "a.dcm")
    choices = (with_threads(bundle, "onnxruntime", "int8"), with_threads(bundle, "onnxruntime"))
    found = profile(bundle, replace(SHORT, choices=choices, data=tmp_path))
    narrow, reference = found.results
    assert reference.drifts == ()  # it is what others are judged against
    (drift,) = narrow.drifts
    assert found.judged == (drift,)
    # The variant is the same graph: nothing differs, and one picture proves nothing.
    assert (drift.verdict, drift.cases, drift.flips) == ("inconclusive", 1, 0)
    assert read_passport(bundle.digest).entries == ()
    keep(found, bundle)
    entry = read_passport(bundle.digest).find(
        "int8", "onnxruntime", narrow.backend_version or "", device_tier()
    )
    assert entry == drift


def test_ctrl_c_leaves_no_worker_and_no_result(bundle: Bundle) -> None:
    def told(step: str) -> None:
        if step.startswith("timing"):
            assert workers()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        profile(bundle, replace(SHORT, choices=(with_threads(bundle, "null"),)), told)
    assert workers() == []
    with pytest.raises(MedgeError) as refused:
        Store.open(writable=False)
    assert refused.value.rule == "results-none"
