"""Cines replayed on a real network: made for any bundle, or the user's own file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from bundles import tiny_bundle
from dicom_files import make

from medge.bench.profile.loaded import Load, Loaded, load
from medge.bench.scenario.cine import Cine, limit_s, replay_cine
from medge.bench.scenario.deadline import Pace
from medge.bench.scenario.phantom import write_phantom
from medge.engine.bundle import open_bundle
from medge.engine.frames.study import open_study
from medge.engine.manifest import ImageInput, Scope, Voi
from medge.engine.preprocess import Preprocessor
from medge.engine.scope import missing_tags
from medge.engine.sealed import Candidate
from medge.errors import InputError, UsageError

MS = 1_000_000
# Frames come so fast that a test takes 0.1 s, and the deadline is so far that none can miss it.
PACE = Pace(
    fps=500.0, deadline_ns=5_000 * MS, frames=30, run_frames=10, freeze_ns=10 * MS, queue=30
)


def loaded_of(bundle: Path, backend: str = "onnxruntime") -> Loaded:
    with open_bundle(bundle) as opened:
        digest = opened.digest
    candidate = Candidate(backend=backend, device="cpu", variant="fp32", threads=1)
    found, _ = load(
        Load(folder=os.fsencode(bundle.resolve()), bundle_sha256=digest, candidate=candidate)
    )
    return found


def image(**changes: Any) -> ImageInput:
    return ImageInput(
        name="image", height=8, width=8, channels=1, mean=(0.5,), std=(0.25,), **changes
    )


@pytest.mark.parametrize("backend", ["onnxruntime", "null"])
def test_a_made_cine_is_replayed_and_every_frame_accounted_for(
    tmp_path: Path, backend: str
) -> None:
    found = replay_cine(loaded_of(tiny_bundle(tmp_path), backend), Cine(pace=PACE))
    assert found.on_time + found.late + found.dropped == 30
    assert (found.on_time, found.queue) == (30, 30)
    assert found.cine == "8 synthetic frames, 480 x 640, 8 bit MONOCHROME2, uncompressed"
    assert len(found.first_ns) == 2
    assert all(each is not None and each > 0 for each in found.latency_ns)


def test_the_users_own_cine_is_named_by_its_content_alone(tmp_path: Path) -> None:
    cine = tmp_path / "Sentinel^Patient.dcm"
    make(cine, frames=3)
    asked = Cine(pace=PACE, path=os.fsencode(cine))
    found = replay_cine(loaded_of(tiny_bundle(tmp_path)), asked)
    assert found.cine.startswith("file of 3 frames, SHA-256 ")
    assert "Sentinel" not in found.cine


def test_a_cine_of_the_wrong_kind_is_refused_before_it_is_replayed(tmp_path: Path) -> None:
    cine = tmp_path / "cine.dcm"
    make(cine, frames=3)
    bundle = tiny_bundle(tmp_path, scope=Scope(modality=("MR",)))
    with pytest.raises(InputError) as error:
        replay_cine(loaded_of(bundle), Cine(pace=PACE, path=os.fsencode(cine)))
    assert error.value.rule == "out-of-scope"


def test_a_frame_that_is_refused_ends_the_replay_with_its_rule(tmp_path: Path) -> None:
    cine = tmp_path / "cine.dcm"
    make(cine, frames=3, rows=10, columns=10)
    bundle = tiny_bundle(tmp_path, inputs=(image(min_side=64),))
    with pytest.raises(InputError) as error:
        replay_cine(loaded_of(bundle), Cine(pace=PACE, path=os.fsencode(cine)))
    assert error.value.rule == "too-small"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"accepts": ("MONOCHROME1",)},
        {"accepts": ("RGB",)},
        {"voi": Voi(rule="required", index=1)},
        {"voi": Voi(rule="window", center=40.0, width=400.0)},
        {"voi": Voi(rule="minmax")},
        {"min_side": 700},
        {"max_constant_ratio": 0.2},
    ],
    ids=str,
)
def test_a_phantom_is_accepted_by_the_bundle_it_is_made_for(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    scope = Scope(modality=("MR",), body_part=("BRAIN",), view=("AP",), pixel_spacing_mm=(0.5, 1.0))
    with open_bundle(tiny_bundle(tmp_path, inputs=(image(**changes),), scope=scope)) as bundle:
        manifest = bundle.manifest
    path = tmp_path / "phantom.dcm"
    write_phantom(path, manifest, frames=2)
    prepare = Preprocessor(manifest.inputs[0])
    out = np.zeros(manifest.inputs[0].shape, "f4")
    with open_study(path) as study:
        assert missing_tags(study.context, manifest.scope) == ()
        assert study.context.synthetic
        pictures = []
        for index in range(2):
            prepare.prepare(study.frame(index), out)
            pictures.append(out.copy())
    assert out.std() > 0.05, "it shows something"
    assert (pictures[0] != pictures[1]).any(), "frames differ"


def test_a_phantom_is_labelled_synthetic_and_the_same_every_time(tmp_path: Path) -> None:
    with open_bundle(tiny_bundle(tmp_path)) as bundle:
        for name in ("a", "b"):
            write_phantom(tmp_path / name, bundle.manifest, frames=1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    dataset = pydicom.dcmread(tmp_path / "a")
    assert dataset.SyntheticData == "YES"
    assert "SYNTHETIC" in dataset.PatientID


def test_no_phantom_is_made_where_the_bundle_takes_neither_gray_nor_rgb(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, inputs=(image(accepts=("PALETTE COLOR",)),))
    with pytest.raises(UsageError) as error:
        replay_cine(loaded_of(bundle), Cine(pace=PACE))
    assert error.value.rule == "phantom"


def test_a_replay_may_take_its_own_time_and_some_more() -> None:
    assert limit_s(PACE) > PACE.arrival_ns(PACE.frames) / 1e9
