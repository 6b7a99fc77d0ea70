"""Plans refuse numbers that would let a kernel leave the picture, the tensor or its scratch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from preprocess_frames import gray, rgb, spec

from medge._native import Plan
from medge.engine.frames.frame import Packing
from medge.engine.preprocess.axes import make_axis
from medge.engine.preprocess.fields import Map, Want, Word, plan_fields
from medge.engine.preprocess.place import crop_box, place


def arguments(**changes: Any) -> tuple[dict[str, object], Any, Any]:
    """What Plan is given for a gray frame of 30 x 40 and a tensor of 1 x 20 x 16."""
    how, meaning = spec(20, 16), gray(np.zeros((30, 40), np.uint8)).meaning
    where = place(how, crop_box(how.crop, meaning)[0])
    fields, columns = plan_fields(
        how, meaning, where, word=Word.U8, kind=Map.LINE, want=Want.COLOUR
    )
    rows = where.rows
    return (
        fields | changes,
        (rows.first, rows.count, rows.weights),
        (columns.first, columns.count, columns.weights),
    )


def test_the_arguments_of_these_tests_make_a_plan() -> None:
    plan = Plan(*arguments())
    plan.set_line(0.0, 1 / 255, 0.0)
    out = np.zeros((1, 20, 16), np.float32)
    plan.run(np.full((30, 40), 255, np.uint8), out)
    np.testing.assert_allclose(out, 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("word", 4), ("packing", -1), ("map", 4), ("want", 3), ("rows", 0), ("rows", 29)],
        *[("columns", 39), ("begin", 1), ("begin", -1), ("width", 39), ("width", 41)],
        *[("bits_stored", 9), ("bits_stored", 0), ("high_bit", 8), ("high_bit", 6)],
        *[("channels", 0), ("channels", 2), ("channels", 4), ("height", 19), ("out_width", 15)],
        *[("top", 1), ("top", -1), ("left", 1), ("median", 4), ("tiles", 65), ("tiles", 2)],
        *[("want", 1), ("map", 3), ("mean", [0.0]), ("inverse_std", [1.0] * 4)],
        *[("rows", 2**31), ("word", "u8"), ("signed", 3)],
    ],
)
def test_fields_that_do_not_fit_are_refused(field: str, value: Any) -> None:
    with pytest.raises((ValueError, RuntimeError, TypeError)):
        Plan(*arguments(**{field: value}))


def test_a_missing_field_is_refused() -> None:
    fields, rows, columns = arguments()
    for field in fields:
        with pytest.raises(KeyError):
            Plan({key: fields[key] for key in fields if key != field}, rows, columns)


@pytest.mark.parametrize("packing", [Packing.INTERLEAVED, Packing.PLANAR, Packing.YBR_422])
def test_tables_are_for_one_sample_a_pixel(packing: Packing) -> None:
    code = {Packing.INTERLEAVED: 1, Packing.PLANAR: 2, Packing.YBR_422: 3}[packing]
    for kind in (Map.TABLE, Map.PALETTE):
        with pytest.raises(ValueError, match="one sample a pixel"):
            Plan(*arguments(packing=code, map=int(kind)))


def test_axes_that_leave_the_picture_go_back_or_are_empty_are_refused() -> None:
    fields, rows, columns = arguments()
    first, count, weights = rows
    for changed in (
        (first + 1, count, weights),
        (first - 1, count, weights),
        (first[::-1].copy(), count, weights),
        (first, count * 0, weights),
        (first, count + 50, weights),
        (first[:-1].copy(), count, weights),
        (first[:0].copy(), count[:0].copy(), weights[:0].copy()),
    ):
        with pytest.raises(ValueError, match=r"ax[ie]s"):
            Plan(fields, changed, columns)
    with pytest.raises(ValueError, match="axis"):
        Plan(fields, rows, (columns[0] + 1, *columns[1:]))


def test_a_plan_asks_for_its_display_first_and_takes_only_its_own_kind() -> None:
    plan = Plan(*arguments())
    stored, out = np.zeros((30, 40), np.uint8), np.zeros((1, 20, 16), np.float32)
    with pytest.raises(ValueError, match="comes first"):
        plan.run(stored, out)
    with pytest.raises(ValueError, match="takes a line"):
        plan.set_table(np.zeros(256, np.float32))
    plan = Plan(*arguments(map=int(Map.TABLE)))
    with pytest.raises(ValueError, match="takes a table"):
        plan.set_line(0.0, 1.0, 0.0)
    with pytest.raises(ValueError, match="one entry for each"):
        plan.set_table(np.zeros(255, np.float32))
    with pytest.raises(ValueError, match="one count for each"):
        plan.histogram(stored, 0, np.zeros(255, np.uint32))
    with pytest.raises(ValueError, match="no such plane"):
        plan.histogram(stored, 1, np.zeros(256, np.uint32))


def test_reading_from_a_file_tells_how_it_failed(tmp_path: Path) -> None:
    plan = Plan(*arguments())
    plan.set_line(0.0, 1 / 255, 0.0)
    out = np.zeros((1, 20, 16), np.float32)
    path = tmp_path / "pixels"
    path.write_bytes(bytes(30 * 40))
    fd = os.open(path, os.O_RDONLY)
    try:
        assert plan.run_file(fd, 0, out) == 0
        assert plan.run_file(fd, 1, out) == -1
    finally:
        os.close(fd)
    assert plan.run_file(-1, 0, out) > 0


def test_an_axis_has_weights_that_sum_to_one() -> None:
    for kind in ("area", "bilinear"):
        for source, target in ((1, 1), (7, 3), (3, 7), (1000, 224), (224, 1000), (65535, 1)):
            axis = make_axis(kind, source, target, 0, target)
            np.testing.assert_allclose(axis.weights.sum(axis=1), 1.0, atol=1e-5)
            assert axis.first[0] == 0
            assert axis.end == source


def test_a_very_wide_picture_becomes_a_small_one() -> None:
    from preprocess_frames import prepared

    stored = np.full((9, 65535), 51, np.uint8)
    np.testing.assert_allclose(prepared(spec(224, 5), gray(stored)), 0.2, rtol=1e-5)
    stored = np.full((65535, 9, 3), 51, np.uint8)
    how = spec(5, 224, channels=3, colour="rgb")
    np.testing.assert_allclose(prepared(how, rgb(stored)), 0.2, rtol=1e-5)
