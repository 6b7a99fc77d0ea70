"""LoadGen's own logs: whether a run was valid, its figure, its settings, and every answer kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medge.bench.scenario.digest import file_sha256
from medge.engine.decide import decide
from medge.engine.manifest import Manifest
from medge.errors import BackendError, InputError

PREFIX = "mlperf_log_"
SUMMARY, DETAIL, ACCURACY = f"{PREFIX}summary.txt", f"{PREFIX}detail.txt", f"{PREFIX}accuracy.json"

Decision = tuple[tuple[str, ...], ...]  # labels of every output; empty where there is no decision

# Which line of a summary is the scenario's figure (inference_rules.adoc, "Scenarios"); the second
# is told where the first is missing, because too few queries were answered.
_FIGURES = {
    "SingleStream": (
        (
            r"Early stopping 90\.0th percentile estimate: (\d+)",
            "p90, early stopping",
            "ns",
        ),
        (r"90\.0th percentile latency \(ns\) : (\d+)", "p90, too few queries", "ns"),
    ),
    "MultiStream": (
        (
            r"Early stopping 99\.0th percentile estimate: (\d+)",
            "p99, early stopping",
            "ns",
        ),
        (r"99\.0th percentile latency \(ns\) : (\d+)", "p99, too few queries", "ns"),
    ),
    "Server": ((r"Completed samples per second\s*: ([\d.e+]+)", "completed", "pictures/s"),),
    "Offline": ((r"Samples per second\s*: ([\d.e+]+)", "throughput", "pictures/s"),),
}
_CHECKS = r"^  (?:Performance constraints|Min duration|Min queries|Early stopping) satisfied.*$"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a performance run's summary says.

    ``valid`` is LoadGen's own word; ``in_time`` whether the latency bound of Server was kept.
    ``told`` are its checks, recommendations, warnings and errors, a line each.
    """

    valid: bool
    in_time: bool
    metric: str
    value: float
    unit: str
    settings: dict[str, str]
    told: tuple[str, ...]


def read_summary(folder: Path, scenario: str) -> Summary:
    """Read the summary of a performance run.

    Raises
    ------
    BackendError
        Rule ``loadgen-log``: it is not there, or not what LoadGen writes.
    """
    text = _text(folder / SUMMARY)
    result = re.search(r"^Result is : (VALID|INVALID)$", text, re.MULTILINE)
    metric, value, unit = _figure(text, scenario)
    if result is None:
        raise _unlike(SUMMARY)
    return Summary(
        valid=result[1] == "VALID",
        in_time=re.search(r"Performance constraints satisfied : NO", text) is None,
        metric=metric,
        value=value,
        unit=unit,
        settings=read_settings(text),
        told=tuple(_told(text)),
    )


def read_settings(text: str) -> dict[str, str]:
    """Return the settings that LoadGen ran with, as its summary lists them at its end."""
    _, _, listed = text.partition("Test Parameters Used\n")
    rows = re.findall(r"^(\w+(?: \(\w+\))?)\s*: ?(\S+)$", listed, re.MULTILINE)
    return {name: value for name, value in rows}


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that LoadGen left in a folder, by name."""
    return {
        path.name: file_sha256(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.stat().st_size
    }


def read_answers(folder: Path, manifest: Manifest) -> Iterator[tuple[int, Decision]]:
    """Yield (picture, decision) for every answer that LoadGen kept.

    Raises
    ------
    BackendError
        Rule ``loadgen-log``.
    """
    try:
        entries = json.loads(_text(folder / ACCURACY))
        for entry in entries:
            yield int(entry["qsl_idx"]), decision(bytes.fromhex(entry["data"]), manifest)
    except (ValueError, KeyError, TypeError):
        raise _unlike(ACCURACY) from None


def decision(raw: bytes, manifest: Manifest) -> Decision:
    """Return what an answer of ``System`` decides, as `medge run` would."""
    outputs: dict[str, np.ndarray[tuple[int, int], np.dtype[np.float32]]] = {}
    values, first = np.frombuffer(raw, np.float32), 0
    for output in manifest.outputs:
        end = first + len(output.classes)
        outputs[output.name] = values[None, first:end]
        first = end
    if first != len(values):
        raise ValueError(f"{len(values)} values, expected {first}")
    return decided(outputs, 0, manifest)


def decided(
    outputs: Mapping[str, np.ndarray[tuple[int, int], np.dtype[np.float32]]],
    row: int,
    manifest: Manifest,
) -> Decision:
    """Return the labels of every output for one row; nothing where there is no decision."""
    try:
        return tuple(answer.labels for answer in decide(outputs, row, manifest))
    except InputError:
        return ()


def _figure(text: str, scenario: str) -> tuple[str, float, str]:
    for pattern, metric, unit in _FIGURES[scenario]:
        found = re.search(pattern, text)
        if found is not None:
            return metric, float(found[1]), unit
    raise _unlike(SUMMARY)


def _told(text: str) -> Iterator[str]:
    """Yield LoadGen's own words on a run; lines that it broke are put together again."""
    yield from (line.strip() for line in re.findall(_CHECKS, text, re.MULTILINE))
    _, _, after = text.partition("Result is : ")
    said, _, _ = after.partition("====")
    for item in re.findall(r"^ \* (.*(?:\n [ \w].*)*)", said, re.MULTILINE):
        yield re.sub(r"\s+", " ", item)
    yield from re.findall(r"^\d+ (?:warnings?|errors?|WARNINGS?|ERRORS?).*$", text, re.MULTILINE)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise _unlike(path.name) from None


def _unlike(name: str) -> BackendError:
    return BackendError(
        "loadgen-log",
        f"{name} is not there, or not what LoadGen 6 writes. Free space on the disk of its logs, "
        'or install it again: `pip install "medge[bench]"`.',
    )
