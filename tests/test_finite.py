"""The native check for NaN and Inf agrees with NumPy's for every value at every place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medge._native import all_finite


@given(st.lists(st.floats(width=32), max_size=40))
def test_any_values_are_judged_as_numpy_judges_them(values: list[float]) -> None:
    array = np.array(values, "f4")
    assert all_finite(array) == bool(np.isfinite(array).all())


@pytest.mark.parametrize("size", [1, 15, 16, 17, 4095, 4096, 4097, 12289])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_one_odd_value_is_found_wherever_it_stands(size: int, value: float) -> None:
    array = np.full(size, 3.4028235e38, "f4")
    assert all_finite(array)
    for at in {0, size // 2, size - 1, min(size, 4096) - 1, size // 4096 * 4096 % size}:
        array[at] = value
        assert not all_finite(array)
        array[at] = -1e-45


@given(st.integers(0, 2**32 - 1))
def test_every_bit_pattern_counts_as_ieee_754_says(bits: int) -> None:
    array = np.array([bits], "u4").view("f4").reshape(1, 1, 1)
    assert all_finite(array) == bool(np.isfinite(array).all())


@pytest.mark.parametrize(
    "array", [np.zeros(3), np.zeros(3, "f2"), np.zeros((4, 4), "f4")[:, ::2], [1.0]]
)
def test_what_is_not_contiguous_float32_is_a_callers_fault(array: object) -> None:
    with pytest.raises(TypeError):
        all_finite(array)  # type: ignore[arg-type]  # the point of the test
