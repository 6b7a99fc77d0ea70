"""Scope: whether a file may be judged by a bundle, from what the file says of itself."""

from __future__ import annotations

from medge.engine.frames.frame import Context
from medge.engine.manifest import Scope
from medge.errors import InputError


def missing_tags(context: Context, scope: Scope) -> tuple[str, ...]:
    """Return the tags that the scope asks for and the file does not have.

    Raises
    ------
    InputError
        Rule ``out-of-scope`` when a tag contradicts the scope.
    """
    missing = [
        name
        for name, found, allowed in (
            ("Modality (0008,0060)", context.modality, scope.modality),
            ("Body Part Examined (0018,0015)", context.body_part, scope.body_part),
            ("View Position (0018,5101)", context.view, scope.view),
        )
        if allowed and not _within(name, found, allowed)
    ]
    if scope.pixel_spacing_mm is not None and not _spacing_within(context, scope.pixel_spacing_mm):
        missing.append("Pixel Spacing (0028,0030)")
    return tuple(missing)


def _within(name: str, found: str | None, allowed: tuple[str, ...]) -> bool:
    if found is None:
        return False
    if found.upper() not in {term.upper() for term in allowed}:
        # The value itself is free text in damaged files: it could hold anything, so it is not told.
        raise InputError(
            "out-of-scope",
            f"{name} contradicts the bundle, which accepts {' or '.join(allowed)}. "
            "Choose a bundle made for this kind of picture.",
        )
    return True


def _spacing_within(context: Context, allowed: tuple[float, float]) -> bool:
    if context.pixel_spacing_mm is None:
        return False
    low, high = allowed
    if not all(low <= spacing <= high for spacing in context.pixel_spacing_mm):
        found = " x ".join(f"{spacing:g}" for spacing in context.pixel_spacing_mm)
        raise InputError(
            "out-of-scope",
            f"Pixel Spacing (0028,0030) is {found} mm; the bundle accepts {low:g} to {high:g} mm. "
            "Choose a bundle made for this resolution.",
        )
    return True
