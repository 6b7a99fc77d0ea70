"""Every transfer syntax has one decoder, and it returns what went in."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import codestreams
import numpy as np
import pytest
from codestreams import ROOT, picture, samples
from dicom_files import speckle

from medge.engine.decoders import COMPRESSED, decoder_for, syntax_name
from medge.engine.decoders.containment import contained
from medge.engine.frames.frame import Packing
from medge.errors import InputError

NAMES = {
    "5": "medge RLE",
    "4.50": "Pillow",
    "4.51": "Pillow",
    "4.57": "GDCM",
    "4.70": "GDCM",
    "4.80": "pyjpegls",
    "4.81": "pyjpegls",
    "4.90": "pylibjpeg-openjpeg",
    "4.91": "pylibjpeg-openjpeg",
    "4.201": "pylibjpeg-openjpeg",
    "4.202": "pylibjpeg-openjpeg",
    "4.203": "pylibjpeg-openjpeg",
}


@pytest.mark.parametrize("syntax", sorted(COMPRESSED))
def test_each_syntax_has_one_named_decoder_or_is_refused_by_uid_and_name(syntax: str) -> None:
    wanted = NAMES.get(syntax.removeprefix(ROOT))
    if wanted:
        assert decoder_for(syntax, allow_gdcm=True).name == wanted
        return
    with pytest.raises(InputError) as refused:
        decoder_for(syntax, allow_gdcm=True)
    assert refused.value.rule == "syntax-unsupported"
    assert syntax in refused.value.message
    assert str(syntax_name(syntax)) in refused.value.message


def test_the_names_of_syntaxes_are_those_of_the_standard() -> None:
    from pydicom.uid import UID, AllTransferSyntaxes

    known = {str(uid) for uid in AllTransferSyntaxes if UID(uid).is_encapsulated}
    assert known <= COMPRESSED
    for uid in known & {ROOT + "4.50", ROOT + "4.80", ROOT + "4.90", ROOT + "4.201", ROOT + "5"}:
        assert str(syntax_name(uid)).split()[0] == UID(uid).name.split()[0]


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.3.4", "", "4.50"])
def test_what_is_not_a_compressed_standard_syntax_is_refused(syntax: str) -> None:
    assert syntax_name(syntax) is None
    with pytest.raises(InputError, match="none of the standard's") as refused:
        decoder_for(syntax)
    assert refused.value.rule == "syntax-unsupported"


@pytest.mark.parametrize("syntax", ["4.57", "4.70"])
def test_gdcm_is_used_only_when_it_is_allowed(syntax: str) -> None:
    with pytest.raises(InputError, match="GDCM") as refused:
        decoder_for(ROOT + syntax)
    assert refused.value.rule == "gdcm-not-allowed"
    pixels = speckle((8, 8))
    decoder = decoder_for(ROOT + syntax, allow_gdcm=True)
    with pytest.raises(InputError) as refused:
        decoder.decode(codestreams.jpeg_lossless(pixels), picture(pixels, allow_gdcm=False))
    assert refused.value.rule == "gdcm-not-allowed"


@pytest.mark.parametrize(
    ("syntax", "package", "command"),
    [
        ("4.80", "pyjpegls", 'pip install "medge[codecs]"'),
        ("4.90", "pylibjpeg-openjpeg", 'pip install "medge[codecs]"'),
        ("4.70", "python-gdcm", 'pip install "medge[gdcm]"'),
    ],
)
def test_a_codec_that_is_not_installed_is_named_with_its_command(
    syntax: str, package: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(InputError) as refused:
        decoder_for(ROOT + syntax, allow_gdcm=True)
    assert refused.value.rule == "codec-missing"
    assert package in refused.value.message
    assert command in refused.value.message
    assert decoder_for(ROOT + "5").name == "medge RLE"  # needs nothing


DEPTHS = [(8, False), (8, True), (12, False), (12, True), (16, False), (16, True)]


@pytest.mark.parametrize("colour", [False, True], ids=["gray", "rgb"])
@pytest.mark.parametrize(("bits", "signed"), DEPTHS)
@pytest.mark.parametrize("codec", ["rle", "jpeg_ls", "jpeg_2000"])
def test_lossless_codecs_return_the_very_samples(
    codec: str, bits: int, signed: bool, colour: bool
) -> None:
    if colour and signed:
        pytest.skip("colour is never signed (PS3.3 C.7.6.3.1.4)")
    pixels = speckle((37, 46, 3) if colour else (37, 46), bits, signed, seed=bits)
    said = picture(pixels, bits)
    if codec == "rle":
        decoder, data = decoder_for(ROOT + "5"), codestreams.rle(pixels)
    elif codec == "jpeg_ls":
        decoder, data = decoder_for(ROOT + "4.80"), codestreams.jpeg_ls(pixels, bits)
    else:
        decoder, data = decoder_for(ROOT + "4.90"), codestreams.jpeg_2000(pixels, bits)
    decoded = decoder.decode(memoryview(data), said)
    np.testing.assert_array_equal(samples(decoded, said), pixels)
    assert decoded.values.flags.c_contiguous
    assert decoded.photometric == said.photometric
    assert decoded.notes == ()


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, True), (16, False)])
def test_jpeg_lossless_returns_the_very_samples(bits: int, signed: bool, predictor: int) -> None:
    pixels = speckle((13, 22), bits, signed, seed=predictor)
    said = picture(pixels, bits)
    syntax = "4.70" if predictor == 1 else "4.57"
    data = codestreams.jpeg_lossless(pixels, bits, predictor)
    decoded = decoder_for(ROOT + syntax, allow_gdcm=True).decode(data, said)
    np.testing.assert_array_equal(samples(decoded, said), pixels)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_jpeg_lossless_colour_is_never_converted(photometric: str) -> None:
    pixels = speckle((13, 22, 3))
    said = picture(pixels, photometric=photometric)
    data = codestreams.jpeg_lossless(pixels)
    decoded = decoder_for(ROOT + "4.70", allow_gdcm=True).decode(data, said)
    np.testing.assert_array_equal(decoded.values, pixels)
    assert decoded.photometric == photometric


@pytest.mark.parametrize("name", sorted(codestreams.HTJ2K))
def test_high_throughput_jpeg_2000_returns_the_very_samples(name: str) -> None:
    pixels = codestreams.HTJ2K[name]()
    said = picture(pixels, 12 if "12" in name else 8)
    data = (codestreams.CAPTURED / name).read_bytes()
    decoded = decoder_for(ROOT + "4.201").decode(data, said)
    np.testing.assert_array_equal(samples(decoded, said), pixels)
    assert bool(decoded.notes) == ("12" in name)  # the encoder rounded 12 bits up to 16


def test_lossy_high_throughput_jpeg_2000_stays_near_and_is_no_lossless_one() -> None:
    pixels = codestreams.HTJ2K["htj2k_rgb8.j2c"]()
    data = (codestreams.CAPTURED / "htj2k_rgb8_lossy.j2c").read_bytes()
    decoded = decoder_for(ROOT + "4.203").decode(data, picture(pixels, photometric="YBR_ICT"))
    assert decoded.photometric == "RGB"
    assert np.abs(decoded.values.astype(int) - pixels).max() <= 8
    with pytest.raises(InputError, match="irreversible") as refused:
        decoder_for(ROOT + "4.201").decode(data, picture(pixels))
    assert refused.value.rule == "codestream"


@pytest.mark.parametrize("interleave", [0, 1, 2])
def test_jpeg_ls_colour_comes_as_it_is_interleaved(interleave: int) -> None:
    pixels = speckle((12, 20, 3))
    said = picture(pixels)
    data = codestreams.jpeg_ls(pixels, interleave=interleave)
    decoded = decoder_for(ROOT + "4.80").decode(data, said)
    np.testing.assert_array_equal(samples(decoded, said), pixels)
    assert decoded.packing is (Packing.INTERLEAVED if interleave else Packing.PLANAR)


def test_near_lossless_jpeg_ls_stays_within_its_bound() -> None:
    pixels = speckle((24, 20), 12)
    said = picture(pixels, 12)
    data = codestreams.jpeg_ls(pixels, 12, near=3)
    decoded = decoder_for(ROOT + "4.81").decode(data, said)
    assert 0 < np.abs(samples(decoded, said) - pixels).max() <= 3


@pytest.mark.parametrize(
    ("photometric", "mct", "wanted"),
    [
        ("YBR_RCT", True, "RGB"),
        ("RGB", True, "RGB"),
        ("RGB", False, "RGB"),
        ("YBR_FULL", False, "YBR_FULL"),
    ],
)
def test_jpeg_2000_colour_transform_is_undone_and_told(
    photometric: str, mct: bool, wanted: str
) -> None:
    pixels = speckle((36, 40, 3))
    data = codestreams.jpeg_2000(pixels, mct=mct)
    decoded = decoder_for(ROOT + "4.90").decode(data, picture(pixels, photometric=photometric))
    np.testing.assert_array_equal(decoded.values, pixels)
    assert decoded.photometric == wanted


def test_a_decoder_may_reuse_its_memory_for_the_next_frame() -> None:
    first, second = speckle((16, 16), seed=1), speckle((16, 16), seed=2)
    decoder = decoder_for(ROOT + "5")
    one = decoder.decode(codestreams.rle(first), picture(first)).values
    two = decoder.decode(codestreams.rle(second), picture(second)).values
    assert one.ctypes.data == two.ctypes.data
    np.testing.assert_array_equal(two, second)


class _Panic(BaseException):  # as Rust panics arrive
    pass


@pytest.mark.parametrize("failure", [ValueError, OSError, RecursionError, _Panic, GeneratorExit])
def test_any_failure_of_a_codec_is_one_refusal_without_its_words(
    failure: type[BaseException],
) -> None:
    def codec() -> None:
        raise failure("Sentinel^Patient")

    with pytest.raises(InputError) as refused:
        contained("some codec", codec)
    assert refused.value.rule == "decode-failed"
    assert failure.__name__ in refused.value.message
    assert "Sentinel" not in str(refused.value)
    assert refused.value.__suppress_context__  # nor in a traceback


def test_lack_of_memory_is_a_refusal_of_its_own() -> None:
    with pytest.raises(InputError) as refused:
        contained("some codec", np.empty, 2**62, np.uint8)
    assert refused.value.rule == "memory"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_the_users_wish_to_stop_is_not_contained(stop: type[BaseException]) -> None:
    def codec() -> None:
        raise stop

    with pytest.raises(stop):
        contained("some codec", codec)


@pytest.mark.parametrize("near", [0, 2])
def test_damaged_data_inside_a_whole_jpeg_ls_frame_are_refused(near: int) -> None:
    pixels = speckle((40, 50))
    data = codestreams.jpeg_ls(pixels, near=near)
    hurt = data[: len(data) // 2] + b"\xff\xd9"
    with pytest.raises(InputError) as refused:
        decoder_for(ROOT + "4.81").decode(hurt, picture(pixels))
    assert refused.value.rule == "decode-failed"


def test_importing_the_table_loads_no_codec() -> None:
    script = (
        "import sys, medge.engine.decoders as d; d.decoder_for('1.2.840.10008.1.2.5')\n"
        "print(*sorted({'PIL', 'pydicom', 'gdcm', 'openjpeg', 'jpeg_ls'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.split() == []
