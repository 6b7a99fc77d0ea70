"""Procedures: two that differ in anything that matters are told apart, field by field."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from medge.bench.procedure import Procedure, Sampling, WarmUp, differences

OTHER: dict[str, Any] = {  # a different value of every field but the version
    "span": "file-to-decision",
    "batch": 8,
    "streams": 2,
    "threads": 4,
    "copies_in": False,
    "copies_out": False,
    "warm_up": WarmUp(window=20),
    "sampling": Sampling(min_samples=459),
    "rest_ns": 1_000_000,
    "lead_in": 1,
    "turn_calls": 10,
    "order": "interleaved",
    "spinning": "runtime",
    "cpus": (0, 1),
}
ONLY_ONE = {"version", "clock", "collector", "percentile_rule"}  # fields with a single value so far


def test_equal_procedures_do_not_differ() -> None:
    assert differences(Procedure(threads=2), Procedure(threads=2)) == ()


@pytest.mark.parametrize("name", OTHER)
def test_each_field_makes_procedures_unlike(name: str) -> None:
    other = msgspec.structs.replace(Procedure(), **{name: OTHER[name]})
    (found,) = differences(Procedure(), other)
    assert found.split(".")[0] == name


def test_no_field_is_forgotten() -> None:
    fields = {field.name for field in msgspec.structs.fields(Procedure)}
    assert fields == set(OTHER) | ONLY_ONE | {"seed"}


def test_every_difference_is_named() -> None:
    other = Procedure(batch=4, warm_up=WarmUp(level=0.01, max_calls=0), seed=9)
    assert differences(Procedure(), other) == ("batch", "warm_up.level", "warm_up.max_calls")


def test_another_order_of_the_same_turns_measures_the_same() -> None:
    assert differences(Procedure(seed=1), Procedure(seed=2)) == ()


def test_a_procedure_survives_its_document() -> None:
    procedure = msgspec.structs.replace(Procedure(), **OTHER)
    assert msgspec.json.decode(msgspec.json.encode(procedure), type=Procedure) == procedure


@pytest.mark.parametrize(
    "document",
    [
        b'{"version": 2}',
        b'{"batch": 0}',
        b'{"warmth": 3}',
        b'{"warm_up": {"window": 4}}',
        b'{"warm_up": {"level": 1.0}}',
        b'{"clock": "time"}',
    ],
)
def test_a_document_that_says_something_else_is_refused(document: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(document, type=Procedure)
