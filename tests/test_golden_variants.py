"""A narrower graph brings the outputs that it must give itself."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from bundles import tiny_manifest

from medge.engine.golden import pack_golden, unpack_golden
from medge.engine.manifest import Manifest, Variant
from medge.errors import BundleError

IMAGE = np.linspace(0, 1, 128, dtype="f4").reshape(2, 1, 8, 8)
SCORES = np.float32([[0.5, -0.5], [0.25, 0.75]])
NARROW = SCORES + np.float32(0.01)


def manifest(tolerance: float | None = 0.05) -> Manifest:
    draft = tiny_manifest(variants=("int8",))
    fp32, int8 = draft.variants
    assert isinstance(int8, Variant)
    changed = msgspec.structs.replace(int8, golden_tolerance=tolerance)
    return msgspec.structs.replace(draft, variants=(fp32, changed))


def test_the_outputs_of_a_variant_are_packed_and_found_again() -> None:
    raw = pack_golden({"image": IMAGE}, {"scores": SCORES}, {"int8": {"scores": NARROW}})
    golden = unpack_golden(raw, manifest())
    np.testing.assert_array_equal(golden.variants["int8"]["scores"], NARROW)
    np.testing.assert_array_equal(golden.outputs["scores"], SCORES)


@pytest.mark.parametrize(
    ("variants", "tolerance", "found"),
    [
        ({}, 0.05, "has no variant/int8/scores.npy"),
        ({"int8": {"scores": NARROW}}, None, "does not declare"),
        ({"int8": {"scores": NARROW[:, :1]}}, 0.05, "declares"),
        ({"int8": {"scores": NARROW[:1]}}, 0.05, "same number of cases"),
        ({"int8": {"scores": NARROW * np.float32(np.nan)}}, 0.05, "NaN"),
    ],
)
def test_they_are_there_exactly_when_the_manifest_states_their_tolerance(
    variants: dict[str, dict[str, np.ndarray]], tolerance: float | None, found: str
) -> None:
    raw = pack_golden({"image": IMAGE}, {"scores": SCORES}, variants)
    with pytest.raises(BundleError, match=found):
        unpack_golden(raw, manifest(tolerance))
