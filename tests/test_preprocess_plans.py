"""Plans: kept and reused, without memory per frame; builds of the kernels; refused arguments."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import preprocess_cases
import pytest
import reference
from preprocess_frames import gray, prepared, rgb, spec
from stored_values import sample_values

from medge._native import kernel_builds, kernels
from medge.engine.frames.frame import Frame, Window
from medge.engine.manifest import Voi
from medge.engine.preprocess import Preprocessor
from medge.errors import InputError


def noise(shape: tuple[int, ...], dtype: type = np.uint8) -> Any:
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype)


def test_frames_with_meanings_of_their_own_are_each_shown_by_theirs() -> None:
    """A cine whose functional groups change the window, and a folder of all sizes."""
    how = spec(20, 20)
    preprocessor = Preprocessor(how)
    out = np.zeros(how.shape, np.float32)
    for step in range(60):
        frame = gray(
            noise((30 + step % 11, 40 + step % 5), np.uint16),
            voi=(Window(1000.0 * (step % 7), 5000.0),),
        )
        preprocessor.prepare(frame, out)
        np.testing.assert_array_equal(out, reference.prepare(how, frame))


def test_one_meaning_may_come_with_arrays_of_two_types() -> None:
    how = spec(20, 20)
    preprocessor = Preprocessor(how)
    out = np.zeros(how.shape, np.float32)
    signed = gray(noise((30, 30), np.int16))
    floats = Frame(0, np.full((30, 30), 0.25, np.float32), signed.meaning)
    for frame, expected in ((signed, prepared(how, signed)), (floats, np.float32(0.25))) * 2:
        preprocessor.prepare(frame, out)
        np.testing.assert_allclose(out, np.broadcast_to(expected, out.shape), rtol=1e-6)


@pytest.mark.parametrize("rule", ["file", "minmax"])
def test_frames_of_a_cine_leave_no_memory_behind(rule: Any) -> None:
    how = spec(64, 64, voi=Voi(rule=rule), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    preprocessor = Preprocessor(how)
    out = np.zeros(how.shape, np.float32)
    frame = gray(noise((240, 320)), voi=(Window(100.0, 90.0),))
    tracemalloc.start()
    try:
        for _ in range(50):
            preprocessor.prepare(frame, out)
        gc.collect()
        before, before_kb = tracemalloc.get_traced_memory()[0], anonymous_kb()
        tracemalloc.reset_peak()
        for _ in range(2000):
            preprocessor.prepare(frame, out)
        peak = tracemalloc.get_traced_memory()[1]
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 40_000  # 20 bytes a frame: less than any object
    assert peak - before < 70_000  # not even for a moment a copy of the frame, 76,800 bytes
    assert anonymous_kb() - before_kb < 1_000


def anonymous_kb() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise OSError("this system does not tell RssAnon")


def test_the_best_build_is_chosen_and_every_build_can_be_forced() -> None:
    assert kernel_builds()[-1] == "scalar"
    for name in kernel_builds():
        assert run_with(name) == (0, name)
    assert run_with("") == (0, kernel_builds()[0])


def test_a_build_that_cannot_run_here_is_refused_at_import() -> None:
    absent = "neon" if "avx2" in kernel_builds() else "avx2"
    for name in (absent, "fastest"):
        code, text = run_with(name)
        assert code != 0
        assert "E2 kernels: MEDGE_KERNELS names no build" in text
        assert "expected " + ", ".join(kernel_builds()) in text


def run_with(name: str) -> tuple[int, str]:
    code = "import medge._native as n; print(n.kernels(), end='')"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        env=os.environ | {"MEDGE_KERNELS": name},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout or done.stderr


def test_a_preprocessor_runs_the_build_that_it_was_told() -> None:
    with pytest.raises(ValueError, match="no such build"):
        prepared(spec(8, 8), gray(noise((20, 20))), build="fastest")
    for name in kernel_builds():
        preprocessor = Preprocessor(spec(8, 8), name)
        preprocessor.prepare(gray(noise((20, 20))), np.zeros((1, 8, 8), np.float32))
        assert {plan.kernels for plan in preprocessor._plans.values()} == {name}
    assert kernels() in kernel_builds()


def test_arrays_that_do_not_fit_are_refused_and_never_copied() -> None:
    how = spec(8, 8)
    preprocessor = Preprocessor(how)
    frame = gray(noise((20, 20)))
    with pytest.raises(ValueError, match="shape"):
        preprocessor.prepare(frame, np.zeros((8, 8), np.float32))
    with pytest.raises(ValueError, match="type"):
        preprocessor.prepare(frame, np.zeros((1, 8, 8), np.float64))
    with pytest.raises(TypeError):  # a copy would be filled instead
        preprocessor.prepare(frame, np.zeros((1, 8, 16), np.float32)[:, :, ::2])
    with pytest.raises(TypeError):
        preprocessor.prepare(gray(noise((20, 40))[:, ::2]), np.zeros((1, 8, 8), np.float32))
    short = Frame(0, frame.stored[:-1], frame.meaning)
    with pytest.raises(ValueError, match="size"):
        preprocessor.prepare(short, np.zeros((1, 8, 8), np.float32))


def test_stored_values_may_be_read_only_and_begin_at_any_byte() -> None:
    raw = noise((20 * 30 * 2 + 1,))
    stored = raw[1:].view(np.uint16).reshape(20, 30)
    stored.flags.writeable = False
    np.testing.assert_array_equal(
        prepared(spec(8, 8), gray(stored)), prepared(spec(8, 8), gray(stored.copy()))
    )


def test_a_slot_of_a_batch_is_filled_and_its_neighbours_are_not() -> None:
    how = spec(9, 7, channels=3, colour="rgb")
    batch = np.full((3, *how.shape), -7, np.float32)
    frame = rgb(noise((20, 30, 3)))
    Preprocessor(how).prepare(frame, batch[1])
    np.testing.assert_array_equal(batch[1], prepared(how, frame))
    assert (batch[[0, 2]] == -7).all()


@pytest.mark.parametrize("seed", range(60))
def test_the_commonest_value_is_counted_in_every_packing(seed: int) -> None:
    how, frame = preprocess_cases.case(seed)
    samples = frame.stored if frame.dtype.kind == "f" else sample_values(frame)
    planes = samples.reshape(-1, 3).T if samples.ndim == 3 else samples.reshape(1, -1)
    most = min(np.unique(plane, return_counts=True)[1].max() for plane in planes)
    ratio = int(most) / planes.shape[1]
    prepared(msgspec.structs.replace(how, max_constant_ratio=ratio), frame)
    with pytest.raises(InputError, match="constant"):
        prepared(msgspec.structs.replace(how, max_constant_ratio=ratio * 0.999), frame)


def test_meanings_that_are_equal_but_not_the_same_share_a_plan() -> None:
    preprocessor = Preprocessor(spec(8, 8))
    frame = gray(noise((20, 20)))
    for _ in range(3):
        preprocessor.prepare(
            Frame(0, frame.stored, replace(frame.meaning)), np.zeros((1, 8, 8), np.float32)
        )
    assert len(preprocessor._plans) == 1
