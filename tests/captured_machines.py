"""Captured machines: unpacks a file of tests/captures into the folder that readers take as root."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent / "captures"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.txt")))

_BEGIN = re.compile(r"^-- (\S+) --\n", re.MULTILINE)


def machine(name: str, root: Path) -> Path:
    """Write the files of one captured machine below ``root``, which is made, and return it."""
    root.mkdir(parents=True, exist_ok=True)
    parts = _BEGIN.split((FOLDER / f"{name}.txt").read_text(encoding="utf-8"))
    for path, text in zip(parts[1::2], parts[2::2], strict=True):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.replace("\\0\n", "\0").replace("\\0", "\0").encode())
    return root
