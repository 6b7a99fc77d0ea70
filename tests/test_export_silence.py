"""An export speaks to no network and leaves nothing but the bundle: watched from outside."""

from __future__ import annotations

from pathlib import Path

from export_kit import SPEC, write_spec
from test_silence import INTERNET, watched

EXPORT = """
import sys
from pathlib import Path
from medge.exporters.export import ExportRequest, export_bundle

export_bundle(ExportRequest(
    source="timm:test_resnet", out=Path(sys.argv[1]), spec=Path(sys.argv[2]), random_weights=0
))
"""


def test_an_export_makes_no_connection_and_writes_only_the_bundle(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, input={**SPEC["input"], "height": 32, "width": 32})
    out = tmp_path / "out"
    out.mkdir()
    calls, files = watched(tmp_path, EXPORT, str(out / "a.medge"), str(spec))
    assert not INTERNET.search(calls)
    assert files == []
    assert [path.name for path in out.iterdir()] == ["a.medge"]
