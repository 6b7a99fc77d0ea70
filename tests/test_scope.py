"""Scope: a tag that contradicts refuses, a tag that is absent is told, and no value is repeated."""

from __future__ import annotations

import dataclasses

import pytest

from medge.engine.frames.frame import Context
from medge.engine.manifest import Scope
from medge.engine.scope import missing_tags
from medge.errors import InputError

BREAST = Scope(modality=("US",), body_part=("BREAST",))
SPACED = Scope(pixel_spacing_mm=(0.05, 0.5))


def context(**said: object) -> Context:
    return dataclasses.replace(Context(), **said)  # type: ignore[arg-type]


def test_a_file_that_says_all_that_is_asked_misses_nothing() -> None:
    assert missing_tags(context(modality="US", body_part="BREAST"), BREAST) == ()


def test_terms_are_compared_without_case() -> None:
    assert missing_tags(context(modality="us", body_part="Breast"), BREAST) == ()


def test_absent_tags_are_named_with_their_numbers() -> None:
    assert missing_tags(context(modality="US"), BREAST) == ("Body Part Examined (0018,0015)",)
    assert missing_tags(context(), SPACED) == ("Pixel Spacing (0028,0030)",)


def test_a_scope_without_limits_asks_for_nothing() -> None:
    assert missing_tags(context(), Scope()) == ()


@pytest.mark.parametrize(
    "said",
    [{"modality": "MR"}, {"modality": "US", "body_part": "Sentinel^Patient"}],
    ids=["another modality", "free text in a coded field"],
)
def test_a_contradiction_refuses_and_names_only_what_the_bundle_accepts(
    said: dict[str, str],
) -> None:
    with pytest.raises(InputError) as caught:
        missing_tags(context(**said), BREAST)
    assert caught.value.rule == "out-of-scope"
    assert "Sentinel" not in str(caught.value)
    assert "US" in str(caught.value) or "BREAST" in str(caught.value)


def test_a_contradiction_counts_even_when_another_tag_is_absent() -> None:
    with pytest.raises(InputError, match="Body Part"):
        missing_tags(context(body_part="CHEST"), BREAST)


@pytest.mark.parametrize(("spacing", "fits"), [((0.05, 0.5), True), ((0.1, 0.6), False)])
def test_both_spacings_must_lie_within_the_bounds(spacing: tuple[float, float], fits: bool) -> None:
    asked = context(pixel_spacing_mm=spacing)
    if fits:
        assert missing_tags(asked, SPACED) == ()
        return
    with pytest.raises(InputError, match=r"0\.1 x 0\.6 mm; the bundle accepts 0\.05 to 0\.5 mm"):
        missing_tags(asked, SPACED)
