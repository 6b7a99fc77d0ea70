"""Calibration sees every picture once, keeps no tensor, and finds the ranges it should."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import reference, tiny_graph, tiny_manifest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from quantize_kit import pictures, refused

from medge.errors import UsageError
from medge.exporters.calibrate import observe, read_calibration_set
from medge.exporters.histogram import (
    ENTROPY_BINS,
    ENTROPY_STEP,
    HALF,
    LEVELS,
    METHODS,
    Histogram,
)
from medge.exporters.sampled import Watch


def counted(*names: str) -> Watch:
    return Watch(names, frozenset(names), {})


def test_every_picture_is_counted_and_the_last_one_counts_no_more_than_the_first(
    tmp_path: Path,
) -> None:
    """One vivid picture is put first, then last; either way its extremes are the set's."""
    manifest = tiny_manifest()
    folder = pictures(tmp_path / "a", 7)
    model = onnx.load_from_string(tiny_graph())
    found = []
    for name in ("00-first.png", "zz-last.png"):
        vivid = np.zeros((8, 8), np.uint8)
        vivid[:, 4:] = 255
        Image.fromarray(vivid).save(folder / name)
        chosen = read_calibration_set(folder, manifest)
        seen = observe(model, counted("c", "r"), chosen)
        assert {h.pictures for h in seen.values()} == {len(chosen)}
        rows = [model_values(picture, "c") for picture in chosen]
        assert seen["c"].low == pytest.approx(min(r.min() for r in rows), rel=1e-6)
        assert seen["c"].high == pytest.approx(max(r.max() for r in rows), rel=1e-6)
        found.append((len(chosen), seen["c"].high))
        (folder / name).unlink()
    assert [count for count, _ in found] == [8, 8]


def model_values(picture: np.ndarray, name: str) -> np.ndarray:
    """Compute one tensor of the tiny graph with ONNX's reference evaluator."""
    from onnx.reference import ReferenceEvaluator

    model = onnx.load_from_string(tiny_graph())
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=name))
    return np.asarray(ReferenceEvaluator(model).run([name], {"image": picture})[0])


def test_the_digest_knows_neither_order_nor_names(tmp_path: Path) -> None:
    manifest = tiny_manifest()
    one = read_calibration_set(pictures(tmp_path / "a", 5), manifest)
    other = tmp_path / "b"
    other.mkdir()
    for index, path in enumerate(sorted((tmp_path / "a").iterdir(), reverse=True)):
        (other / f"renamed-{index}.png").write_bytes(path.read_bytes())
    assert read_calibration_set(other, manifest).sha256 == one.sha256
    expected = sorted(hashlib.sha256(p.read_bytes()).hexdigest() for p in other.iterdir())
    assert one.sha256 == hashlib.sha256("\n".join(expected).encode()).hexdigest()
    (other / "renamed-0.png").unlink()
    assert read_calibration_set(other, manifest).sha256 != one.sha256


def test_what_the_bundle_refuses_is_counted_by_rule_and_does_not_calibrate(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "a", 3)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "small.png")
    (folder / "cut.png").write_bytes((folder / "0000.png").read_bytes()[:40])
    found = read_calibration_set(folder, tiny_manifest())
    assert len(found) == 3
    assert sum(found.refused.values()) == 2
    assert found.refused["too-small"] == 1


def test_a_folder_without_usable_pictures_is_refused(tmp_path: Path) -> None:
    with refused(UsageError, "calibration"):
        read_calibration_set(pictures(tmp_path / "a", 2, side=4), tiny_manifest())


def test_a_picture_that_changes_between_passes_is_found(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "a", 2)
    found = read_calibration_set(folder, tiny_manifest())
    (folder / "0001.png").write_bytes(b"")
    with refused(UsageError, "calibration-changed"):
        list(found)


def test_cines_calibrate_with_a_few_frames_each(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    np.save(folder / "cine.npy", np.random.default_rng(0).integers(0, 255, (40, 8, 8), np.uint8))
    found = read_calibration_set(folder, tiny_manifest())
    assert [index for _, index in found.frames] == [0, 10, 20, 30]
    assert len(found.digests) == 1


OBSERVES = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np, onnx
from bundles import tiny_graph, tiny_manifest
from quantize_kit import pictures
from medge.exporters.calibrate import observe, read_calibration_set
from medge.exporters.sampled import Watch

channels, side, folder = 32, 24, Path(sys.argv[2])
random = np.random.default_rng(0)
weights = {
    "conv.w": random.normal(size=(channels, 1, 3, 3)).astype("f4"),
    "conv.b": np.zeros(channels, "f4"),
    "head.w": random.normal(size=(channels, 2)).astype("f4"),
}
model = onnx.load_from_string(tiny_graph(size=side, weights=weights))
manifest = tiny_manifest(size=side)
watch = Watch(("c", "r"), frozenset(("c", "r")), {})
# The runtime's own memory is there from the first run on.
observe(model, watch, read_calibration_set(pictures(folder / "a", 3, side=side), manifest))
found = read_calibration_set(pictures(folder / "b", 1000, side=side), manifest)
before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seen = observe(model, watch, found)
assert {h.pictures for h in seen.values()} == {1000}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib)
"""


def test_memory_does_not_grow_with_the_pictures(tmp_path: Path) -> None:
    """A thousand pictures whose inner tensors would need 147 MB if they were kept."""
    # In a process of its own: where other tests reached a higher peak, none would be seen here.
    told = subprocess.run(
        [sys.executable, "-I", "-c", OBSERVES, str(Path(__file__).parent), tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(told.stdout) < 32 << 10  # KiB


def test_weights_that_turn_pictures_into_nan_are_refused(tmp_path: Path) -> None:
    huge = {"conv.w": np.full((4, 1, 3, 3), 3e38, "f4")}
    found = read_calibration_set(pictures(tmp_path / "a", 2), tiny_manifest())
    with refused(UsageError, "calibration-not-finite"):
        observe(onnx.load_from_string(tiny_graph(weights=huge)), counted("c"), found)


def test_channel_means_are_those_of_all_pictures(tmp_path: Path) -> None:
    found = read_calibration_set(pictures(tmp_path / "a", 5), tiny_manifest())
    watch = Watch(("r", "f"), frozenset(), {"r": True, "f": False})
    seen = observe(onnx.load_from_string(tiny_graph()), watch, found)
    expected = np.mean([model_values(picture, "r").mean(axis=(0, 2, 3)) for picture in found], 0)
    assert seen["r"].means == pytest.approx(expected, rel=1e-5)
    assert seen["f"].means == pytest.approx(expected, rel=1e-5)


def test_the_graph_that_is_watched_computes_what_the_bundle_computes(tmp_path: Path) -> None:
    found = read_calibration_set(pictures(tmp_path / "a", 3), tiny_manifest())
    seen = observe(onnx.load_from_string(tiny_graph()), counted("scores"), found)
    expected = reference(tiny_graph(), np.concatenate(list(found)))
    assert seen["scores"].low == pytest.approx(expected.min(), rel=1e-5)
    assert seen["scores"].high == pytest.approx(expected.max(), rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50), min_size=1, max_size=8
    )
)
def test_a_histogram_holds_every_value_within_its_bin(batches: list[list[float]]) -> None:
    """However it grew, the count of values up to each bin's edge is right to within one bin."""
    histogram = Histogram()
    for batch in batches:
        sample = np.array(batch, "f4")
        histogram.add(float(sample.min()), float(sample.max()), sample)
    values = np.sort(np.concatenate([np.array(b, "f4") for b in batches]).astype("f8"))
    assert histogram.counts.sum() == len(values)
    assert (histogram.low, histogram.high) == (values[0], values[-1])
    if histogram.limit == 0.0:
        return
    width = histogram.limit / HALF
    edges = (np.arange(2 * HALF) + 1 - HALF) * width
    cumulated = np.cumsum(histogram.counts)
    # A float32 product may put a value that lies on an edge into either neighbour.
    assert np.all(cumulated >= np.searchsorted(values, edges - 1.01 * width, "right"))
    assert np.all(cumulated[:-1] <= np.searchsorted(values, edges[:-1] + 1.01 * width, "right"))


@pytest.mark.parametrize("method", METHODS)
def test_ranges_lie_within_what_was_seen(method: str) -> None:
    random = np.random.default_rng(1)
    histogram = Histogram()
    for _ in range(4):
        sample = random.normal(size=5000).astype("f4")
        histogram.add(float(sample.min()), float(sample.max()), sample)
    low, high = histogram.range(method)  # type: ignore[arg-type]
    assert histogram.low <= low < -2 < 2 < high <= histogram.high


def test_percentile_cuts_off_no_more_than_it_may_at_either_end() -> None:
    sample = np.random.default_rng(2).normal(size=150_000).astype("f4")
    histogram = Histogram()
    histogram.add(float(sample.min()), float(sample.max()), sample)
    low, high = histogram.range("percentile")
    assert np.mean(sample < low) <= 0.00005
    assert np.mean(sample > high) <= 0.00005
    assert (low, high) == pytest.approx(np.percentile(sample, [0.005, 99.995]), abs=0.06)


def test_one_outlier_moves_minmax_and_not_the_others() -> None:
    sample = np.random.default_rng(3).uniform(-1, 1, 100_000).astype("f4")
    sample[0] = 50.0
    histogram = Histogram()
    histogram.add(float(sample.min()), float(sample.max()), sample)
    assert histogram.range("minmax")[1] == 50.0
    assert histogram.range("percentile")[1] < 1.1
    assert histogram.range("entropy")[1] < 10


def test_entropy_finds_what_trying_every_threshold_by_hand_finds() -> None:
    """Migacz's recipe in loops, on the same bins."""
    random = np.random.default_rng(4)
    sample = np.concatenate([random.laplace(size=50_000), [14.0]]).astype("f4")
    histogram = Histogram()
    histogram.add(float(sample.min()), float(sample.max()), sample)
    counts, _ = np.histogram(np.abs(sample), ENTROPY_BINS, (0, histogram.limit))
    counts[0] = counts[1]
    losses = {
        kept: divergence_in_loops(counts.astype("f8").tolist(), kept)
        for kept in (*range(LEVELS, ENTROPY_BINS, 8 * ENTROPY_STEP), ENTROPY_BINS)
    }
    ours = histogram.range("entropy")[1] * ENTROPY_BINS / histogram.limit
    best = min(losses.values())
    assert divergence_in_loops(counts.astype("f8").tolist(), round(ours)) <= best * 1.001
    assert ours < 0.9 * ENTROPY_BINS


def divergence_in_loops(counts: list[float], kept: int) -> float:
    wanted = counts[:kept]
    wanted[-1] += sum(counts[kept:])
    given = [0.0] * kept
    for level in range(LEVELS):
        places = [i for i in range(kept) if i * LEVELS // kept == level]
        filled = [i for i in places if counts[i] > 0]
        for i in filled:
            given[i] = sum(counts[j] for j in places) / len(filled)
    p = [value / sum(wanted) for value in wanted]
    q = [value / sum(given) for value in given]
    return sum(a * math.log(a / max(b, 1e-4 / kept)) for a, b in zip(p, q, strict=True) if a > 0)
