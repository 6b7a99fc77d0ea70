"""Rows of published measurements: which are comparable, and that no fit sees what judges it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from estimator_data import Sample, single_device_kinds
from estimator_fit import THINNED, Problem, thinned
from estimator_folds import anchored, leave_out
from estimator_rows import Row, exclusions, read_rows
from estimator_scores import nested_quantiles, quantile, score
from estimator_tables import family

from medge.profiles.estimate.hardware import hardware_of
from medge.profiles.estimate.kernels import kernels_of
from medge.profiles.estimate.roofline import Case, Roofline
from medge.profiles.estimate.runtimes import find_runtime
from medge.profiles.network import networks
from medge.profiles.target import find_target

PLAIN = {
    "device": "NVIDIA GeForce GTX 1080",
    "device_kind": "nvidia-gpu",
    "model": "resnet50",
    "input_h": "224",
    "input_w": "224",
    "batch": "16",
    "precision": "fp32",
    "runtime": "MXNet 1.2.0 cuDNN 7.0.5",
    "metric": "latency_ms",
    "value": "40",
    "gmacs": "",
    "params_m": "",
    "notes": "forward only",
    "source": "github:somebody/benchmark@0123456789ab:README.md",
}


def rows_of(tmp_path: Path, *changes: dict[str, str]) -> list[Row]:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, PLAIN)
        writer.writeheader()
        writer.writerows({**PLAIN, **change} for change in changes)
    return read_rows(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"notes": "saturated throughput: many parallel requests"}, "saturated-streams"),
        ({"batch": "", "metric": "images_per_s"}, "batch-unstated"),
        ({"notes": "mean; GPU+2xDLA"}, "batch-unstated"),
        ({"precision": "unstated"}, "precision-unstated"),
        ({"notes": "fp16 equals fp32 in source (suspect)"}, "suspect-in-source"),
        ({"notes": "small batches are bound by Python", "batch": "8"}, "python-bound"),
        ({"notes": "small batches are bound by Python"}, ""),
        ({"notes": "avg of 8 loops; min 10.0 max 15.1; 1 threads"}, "unstable"),
        ({"notes": "avg of 8 loops; min 10.0 max 14.9; 1 threads"}, ""),
        ({"notes": "host-to-device copy + forward", "value": "6.4"}, "copy-dominates"),
        ({"notes": "host-to-device copy + forward", "value": "6.5"}, ""),
    ],
)
def test_each_rule_leaves_out_what_it_names(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    (row,) = rows_of(tmp_path, change)
    assert row.excluded == reason
    assert sum(exclusions([row]).values()) == bool(reason)


def test_images_a_second_are_seconds_a_batch(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, {"metric": "images_per_s", "value": "320"})
    assert row.seconds == pytest.approx(0.05)


def test_one_measurement_filed_twice_counts_once(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, {}, {"source": "github:somebody/benchmark@0123456789ab:other.csv"})
    assert [row.excluded for row in rows] == ["", "filed-twice"]


def test_a_framework_that_its_own_source_contradicts_on_one_device_is_left_out(
    tmp_path: Path,
) -> None:
    changes = []
    for device, factor in (("A", 1.0), ("B", 1.1), ("C", 1.0), ("D", 1.9)):
        for model in ("resnet50", "vgg16"):
            plain = {"device": device, "model": model}
            changes.append({**plain, "value": "40"})
            changes.append({**plain, "runtime": "Caffe", "value": str(40 * factor)})
    rows = rows_of(tmp_path, *changes)
    clashing = {row.device for row in rows if row.excluded == "framework-clash"}
    assert clashing == {"D"}
    assert all(row.setting.runtime.id == "caffe" for row in rows if row.excluded)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("tf_efficientnetv2_b0", "efficientnet"),
        ("inception_resnet_v2", "inception"),
        ("resnext50_32x4d", "resnext"),
        ("mobilevit_s", "mobilevit"),
        ("vit_base_patch16_224", "transformer"),
        ("proxylessnasnet", "mobilenet"),
    ],
)
def test_families_are_told_by_name(model: str, name: str) -> None:
    assert family(model) == name


def sample(device: str, network: str, batch: int, seconds: float, runtime: str) -> Sample:
    target = find_target(device)
    setting = find_runtime(runtime)
    row = Row(
        device=device,
        model=network,
        height=224,
        width=224,
        batch=batch,
        precision="fp32",
        runtime=runtime,
        setting=setting,
        seconds=seconds,
        copies=False,
        params_m=None,
        source="github:somebody/benchmark@0:README.md",
        notes="",
    )
    kernels = kernels_of(networks()[network].layers(), setting.runtime.fuses)
    hardware = hardware_of(target, "fp32", setting)
    case = Case(kernels, hardware, setting.runtime, "fp32", batch)
    return Sample(row, case, target, target.module or target.id, f"{setting.runtime.id} gpu")


def measured(slow: str, factor: float) -> list[Sample]:
    """Rows that the model's beliefs give exactly, but for one device that is slower."""
    made = []
    for device in ("nvidia-gtx-1080", "nvidia-rtx-3090", "nvidia-tesla-t4", "nvidia-rtx-2080-ti"):
        for network in ("resnet18", "vgg16"):
            for batch in (1, 8):
                plain = sample(device, network, batch, 1.0, "mxnet")
                model = Roofline([plain.case])
                believed = float(np.exp(model.times(beliefs(model)).log_s[0]))
                seconds = believed * (factor if device == slow else 1.0)
                made.append(sample(device, network, batch, seconds, "mxnet"))
    return made


def beliefs(model: Roofline) -> np.ndarray:  # type: ignore[type-arg]
    from medge.profiles.estimate.terms import prior

    return np.array([prior(name).mean for name in model.names])


def test_what_is_left_out_has_no_influence_on_its_estimate() -> None:
    estimates = []
    for factor in (1.0, 3.0):
        samples = measured("nvidia-rtx-3090", factor)
        (judged,) = leave_out(Problem(samples), samples, [lambda s: s.group == "nvidia-rtx-3090"])
        estimates.append(judged.times.log_s)
    np.testing.assert_allclose(estimates[0], estimates[1], atol=0.01)


def test_a_fit_finds_what_all_devices_share() -> None:
    samples = measured("none", 1.0)
    slower = [
        sample(s.row.device, s.row.model, s.row.batch, 1.5 * s.row.seconds, "mxnet")
        for s in samples
    ]
    fit = Problem(slower).fit()
    place = fit.names.index("scale/rt/mxnet-gpu")
    assert fit.values[place] > 0.02
    assert abs(Problem(samples).fit().values[place]) < 0.01


def test_measured_rows_recover_a_slow_device() -> None:
    samples = measured("nvidia-rtx-3090", 1.6)
    (judged,) = leave_out(Problem(samples), samples, [lambda s: s.group == "nvidia-rtx-3090"])
    truth = np.log([s.row.seconds for s in samples])
    before = np.abs(judged.times.log_s - truth[judged.place]).mean()
    place, centers, sds = anchored(judged, samples, 1, seed=0)
    assert len(place) == 3
    assert np.abs(centers - truth[place]).mean() < before / 2
    assert (sds < judged.sds.min()).all()


def test_many_rows_of_one_stack_are_thinned_evenly() -> None:
    plain = sample("nvidia-gtx-1080", "resnet18", 1, 1.0, "mxnet")
    other = sample("nvidia-rtx-3090", "resnet18", 1, 1.0, "mxnet")
    chosen, weights = thinned([plain] * 100 + [other])
    assert len(chosen) == THINNED + 1
    assert chosen[0] == 0
    assert chosen[THINNED - 1] == 99
    assert weights[:THINNED].sum() == pytest.approx(10.0)  # the root of 100 rows
    assert weights[-1] == pytest.approx(1.0)
    assert single_device_kinds([plain, other]) == frozenset()
    assert single_device_kinds([plain]) == {"mxnet gpu"}


def test_scores_weigh_rows_or_devices() -> None:
    measured_log = np.zeros(5)
    estimated = np.log([1.1, 1.1, 1.1, 1.5, 0.4])
    found = score(estimated, measured_log, ["a", "a", "a", "b", "c"], np.ones(5, bool))
    assert found.pooled == pytest.approx(10)
    assert found.device == pytest.approx(50)
    assert found.twice_off == pytest.approx(20)


def test_a_device_with_many_rows_does_not_set_the_interval_alone() -> None:
    distances = np.array([0.1] * 90 + [1.0, 2.0, 3.0, 4.0])
    device = ["a"] * 90 + ["b", "c", "d", "e"]
    assert quantile(distances, device, 0.75) == 3.0
    nested = nested_quantiles(distances, device, device)
    assert nested["e"] == 3.0
    assert nested["a"] == 4.0
