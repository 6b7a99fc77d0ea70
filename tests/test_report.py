"""Reports say what they rest on: absences with their reasons, doubts, energy, evidence."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import click
import msgspec
from report_pages import in_time, plain, subject
from report_results import candidate, drift, profiled, taken

from medge.bench.doubts import Doubt
from medge.bench.report.answers import answers
from medge.bench.report.blocks import Document, Paragraph, Quiet, Table
from medge.bench.report.contents import report
from medge.bench.report.html import html
from medge.bench.report.subject import REFERENCE, BundleFacts, Entry
from medge.bench.sections import Absent, Cell, Energy, Evidence, Sections
from medge.cli import cli
from medge.engine.bundle import find_bundle, open_bundle


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


def test_what_a_network_took_at_other_times_is_told_and_bounds_its_median() -> None:
    known = dataclasses.replace(
        taken(1, "infer", 17.0, 600), earlier_p50_ns=(12_000_000, 25_000_000)
    )
    document = report(subject(plain(known)))
    said = [b.text for each in document.sections for b in each.blocks if isinstance(b, Paragraph)]
    (told,) = (text for text in said if "at other times" in text or "earlier result" in text)
    assert "the network alone was 12.0 ms to 25.0 ms in 2 earlier results" in told
    rows = {row[0]: row for each in tables(document) for row in each.rows}
    assert rows["p50"][2] == "12.0\N{EN DASH}25.0 ms"


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


def test_what_was_refused_may_not_run_and_says_why() -> None:
    cell = Cell(matrix="a" * 64, key="b" * 64, rule="golden", reason="The answers differ by 0.184.")
    standing = Entry(2, profiled(1, 9.0, cell=cell)).standing
    assert standing == ("no", "it was refused (golden): The answers differ by 0.184.")


def test_a_reference_that_failed_on_its_runtime_may_not_run() -> None:
    on = candidate("openvino")
    assert Entry(1, profiled(1, 9.0, on)).standing == ("yes", REFERENCE)
    failed = profiled(1, 9.0, on, (drift("fp32", "fail", 9, 60),))
    assert Entry(1, failed).standing == ("no", "drift fail, 9 flips in 60 images")
    open_still = profiled(1, 9.0, on, (drift("fp32", "inconclusive", 0, 6),))
    assert Entry(1, open_still).standing == ("yes", REFERENCE)
