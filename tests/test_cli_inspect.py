"""`medge inspect`: what a bundle says of itself, after its files were checked."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from bundles import CLASSES, tiny_bundle, tiny_files, tiny_graph, tiny_manifest
from command_line import Typed

from medge.engine.bundle import open_bundle
from medge.engine.bundle_writer import write_bundle
from medge.engine.evidence import Check, Drift, Margins
from medge.engine.manifest import Data, Metric, Output, Scope, Threshold
from medge.engine.passport import stamp


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(
        tmp_path,
        limits=("Not tested on children.",),
        scope=Scope(modality=("US",), body_part=("BREAST",), pixel_spacing_mm=(0.05, 0.5)),
        data=(Data(name="Made-up set", licence="CC0-1.0", citation="Nobody, 2026"),),
        metrics=(Metric(name="AUC", value=0.9, low=0.86, high=0.94, method="5-fold, DeLong"),),
        outputs=(
            Output(
                name="scores",
                classes=CLASSES,
                temperature=1.5,
                thresholds=(Threshold(label="malignant", value=0.3),),
            ),
        ),
    )


@pytest.mark.parametrize(
    "told",
    [
        "tiny 1.0.0",
        "demonstration model, not for clinical use",
        "Not tested on children.",
        "BREAST",
        "0.05 to 0.5 mm",
        "malignant",
        "0.3",
        "CC0-1.0",
        "0.86",
        "model.onnx",
    ],
)
def test_a_person_reads_everything_that_decides_whether_to_trust_it(
    typed: Typed, bundle: Path, told: str
) -> None:
    said = typed("inspect", bundle)
    assert said.code == 0
    assert told in said.out


def test_the_table_fits_80_columns(
    typed: Typed, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, typed("inspect", bundle).out.splitlines())) <= 80


def test_a_program_gets_the_whole_manifest_and_what_opening_shows(
    typed: Typed, bundle: Path
) -> None:
    said = json.loads(typed("inspect", bundle, "--json").out)
    with open_bundle(bundle) as opened:
        assert said["sha256"] == opened.digest
    assert said["manifest"]["outputs"][0]["temperature"] == 1.5
    assert said["golden_cases"] == 2
    assert said["layers"]["count"] == 1


@pytest.mark.parametrize("form", ["csv", "md"])
def test_the_rows_come_as_csv_and_markdown_too(typed: Typed, bundle: Path, form: str) -> None:
    said = typed("inspect", bundle, "--format", form)
    assert said.code == 0
    assert "tiny 1.0.0" in said.out


def test_a_page_can_be_written_to_a_file(typed: Typed, bundle: Path, tmp_path: Path) -> None:
    said = typed("inspect", bundle, "--json", "-o", tmp_path / "page.json")
    assert (said.code, said.out) == (0, "")
    assert json.loads((tmp_path / "page.json").read_text())["schema"] == "medge.inspect/1"


def test_a_bundle_with_one_changed_byte_is_refused(typed: Typed, bundle: Path) -> None:
    raw = bytearray((bundle / "layers.json").read_bytes())
    raw[-2] ^= 1
    (bundle / "layers.json").write_bytes(raw)
    said = typed("inspect", bundle)
    assert said.code == 4
    assert said.out == ""


def test_a_name_that_is_no_bundle_is_refused_with_the_names_there_are(typed: Typed) -> None:
    said = typed("inspect", "no-such-bundle")
    assert said.code == 4
    assert "no-such-bundle" in said.err


def test_it_tells_how_a_narrow_variant_was_made_and_what_became_of_its_decisions(
    tmp_path: Path, typed: Typed
) -> None:
    drift = Drift(
        verdict="inconclusive",
        precision="int8",
        against="fp32",
        backend="onnxruntime",
        backend_version="1.31.1",
        tier="avx2",
        cases=100,
        flips=1,
        labelled=False,
        margins=Margins(),
        checks=(
            Check(
                name="flips",
                value=0.01,
                low=0.0005,
                high=0.047,
                margin=0.01,
                cases=100,
                missing_cases=373,
                verdict="inconclusive",
            ),
        ),
        data_sha256="cd" * 32,
    )
    fp32, int8 = tiny_manifest(variants=("int8",)).variants
    told = msgspec.structs.replace(
        int8, method="made by hand", narrow_layers=1, compute_layers=2, drift=drift
    )
    path = tmp_path / "narrow.medge"
    graph = tiny_graph()
    draft = msgspec.structs.replace(tiny_manifest(), variants=(fp32, told))
    digest = write_bundle(path, draft, tiny_files(graph, variants={"int8": graph}))
    stamp(digest, msgspec.structs.replace(drift, verdict="pass", flips=0, checks=()))
    said = typed("inspect", path, "--format", "csv")
    assert "made by hand" in said.out
    assert "1 of 2 in fewer bits" in said.out
    assert "inconclusive: 1 of 100 decisions differ from fp32, 373 more images" in said.out
    assert "pass: 0 of 100 decisions differ from fp32; onnxruntime 1.31.1 on avx2" in said.out
    found = json.loads(typed("inspect", path, "--json").out)
    assert found["judged_here"][0]["verdict"] == "pass"
