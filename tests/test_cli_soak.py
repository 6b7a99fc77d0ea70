"""`medge profile --soak`: what may be asked, the rows, and what Ctrl-C leaves in the store."""

from __future__ import annotations

import json
from functools import partial

import click
import msgspec
import pytest
from command_line import Typed
from profiled_results import profiled

from medge.bench.result import Result
from medge.bench.scenario import soak_step
from medge.bench.scenario.soak import Duty, Soaking
from medge.bench.sections import Absent, Soak, SoakMinute
from medge.bench.store import Store
from medge.pages.soak import soak
from medge.verbs.options import seconds
from medge.verbs.soak_options import duty_of

SECOND = 1_000_000_000


def minute(number: int, **changes: object) -> SoakMinute:
    usual = SoakMinute(
        minute=number, pictures=590, p50_ns=20_000_000 + number, p99_ns=22_000_000,
        clock_mhz=3400.0, temperature_c=40.0 + number, throttled=False,
    )  # fmt: skip
    return msgspec.structs.replace(usual, **changes)


def result(**changes: object) -> Result:
    usual = Soak(
        duty_ns=12 * SECOND, rest_ns=48 * SECOND, asked_ns=1800 * SECOND, lasted_ns=1752 * SECOND,
        minutes=tuple(minute(number) for number in range(1, 31)), sustained_per_s=49.2,
        throttle_s=None, ratio=1.02, low=1.01, high=1.03,
    )  # fmt: skip
    taken = profiled()
    assert taken.sections is not None
    told = msgspec.structs.replace(usual, **changes)
    return msgspec.structs.replace(
        taken, sections=msgspec.structs.replace(taken.sections, soak=told)
    )


def test_durations_are_read_as_everywhere() -> None:
    assert [seconds(text) for text in ("90", "90s", "1.5m", "1h")] == [90.0, 90.0, 90.0, 3600.0]
    for wrong in ("", "m", "-1s", "1d", "1 m", "٣s"):
        with pytest.raises(click.BadParameter):
            seconds(wrong)


def test_a_soak_is_how_long_and_a_duty_is_work_and_rest() -> None:
    assert duty_of(None, None) is None
    assert duty_of("30m", None) == Duty(1800 * SECOND, 12 * SECOND, 48 * SECOND)
    assert duty_of("1h", "1m/0") == Duty(3600 * SECOND, 60 * SECOND, 0)


@pytest.mark.parametrize(
    ("asked", "duty", "said"),
    [
        (None, "12s/48s", "--duty needs --soak"),
        ("30m", "12s", "work and rest, such as 12s/48s"),
        ("30m", "0/1s", "above 0"),
        ("0", None, "above 0"),
        ("30m", "12s/x", "90s, 10m, 1h"),
        ("8760h", None, "a week at most"),
    ],
)
def test_what_makes_no_sense_is_refused_with_an_example(
    asked: str | None, duty: str | None, said: str
) -> None:
    with pytest.raises(click.UsageError) as refused:
        duty_of(asked, duty)
    assert said in refused.value.format_message()
    assert refused.value.exit_code == 2


def test_rows_tell_the_rate_the_ratio_the_throttling_and_a_dozen_minutes() -> None:
    rows = list(soak(result()))
    told = {name: value for _, name, value in rows}
    assert told["of"] == "30 min: 12 s of work, 48 s of rest"
    assert told["sustained"] == "49.2 pictures in a second of work"
    assert told["last minute"] == "p50 1.020 of the first minute's (1.010 to 1.030)"
    assert told["throttled"] == "never"
    minutes = [name for name in told if name.startswith("minute")]
    assert len(minutes) == 12
    assert (minutes[0], minutes[-1]) == ("minute 1", "minute 30")
    assert told["minute 1"] == "590 pictures, p50 20 ms, p99 22 ms, 3400 MHz, 41 C"


def test_rows_tell_what_is_not_known_and_what_was_interrupted() -> None:
    hot = minute(1, p99_ns=None, clock_mhz=None, temperature_c=None, throttled=True)
    found = result(
        minutes=(hot, minute(3)), throttle_s=Absent(reason="a virtual machine"), low=None,
        high=None, interrupted=True, lasted_ns=90 * SECOND,
    )  # fmt: skip
    told = {name: value for _, name, value in soak(found)}
    assert told["of"].startswith("90 s of 30 min, then interrupted")
    assert told["throttled"] == "not known: a virtual machine"
    assert told["last minute"].endswith("(their calls cannot bound it)")
    assert told["minute 1"] == "590 pictures, p50 20 ms, throttled"
    assert {v for _, n, v in soak(result(throttle_s=605.2)) if n == "throttled"} == {
        "first after 605 s"
    }
    assert list(soak(profiled())) == []
    alone = {name: value for _, name, value in soak(result(minutes=(minute(1),)))}
    assert alone["last minute"] == "is the first: a longer soak compares them"


def test_ctrl_c_in_a_soak_stores_it_as_what_it_is_and_ends_with_130(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(soak_step, "Soaking", partial(Soaking, sleep=stop))
    said = typed(
        "profile", "--quick", "--time-budget", "1", "--no-sensors",
        "--soak", "1h", "--duty", "0.5s/59s", "--json",
    )  # fmt: skip
    assert said.code == 130, said.err
    told = json.loads(said.out)
    assert told["exit_code"] == 130
    (found,) = told["results"]
    assert found["result"]["sections"]["soak"]["interrupted"] is True
    assert found["result"]["sections"]["soak"]["minutes"][0]["pictures"] >= 1
    with Store.open() as store:
        kept = store.get(found["number"])
    assert kept.sections is not None
    assert isinstance(kept.sections.soak, Soak)
    assert kept.sections.soak.interrupted


@pytest.mark.parametrize(
    "words", [("--duty", "12s/48s"), ("--soak", "forever"), ("--soak", "30m", "--duty", "12s")]
)
def test_wrong_words_end_with_2_and_a_next_step(typed: Typed, words: tuple[str, ...]) -> None:
    said = typed("profile", *words)
    assert said.code == 2
    assert "30m" in said.err or "10m" in said.err or "12s/48s" in said.err or "--soak" in said.err
