"""What `medge estimate` found, as a page, a table, and one object for programs."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec

from medge.console import Row, bytes_text, percent_text, rows_text
from medge.estimate import Answer, Question
from medge.profiles.estimate.latency import LatencyEstimate
from medge.profiles.estimate.memory import MemoryEstimate
from medge.profiles.estimate.plan import Plan, by_latency

LABEL = "estimated"
WIDE = 96  # columns
HELD = {True: "yes", None: "perhaps", False: "no"}
CSV_COLUMNS = (
    "network", "target", "name", "runtime", "precision", "batch", "figures", "latency_ms",
    "low_ms", "high_ms", "pictures_s", "holds_fps", "bound", "memory_bytes", "memory_is",
    "device_memory_bytes", "energy_bound_j", "toolchain", "reason",
)  # fmt: skip
EXPLAINED = (
    "Estimated, not measured; the interval is made to hold 80 % of what is measured on such "
    "devices. A rate is held (yes) over all of it, or (perhaps) in a part of it."
)


def estimate_object(found: Answer, fps: float) -> dict[str, Any]:
    """Return every estimate and every abstention in plain JSON types."""
    ordered = list(by_latency(found.plans))
    return {
        "schema": "medge.estimate/1",
        "figures": LABEL,
        "fps": fps,
        "study": None if found.study is None else found.study.ref,
        "networks": [{"name": one.name, "note": one.note} for one in found.subjects],
        "estimates": [_estimate(each, fps) for each in ordered if each.latency],
        "abstentions": [
            *(_abstention(each) for each in ordered if each.latency is None),
            *({"what": name, "reason": reason} for name, reason in found.missing),
        ],
    }


def _estimate(each: Plan, fps: float) -> dict[str, Any]:
    latency = each.latency
    if latency is None:
        raise ValueError("only what has an estimate can be told as one")
    return {
        **_head(each),
        "latency_ms": latency.latency_ms,
        "interval_80_ms": [latency.low_ms, latency.high_ms],
        "pictures_s": latency.throughput,
        "holds_fps": HELD[each.holds(fps)],
        "bound": latency.bound,
        "shares": dict(latency.shares),
        "measured_rows": latency.measured,
        "notes": list(latency.notes),
        "memory": None if each.memory is None else _memory(each.memory),
        "energy_upper_bound_j": each.energy_j,
        "toolchain": None if each.route is None else msgspec.to_builtins(each.route),
    }


def _memory(memory: MemoryEstimate) -> dict[str, Any]:
    return {**msgspec.to_builtins(memory), "fits": memory.fits}


def _abstention(each: Plan) -> dict[str, Any]:
    return {**_head(each), "reason": each.reason}


def _head(each: Plan) -> dict[str, Any]:
    return {
        "network": each.network,
        "target": each.target.id,
        "name": each.target.name,
        "runtime": each.runtime,
        "precision": each.precision,
        "batch": each.batch,
    }


def csv_rows(found: Answer, fps: float) -> Iterator[tuple[str, ...]]:
    """Yield everything, one row a network and device, the abstentions last."""
    for each in by_latency(found.plans):
        head = tuple(str(value or "") for value in _head(each).values())
        if each.latency is None:
            yield (*head, *("" for _ in range(11)), "", each.reason or "")
            continue
        latency, memory = each.latency, each.memory
        yield (
            *head,
            LABEL,
            *(f"{ms:.4g}" for ms in (latency.latency_ms, latency.low_ms, latency.high_ms)),
            f"{latency.throughput:.4g}",
            HELD[each.holds(fps)],
            latency.bound,
            "" if memory is None else str(memory.peak_bytes),
            "" if memory is None else _kind(memory),
            "" if memory is None or memory.has_bytes is None else str(memory.has_bytes),
            "" if each.energy_j is None else f"{each.energy_j:.3g}",
            "" if each.route is None else each.route.id,
            "",
        )
    for name, reason in found.missing:
        yield (name, *("" for _ in range(len(CSV_COLUMNS) - 2)), reason)


def table_text(form: str, found: Answer, asked: Question, *, terminal: bool) -> str:
    """Lay out a table of devices, the fastest first, and below it those without an estimate."""
    several = len(found.subjects) > 1
    # The longest names of devices leave no place for the runtime on a narrow screen.
    told = form == "md" or found.study is not None or terminal_width() >= WIDE
    columns = ("device", *(("network",) if several else ()), *(("runtime",) if told else ()))
    columns += ("ms", "80 % interval", f"{asked.fps:g} fps", "bound by")
    rows = [
        (
            each.target.id,
            *((each.network,) if several else ()),
            *((each.latency.runtime,) if told else ()),
            _number(each.latency.latency_ms),
            f"{_number(each.latency.low_ms)} to {_number(each.latency.high_ms)}",
            HELD[each.holds(asked.fps)],
            each.latency.bound,
        )
        for each in by_latency(found.plans)
        if each.latency
    ]
    text = _heading(found, asked)
    if rows:
        text += "\n" + rows_text(form, columns, rows, terminal=terminal)
    return text + _abstained(found)


def _heading(found: Answer, asked: Question) -> str:
    lines, study = [], found.study
    if study is not None:
        lines.append(f"Study {study.ref}, {study.first_author} {study.year}: {study.model}.")
        if (study.gpu_count or 1) > 1:
            lines.append(f"It used {study.gpu_count} GPUs together; an estimate is of one.")
    names = ", ".join(one.name for one in found.subjects)
    runtime = asked.runtime or "the best runtime that each device still has"
    if names:
        lines.append(f"{names}; batch {asked.batch}, {asked.precision}, {runtime}.")
    lines += [f"{one.name}: {one.note}." for one in found.subjects if one.note]
    if any(each.latency for each in found.plans):
        lines.append(EXPLAINED)
    return "\n".join(_wrapped(line) for line in lines) + "\n"


def _abstained(found: Answer) -> str:
    reasons: dict[str, list[str]] = {}
    for each in found.plans:
        if each.latency is None:
            reasons.setdefault(each.reason or "", []).append(each.target.id)
    for name, reason in found.missing:
        reasons.setdefault(reason, []).append(name)
    if not reasons:
        return ""
    lines = [f"  {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    return "\nNo estimate:\n" + "\n".join(_wrapped(line, indent="    ") for line in lines) + "\n"


def page_rows(found: Answer, fps: float) -> Iterator[Row]:
    """Yield everything about one network on one device."""
    each, subject = found.plans[0], found.subjects[0]
    yield ("network", "name", each.network)
    if subject.note:
        yield ("network", "note", subject.note)
    yield ("device", "name", f"{each.target.name} ({each.target.id})")
    yield ("asked", "runtime", _runtime(each))
    yield ("asked", "batch", f"{each.batch}, {each.precision}")
    if each.latency is None:
        yield ("no estimate", "reason", each.reason or "")
        return
    yield from _latency_rows(each, each.latency, fps)
    if each.memory is not None:
        yield from _memory_rows(each.memory)
    if each.energy_j is not None:
        yield (
            "upper bound",
            "energy",
            f"{each.energy_j:.3g} J a picture at most: {each.target.tdp_w:g} W (TDP, published) "
            "for the slow end of the interval; what it draws is not estimated",
        )
    if each.route is not None:
        steps = ", ".join(f"{step.title} {step.shown}" for step in each.route.steps)
        yield ("toolchain", each.route.title, steps)
        if each.route.runner:
            yield ("toolchain", "note", "too old for medge itself: its runner of build bundles")
        yield ("toolchain", "how", f"medge doctor --target {each.target.id}")


def _latency_rows(each: Plan, latency: LatencyEstimate, fps: float) -> Iterator[Row]:
    slow, fast = (latency.batch / ms * 1e3 for ms in (latency.high_ms, latency.low_ms))
    yield (
        LABEL,
        "latency",
        f"{_number(latency.latency_ms)} ms, 80 % interval {_number(latency.low_ms)} to "
        f"{_number(latency.high_ms)}",
    )
    yield (
        LABEL,
        "throughput",
        f"{_number(latency.throughput)} pictures/s, {_number(slow)} to {_number(fast)}",
    )
    yield (LABEL, f"{fps:g} fps", _held_text(each, fps))
    shares = ", ".join(f"{name} {percent_text(share)}" for name, share in latency.shares.items())
    yield (LABEL, "bound by", f"{latency.bound} ({shares})")
    if latency.measured:
        rows = f"{latency.measured} row{'s' if latency.measured > 1 else ''}"
        yield (LABEL, "from", f"the model, and {rows} measured on the device")
    for note in latency.notes:
        yield (LABEL, "note", note)


def _held_text(each: Plan, fps: float) -> str:
    if each.memory is not None and each.memory.fits is False:
        return "no: it does not fit the device's memory"
    return {
        True: "yes, over the whole interval",
        None: "perhaps: it lies in the interval",
        False: "no, not even at the fast end of the interval",
    }[each.holds(fps)]


def _memory_rows(memory: MemoryEstimate) -> Iterator[Row]:
    parts = [
        f"weights {bytes_text(memory.weights_bytes)}",
        f"tensors {'' if memory.exact else 'at most '}{bytes_text(memory.tensors_bytes)}",
    ]
    if memory.workspace_bytes is not None and memory.base_bytes is not None:
        parts.append(f"runtime's own copies and space {bytes_text(memory.workspace_bytes)}")
        parts.append(f"process before loading {bytes_text(memory.base_bytes)}")
    peak = f"{_kind(memory)} {bytes_text(memory.peak_bytes)}"
    if memory.complete:
        peak += f" while {memory.moment}"
    yield (LABEL, "memory", f"{peak}: {', '.join(parts)}")
    if memory.has_bytes is not None:
        fits = {True: "enough", None: "enough for what is known of it", False: "too little"}
        yield (LABEL, "device has", f"{bytes_text(memory.has_bytes)}: {fits[memory.fits]}")


def _kind(memory: MemoryEstimate) -> str:
    return "peak" if memory.complete else "at least"


def _runtime(each: Plan) -> str:
    return each.runtime or "none is left for it"


def _number(value: float) -> str:
    """Write three digits, and no exponent."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def terminal_width() -> int:
    """Return the width to write for."""
    return shutil.get_terminal_size((80, 24)).columns


def _wrapped(line: str, *, indent: str = "") -> str:
    return textwrap.fill(
        line, max(40, terminal_width()), subsequent_indent=indent, break_long_words=False
    )
