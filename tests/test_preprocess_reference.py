"""Every build of the kernels equals the slow reference, bit for bit."""

from __future__ import annotations

import numpy as np
import preprocess_cases
import pytest
import reference

from medge._native import kernel_builds
from medge.engine.preprocess import Preprocessor

SEEDS = 50
GROUPS = 16


@pytest.mark.parametrize("group", range(GROUPS))
def test_every_build_equals_the_reference_bit_for_bit(group: int) -> None:
    for seed in range(group * SEEDS, (group + 1) * SEEDS):
        spec, frame = preprocess_cases.case(seed)
        expected = np.ascontiguousarray(reference.prepare(spec, frame))
        for build in kernel_builds():
            found = np.full(spec.shape, 7, spec.dtype)
            Preprocessor(spec, build).prepare(frame, found)
            np.testing.assert_array_equal(
                found.view(f"u{found.itemsize}"),
                expected.view(f"u{found.itemsize}"),
                err_msg=f"seed {seed}, build {build}, {spec}",
            )
