"""No lie of a codestream's own header that something contradicts yields another picture."""

from __future__ import annotations

from pathlib import Path

import codestreams
import pytest
from codestreams import ROOT, picture
from hostile.codestream_lies import is_kept, judge, streams

from medge.engine.decoders import decoder_for
from medge.errors import InputError


@pytest.mark.parametrize("name", sorted(streams()))
def test_a_codestream_that_lies_is_refused_or_does_no_harm(name: str, tmp_path: Path) -> None:
    if name == "jpeg-lossless":
        pytest.importorskip("_gdcm", reason="python-gdcm is not installed")
    told = list(judge(name, tmp_path))
    assert [(what, found) for what, found in told if not is_kept(what, found)] == []
    assert sum(found == "refused" for _, found in told) > len(told) // 2


def test_high_throughput_jpeg_2000_cut_anywhere_is_refused() -> None:
    for name, make in codestreams.HTJ2K.items():
        pixels, data = make(), (codestreams.CAPTURED / name).read_bytes()
        decoder = decoder_for(ROOT + "4.201")
        for cut in range(0, len(data), max(1, len(data) // 100)):
            with pytest.raises(InputError) as refused:
                decoder.decode(data[:cut], picture(pixels, 12 if "12" in name else 8))
            assert refused.value.rule in ("truncated", "codestream")
