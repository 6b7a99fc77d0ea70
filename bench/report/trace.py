"""Trace: stages, calls, layers and sensors as Chrome's trace events, to be opened in Perfetto."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from medge.bench.measure import Measurement
from medge.bench.report.quantities import clean
from medge.bench.report.subject import IN_FILE, NETWORK, STAGES, WHOLE, Entry, Subject
from medge.bench.sections import Layers
from medge.profiles.sensors.trace import Trace

FILES, CALLS, LAYERS = 1, 2, 3  # threads of each configuration
MOST_CALLS = 1000  # of each thread: enough to look at, small enough to open
NOTE = (
    "Durations are measured. Only durations were kept, so calls stand one after the other; those "
    "of other configurations and the pauses between them are left out. Sensors have their own time."
)
Event = dict[str, Any]


def trace(subject: Subject) -> bytes:
    """Return the JSON object format of the Trace Event Format, each event's times in microseconds.

    One process for each configuration. Its first thread has calls from file to decision with their
    stages, the second the network alone, the third the layers of one call.
    """
    events: list[Event] = []
    for place, entry in enumerate(subject.entries, 1):
        events += _process(place, entry)
    told = {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"bundle": clean(subject.bundle_name), "note": NOTE},
    }
    return msgspec.json.encode(told) + b"\n"


def _process(place: int, entry: Entry) -> Iterator[Event]:
    yield _name("process_name", place, 0, entry.name)
    files = list(_files(place, entry))
    calls = list(_calls(place, entry.measurement(NETWORK)))
    layers = list(_layers(place, entry))
    for thread, title, some in (
        (FILES, "from file to decision", files),
        (CALLS, "the network alone", calls),
        (LAYERS, "layers, median of watched runs", layers),
    ):
        if some:
            yield _name("thread_name", place, thread, title)
            yield from some
    yield from _sensors(place, entry)


def _files(place: int, entry: Entry) -> Iterator[Event]:
    """Yield each call with its stages inside, where they were taken in the same calls."""
    whole = entry.measurement(WHOLE)
    if whole is None:
        return
    stages = [
        (name, taken)
        for name in STAGES
        if (taken := entry.measurement(name)) is not None
        and len(taken.samples_ns) == len(whole.samples_ns)
    ]
    start = 0
    for call, time_ns in enumerate(whole.samples_ns[:MOST_CALLS]):
        yield _span(WHOLE, place, FILES, start, time_ns)
        at = start
        for name, taken in stages:
            # A stage cannot end after its call: clocks are read one after the other.
            part_ns = min(taken.samples_ns[call], start + time_ns - at)
            title = NETWORK if name == IN_FILE else name
            yield _span(title, place, FILES, at, part_ns)
            at += part_ns
        start += time_ns


def _calls(place: int, taken: Measurement | None) -> Iterator[Event]:
    start = 0
    for time_ns in () if taken is None else taken.samples_ns[:MOST_CALLS]:
        yield _span(NETWORK, place, CALLS, start, time_ns)
        start += time_ns


def _layers(place: int, entry: Entry) -> Iterator[Event]:
    found = None if entry.sections is None else entry.sections.layers
    if not isinstance(found, Layers):
        return
    start = 0
    for layer in found.layers:
        told = {"kind": clean(layer.kind), "precision": clean(layer.precision)}
        yield _span(layer.name, place, LAYERS, start, layer.time_ns) | {"args": told}
        start += layer.time_ns


def _sensors(place: int, entry: Entry) -> Iterator[Event]:
    found = None if entry.sections is None else entry.sections.trace
    if not isinstance(found, Trace):
        return
    for channel, values in zip(found.channels, found.values, strict=True):
        title = f"{channel.quantity} of {channel.part}, {channel.unit}"
        yield from _counter(title, place, found.at_ns, values)


def _counter(
    title: str, place: int, at_ns: Sequence[int], values: Sequence[float | None]
) -> Iterator[Event]:
    for at, value in zip(at_ns, values, strict=True):
        if value is not None:
            yield {
                "name": clean(title),
                "ph": "C",
                "ts": at / 1e3,
                "pid": place,
                "args": {"value": value},
            }


def _span(name: str, place: int, thread: int, start_ns: int, time_ns: int) -> Event:
    return {
        "name": clean(name),
        "cat": "medge",
        "ph": "X",
        "ts": start_ns / 1e3,
        "dur": time_ns / 1e3,
        "pid": place,
        "tid": thread,
    }


def _name(kind: str, place: int, thread: int, name: str) -> Event:
    told = {"name": clean(name)}
    return {"name": kind, "ph": "M", "ts": 0, "pid": place, "tid": thread, "args": told}
