"""Exported results: equal when they come back, and refused when damaged, newer or foreign."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from profiled_results import profiled
from stored_results import result

from medge.bench.exchange import decode, encode, read_documents
from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure
from medge.bench.result import Result
from medge.errors import InputError

ROOT = Path(__file__).parent.parent
Change = Callable[[dict[str, Any]], None]


def sealed(plain: dict[str, Any]) -> bytes:
    """What another program would write, with a digest that is right."""
    told = msgspec.json.encode(plain["result"], order="sorted")
    return json.dumps(plain | {"sha256": hashlib.sha256(told).hexdigest()}).encode()


def change(*path: str | int, to: Any) -> Change:
    """Put a value at a place of the result."""

    def apply(plain: dict[str, Any]) -> None:
        at: Any = plain["result"]
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = to

    return apply


def rule(raw: bytes) -> str:
    with pytest.raises(InputError) as refused:
        decode(raw, "a.json")
    assert refused.value.message.startswith("a.json: ")
    return refused.value.rule


@pytest.mark.parametrize("indent", [False, True])
@pytest.mark.parametrize("one", [result(0), result(1), profiled(2)])
def test_a_result_comes_back_and_is_written_the_same(one: Result, indent: bool) -> None:
    raw = encode(one, indent=indent)
    back = decode(raw, "a.json")
    assert back == one
    assert encode(back, indent=indent) == raw


def test_the_digest_is_that_of_the_result_with_sorted_keys_and_no_blanks() -> None:
    """Python's json writes these numbers as msgspec does."""
    plain = json.loads(encode(result(1)))
    told = json.dumps(plain["result"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert plain["sha256"] == hashlib.sha256(told.encode()).hexdigest()


number = st.one_of(st.integers(1, 10**13), st.just(1))


@settings(deadline=None, max_examples=30)
@given(
    st.lists(number, min_size=1, max_size=40),
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4),
    st.floats(0, 1e6, allow_nan=False),
    st.sampled_from([" ", "  ", "\n\t"]),
)
def test_any_result_comes_back_however_it_is_indented(
    samples: list[int], versions: dict[str, str], mj: float, blanks: str
) -> None:
    one = profiled(samples=3)
    assert one.sections is not None
    sections = replace(
        one.sections,
        evidence=replace(one.sections.evidence, versions=versions),
        energy=replace(one.sections.energy, raw_low_mj=mj, raw_mj=mj, raw_high_mj=mj),
    )
    taken = Measurement("infer", tuple(samples), Procedure())
    one = replace(one, sections=sections, measurements=(taken,))
    spread = json.dumps(json.loads(encode(one)), indent=blanks).encode()
    assert decode(spread, "a.json") == one


@pytest.mark.parametrize("seed", range(120))
def test_damage_is_refused_or_harmless_never_another_result(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - damage of a test
    whole = bytearray(encode(profiled(samples=20), indent=seed % 2 == 0))
    raw, at = bytearray(whole), draw.randrange(len(whole))
    match seed % 4:
        case 0:
            raw[at] ^= 1 << draw.randrange(8)
        case 1:
            del raw[at:]
        case 2:
            raw[at : at + 5] = b"0" * len(raw[at : at + 5])
        case _:
            del raw[at : at + draw.randrange(1, 40)]
    try:
        found: object = decode(bytes(raw), "a.json")
    except InputError as refused:
        found = refused.rule
    refusals = ("document-damaged", "document-foreign", "document-newer")
    assert found in (profiled(samples=20), *refusals)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xff\xfe", b"{", b'{"schema": NaN}', b"[" * 100_000, b'{"a": 1, "a": 1}', b"\x00" * 9],
)
def test_what_is_no_json_is_damaged(raw: bytes) -> None:
    assert rule(raw) == "document-damaged"


@pytest.mark.parametrize(
    "raw", [b"{}", b"[]", b"1", b'{"schema": "medge.run/1"}', b'{"schema": 1}']
)
def test_what_is_no_result_is_foreign(raw: bytes) -> None:
    assert rule(raw) == "document-foreign"


@pytest.mark.parametrize(
    "apply",
    [
        change("power_w", to=5.0),
        change("sections", "fleet", to={}),
        change("sections", "doubts", "infer", 0, "p", to=0.5),  # a dataclass of Python
        change("device", "sockets", to=2),
        change("measurements", 0, "clock", to="tsc"),
        change("measurements", 0, "procedure", "fan", to="on"),
    ],
)
def test_facts_that_this_version_does_not_know_are_refused(apply: Change) -> None:
    plain = json.loads(encode(profiled()))
    apply(plain)
    assert rule(sealed(plain)) == "document-newer"


def test_a_newer_schema_is_refused() -> None:
    plain = json.loads(encode(profiled()))
    assert rule(sealed(plain | {"schema": "medge.result/2"})) == "document-newer"


@pytest.mark.parametrize(
    "apply",
    [
        change("measurements", 0, "samples_ns", to=[]),
        change("measurements", 0, "samples_ns", 0, to=0),
        change("measurements", 0, "samples_ns", 0, to=-5),
        change("measurements", 0, "samples_ns", 0, to=1.5),
        change("measurements", 0, "samples_ns", 0, to=10**15),
        change("measurements", 0, "warm_up_ns", 0, to=-1),
        change("sections", "sweep", 0, "measurement", "samples_ns", to=[]),
        change("sections", "energy", "net_low_mj", to=1e9),
        change("sections", "energy", "raw_mj", to="much"),
        change("sections", "memory", "growth_high_bytes", to=-1e9),
        change("sections", "trace", "values", 0, to=[15.0]),
        change("sections", "trace", "values", to=[]),
        change("sections", "trace", "at_ns", 1, to=10**12),
        change("sections", "deadline", "late", to=0),
        change("sections", "deadline", "dropped", to=2),
        change("bundle_sha256", to="0" * 63),
        change("taken", to="2026-02-30T10:00:00Z"),
        change("taken", to="2126-02-20T10:00:00Z"),
        change("measurements", to=[{}]),
        change("taken", to="1970-01-01T00:00:00Z"),
        change("device", "cpus", to=0),
    ],
)
def test_numbers_that_cannot_have_been_measured_are_refused(apply: Change) -> None:
    plain = json.loads(encode(profiled()))
    apply(plain)
    assert rule(sealed(plain)) == "document-numbers"


def test_a_result_that_holds_nothing_is_refused() -> None:
    assert rule(encode(replace(result(0), measurements=(), drifts=()))) == "document-numbers"


def test_a_document_too_large_to_be_a_result_is_not_parsed() -> None:
    assert rule(b" " * ((64 << 20) + 1)) == "document-large"


def written(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("form", ["lines", "array", "one"])
def test_a_file_holds_one_document_an_array_or_lines(tmp_path: Path, form: str) -> None:
    many = [result(0), profiled(1), result(2)]
    raws = [encode(one).strip() for one in many]
    raw = {
        "lines": b"\n".join(raws) + b"\n\n",
        "array": b"[\n" + b",\n".join(raws) + b"\n]\n",
        "one": encode(many[0], indent=True),
    }[form]
    found = list(read_documents(written(tmp_path / "a.json", raw)))
    assert [each.result for each in found] == (many if form != "one" else many[:1])


def test_one_bad_document_does_not_hide_the_others(tmp_path: Path) -> None:
    good = encode(result(0)).strip()
    raw = b"\n".join([good, good.replace(b"int8", b"int4"), good])
    found = list(read_documents(written(tmp_path / "a.jsonl", raw)))
    assert [each.result is not None for each in found] == [True, False, True]
    assert found[1].refused is not None
    assert (found[1].name, found[1].refused.rule) == ("a.jsonl, document 2", "document-damaged")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, expected in ((tmp_path, "not-a-file"), (tmp_path / "none", "not-found")):
        with pytest.raises(InputError) as refused:
            list(read_documents(path))
        assert refused.value.rule == expected
    with pytest.raises(InputError) as refused:
        list(read_documents(written(tmp_path / "a", b"[{}, ")))
    assert refused.value.rule == "document-damaged"


def test_the_published_schema_is_that_of_the_code() -> None:
    command = [sys.executable, "-m", "medge.bench.exchange_schema"]
    fresh = subprocess.run(command, capture_output=True, check=True).stdout  # ourselves
    assert (ROOT / "docs/profile.schema.json").read_bytes() == fresh, (
        "a stored fact has changed: run `python -m medge.bench.exchange_schema > "
        "docs/profile.schema.json`"
    )


def test_the_published_schema_refuses_unknown_keys_and_names_all_that_a_result_holds() -> None:
    schema = json.loads((ROOT / "docs/profile.schema.json").read_text())
    for definition in schema["$defs"].values():
        assert definition["additionalProperties"] is False
    held = {field.name for field in msgspec.structs.fields(Result)}
    assert set(schema["$defs"]["Result"]["properties"]) == held
