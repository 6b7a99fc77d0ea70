"""The trace is one that Perfetto opens: events as the Trace Event Format has them."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest
from report_pages import plain, subject
from report_results import session, taken

from medge.bench.report.trace import trace

FIELDS = {  # Trace Event Format, "Event Descriptions": what each phase must have
    "X": {"name", "ph", "ts", "dur", "pid", "tid"},
    "C": {"name", "ph", "ts", "pid", "args"},
    "M": {"name", "ph", "pid", "args"},
}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(trace(subject(*session())))
    return told


def test_every_event_has_what_its_phase_needs(found: dict[str, Any]) -> None:
    assert found["displayTimeUnit"] == "ms"
    for event in found["traceEvents"]:
        assert FIELDS[event["ph"]] <= set(event)
        assert event.get("ts", 0) >= 0
        assert event.get("dur", 0) >= 0
        assert isinstance(event["pid"], int)
        if event["ph"] == "C":
            assert all(isinstance(value, float | int) for value in event["args"].values())


def test_each_configuration_is_a_process_with_named_threads(found: dict[str, Any]) -> None:
    names = [e["args"]["name"] for e in found["traceEvents"] if e["name"] == "process_name"]
    assert names == [
        "openvino bf16, 2 threads",
        "onnxruntime int8, 2 threads",
        "openvino fp32, 2 threads",
        "onnxruntime fp32, 2 threads",
    ]
    threads = {(e["pid"], e["tid"]) for e in found["traceEvents"] if e["name"] == "thread_name"}
    spans = {(e["pid"], e["tid"]) for e in found["traceEvents"] if e["ph"] == "X"}
    assert threads == spans


def test_spans_of_a_thread_lie_inside_each_other_or_apart(found: dict[str, Any]) -> None:
    threads: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in found["traceEvents"]:
        if event["ph"] == "X":
            span = (event["ts"], event["ts"] + event["dur"])
            threads[event["pid"], event["tid"]].append(span)
    for spans in threads.values():
        open_until: list[float] = []
        for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
            while open_until and open_until[-1] <= start + 1e-6:
                open_until.pop()
            assert not open_until or end <= open_until[-1] + 1e-6
            open_until.append(end)


def test_durations_are_those_that_were_measured(found: dict[str, Any]) -> None:
    first = next(r for r in session() if r.candidate and r.candidate.precision == "bf16")
    times = next(one.samples_ns for one in first.measurements if one.stage == "infer")
    shown = [
        e["dur"]
        for e in found["traceEvents"]
        if (e["pid"], e.get("tid")) == (1, 2) and e["ph"] == "X"
    ]
    assert shown == [time_ns / 1e3 for time_ns in times]


def test_a_result_without_a_profile_has_a_trace_of_its_calls() -> None:
    told = json.loads(trace(subject(plain(taken(1, "infer", 3.0, 20)))))
    assert sum(event["ph"] == "X" for event in told["traceEvents"]) == 20
