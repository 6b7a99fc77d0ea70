"""The judge: the decisions of `medge run`, paired, bounded, and honest about what it cannot say."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import dicom_files as made
import msgspec
import numpy as np
import pytest
from bundles import CLASSES, tiny_bundle, tiny_graph
from drift_kit import mean_graph, write_labels, write_pictures
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

import medge
from medge.bench.decisions import collect
from medge.bench.drift import Judge
from medge.bench.drift_report import Report
from medge.bench.figures import ClassFigures
from medge.engine.bundle import Bundle, open_bundle
from medge.engine.evidence import Check, Margins
from medge.engine.manifest import Output, Source, Threshold
from medge.engine.select import Choice, choose
from medge.engine.session import Session
from medge.errors import BackendError, BundleError, InputError, UsageError

LEVELS = np.random.default_rng(3).integers(0, 256, 260).tolist()
SHIFT = 0.25  # moves the border from 127.5 to 127.5 - 255 * 0.25 * SHIFT / 8 = 125.5
WIDE = Margins(flip_ratio=0.05, auc_drop=0.05, sensitivity_drop=0.05)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, their labels (bright is malignant, one in nine is labelled wrongly), a bundle."""
    folder = tmp_path_factory.mktemp("drift")
    names = write_pictures(folder / "data", LEVELS)
    rows = [
        (name, CLASSES[(level > 127) != (number % 9 == 0)], "AB"[number % 2])
        for number, (name, level) in enumerate(zip(names, LEVELS, strict=True))
    ]
    write_labels(folder / "labels.csv", rows, "file,scores,site")
    shifted = {"near": mean_graph(offset=SHIFT)}
    tiny_bundle(folder, graph=mean_graph(), variants=shifted)
    return folder


@pytest.fixture(scope="module")
def bundle(place: Path) -> Iterator[Bundle]:
    with open_bundle(place / "tiny.medge") as opened:
        yield opened


@pytest.fixture(scope="module")
def judge(bundle: Bundle, place: Path) -> Judge:
    return Judge(bundle, place / "data", place / "labels.csv", WIDE)


@pytest.fixture(scope="module")
def report(bundle: Bundle, judge: Judge) -> Report:
    """What the judge says of the variant with the shifted border."""
    return judge.judge(near(bundle))


def near(bundle: Bundle) -> Choice:
    return choose(bundle, precision="near", threads=1)


def named(report: Report, name: str) -> Check:
    return next(check for check in report.drift.checks if check.name == name)


def malignant(report: Report) -> ClassFigures:
    return next(figures for figures in report.classes if figures.label == "malignant")


def predictions(place: Path, bundle: str) -> tuple[list[str], list[float]]:
    """What `medge run` answers on every picture: label and probability of malignant."""
    with medge.open(place / bundle, precision="fp32", threads=1) as classifier:
        results = [classifier.run(path)[0] for path in sorted((place / "data").iterdir())]
    return [str(r.prediction) for r in results], [r.answers[0].scores["malignant"] for r in results]


def test_the_flips_are_the_pictures_between_the_two_borders(report: Report) -> None:
    # Means differ from the level by less than 0.1, so that only these levels can change side.
    expected = {f"{number:04}.png" for number, level in enumerate(LEVELS) if level in {126, 127}}
    assert expected
    assert {Path(flip.file).name for flip in report.flipped} == expected
    assert report.drift.flips == len(expected)
    assert {(flip.before, flip.after) for flip in report.flipped} == {(("benign",), ("malignant",))}
    assert named(report, "flips").value == len(expected) / len(LEVELS)


def test_both_sides_are_what_medge_run_decides(bundle: Bundle, place: Path, report: Report) -> None:
    # The variant as a bundle of its own, so that `run` judges it as its fp32 graph.
    alone = tiny_bundle(place, f"alone-{bundle.digest[:8]}", graph=mean_graph(offset=SHIFT))
    truth = [(level > 127) != (number % 9 == 0) for number, level in enumerate(LEVELS)]
    for side, path in (("before", "tiny.medge"), ("after", alone.name)):
        labels, scores = predictions(place, path)
        chosen = [label == "malignant" for label in labels]
        found = getattr(malignant(report), side)
        assert found.sensitivity == pytest.approx(recall_score(truth, chosen))
        assert found.specificity == pytest.approx(recall_score(truth, chosen, pos_label=0))
        assert found.precision == pytest.approx(precision_score(truth, chosen))
        assert found.f1 == pytest.approx(f1_score(truth, chosen))
        assert found.auc == pytest.approx(roc_auc_score(truth, scores))
        accuracy = getattr(report.outputs[0], f"accuracy_{side}")
        assert accuracy == pytest.approx(accuracy_score(truth, chosen))
    shutil.rmtree(alone)


def test_one_session_alone_gives_the_decisions_of_medge_run(bundle: Bundle, place: Path) -> None:
    files = sorted((place / "data").iterdir())[:30]
    with Session(bundle, choose(bundle, precision="fp32", threads=1)) as session:
        found = collect(bundle, session, files).outputs["scores"]
    labels, scores = predictions(place, "tiny.medge")
    np.testing.assert_array_equal(found.scores[:, 1], scores[:30])
    assert [CLASSES[row.argmax()] for row in found.chosen] == labels[:30]
    np.testing.assert_allclose(
        np.exp(found.raw[:, 1]) / np.exp(found.raw).sum(axis=1), scores[:30], rtol=1e-5
    )


def test_losses_and_gains_are_counted_by_the_truth(report: Report) -> None:
    # Every flip turns benign into malignant: right where the truth is malignant.
    gained = sum(flip.truth == ("malignant",) for flip in report.flipped)
    lost = sum(flip.truth == ("benign",) for flip in report.flipped)
    figures = malignant(report)
    assert lost > 0
    assert (figures.positives.lost, figures.positives.gained) == (0, gained)
    assert (figures.negatives.lost, figures.negatives.gained) == (lost, 0)
    drop = named(report, "specificity drop of malignant")
    assert drop.value == pytest.approx(lost / figures.negatives.cases)


def test_the_same_precision_against_itself_passes_without_a_flip(
    bundle: Bundle, judge: Judge
) -> None:
    report = judge.judge(choose(bundle, precision="fp32", threads=1))
    assert (report.drift.verdict, report.drift.flips) == ("pass", 0)
    assert report.max_score_difference == 0.0
    assert report.drift.precision == report.drift.against == "fp32"


def test_a_graph_that_is_in_no_bundle_yet_is_judged_alike(
    bundle: Bundle, judge: Judge, report: Report
) -> None:
    assert judge.judge(near(bundle), mean_graph(offset=SHIFT)) == report


def test_several_candidates_in_one_pass_get_what_each_gets_alone(
    bundle: Bundle, place: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = [(near(bundle), mean_graph(offset=offset)) for offset in (0.0, 0.5, 2.0)]
    together = judge.judge_many(candidates)
    assert len({report.drift.flips for report in together}) == 3
    monkeypatch.setattr("medge.bench.drift.PASS_BYTES", 1)  # now each has a pass of its own
    alone = Judge(bundle, place / "data", place / "labels.csv", WIDE).judge_many(candidates)
    assert alone == together


def test_a_large_drift_fails_and_a_small_one_on_few_pictures_is_inconclusive(
    bundle: Bundle, judge: Judge, tmp_path: Path
) -> None:
    broken = judge.judge(near(bundle), mean_graph(offset=4.0)).drift
    assert broken.verdict == "fail"
    assert (
        named(judge.judge(near(bundle), mean_graph(gain=-8.0)), "AUC drop of malignant").value > 0.5
    )
    write_pictures(tmp_path / "few", [0, 255] * 20)
    few = Judge(bundle, tmp_path / "few").judge(near(bundle)).drift
    assert (few.verdict, few.flips, few.missing_cases) == ("inconclusive", 0, 299 - 40)


def test_without_labels_only_flips_are_judged(bundle: Bundle, place: Path) -> None:
    report = Judge(bundle, place / "data", None, WIDE).judge(near(bundle))
    assert [check.name for check in report.drift.checks] == ["flips"]
    assert not report.drift.labelled
    assert (report.outputs, report.classes, report.groups) == ((), (), ())
    assert all(flip.truth is None for flip in report.flipped)


def test_pictures_whose_label_is_not_known_count_for_flips_only(
    bundle: Bundle, place: Path, tmp_path: Path
) -> None:
    rows = [(f"{number:04}.png", "") for number in range(200)]
    rows += [(f"{number:04}.png", CLASSES[LEVELS[number] > 127]) for number in range(200, 260)]
    labels = write_labels(tmp_path / "labels.csv", rows)
    report = Judge(bundle, place / "data", labels, WIDE).judge(near(bundle))
    assert named(report, "flips").cases == 260
    assert named(report, "AUC drop of malignant").cases == 60
    assert report.outputs[0].frames == 60


def test_a_subgroup_has_the_figures_that_it_has_alone(
    bundle: Bundle, place: Path, report: Report, tmp_path: Path
) -> None:
    assert [(group.column, group.value) for group in report.groups] == [
        ("site", "A"),
        ("site", "B"),
    ]
    lines = (place / "labels.csv").read_text().splitlines()
    for group in report.groups:
        mine = [line for line in lines[1:] if line.endswith(group.value)]
        labels = write_labels(tmp_path / "part.csv", [line.split(",") for line in mine], lines[0])
        alone = Judge(bundle, place / "data", labels, WIDE).judge(near(bundle))
        assert group.checks == alone.drift.checks
        assert (group.cases, group.verdict) == (alone.drift.cases, alone.drift.verdict)


def test_a_candidate_without_valid_answers_fails_by_name(bundle: Bundle, judge: Judge) -> None:
    huge = {"head.w": np.full((4, 2), 3e38, np.float32), "conv.b": np.full(4, 9.0, np.float32)}
    report = judge.judge(near(bundle), tiny_graph(weights=huge))  # finite weights overflow
    assert report.drift.verdict == "fail"
    assert report.drift.flips == report.invalid == len(LEVELS)
    assert {flip.after for flip in report.flipped} == {None}
    assert malignant(report).positives.gained == 0
    assert report.max_score_difference is None


def test_what_calibrated_and_copies_do_not_judge(
    bundle: Bundle, place: Path, tmp_path: Path
) -> None:
    names = write_pictures(tmp_path / "data", [10, 20, 30, 200])
    shutil.copy(tmp_path / "data" / names[0], tmp_path / "data" / "copy.png")
    digest = hashlib.sha256((tmp_path / "data" / names[1]).read_bytes()).hexdigest()
    judge = Judge(bundle, tmp_path / "data", excluded=frozenset({digest}))
    report = judge.judge(near(bundle))
    assert (report.drift.cases, report.excluded, report.copies) == (3, 1, 1)
    every = [hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / "data").iterdir()]
    with pytest.raises(InputError, match="calibrated") as caught:
        Judge(bundle, tmp_path / "data", excluded=frozenset(every))
    assert caught.value.rule == "nothing-found"


def test_copies_with_different_labels_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    names = write_pictures(tmp_path / "data", [10, 20])
    shutil.copy(tmp_path / "data" / names[0], tmp_path / "data" / "copy.png")
    rows = [(names[0], "benign"), (names[1], "benign"), ("copy.png", "malignant")]
    with pytest.raises(UsageError) as caught:
        Judge(bundle, tmp_path / "data", write_labels(tmp_path / "l.csv", rows))
    assert caught.value.rule == "labels-conflict"


def test_the_digest_of_the_data_is_that_of_its_contents_alone(
    bundle: Bundle, place: Path, tmp_path: Path
) -> None:
    first = Judge(bundle, place / "data", None).judge(near(bundle)).drift
    for number, path in enumerate(sorted((place / "data").iterdir())):
        (tmp_path / "renamed").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "renamed" / f"{999 - number}.png")
    renamed = Judge(bundle, tmp_path / "renamed", None).judge(near(bundle)).drift
    assert renamed.data_sha256 == first.data_sha256
    digests = sorted(hashlib.sha256(p.read_bytes()).hexdigest() for p in (place / "data").iterdir())
    listed = "".join(f"{digest}\n" for digest in digests)
    assert first.data_sha256 == hashlib.sha256(listed.encode()).hexdigest()


def test_refused_files_are_listed_and_are_no_cases(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_pictures(folder, [10, 200])
    made.make(folder / "whole.dcm")
    made.make(folder / "cut.dcm")
    (folder / "cut.dcm").write_bytes((folder / "cut.dcm").read_bytes()[:-300])
    report = Judge(bundle, folder).judge(near(bundle))
    assert (report.drift.cases, report.files) == (3, 4)
    assert [(Path(each.file).name, each.rule) for each in report.refused] == [
        ("cut.dcm", "truncated")
    ]
    (folder / "only").mkdir()
    shutil.move(folder / "cut.dcm", folder / "only")
    with pytest.raises(InputError, match="truncated 1") as caught:
        Judge(bundle, folder / "only").judge(near(bundle))
    assert caught.value.rule == "nothing-judged"


def test_a_cine_is_one_case(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "cine.npy", np.full((300, 16, 16), 90, np.uint8))
    made.make(tmp_path / "data" / "other.dcm")
    drift = Judge(bundle, tmp_path / "data").judge(near(bundle))
    assert (drift.drift.cases, drift.frames) == (2, 301)
    assert drift.drift.verdict == "inconclusive"


def test_a_file_that_changes_while_it_is_judged_is_noticed(bundle: Bundle, tmp_path: Path) -> None:
    names = write_pictures(tmp_path / "data", [10, 200])

    def meanwhile(done: int, _total: int) -> None:
        if done == 1:
            (tmp_path / "data" / names[0]).write_bytes(b"something else")

    judge = Judge(bundle, tmp_path / "data", progress=meanwhile)
    with pytest.raises(InputError) as caught:
        judge.judge(near(bundle))
    assert caught.value.rule == "changed"


def test_random_weights_and_constant_answers_get_no_verdict(
    bundle: Bundle, place: Path, tmp_path: Path
) -> None:
    architecture = "resnet18 (untrained, random weights of seed 1)"
    source = Source(framework="torch", framework_version="2", architecture=architecture)
    constant = mean_graph(gain=0.0, offset=1.0)
    for path, why in (
        (tiny_bundle(tmp_path, "a", graph=mean_graph(), source=source), "weights are random"),
        (tiny_bundle(tmp_path, "b", graph=constant), "same scores"),
    ):
        with open_bundle(path) as opened:
            choice = choose(opened, precision="fp32", threads=1)
            report = Judge(opened, place / "data", place / "labels.csv").judge(choice)
        assert report.drift.verdict == "not-judged"
        assert why in report.why_not
        assert {check.verdict for check in report.drift.checks} == {"not-judged"}
        assert report.drift.missing_cases == 0


def test_the_thresholds_of_the_bundle_name_the_classes_that_count(
    place: Path, tmp_path: Path
) -> None:
    path = tiny_bundle(tmp_path, graph=mean_graph(), thresholds={"benign": 0.9})
    with open_bundle(path) as opened:
        choice = choose(opened, precision="fp32", threads=1)
        report = Judge(opened, place / "data", place / "labels.csv", WIDE).judge(choice)
    assert [check.name.partition(" of ")[2] for check in report.drift.checks[1:]] == ["benign"] * 3
    assert [figures.judged for figures in report.classes] == [True, False]


def test_every_label_of_a_multi_label_bundle_counts(place: Path, tmp_path: Path) -> None:
    output = Output(
        name="scores",
        classes=("dark", "bright"),
        task="multi-label",
        activation="sigmoid",
        thresholds=(Threshold(label="bright", value=0.6),),
    )
    path = tiny_bundle(tmp_path, graph=mean_graph(), task="multi-label", outputs=(output,))
    rows = [
        (f"{number:04}.png", "dark|bright" if level > 127 else "-" if number % 2 else "dark")
        for number, level in enumerate(LEVELS)
    ]
    labels = write_labels(tmp_path / "l.csv", rows)
    with open_bundle(path) as opened:
        choice = choose(opened, precision="fp32", threads=1)
        report = Judge(opened, place / "data", labels, WIDE).judge(choice, mean_graph(offset=1.0))
    # A logit of 0 gives 0.5: the graph always answers "dark".
    judged = [check.name for check in report.drift.checks]
    assert judged[1:] == [
        f"{what} drop of {label}"
        for label in ("dark", "bright")
        for what in ("sensitivity", "specificity", "AUC")
    ]
    assert {(flip.before, flip.after) for flip in report.flipped} == {
        (("dark",), ("dark", "bright"))
    }
    figures = report.classes[1]
    assert report.drift.flips == figures.negatives.lost + figures.positives.gained > 0


@pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed here")
def test_another_runtime_is_judged_against_the_reference(bundle: Bundle, judge: Judge) -> None:
    report = judge.judge(choose(bundle, backend="openvino", precision="fp32", threads=1))
    assert (report.drift.verdict, report.drift.backend) == ("pass", "openvino")


def test_a_backend_without_a_network_decides_nothing(bundle: Bundle, judge: Judge) -> None:
    with pytest.raises(BackendError) as caught:
        judge.judge(choose(bundle, backend="null", precision="fp32"))
    assert caught.value.rule == "backend-option"


def test_a_graph_of_another_shape_is_refused(bundle: Bundle, judge: Judge) -> None:
    with pytest.raises(BundleError):
        judge.judge(near(bundle), tiny_graph(classes=3))


@pytest.mark.parametrize("margin", [0.0, -0.1, 1.5, float("nan")])
def test_a_margin_that_no_images_can_meet_is_refused(
    bundle: Bundle, place: Path, margin: float
) -> None:
    with pytest.raises(UsageError) as caught:
        Judge(bundle, place / "data", None, Margins(flip_ratio=margin))
    assert caught.value.rule == "margin"


def test_a_report_is_plain_json(report: Report) -> None:
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
