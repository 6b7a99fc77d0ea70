"""`medge compile` chooses by measuring, and only among those whose decisions hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bundles import reference, tiny_files, tiny_graph, tiny_manifest
from command_line import Typed
from PIL import Image

from medge.bench.candidates import Runtime, around, candidates, stored_drift, unjudged
from medge.bench.choose import CompileRequest, choose_fastest, spoken
from medge.bench.contest import Entrant, Standing
from medge.bench.store import Store
from medge.engine.backends.presence import installed_version
from medge.engine.bundle import Bundle, open_bundle
from medge.engine.bundle_writer import write_bundle
from medge.engine.evidence import Drift, Margins, Verdict
from medge.engine.golden import pack_golden
from medge.engine.manifest import Manifest, Variant
from medge.engine.passport import Passport, read_passport, stamp
from medge.engine.sealed import Candidate, Goal, read_sealed
from medge.engine.select import Choice, choose
from medge.errors import BackendError, StorageError
from medge.profiles.device import device_tier

CPU = Runtime("onnxruntime", "1.31.1", "cpu", ("fp32",))
GPU = Runtime("openvino", "2026.4.1", "GPU.0", ("fp32", "fp16"))
SHORT = CompileRequest(budget_ns=1)


def drift(verdict: Verdict = "pass", precision: str = "mixed") -> Drift:
    return Drift(
        verdict=verdict,
        precision=precision,
        against="fp32",
        backend="onnxruntime",
        backend_version="1.0.0",
        tier="another",
        cases=400,
        flips=0,
        labelled=True,
        margins=Margins(),
        checks=(),
        data_sha256="cd" * 32,
    )


def manifest(*variants: str) -> Manifest:
    return tiny_manifest(variants=variants)


def write(folder: Path, judged: Drift | None, name: str = "two") -> Path:
    """Write a bundle with a variant ``mixed`` whose answers are a little off."""
    variant = tiny_graph(weights={"head.b": np.float32([1e-4, 0.3])})
    graph = tiny_graph(weights={"head.b": np.float32([0.0, 0.3])})
    files = tiny_files(graph, variants={"mixed": variant})
    image = np.random.default_rng(1).normal(size=(2, 1, 8, 8)).astype("f4")
    files["golden.npz"] = pack_golden(
        {"image": image},
        {"scores": reference(graph, image)},
        {"mixed": {"scores": reference(variant, image)}},
    )
    draft = manifest("mixed")
    fp32, mixed = draft.variants
    assert isinstance(mixed, Variant)
    told = msgspec.structs.replace(mixed, golden_tolerance=1e-4, drift=judged)
    path = folder / f"{name}.medge"
    write_bundle(path, msgspec.structs.replace(draft, variants=(fp32, told)), files)
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Bundle]:
    with open_bundle(write(tmp_path, drift())) as opened:
        yield opened


def test_every_graph_is_tried_at_every_precision_that_the_device_computes() -> None:
    worth, hopeless = candidates(manifest("int8"), [CPU, GPU], "latency", cores=4)
    assert [(c.backend, c.variant, c.precision) for c in worth] == [
        ("onnxruntime", "fp32", "fp32"),
        ("onnxruntime", "int8", "fp32"),
        ("openvino", "fp32", "fp32"),
        ("openvino", "fp32", "fp16"),
        ("openvino", "int8", "fp32"),
        ("openvino", "int8", "fp16"),
    ]
    assert {(c.threads, c.streams) for c in worth} == {(4, 1)}
    (row,) = hopeless
    assert (row.candidate.backend, row.reason) == ("openvino", "no bf16 arithmetic on this device")


def test_a_graph_in_fp16_is_not_built_where_it_would_be_computed_in_fp32() -> None:
    worth, hopeless = candidates(manifest("fp16"), [CPU], "latency", cores=2)
    assert [c.variant for c in worth] == ["fp32"]
    assert ["it would be computed in fp32" in row.reason for row in hopeless] == [True]


@pytest.mark.parametrize(
    ("goal", "batch", "expected"),
    [
        ("latency", None, [(2, 1, 1), (1, 1, 1)]),
        (
            "throughput",
            None,
            [(4, s, b) for s in (2, 1, 4) for b in (1, 4, 16) if (s, b) != (4, 1)],
        ),
        ("throughput", 1, [(4, 2, 1), (4, 1, 1)]),
    ],
)
def test_the_best_is_compared_with_its_neighbours(
    goal: Goal, batch: int | None, expected: list[tuple[int, int, int]]
) -> None:
    streams = 1 if goal == "latency" else 4
    best = Candidate(
        backend="onnxruntime", device="cpu", variant="fp32", threads=4, streams=streams
    )
    found = [(c.threads, c.streams, c.batch) for c in around(best, goal, 4, batch)]
    assert found == expected


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (None, "nobody judged"),
        (drift("fail"), "drift: fail on 400 images"),
        (drift("inconclusive"), "drift: inconclusive on 400 images"),
        (drift("not-judged"), "not-judged"),
    ],
)
def test_only_a_pass_admits_a_narrow_precision(stored: Drift | None, told: str) -> None:
    narrow = Candidate(backend="onnxruntime", device="cpu", variant="mixed")
    assert told in (unjudged(narrow, stored) or "")
    assert unjudged(narrow, drift()) is None
    fp32 = Candidate(backend="onnxruntime", device="cpu", variant="fp32")
    assert unjudged(fp32, stored) is None


def test_a_verdict_of_this_machine_counts_before_the_bundles_own(bundle: Bundle) -> None:
    narrow = Candidate(backend="onnxruntime", device="cpu", variant="mixed")
    assert stored_drift(bundle.manifest, Passport(), narrow, "1.0.0", "avx2") == drift()
    here = msgspec.structs.replace(drift("fail"), tier="avx2")
    found = stored_drift(bundle.manifest, Passport(entries=(here,)), narrow, "1.0.0", "avx2")
    assert found == here
    bf16 = msgspec.structs.replace(narrow, precision="bf16")
    assert stored_drift(bundle.manifest, Passport(), bf16, "1.0.0", "avx2") is None


def test_what_is_chosen_is_sealed_with_evidence_and_run_next_time(bundle: Bundle) -> None:
    sealed = choose_fastest(bundle, SHORT)
    again = read_sealed(bundle.digest)
    assert again is not None
    assert again.rows == sealed.rows
    assert sealed.rows[0].outcome == "chosen"
    assert sealed.rows[0].candidate == sealed.chosen
    timed = [row for row in sealed.rows if row.picture_ns is not None]
    assert {row.candidate.variant for row in timed} == {"fp32", "mixed"}
    assert all(row.ratio is not None and row.rounds >= 5 for row in timed)
    choice = choose(bundle)
    assert choice.sealed
    assert (choice.backend, choice.variant, choice.threads) == (
        sealed.chosen.backend,
        sealed.chosen.variant,
        sealed.chosen.threads,
    )


def test_every_time_that_was_taken_is_kept_as_it_was_taken(bundle: Bundle) -> None:
    sealed = choose_fastest(bundle, SHORT)
    with Store.open(writable=False) as store:
        kept = {result.candidate: result for _, result in store.results(bundle.digest)}
    timed = {row.candidate: row for row in sealed.rows if row.picture_ns is not None}
    assert kept.keys() == timed.keys()
    for candidate, row in timed.items():
        (measurement,) = kept[candidate].measurements
        assert len(measurement.samples_ns) == row.rounds
        assert int(np.median(measurement.samples_ns)) == row.picture_ns
        assert measurement.procedure.order == "interleaved"


@pytest.mark.parametrize("judged", [None, drift("fail"), drift("inconclusive")])
def test_without_a_pass_fp32_is_all_that_runs(tmp_path: Path, judged: Drift | None) -> None:
    with open_bundle(write(tmp_path, judged)) as opened:
        sealed = choose_fastest(opened, SHORT)
    assert sealed.chosen.variant == "fp32"
    lost = [row for row in sealed.rows if row.candidate.variant == "mixed"]
    assert {row.outcome for row in lost} == {"drift"}
    assert sealed.drift is None


def test_a_failing_variant_is_a_row_and_stops_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, drift())
    graph = tiny_graph(weights={"head.b": np.float32([0.5, 0.0])})
    files = {
        name: (path / name).read_bytes() for name in ("model.onnx", "golden.npz", "layers.json")
    }
    with open_bundle(path) as opened:
        draft = opened.manifest
    broken = tmp_path / "broken.medge"
    write_bundle(broken, draft, {**files, "variants/mixed.onnx": graph})
    with open_bundle(broken) as opened:
        sealed = choose_fastest(opened, SHORT)
    failed = [row for row in sealed.rows if row.outcome == "failed"]
    assert {row.candidate.variant for row in failed} == {"mixed"}
    assert all("Golden case 1" in row.reason for row in failed)
    assert sealed.chosen.variant == "fp32"


def test_with_images_the_winner_is_judged_before_it_is_sealed(bundle: Bundle) -> None:
    asked: list[str] = []

    def judge(choice: Choice) -> Drift:
        asked.append(choice.precision_name)
        return drift("fail", choice.precision_name)

    sealed = choose_fastest(bundle, SHORT, judge)
    assert sealed.chosen.variant == "fp32"
    assert set(asked) <= {"mixed"}
    for row in sealed.rows:
        if row.outcome == "drift":
            assert "fail on 400 images" in row.reason


@pytest.mark.parametrize("verdict", ["pass", "fail", "inconclusive"])
def test_no_precision_is_sealed_unjudged_however_late_it_takes_the_lead(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, verdict: Verdict
) -> None:
    """In the second race others take part than in the first, whose winner was judged."""
    races: list[int] = []

    def narrow_wins_the_second(entrants: Sequence[Entrant], **_: object) -> list[Standing]:
        races.append(len(entrants))
        first = "mixed" if len(races) > 1 else "fp32"
        ranked = sorted(entrants, key=lambda one: one.candidate.variant != first)
        return [Standing(one.candidate, picture_ns=[9 + n] * 20) for n, one in enumerate(ranked)]

    monkeypatch.setattr("medge.bench.choose.contest", narrow_wins_the_second)
    asked: list[str] = []

    def judge(choice: Choice) -> Drift:
        asked.append(f"{choice.backend} {choice.precision_name}")
        return drift(verdict, choice.precision_name)

    sealed = choose_fastest(bundle, SHORT, judge)
    assert sealed.chosen.variant == ("mixed" if verdict == "pass" else "fp32")
    assert asked
    assert len(asked) == len(set(asked))  # each once


def test_a_device_that_is_not_here_is_told(bundle: Bundle) -> None:
    with pytest.raises(BackendError, match=r"GPU\.7"):
        choose_fastest(bundle, CompileRequest(device="GPU.7"))


def test_throughput_counts_streams(bundle: Bundle) -> None:
    sealed = choose_fastest(bundle, CompileRequest(goal="throughput", budget_ns=1))
    assert sealed.goal == "throughput"
    tried = {(row.candidate.streams, row.candidate.batch) for row in sealed.rows if row.rounds}
    assert len(tried) > 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "openvino int8, 1 thread"),
        ({"precision": "bf16", "threads": 2}, "openvino int8+bf16, 2 threads"),
        ({"device": "GPU.0"}, "openvino int8 on GPU.0, 1 thread"),
        (
            {"streams": 2, "threads": 2, "batch": 4},
            "openvino int8, 2 threads in 2 streams, batch 4",
        ),
    ],
)
def test_a_candidate_is_named_in_few_words(changes: dict[str, object], words: str) -> None:
    plain = Candidate(backend="openvino", device="cpu", variant="int8")
    assert spoken(msgspec.structs.replace(plain, **changes)) == words


def pictures(folder: Path) -> Path:
    """Write 30 pictures and their labels."""
    random = np.random.default_rng(0)
    lines = ["file,scores"]
    for number in range(30):
        values = random.integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{'benign' if number % 2 else 'malignant'}")
    labels = folder / "labels.csv"
    labels.write_text("\n".join(lines) + "\n")
    return labels


def test_the_verb_prints_the_table_and_judges_with_data(tmp_path: Path, typed: Typed) -> None:
    path = write(tmp_path, None)
    data = tmp_path / "data"
    data.mkdir()
    labels = pictures(data)
    said = typed(
        "compile", path, "--data", data, "--labels", labels, "--time-budget", "1", "--json"
    )
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["rows"][0]["outcome"] == "chosen"
    with open_bundle(path) as opened:
        stamped = read_passport(opened.digest).entries
    judged = [row for row in found["rows"] if row["outcome"] == "drift"]
    assert bool(stamped) == bool(judged)  # 30 images cannot show a pass
    assert {entry.verdict for entry in stamped} <= {"inconclusive"}
    assert found["chosen"]["variant"] == "fp32"
    table = typed("compile", path, "--time-budget", "1")
    assert table.code == 0
    assert "chosen: 100 % fp32; the reference" in " ".join(table.out.split())  # it may be wrapped
    assert max(map(len, table.out.splitlines())) <= 80


def test_a_choice_whose_engine_cannot_be_kept_is_not_sealed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDGE_CACHE_BYTES", "1")
    with pytest.raises(StorageError) as caught:
        choose_fastest(bundle, SHORT)
    assert caught.value.rule == "cache-write"
    assert read_sealed(bundle.digest) is None


def test_labels_without_images_are_a_mistake(tmp_path: Path, typed: Typed) -> None:
    said = typed("compile", write(tmp_path, None), "--labels", tmp_path / "x.csv")
    assert said.code == 2
    assert "--data" in said.err


def test_a_stored_pass_of_this_machine_admits(tmp_path: Path) -> None:
    with open_bundle(write(tmp_path, None)) as opened:
        here = msgspec.structs.replace(
            drift(), tier=device_tier(), backend_version=installed_version("onnxruntime") or ""
        )
        stamp(opened.digest, here)
        sealed = choose_fastest(opened, SHORT)
    outcomes = {
        row.candidate.backend: row.outcome
        for row in sealed.rows
        if row.candidate.variant == "mixed" and row.candidate.threads > 1
    }
    assert outcomes.get("onnxruntime") != "drift"
    assert outcomes.get("openvino", "drift") == "drift"
