"""What a DICOM file says it shows: modality, body part, view, spacing (for the scope check)."""

from __future__ import annotations

import re

from medge.engine.frames import tags
from medge.engine.frames.frame import Context
from medge.engine.frames.header import Fields
from medge.engine.frames.meaning import region_spacing_mm
from medge.engine.frames.tags import Tag

_TERM = re.compile(r"[A-Z0-9][A-Z0-9_ -]{0,15}")  # a code string; other text may name a person

# SNOMED CT codes of CID 4030 and 4031 with their Body Part Examined term (PS3.16 Annex L).
_BODY_PARTS = {
    "76752008": "BREAST",
    "T-04000": "BREAST",
    "816094009": "CHEST",
    "51185008": "CHEST",
    "T-D3000": "CHEST",
    "39607008": "LUNG",
    "T-28000": "LUNG",
    "12738006": "BRAIN",
    "T-A0100": "BRAIN",
    "69536005": "HEAD",
    "T-D1100": "HEAD",
}

# SNOMED CT codes of CID 4010 and 4014 (PS3.16) with their View Position term (PS3.3 C.8.3.1).
_VIEWS = {
    "399348003": "AP",
    "R-10206": "AP",
    "272479007": "PA",
    "R-10214": "PA",
    "R-40888": "PA",
    "399173006": "LL",
    "R-10236": "LL",
    "399198007": "RL",
    "R-10232": "RL",
    "399162004": "CC",
    "R-10242": "CC",
    "399368009": "MLO",
    "R-10226": "MLO",
    "399260004": "ML",
    "R-10224": "ML",
    "399352003": "LM",
    "R-10228": "LM",
}


def read_context(top: Fields, syntax: str) -> Context:
    """Read what the scope check compares; None where the file is silent or not in code terms."""
    return Context(
        modality=_term(top, tags.MODALITY),
        body_part=_term(top, tags.BODY_PART) or _coded(_anatomy(top), _BODY_PARTS),
        view=_term(top, tags.VIEW_POSITION) or _coded([*top.items(tags.VIEW_CODE)], _VIEWS),
        pixel_spacing_mm=_spacing_mm(top),
        syntax=syntax,
        synthetic=top.text(tags.SYNTHETIC_DATA) == "YES",
    )


def _term(fields: Fields, tag: Tag) -> str | None:
    text = fields.text(tag)
    if text is None:
        return None
    term = text.upper()
    return term if _TERM.fullmatch(term) else None


def _anatomy(top: Fields) -> list[Fields]:
    found = [*top.items(tags.ANATOMIC_REGION)]
    for group in top.items(tags.SHARED_GROUPS):
        for anatomy in group.items(tags.FRAME_ANATOMY):
            found += anatomy.items(tags.ANATOMIC_REGION)
    return found


def _coded(items: list[Fields], terms: dict[str, str]) -> str | None:
    """Return the term of the first item whose code is in the table."""
    for item in items:
        if item.text(tags.CODE_SCHEME) in ("SCT", "SRT", "SNM3", "99SDM"):
            term = terms.get(item.text(tags.CODE_VALUE) or "")
            if term:
                return term
    return None


def _spacing_mm(top: Fields) -> tuple[float, float] | None:
    """Row and column spacing: of the patient, else of the detector, else of the US region."""
    places = [top]
    for group in top.items(tags.SHARED_GROUPS):
        places += group.items(tags.PIXEL_MEASURES)
    for place in places:
        pair = place.decimals(tags.PIXEL_SPACING)
        if len(pair) == 2 and min(pair) > 0:
            return pair[0], pair[1]
    pair = top.decimals(tags.IMAGER_PIXEL_SPACING)
    if len(pair) == 2 and min(pair) > 0:
        return pair[0], pair[1]
    return region_spacing_mm(top.items(tags.US_REGIONS))
