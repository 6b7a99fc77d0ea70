"""Every compressed file that pydicom carries, and those of the shared folder, against pydicom."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from codestreams import ROOT, samples
from stored_values import read_with_pydicom

from medge.engine.decoders import Picture, decoder_for
from medge.errors import InputError

SHARED = Path(__file__).parents[2] / "shared" / "data" / "dicom"
PLUGINS = {  # the reference, pinned: pydicom would try others in turn
    "5": "pydicom",
    "4.50": "pillow",
    "4.51": "pillow",
    "4.70": "gdcm",
    "4.80": "pyjpegls",
    "4.81": "pyjpegls",
    "4.90": "pylibjpeg",
    "4.91": "pylibjpeg",
}
REFUSED = {  # file: rule and first refused frame
    "J2K_pixelrep_mismatch.dcm": ("codestream", 0),  # signed header, unsigned codestream
    "JPEG2000-embedded-sequence-delimiter.dcm": ("codestream", 0),  # no decoder reads it
    "JPEG-lossy.dcm": ("syntax-unsupported", 0),  # 12 bits
    "JPGExtended.dcm": ("syntax-unsupported", 0),  # 12 bits
    "SC_rgb_rle_32bit.dcm": ("bits-allocated", 0),
    "SC_rgb_rle_32bit_2frame.dcm": ("bits-allocated", 0),
    "rtdose_rle.dcm": ("bits-allocated", 0),
    "rtdose_rle_1frame.dcm": ("bits-allocated", 0),
    "multiframe.dcm": ("codestream", 13),  # its later frames are 240 x 55
}
NOTED = {"693_J2KI.dcm", "bad_sequence.dcm", "HasFragmentSequence.dcm"}


def _compressed(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.glob("*.dcm")):
        dataset = read_with_pydicom(path, force=True)
        syntax = dataset.file_meta.get("TransferSyntaxUID", "")
        if syntax.removeprefix(ROOT) in PLUGINS and "PixelData" in dataset:
            found.append(path)
    return found


def _bundled() -> list[Path]:
    import pydicom

    return _compressed(Path(pydicom.__file__).parent / "data" / "test_files")


def _picture(dataset: Any) -> Picture:
    return Picture(
        rows=dataset.Rows,
        columns=dataset.Columns,
        samples=dataset.SamplesPerPixel,
        bits_allocated=dataset.BitsAllocated,
        bits_stored=dataset.BitsStored,
        high_bit=dataset.HighBit,
        signed=bool(dataset.PixelRepresentation),
        photometric=dataset.PhotometricInterpretation,
        allow_gdcm=True,
    )


def _compare(path: Path) -> None:
    from pydicom.encaps import generate_frames
    from pydicom.pixels import get_decoder

    dataset = read_with_pydicom(path, force=True)
    uid = dataset.file_meta.TransferSyntaxUID
    count = int(dataset.get("NumberOfFrames") or 1)
    said = _picture(dataset)
    decoder = decoder_for(uid, allow_gdcm=True)
    rule, refused_from = REFUSED.get(path.name, ("", count))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = get_decoder(uid).iter_array(
            dataset, raw=True, decoding_plugin=PLUGINS[uid.removeprefix(ROOT)]
        )
        frames = generate_frames(dataset.PixelData, number_of_frames=count)
        for index, data in enumerate(frames):
            if index >= refused_from:
                with pytest.raises(InputError) as refused:
                    decoder.decode(data, said)
                assert refused.value.rule == rule
                return
            decoded = decoder.decode(data, said)
            values, told = next(wanted)
            np.testing.assert_array_equal(samples(decoded, said), values)
            assert decoded.photometric == told["photometric_interpretation"].replace("_422", "")
            assert bool(decoded.notes) == (path.name in NOTED)
    assert index == count - 1


@pytest.mark.parametrize("path", _bundled(), ids=lambda path: path.name)
def test_files_of_pydicom_decode_as_pydicom_decodes_them(path: Path) -> None:
    _compare(path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is not beside the checkout")
@pytest.mark.parametrize("path", _compressed(SHARED), ids=lambda path: path.name)
def test_shared_files_decode_as_pydicom_decodes_them(path: Path) -> None:
    _compare(path)


def test_the_list_of_files_is_not_empty() -> None:
    assert len(_bundled()) > 30
