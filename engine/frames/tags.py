"""The DICOM elements that medge reads, with the VR that PS3.6 gives; all others are skipped."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Tag(NamedTuple):
    """One element: group and element number, VR (``"US or SS"`` depends on the pixels), name."""

    number: int
    vr: str
    name: str

    def __str__(self) -> str:
        return f"({self.number >> 16:04X},{self.number & 0xFFFF:04X}) {self.name}"


TRANSFER_SYNTAX = Tag(0x00020010, "UI", "Transfer Syntax UID")

SYNTHETIC_DATA = Tag(0x0008001C, "CS", "Synthetic Data")
MODALITY = Tag(0x00080060, "CS", "Modality")
CODE_VALUE = Tag(0x00080100, "SH", "Code Value")
CODE_SCHEME = Tag(0x00080102, "SH", "Coding Scheme Designator")
ANATOMIC_REGION = Tag(0x00082218, "SQ", "Anatomic Region Sequence")
PIXEL_PRESENTATION = Tag(0x00089205, "CS", "Pixel Presentation")
BODY_PART = Tag(0x00180015, "CS", "Body Part Examined")
IMAGER_PIXEL_SPACING = Tag(0x00181164, "DS", "Imager Pixel Spacing")
VIEW_POSITION = Tag(0x00185101, "CS", "View Position")
US_REGIONS = Tag(0x00186011, "SQ", "Sequence of Ultrasound Regions")
REGION_DATA_TYPE = Tag(0x00186014, "US", "Region Data Type")
REGION_X0 = Tag(0x00186018, "UL", "Region Location Min X0")
REGION_Y0 = Tag(0x0018601A, "UL", "Region Location Min Y0")
REGION_X1 = Tag(0x0018601C, "UL", "Region Location Max X1")
REGION_Y1 = Tag(0x0018601E, "UL", "Region Location Max Y1")
UNITS_X = Tag(0x00186024, "US", "Physical Units X Direction")
UNITS_Y = Tag(0x00186026, "US", "Physical Units Y Direction")
DELTA_X = Tag(0x0018602C, "FD", "Physical Delta X")
DELTA_Y = Tag(0x0018602E, "FD", "Physical Delta Y")
FRAME_ANATOMY = Tag(0x00209071, "SQ", "Frame Anatomy Sequence")

SAMPLES = Tag(0x00280002, "US", "Samples per Pixel")
PHOTOMETRIC = Tag(0x00280004, "CS", "Photometric Interpretation")
PLANAR = Tag(0x00280006, "US", "Planar Configuration")
FRAMES = Tag(0x00280008, "IS", "Number of Frames")
ROWS = Tag(0x00280010, "US", "Rows")
COLUMNS = Tag(0x00280011, "US", "Columns")
PIXEL_SPACING = Tag(0x00280030, "DS", "Pixel Spacing")
BITS_ALLOCATED = Tag(0x00280100, "US", "Bits Allocated")
BITS_STORED = Tag(0x00280101, "US", "Bits Stored")
HIGH_BIT = Tag(0x00280102, "US", "High Bit")
PIXEL_REPRESENTATION = Tag(0x00280103, "US", "Pixel Representation")
PADDING_VALUE = Tag(0x00280120, "US or SS", "Pixel Padding Value")
PADDING_LIMIT = Tag(0x00280121, "US or SS", "Pixel Padding Range Limit")
WINDOW_CENTER = Tag(0x00281050, "DS", "Window Center")
WINDOW_WIDTH = Tag(0x00281051, "DS", "Window Width")
RESCALE_INTERCEPT = Tag(0x00281052, "DS", "Rescale Intercept")
RESCALE_SLOPE = Tag(0x00281053, "DS", "Rescale Slope")
VOI_FUNCTION = Tag(0x00281056, "CS", "VOI LUT Function")
PALETTE_DESCRIPTORS = (
    Tag(0x00281101, "US or SS", "Red Palette Color Lookup Table Descriptor"),
    Tag(0x00281102, "US or SS", "Green Palette Color Lookup Table Descriptor"),
    Tag(0x00281103, "US or SS", "Blue Palette Color Lookup Table Descriptor"),
)
PALETTE_DATA = (
    Tag(0x00281201, "OW", "Red Palette Color Lookup Table Data"),
    Tag(0x00281202, "OW", "Green Palette Color Lookup Table Data"),
    Tag(0x00281203, "OW", "Blue Palette Color Lookup Table Data"),
)
PALETTE_SEGMENTS = (
    Tag(0x00281221, "OW", "Segmented Red Palette Color Lookup Table Data"),
    Tag(0x00281222, "OW", "Segmented Green Palette Color Lookup Table Data"),
    Tag(0x00281223, "OW", "Segmented Blue Palette Color Lookup Table Data"),
)
MODALITY_LUTS = Tag(0x00283000, "SQ", "Modality LUT Sequence")
LUT_DESCRIPTOR = Tag(0x00283002, "US or SS", "LUT Descriptor")
LUT_DATA = Tag(0x00283006, "OW", "LUT Data")
VOI_LUTS = Tag(0x00283010, "SQ", "VOI LUT Sequence")
PIXEL_MEASURES = Tag(0x00289110, "SQ", "Pixel Measures Sequence")
FRAME_VOI = Tag(0x00289132, "SQ", "Frame VOI LUT Sequence")
PIXEL_TRANSFORM = Tag(0x00289145, "SQ", "Pixel Value Transformation Sequence")
VIEW_CODE = Tag(0x00540220, "SQ", "View Code Sequence")
PRESENTATION_SHAPE = Tag(0x20500020, "CS", "Presentation LUT Shape")
SHARED_GROUPS = Tag(0x52009229, "SQ", "Shared Functional Groups Sequence")
FRAME_GROUPS = Tag(0x52009230, "SQ", "Per-frame Functional Groups Sequence")
OFFSETS_64 = Tag(0x7FE00001, "OV", "Extended Offset Table")
LENGTHS_64 = Tag(0x7FE00002, "OV", "Extended Offset Table Lengths")

PIXEL_DATA = 0x7FE00010


def _all_tags() -> list[Tag]:
    found: list[Tag] = []
    for value in globals().values():
        if isinstance(value, Tag):
            found.append(value)
        elif isinstance(value, tuple):
            found += [tag for tag in value if isinstance(tag, Tag)]
    return sorted(found)


# What the native walk records: tag, and 1 for a sequence (implicit VR does not say which is one).
WANTED = np.array([(tag.number, tag.vr == "SQ") for tag in _all_tags()], dtype=np.uint32)
