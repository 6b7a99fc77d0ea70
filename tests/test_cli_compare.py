"""`medge compare`: results by number, file, bundle and baseline; verdicts; gates and exit codes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from command_line import Said, Typed
from msgspec.structs import replace
from profiled_results import measured, profiled
from stored_results import DEVICE, result

from medge.bench.exchange import encode
from medge.bench.result import Result
from medge.bench.store import Store
from medge.engine.bundle import find_bundle, open_bundle


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def keep(*results: Result) -> list[int]:
    with Store.open() as store:
        return [store.add(one) for one in results]


def told(said: Said) -> dict[str, object]:
    found: dict[str, object] = json.loads(said.out)
    assert found["schema"] == "medge.compare/1"
    assert found["exit_code"] == said.code
    return found


def test_a_slower_result_is_told_with_its_interval_on_a_narrow_page(typed: Typed) -> None:
    keep(profiled(1), profiled(2, 5.5))
    said = typed("compare", "1", "2")
    assert (said.code, said.err) == (0, "")
    assert max(map(len, said.out.splitlines())) <= 80
    page = " ".join(said.out.split())
    assert "B is slower: p50 +" in page
    assert "energy" in page
    assert "cold-start" in page


def test_a_result_is_not_faster_than_itself(typed: Typed) -> None:
    keep(profiled(1))
    found = told(typed("compare", "1", "1", "--json"))
    assert found["verdict"] == "cannot-tell"


def test_a_file_a_number_and_a_bundle_are_results(typed: Typed, tmp_path: Path) -> None:
    with open_bundle(find_bundle("breast-ultrasound")) as bundle:
        digest = bundle.digest
    keep(*(replace(profiled(seed), bundle_sha256=digest) for seed in (1, 2)))
    path = tmp_path / "a.json"
    path.write_bytes(encode(profiled(3, 4.0), indent=True))
    found = told(typed("compare", path, "breast-ultrasound", "--json"))
    assert found["verdict"] == "slower"
    assert (found["a"]["name"], found["b"]["name"]) == ("a.json", "result 2")  # type: ignore[index]


def test_a_spreadsheet_has_one_row_for_each_figure(typed: Typed) -> None:
    keep(profiled(1), profiled(2, 5.5))
    said = typed("compare", "1", "2", "--format", "csv")
    rows = {row["metric"]: row for row in csv.DictReader(io.StringIO(said.out))}
    assert {"p50", "p90", "p99", "cold-start", "memory", "energy", "misses"} <= set(rows)
    assert 0.05 < float(rows["p50"]["low"]) < 0.10 < float(rows["p50"]["high"]) < 0.15
    assert rows["p50"]["verdict"] == "higher"


def test_rounds_that_were_shared_are_paired(typed: Typed) -> None:
    """Waves that both went through would hide 5 %, pair by pair they do not."""
    a, b = profiled(1), profiled(1)
    wave = [1 + 0.3 * ((index // 100) % 2) for index in range(800)]
    shared = []
    for one, times in ((a, 1.0), (b, 1.05)):
        assert one.sections is not None
        taken = measured("infer", 5 if times == 1.0 else 6, spread=0.005)
        samples = tuple(
            round(sample * times * slow)
            for sample, slow in zip(taken.samples_ns, wave, strict=True)
        )
        sections = replace(one.sections, rounds="session 1")
        measurement = type(taken)("infer", samples, taken.procedure)
        shared.append(replace(one, measurements=(measurement,), sections=sections))
    keep(*shared)
    found = told(typed("compare", "1", "2", "--json"))
    assert (found["verdict"], found["latency"]["paired"]) == ("slower", True)  # type: ignore[index]
    alone = replace(shared[1], sections=None)
    keep(alone)
    found = told(typed("compare", "1", "3", "--json"))
    assert (found["verdict"], found["latency"]["paired"]) == ("cannot-tell", False)  # type: ignore[index]


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("1",), "compare-sides"),
        (("1", "2", "3"), "compare-sides"),
        (("1", "9"), "result-unknown"),
        (("1", "3"), "compare-devices"),
        (("1", "2", "--stage", "decode"), "compare-stage"),
        (("1", "4"), "compare-procedures"),
        (("1", "2", "--fail-if", "p99 > 5"), "gate"),
        (("1", "2", "--fail-if", "device-memory > +5%"), "gate-metric"),
        (("--baseline", "none", "1"), "baseline"),
        (("--baseline", "../..", "1"), "not-a-file"),
        (("--baseline", "A b", "1"), "baseline"),
        (("1", "chest-x-ray"), "result-of-bundle"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_next_step(
    typed: Typed, words: tuple[str, ...], rule: str
) -> None:
    other = replace(profiled(2), device_identity="arm", device=replace_device())
    keep(profiled(1), profiled(2), other, replace(result(1), bundle_sha256="0" * 64))
    said = typed("compare", *words)
    assert (said.code, said.out) == (3 if rule == "not-a-file" else 2, "")
    assert said.err.startswith(f"E{said.code} {rule}: ")


def replace_device() -> object:
    from dataclasses import replace as with_

    return with_(DEVICE, name="another CPU")


def test_unlike_devices_are_compared_only_when_asked_and_the_verdict_says_so(typed: Typed) -> None:
    keep(profiled(1), replace(profiled(2, 9.0), device_identity="arm", device=replace_device()))
    said = typed("compare", "1", "2", "--across-devices")
    assert "on unlike devices" in " ".join(said.out.split())


def test_gates_hold_fail_and_warn(typed: Typed) -> None:
    keep(profiled(1), profiled(2, 5.5))
    assert typed("compare", "1", "2", "--fail-if", "p50 > +15%").code == 0
    said = typed("compare", "1", "2", "--fail-if", "p50 > +2%", "--fail-if", "p50 > +40%")
    assert said.code == 8
    assert said.err.startswith("E8 regression: p50 > +2%: FAILS")
    assert "p50 > +40%" not in said.err
    said = typed("compare", "1", "2", "--fail-if", "p50 > +10%", "--json")
    assert told(said)["exit_code"] == 0
    assert "warning: the gate p50 > +10% cannot be told" in said.err
    said = typed("compare", "1", "2", "--fail-if", "p50 > +10%", "--strict")
    assert said.code == 8
    assert said.err.startswith("E8 regression: p50 > +10%: cannot tell")


@pytest.mark.parametrize("name", ["main", "./main.json"])
def test_a_baseline_is_kept_unless_a_gate_fails(
    typed: Typed, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keep(profiled(1), profiled(2, 5.5), profiled(3))
    said = typed("compare", "1", "--save-baseline", name)
    assert (said.code, said.out) == (0, "")
    assert said.err.startswith("baseline saved: ")
    words = ("--baseline", name, "--fail-if", "p50 > +5%", "--save-baseline", name, "--json")
    assert typed("compare", "2", *words).code == 8
    found = told(typed("compare", "3", *words))
    assert found["a"]["taken"] == profiled(1).taken  # type: ignore[index]
    found = told(typed("compare", "--baseline", name, "3", "--json"))
    assert found["latency"]["effects"][0]["change"] == 0.0  # type: ignore[index]


def test_a_damaged_baseline_is_refused(typed: Typed, tmp_path: Path) -> None:
    keep(profiled(1))
    path = tmp_path / "base.json"
    path.write_bytes(encode(profiled(2)).replace(b"int8", b"int4"))
    said = typed("compare", "--baseline", path, "1")
    assert (said.code, said.err.split(":")[0]) == (3, "E3 document-damaged")
    path.write_bytes(encode(profiled(2)) + encode(profiled(3)))
    said = typed("compare", "--baseline", path, "1")
    assert (said.code, said.err.split(":")[0]) == (2, "E2 result-of-file")


def test_names_from_elsewhere_cannot_drive_a_terminal(typed: Typed, tmp_path: Path) -> None:
    one = profiled(2)
    assert one.sections is not None
    evidence = replace(one.sections.evidence, bundle="\x1b[2J evil")
    path = tmp_path / "a.json"
    path.write_bytes(encode(replace(one, sections=replace(one.sections, evidence=evidence))))
    keep(profiled(1))
    for form in ("table", "md", "csv"):
        assert "\x1b" not in typed("compare", path, "1", "--format", form).out
