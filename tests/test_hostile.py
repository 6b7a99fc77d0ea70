"""Damaged files: 300 of the harness's mutations, every cut, and lies; none may go wrong unseen."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hostile.mutate import MUTATORS, run_cases
from hostile.outcome import outcome_of
from hostile.seeds import all_seeds, syntax_seeds
from hostile.silent import lies, truncations, verdict

SYNTAXES = (
    "implicit",
    "explicit",
    "deflated",
    "big",
    "rle",
    "jpeg",
    "jpeg-extended-8",
    "jpeg-ls",
    "jpeg-ls-near",
    "jpeg-2000",
    "jpeg-2000-lossless",
    "jpeg-lossless",
    "jpeg-lossless-sv1",
)
# Lies that contradict nothing else in the file, so that no reader can know.
BELIEVED = (
    "Bits Stored",
    "High Bit",
    "Pixel Representation",
    "Photometric",
    "Bits Allocated = 16",
)


@cache
def seeds() -> dict[str, bytes]:
    return dict(syntax_seeds())


def skip_without_gdcm(name: str) -> None:
    if name.startswith("jpeg-lossless"):
        pytest.importorskip("gdcm", reason="JPEG Lossless needs GDCM, which is optional")


def test_every_seed_is_read_before_it_is_damaged(tmp_path: Path) -> None:
    for name, data in all_seeds().items():
        skip_without_gdcm(name)
        assert outcome_of(data, tmp_path / "seed").kind == "read", name


def test_three_hundred_mutations_are_read_or_refused_by_rule(tmp_path: Path) -> None:
    refused, mutators = 0, set()
    for number, mutator, name, found in run_cases(range(300), 2, tmp_path):
        assert found.is_typed, f"case {number}: {mutator} of {name}: {found.kind}"
        refused += found.kind != "read"
        mutators.add(mutator)
    assert refused > 100
    assert mutators == {mutator.__name__ for mutator in MUTATORS}


@pytest.mark.parametrize("name", SYNTAXES)
def test_no_cut_of_any_syntax_yields_a_wrong_frame(tmp_path: Path, name: str) -> None:
    skip_without_gdcm(name)
    path = tmp_path / "cut"
    good = outcome_of(seeds()[name], path)
    cuts = 20 if name.startswith("jpeg-lossless") else 100
    assert truncations(seeds()[name], good, path, cuts) == {"refused": cuts}


@pytest.mark.parametrize("name", SYNTAXES)
def test_no_lie_that_the_file_contradicts_yields_a_wrong_frame(tmp_path: Path, name: str) -> None:
    skip_without_gdcm(name)
    path = tmp_path / "lie"
    good = outcome_of(seeds()[name], path)
    told = lies(seeds()[name], name)
    assert len(told) > 20
    for what, data in told:
        found = verdict(outcome_of(data, path), good)
        if not what.startswith(BELIEVED):
            assert found == "refused", what
        assert found in ("refused", "same", "wrong"), what
