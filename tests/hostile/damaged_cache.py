"""Damage engines in the cache in every way that disks, cuts and hands do; none may give an answer.

Run: ``python tests/hostile/damaged_cache.py``. Every damaged engine must be seen, told and built
anew, and the answer must be that of the undamaged one to the bit.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from narrow_graphs import golden_image, int8_graph, narrow_bundle

from medge.engine import cache as cache_module
from medge.engine.bundle import Bundle, open_bundle
from medge.engine.cache import EngineCache
from medge.engine.select import choose
from medge.engine.selftest import open_proven

BACKENDS = ("onnxruntime", "openvino")
CASES = 300
PAGE_BYTES = 512

Random = np.random.Generator
Damage = Callable[[bytes, bytes, Random], bytes]


def flip_bit(good: bytes, other: bytes, random: Random) -> bytes:
    """Turn one bit anywhere."""
    raw = bytearray(good)
    raw[random.integers(len(raw))] ^= 1 << random.integers(8)
    return bytes(raw)


def flip_bits(good: bytes, other: bytes, random: Random) -> bytes:
    """Turn sixteen bits."""
    for _ in range(16):
        good = flip_bit(good, other, random)
    return good


def truncate(good: bytes, other: bytes, random: Random) -> bytes:
    """Cut anywhere, as a full disk does."""
    return good[: random.integers(1, len(good))]


def empty(good: bytes, other: bytes, random: Random) -> bytes:
    """Leave nothing, as a power cut after a rename may."""
    return b""


def zero_page(good: bytes, other: bytes, random: Random) -> bytes:
    """Lose a page, as a power cut does where the file system keeps no order."""
    start = PAGE_BYTES * int(random.integers(len(good) // PAGE_BYTES))
    return good[:start] + bytes(PAGE_BYTES) + good[start + PAGE_BYTES :]


def swap_page(good: bytes, other: bytes, random: Random) -> bytes:
    """Take a page from another engine."""
    start = PAGE_BYTES * int(random.integers(min(len(good), len(other)) // PAGE_BYTES))
    page = other[start : start + PAGE_BYTES]
    return good[:start] + page + good[start + len(page) :]


def append(good: bytes, other: bytes, random: Random) -> bytes:
    """Write more behind it."""
    return good + random.bytes(int(random.integers(1, 4096)))


def swap_files(good: bytes, other: bytes, random: Random) -> bytes:
    """Put the engine of other options, whole in itself, in its place."""
    return other


def edit_facts(good: bytes, other: bytes, random: Random) -> bytes:
    """Claim other facts."""
    edits = ((b'"threads":1', b'"threads":2'), (b'"variant":"int8"', b'"variant":"fp32"'))
    old, new = edits[random.integers(len(edits))]
    return good.replace(old, new)


def edit_digest(good: bytes, other: bytes, random: Random) -> bytes:
    """Take the digest of another engine."""
    start = len(cache_module._MAGIC)
    return good[:start] + other[start : start + 64] + good[start + 64 :]


DAMAGES: tuple[Damage, ...] = (
    flip_bit,
    flip_bits,
    truncate,
    empty,
    zero_page,
    swap_page,
    append,
    swap_files,
    edit_facts,
    edit_digest,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one damaged engine."""

    backend: str
    damage: str
    seen: bool  # told, and built anew
    right: bool  # the answer is that of the undamaged engine, to the bit


def run_cases(count: int, seed: int, folder: Path) -> Iterator[Outcome]:
    """Damage ``count`` engines, shared between the runtimes that are here."""
    random = np.random.default_rng(seed)
    here = [name for name in BACKENDS if any(metadata.distributions(name=name))]
    path = narrow_bundle(folder, "int8", int8_graph())
    with open_bundle(path) as bundle:
        for backend in here:
            cache = EngineCache(folder / backend)
            _answer(bundle, backend, cache, threads=2)
            other = _only_file(cache).read_bytes()
            _only_file(cache).unlink()
            right, _ = _answer(bundle, backend, cache, threads=1)
            if _answer(bundle, backend, cache, threads=1) != (right, False) or cache.notes:
                raise RuntimeError("an undamaged engine does not open, so nothing would be shown")
            for case in range(count // len(here)):
                damage = DAMAGES[case % len(DAMAGES)]
                file = _only_file(cache)
                good = file.read_bytes()
                bad = damage(good, other, random)
                while bad == good:  # a page of zeros that was one before
                    bad = damage(good, other, random)
                file.write_bytes(bad)
                found, told = _answer(bundle, backend, cache, threads=1)
                yield Outcome(backend, damage.__name__, told, found == right)


def _answer(bundle: Bundle, backend: str, cache: EngineCache, threads: int) -> tuple[bytes, bool]:
    """Open through the cache, infer; return the bits, and whether damage was told and repaired."""
    told = len(cache.notes)
    choice = choose(bundle, backend=backend, precision="int8", threads=threads)
    session, _ = open_proven(bundle, choice, cache)
    with session:
        answer = session.infer({"image": golden_image()})["scores"].tobytes()
        return answer, len(cache.notes) == told + 1 and not session.from_cache


def _only_file(cache: EngineCache) -> Path:
    (file,) = cache.folder.iterdir()
    return file


def main() -> int:
    """Run all and print a table; return 1 if any damage was not seen or gave another answer."""
    cache_module.WORTH_NS = cache_module.WORTH_CHECKS = 0  # small engines are kept too
    table: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for outcome in run_cases(CASES, 1, Path(folder)):
            row = table.setdefault(outcome.damage, Counter())
            row["cases"] += 1
            row["seen"] += outcome.seen
            row["wrong"] += not outcome.right
    for damage, row in table.items():
        print(f"| {damage} | {row['cases']} | {row['seen']} | {row['wrong']} |")
    total = sum(table.values(), Counter())
    print(f"{total['cases']} damaged: {total['seen']} seen, {total['wrong']} wrong answers")
    return int(total["seen"] != total["cases"] or total["wrong"] > 0)


if __name__ == "__main__":
    raise SystemExit(main())
