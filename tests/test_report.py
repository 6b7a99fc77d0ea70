"""Reports answer first, say what they rest on, and hold what was stored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import msgspec
import pytest
from command_line import Typed
from report_pages import Page, plain, session_page, subject
from report_results import candidate, deadline, drift, profiled, session, taken

import medge.bench.report
from medge.bench.doubts import Doubt
from medge.bench.exchange import encode
from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure
from medge.bench.report.answers import answers
from medge.bench.report.blocks import Document, Paragraph, Quiet, Table
from medge.bench.report.contents import report
from medge.bench.report.gather import gather
from medge.bench.report.html import html
from medge.bench.report.subject import BundleFacts
from medge.bench.report.svg import COLOURS
from medge.bench.sections import Absent, Cell, Energy, Evidence, Golden, Sections
from medge.bench.store import Store
from medge.cli import cli
from medge.engine.bundle import find_bundle, open_bundle
from medge.errors import UsageError

MS = 1_000_000
STYLE = Path(medge.bench.report.__path__[0]) / "report.css"


def in_time(calls: int, late: int = 0, stage: str = "file-to-decision") -> Measurement:
    times = [20 * MS + place % 97 for place in range(calls)]
    for place in range(late):
        times[3 + 7 * place] = 40 * MS
    return Measurement(stage, tuple(times), Procedure(span=stage))


def test_the_fastest_that_may_run_is_the_answer_even_where_another_is_faster() -> None:
    first, safe, _ = answers(subject(*session()))
    assert first.headline == "onnxruntime int8, 2 threads"
    assert first.verdict == "yes"
    assert "1 faster one may not run" in first.detail
    assert safe.headline == "Yes: drift pass, 1 flip in 2,024 images"


def test_its_ratio_to_the_reference_is_that_of_the_rounds_they_shared() -> None:
    times = tuple(10 * MS + place * 1000 for place in range(60))
    twice = tuple(2 * each for each in times)
    fast = profiled(1, 1.0, candidate(variant="int8"), (drift("int8"),))
    slow = profiled(2, 2.0)
    one = msgspec.structs.replace(fast, measurements=(Measurement("infer", times, Procedure()),))
    two = msgspec.structs.replace(slow, measurements=(Measurement("infer", twice, Procedure()),))
    assert "takes 2.00 times as long (2.00 to 2.00, 99 %)" in answers(subject(one, two))[0].detail
    other = msgspec.structs.replace(slow.sections, rounds="others")
    apart = msgspec.structs.replace(two, sections=other)
    assert "in rounds of its own" in answers(subject(one, apart))[0].detail


def test_where_nothing_may_run_the_answer_is_that_none_may() -> None:
    bare = profiled(1, 5.0, candidate("openvino", precision="bf16"))
    first, safe, _ = answers(subject(bare))
    assert first.headline == "None; fastest is openvino bf16, 2 threads"
    assert (first.verdict, safe.verdict) == ("open", "open")
    assert "nobody judged its decisions" in safe.headline


@pytest.mark.parametrize(
    ("verdict", "said"), [("fail", "no"), ("inconclusive", "open"), ("pass", "yes")]
)
def test_safety_follows_the_verdict_on_drift(verdict: str, said: str) -> None:
    judged = profiled(1, 5.0, candidate(variant="int8"), (drift("int8", verdict, 40),))
    assert answers(subject(judged))[1].verdict == said


def test_a_reference_whose_golden_answers_differ_here_may_not_run() -> None:
    golden = Golden(cases=8, max_abs=0.2, tolerance=0.001, shares={"fp32": 1.0})
    wrong = profiled(1, 5.0, golden=golden)
    first, safe, _ = answers(subject(wrong))
    assert (first.verdict, safe.verdict) == ("no", "no")
    assert "differ by 0.20, 0.001 is allowed" in safe.headline
    nothing = msgspec.structs.replace(golden, max_abs=float("nan"))
    assert answers(subject(profiled(1, 5.0, golden=nothing)))[1].verdict == "no"


@pytest.mark.parametrize(
    ("late", "said", "headline"),
    [((), "yes", "Yes: 600 of 600"), ((5,), "open", "Not proven: 599 of 600")],
)
def test_a_replayed_cine_answers_whether_the_rate_holds(
    late: tuple[int, ...], said: str, headline: str
) -> None:
    answer = answers(subject(profiled(1, 17.0, deadline=deadline(late=late))))[2]
    assert answer.verdict == said
    assert answer.headline.startswith(headline)
    assert ("238 more frames" in answer.detail) == (said == "open")


def test_too_many_misses_are_a_no() -> None:
    found = msgspec.structs.replace(deadline(late=(3, 4), dropped=(9,)), missing_frames=0)
    answer = answers(subject(profiled(1, 17.0, deadline=found)))[2]
    assert (answer.verdict, answer.headline) == ("no", "No: 597 of 600 frames on time")


@pytest.mark.parametrize(
    # MLPerf's early stopping: p99 with 99 % confidence needs 459 in time, 662 where one was
    # not, 838 where two were not.
    ("calls", "late", "said", "more"),
    [
        (458, 0, "Not proven: 458 of 458 calls in time", "1 more call in time"),
        (459, 0, "Likely: 459 of 459 calls in time", None),
        (600, 1, "Not proven: 599 of 600 calls in time", "62 more calls in time"),
        (100, 2, "Not proven: 98 of 100 calls in time", "738 more calls in time"),
        (100, 9, "No: only 91 of 100 calls in time", None),
    ],
)
def test_without_a_cine_single_calls_tell_how_many_are_missing(
    calls: int, late: int, said: str, more: str | None
) -> None:
    answer = answers(subject(plain(in_time(calls, late))))[2]
    assert answer.headline == said
    assert ("more call" in answer.detail) == (more is not None)
    assert (more or "no cine was replayed") in answer.detail or "No cine" in answer.detail
    assert answer.verdict != "yes"  # only frames that arrive at their rate prove it


def tables(document: Document) -> Iterator[Table]:
    for section in document.sections:
        yield from (block for block in section.blocks if isinstance(block, Table))


def cells(document: Document) -> str:
    return "\n".join(cell for each in tables(document) for row in each.rows for cell in row)


def quiet(document: Document) -> list[Quiet]:
    return [b for section in document.sections for b in section.blocks if isinstance(b, Quiet)]


def test_a_percentile_that_the_calls_cannot_state_says_how_many_they_need() -> None:
    document = report(subject(plain(taken(1, "infer", 17.0, 60))))
    rows = {row[0]: row for each in tables(document) for row in each.rows}
    assert rows["p99.9"][1] == "not stated"
    assert rows["p99.9"][2].startswith("needs 3,688, has ")


def test_what_is_absent_is_told_with_its_reason_and_what_was_not_asked_with_its_command() -> None:
    names = ("cold_start", "memory", "trace", "energy", "overhead", "layers", "deadline", "soak")
    reasons = {name: Absent(reason=f"the {name} sensor broke") for name in names}
    told = "\n".join(b.text for b in quiet(report(subject(profiled(1, 9.0, **reasons)))))
    assert all(f"the {name} sensor broke" in told for name in names)
    evidence = Evidence(
        bundle="b 1.0.0", model_sha256="0" * 64, data_sha256=None, versions={}, seeds={}, command=()
    )
    bare = msgspec.structs.replace(profiled(1, 9.0), sections=Sections(evidence=evidence))
    commands = {b.command for b in quiet(report(subject(bare)))}
    assert {"medge profile B --full", "medge profile B --fps 30", "medge profile B"} <= commands
    assert not any(" 0 mJ" in cell for cell in cells(report(subject(bare))).splitlines())


def test_every_command_that_a_report_names_can_be_typed() -> None:
    bare = subject(plain(in_time(40)))
    said = [b.command for b in quiet(report(bare)) if b.command]
    said += re.findall(r"`(medge [^`]*)`", "".join(answer.detail for answer in answers(bare)))
    assert len(said) > 8
    for command in said:
        _, verb, *words = command.split()
        found: click.Command | None = cli.get_command(click.Context(cli), verb)
        while isinstance(found, click.Group):
            found = found.get_command(click.Context(found), words.pop(0))
        assert found is not None, command
        options = {name for each in found.params for name in each.opts}
        assert {word for word in words if word.startswith("-")} <= options, command


def test_energy_is_told_with_its_rails_and_interval_where_a_sensor_gave_it() -> None:
    energy = Energy(
        source="RAPL", rails=("package-0",), pictures=900, seconds=30.0, idle_w=4.0, busy_w=11.0,
        raw_mj=61.0, raw_low_mj=60.0, raw_high_mj=62.0, net_mj=39.0, net_low_mj=38.0,
        net_high_mj=40.5,
    )  # fmt: skip
    document = report(subject(profiled(1, 9.0, energy=energy)))
    row = next(r for t in tables(document) if "Energy of one picture" in t.caption for r in t.rows)
    assert row[1:] == ("39.0", "38.0 to 40.5", "61.0", "4.00", "11.0", "package-0; RAPL")
    assert "39.0 mJ" in cells(document)


def test_a_soak_that_bounds_nothing_says_so() -> None:
    whole = profiled(1, 9.0).sections.soak
    short = msgspec.structs.replace(
        whole, ratio=None, low=None, high=None, interrupted=True, minutes=whole.minutes[:1],
        throttle_s=Absent(reason="no sensor tells it"),
    )  # fmt: skip
    document = report(subject(profiled(1, 9.0, soak=short)))
    heat = next(section for section in document.sections if section.name == "energy")
    told = next(b.text for b in heat.blocks if isinstance(b, Paragraph))
    assert "It was ended before its time." in told
    assert "no sensor tells it" in told
    assert "times the first's" not in told


def test_a_doubt_of_many_stages_is_one_row() -> None:
    same = Doubt("spread", 0.2, 0.1, "close other programs")
    found = profiled(1, 9.0, doubts={"infer": (same,), "decode": (same,), "read": (same,)})
    document = report(subject(found))
    rows = [row for each in tables(document) for row in each.rows if row[0] == "spread"]
    (row,) = rows
    assert row[2] == "onnxruntime fp32, 2 threads: infer 0.200, decode 0.200, read 0.200"
    assert document.notes[0].startswith("1 kind of doubt against the figures")


def test_results_without_sections_are_shown_too_and_doubted_anew() -> None:
    document = report(subject(plain(in_time(40))))
    assert "samples" in cells(document)  # 40 calls cannot bound p90
    html(document)


def test_the_evidence_holds_what_repeating_needs() -> None:
    result = profiled(1, 17.0)
    shown = cells(report(subject(result)))
    told = result.sections.evidence
    for each in (result.bundle_sha256, told.model_sha256, told.data_sha256, result.device_identity):
        assert each in shown
    assert all(version in shown for version in told.versions.values())
    assert " ".join(told.command) in shown
    assert told.deviations[0] in shown
    fields = {name for name in shown.splitlines() if name.startswith("warm_up.")}
    assert len(fields) == 5


def test_figures_of_the_review_say_that_they_are_estimated() -> None:
    with open_bundle(find_bundle("chest-x-ray")) as opened:
        facts = BundleFacts("chest", "1.0.0", True, "tests", (), (), opened.layers())
    document = report(subject(profiled(1, 17.0), bundle=facts))
    review = next(each for each in tables(document) if "review's studies" in each.caption)
    assert "estimated" in review.caption
    assert len(review.rows) >= 10
    assert document.warnings == ("Demonstration model, not for clinical use.",)


@pytest.fixture
def whole() -> str:
    return session_page()


def test_the_page_can_be_read_by_a_screen_reader(whole: str) -> None:
    page = Page(whole)
    assert page.open == []
    assert page.all("html")[0]["lang"] == "en"
    assert [len(page.all(each)) for each in ("h1", "main", "header", "footer", "nav")] == [1] * 5
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert len(page.all("table")) == len(page.all("caption")) > 15
    assert all(each.get("scope") in ("col", "row") for each in page.all("th"))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for named in page.values("aria-labelledby"):
        assert set(named.split()) <= set(ids)
    drawings = page.all("svg")
    assert len(drawings) == len(page.all("desc")) > 15
    assert all(each["role"] == "img" and each["aria-labelledby"] for each in drawings)


def test_the_page_asks_for_nothing(whole: str) -> None:
    page = Page(whole)
    used = {tag for tag, _ in page.tags}
    assert not used & {"script", "img", "iframe", "object", "embed", "form", "base", "image"}
    ids = set(page.values("id"))
    for link in page.values("href", "src", "xlink:href", "action"):
        assert link == "data:," or (link[:1] == "#" and link[1:] in ids)
    for found in re.findall(r"url\(([^)]*)\)", whole):
        assert found[:1] == "#"
        assert found[1:] in ids
    policy = next(e for e in page.all("meta") if e.get("http-equiv") == "Content-Security-Policy")
    assert str(policy["content"]).startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]


def test_drawings_have_the_page_s_colours_only(whole: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", whole, re.DOTALL)
    assert not any(re.search(r"#[0-9a-f]{6}\b", each) for each in drawings)
    assert all(f"--{name}:" in STYLE.read_text() for name in COLOURS)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast_is_that_of_wcag_aa(scheme: int) -> None:
    block = STYLE.read_text().split(":root {")[1 + scheme].split("}")[0]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", block))
    paper = luminance(colours["paper"])
    ratio = {
        name: (max(paper, luminance(c)) + 0.05) / (min(paper, luminance(c)) + 0.05)
        for name, c in colours.items()
    }
    assert all(ratio[name] >= 4.5 for name in ("ink", "muted", "accent", "good", "bad", "warn"))
    assert all(ratio[name] >= 3.0 for name in ("soft", "second"))  # of drawings, not of text


def test_a_page_of_long_series_stays_below_its_size() -> None:
    long = profiled(1, 5.0, deadline=deadline(18_000), sweep=(), idle_gaps=(), soak=None)
    calls = (taken(1, "infer", 5.0, 20_000), taken(2, "file-to-decision", 9.0, 20_000))
    found = msgspec.structs.replace(long, measurements=calls)
    assert len(html(report(subject(found))).encode()) <= 1_500_000


@pytest.fixture
def stored() -> Store:
    with Store.open() as store:
        for each in session():
            store.add(each)
        other = msgspec.structs.replace(profiled(9, 31.0), device_identity="arm")
        store.add(msgspec.structs.replace(other, taken="2026-11-20T16:00:00Z"))
        store.add(profiled(5, 6.5, candidate(variant="int8"), (drift("int8"),)))
    return store


def test_the_newest_result_of_each_candidate_is_reported(stored: Store) -> None:
    found = gather(())
    assert [entry.number for entry in found.entries] == [4, 6, 3, 1]
    assert [entry.number for entry in found.elsewhere] == [5]


def test_cells_of_a_matrix_are_no_profile(stored: Store) -> None:
    cell = Cell(matrix="a" * 64, key="b" * 64)
    with Store.open() as store:
        number = store.add(profiled(6, 1.0, candidate(threads=1), cell=cell))
    assert number not in [entry.number for entry in gather(()).entries]
    assert [entry.number for entry in gather((str(number),)).entries] == [number]


def test_numbers_name_results_of_one_bundle(stored: Store) -> None:
    assert [entry.number for entry in gather(("1", "2")).entries] == [2, 1]
    with Store.open() as store:
        foreign = store.add(profiled(8, 3.0, digest="a" * 64))
    with pytest.raises(UsageError, match="several bundles"):
        gather(("1", str(foreign)))
    with pytest.raises(UsageError, match="holds no result 99"):
        gather(("99",))
    with pytest.raises(UsageError, match="about one bundle"):
        gather(("chest-x-ray", "1"))


def test_a_bundle_that_is_not_the_measured_one_is_refused(stored: Store) -> None:
    with pytest.raises(UsageError, match="report-bundle"):
        gather(("1",), "chest-x-ray")
    with pytest.raises(UsageError, match="report-nothing"):
        gather(("chest-x-ray",))


def test_documents_can_be_reported_without_any_store(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_bytes(encode(profiled(1, 17.0)))
    found = gather((str(path),))
    assert [entry.number for entry in found.entries] == [None]


def test_the_verb_writes_each_form(typed: Typed, tmp_path: Path) -> None:
    with Store.open() as store:
        number = store.add(plain(in_time(40)))
    for name in ("r.html", "r.md", "r.json"):
        done = typed("report", number, "-o", tmp_path / name)
        assert (done.code, done.out, done.err) == (0, "", "")
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "r.md").read_text().startswith("# bundle cccccccccccc on INTEL")
    assert "traceEvents" in json.loads((tmp_path / "r.json").read_text())
    assert typed("report", "--format", "md").out.startswith("# ")


def test_without_what_draws_the_page_is_refused_and_markdown_is_not(
    stored: Store, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.metadata

    real = importlib.metadata.version

    def missing(name: str) -> str:
        if name == "matplotlib":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    done = typed("report", "1")
    assert done.code == 5
    assert 'pip install "medge[bench]"' in done.err
    assert typed("report", "1", "--format", "md").code == 0


def test_without_results_the_verb_says_so(typed: Typed) -> None:
    done = typed("report")
    assert (done.code, "results-none" in done.err) == (6, True)
