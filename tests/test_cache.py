"""Cache: what was built opens again as it was kept, or is built anew; it is never in the way."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medge.engine import cache as cache_module
from medge.engine.cache import EngineCache, EngineFacts, cache_folder

FACTS = EngineFacts(
    bundle_sha256="a" * 64,
    variant="int8",
    graph_sha256="b" * 64,
    backend="openvino",
    backend_version="2026.4.1",
    machine="GenuineIntel-6-85-7 avx512-vnni",
    device="cpu",
    precision="fp32",
    threads=2,
    streams=1,
    batch=1,
)
LONG_NS = 10**10  # a build that is always worth keeping


@pytest.fixture
def kept(tmp_path: Path) -> EngineCache:
    found = EngineCache(tmp_path / "cache")
    assert found.keep(FACTS, b"engine" * 1000, LONG_NS)
    return found


def file_of(cache: EngineCache) -> Path:
    (path,) = cache.folder.iterdir()
    return path


def test_what_is_kept_comes_back_to_the_byte(kept: EngineCache) -> None:
    assert EngineCache(kept.folder).find(FACTS) == b"engine" * 1000
    assert kept.folder.stat().st_mode & 0o777 == 0o700
    assert file_of(kept).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("field", EngineFacts.__struct_fields__)
def test_any_other_fact_is_another_engine(kept: EngineCache, field: str) -> None:
    value = getattr(FACTS, field)
    other = msgspec.structs.replace(
        FACTS, **{field: value + (1 if isinstance(value, int) else "x")}
    )
    assert other.key != FACTS.key
    assert kept.find(other) is None
    assert not kept.notes


def flip(raw: bytes, at: float) -> bytes:
    place = int(at * (len(raw) - 1))
    return raw[:place] + bytes([raw[place] ^ 0x10]) + raw[place + 1 :]


DAMAGE = {
    "empty": lambda raw: b"",
    "one byte": lambda raw: raw[:1],
    "cut in the head": lambda raw: raw[:100],
    "cut at the end": lambda raw: raw[:-1],
    "one byte more": lambda raw: raw + b"\0",
    "doubled": lambda raw: raw + raw,
    "zeroed page": lambda raw: raw[:1024] + bytes(512) + raw[1536:],
    "all zero": lambda raw: bytes(len(raw)),
    "swapped facts": lambda raw: raw.replace(b'"threads":2', b'"threads":3'),
    "another digest": lambda raw: raw[:20] + b"0" * 64 + raw[84:],
    **{f"flipped at {at:.2f}": (lambda raw, at=at: flip(raw, at)) for at in np.linspace(0, 1, 24)},
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_engine_is_seen_told_and_gone(kept: EngineCache, damage: str) -> None:
    path = file_of(kept)
    good = path.read_bytes()
    bad = DAMAGE[damage](good)
    assert bad != good
    path.write_bytes(bad)
    assert kept.find(FACTS) is None
    assert "built anew" in kept.notes[0]
    assert not path.exists()
    assert kept.keep(FACTS, b"again", LONG_NS)
    assert kept.find(FACTS) == b"again"
    assert len(kept.notes) == 1


def test_an_engine_in_the_place_of_another_is_seen(kept: EngineCache) -> None:
    other = msgspec.structs.replace(FACTS, threads=1)
    file_of(kept).rename(kept.folder / f"{other.key}.engine")
    assert kept.find(other) is None
    assert "another's place" in kept.notes[0]


def as_link(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


def as_two(path: Path) -> None:
    os.link(path, path.with_name("second"))


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_writable(path: Path) -> None:
    path.chmod(0o666)


@pytest.mark.parametrize("change", [as_link, as_two, as_folder, as_pipe, as_writable])
def test_what_is_no_plain_file_of_ours_is_not_read(kept: EngineCache, change: object) -> None:
    change(file_of(kept))  # type: ignore[operator]
    assert kept.find(FACTS) is None
    assert len(kept.notes) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_file_and_the_folder_of_somebody_else_are_not_used(kept: EngineCache) -> None:
    os.chown(file_of(kept), 12345, -1)
    assert kept.find(FACTS) is None
    assert "belongs to others" in kept.notes[0]
    os.chown(kept.folder, 12345, -1)
    assert not kept.keep(FACTS, b"engine", LONG_NS)
    os.chown(kept.folder, 0, -1)


def test_a_folder_that_others_may_write_is_not_used(kept: EngineCache) -> None:
    kept.folder.chmod(0o777)
    assert kept.find(FACTS) is None
    assert "chmod 700" in kept.notes[0]
    assert not kept.keep(FACTS, b"engine", LONG_NS)


def test_a_link_in_the_place_of_the_folder_is_not_followed(kept: EngineCache) -> None:
    link = kept.folder.with_name("link")
    link.symlink_to(kept.folder)
    linked = EngineCache(link)
    assert linked.find(FACTS) is None
    assert linked.notes


def test_what_opens_no_faster_than_it_builds_is_remembered_as_such(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "cache")
    assert not cache.keep(FACTS, bytes(10**6), 50_000_000)
    assert cache.find(FACTS) == b""
    assert not cache.notes


def test_an_engine_that_could_not_be_had_is_tried_again(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "cache")
    assert not cache.keep(FACTS, None, LONG_NS)
    assert cache.find(FACTS) is None
    assert "could not hand it over" in cache.notes[0]


def test_the_engine_used_longest_ago_leaves_first(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "cache", cap_bytes=4000)
    facts = [msgspec.structs.replace(FACTS, batch=n) for n in range(1, 5)]
    for age, each in enumerate(facts[:3]):
        cache.keep(each, bytes(700), LONG_NS)
        os.utime(cache.folder / f"{each.key}.engine", (age, age))
    assert cache.find(facts[0]) is not None  # now used last
    cache.keep(facts[3], bytes(700), LONG_NS)
    assert [cache.find(each) is not None for each in facts] == [True, False, True, True]
    assert sum(path.stat().st_size for path in cache.folder.iterdir()) <= 4000


def test_an_engine_larger_than_the_cache_is_not_kept_and_pushes_nothing_out(
    kept: EngineCache,
) -> None:
    small = EngineCache(kept.folder, cap_bytes=10_000)
    assert not small.keep(msgspec.structs.replace(FACTS, batch=2), bytes(10_000), LONG_NS)
    assert "allowed are 10000" in small.notes[0]
    assert small.find(FACTS) is not None


def test_parts_of_a_killed_process_are_cleared_away_later(kept: EngineCache) -> None:
    part = kept.folder / ".part-1-2"
    part.write_bytes(b"half")
    kept.keep(FACTS, b"new", LONG_NS)
    assert part.exists()  # perhaps somebody is still writing it
    os.utime(part, (1, 1))
    kept.keep(FACTS, b"newer", LONG_NS)
    assert not part.exists()


def test_a_full_disk_costs_the_engine_and_leaves_nothing_half(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from test_cache import FACTS, LONG_NS
from medge.engine.cache import EngineCache
from medge.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
cache = EngineCache(Path(sys.argv[1]))
assert not cache.keep(FACTS, bytes(100_000), LONG_NS)
assert "not kept" in cache.notes[0], cache.notes
try:
    EngineCache(Path(sys.argv[1]), strict=True).keep(FACTS, bytes(100_000), LONG_NS)
except StorageError as error:
    print(error.rule, error.exit_code)
"""
    done = subprocess.run(
        [
            *(sys.executable, "-I", "-c"),
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{code}",
            str(tmp_path / "cache"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "cache-write 6\n"
    assert not list((tmp_path / "cache").iterdir())


def test_a_killed_writer_leaves_an_engine_whole_or_none(tmp_path: Path) -> None:
    """The folder is looked at after every kill; a part is no engine."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_cache import FACTS, LONG_NS
from medge.engine.cache import EngineCache
cache = EngineCache(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    cache.keep(FACTS, bytes(300_000), LONG_NS)
"""
    folder = tmp_path / "cache"
    for _ in range(4):
        reader = EngineCache(folder)
        with subprocess.Popen(
            [sys.executable, "-I", "-c", code, str(folder)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            found = {reader.find(FACTS) for _ in range(50)}
            writer.kill()
        assert found <= {None, bytes(300_000)}
        assert EngineCache(folder).find(FACTS) in (None, bytes(300_000))
        assert not reader.notes


def test_an_engine_that_is_replaced_while_it_is_read_is_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache = EngineCache(tmp_path / "cache")
    cache.keep(FACTS, b"engine", LONG_NS)
    path, real = file_of(cache), os.fstat

    def replaced_first(file: int) -> os.stat_result:
        if stat.S_ISREG(real(file).st_mode):
            path.unlink(missing_ok=True)  # Python itself asks about files that it opens
        return real(file)

    monkeypatch.setattr(os, "fstat", replaced_first)
    assert cache.find(FACTS) == b"engine"
    assert not cache.notes


def test_where_engines_are_kept_can_be_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert cache_folder() == Path(os.environ["MEDGE_HOME"]) / "cache"
    monkeypatch.delenv("MEDGE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "medge"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "medge"
    monkeypatch.setenv("MEDGE_CACHE_BYTES", "123")
    assert EngineCache().cap_bytes == 123
    monkeypatch.setenv("MEDGE_CACHE_BYTES", "much")
    assert EngineCache().cap_bytes == cache_module.DEFAULT_CAP_BYTES


def test_several_processes_share_one_folder(tmp_path: Path) -> None:
    """Room for two of three engines: all the time somebody reads what another one replaces."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import msgspec
from test_cache import FACTS, LONG_NS
from medge.engine.cache import EngineCache
cache = EngineCache(Path(sys.argv[1]), cap_bytes=250_000)
found = 0
for turn in range(60):
    batch = 1 + (turn + int(sys.argv[2])) % 3
    facts = msgspec.structs.replace(FACTS, batch=batch)
    engine = cache.find(facts)
    assert engine in (None, bytes([batch]) * 100_000)
    found += engine is not None
    if engine is None:
        assert cache.keep(facts, bytes([batch]) * 100_000, LONG_NS)
print(found, cache.notes)
"""
    folder = str(tmp_path / "cache")
    running = [
        subprocess.Popen(
            [sys.executable, "-I", "-c", code, folder, str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    told = [process.communicate()[0].split(maxsplit=1) for process in running]
    assert [notes.strip() for _, notes in told] == ["[]"] * 3
    assert sum(int(found) for found, _ in told) > 0
    sizes = [path.stat().st_size for path in (tmp_path / "cache").iterdir()]
    assert sum(sizes) <= 3 * 101_000


@given(st.data())
def test_no_other_bytes_are_ever_taken_for_an_engine(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = EngineCache(Path(folder) / "cache")
        cache.keep(FACTS, b"engine" * 10, LONG_NS)
        good = file_of(cache).read_bytes()
        start = data.draw(st.integers(0, len(good)))
        end = data.draw(st.integers(start, len(good)))
        bad = good[:start] + data.draw(st.binary(max_size=64)) + good[end:]
        file_of(cache).write_bytes(bad)
        assert cache.find(FACTS) == (b"engine" * 10 if bad == good else None)
