"""What a profile found, as rows for people: the answer first, then what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from medge.bench.candidates import is_reference
from medge.bench.choose import spoken
from medge.bench.sections import Absent
from medge.bench.stats import interval_cases, percentile, worth
from medge.console import bytes_text, percent_text
from medge.pages.profile_full import FULL_SECTIONS
from medge.pages.scenarios import deadline, loadgen
from medge.pages.soak import soak

if TYPE_CHECKING:
    from medge.bench.measure import Measurement
    from medge.bench.profile.run import Profiled
    from medge.bench.result import Result
    from medge.bench.sections import Sections
    from medge.engine.bundle import Bundle
    from medge.engine.evidence import Drift

Row: TypeAlias = tuple[str, str, str]
Section: TypeAlias = "Callable[[Result], Iterator[Row]]"
WHOLE = "file-to-decision"
STAGES = ("read", "decode", "prepare", "infer-in-file", "decide", WHOLE, "infer")
TAILS = (0.9, 0.95, 0.99)
FAR_TAIL = 0.999
LEAST_GROWTH_BYTES = 4096  # a page; less is no growth
LEAST_CALLS = 200  # of the 1,000 that growth is told for; below, caches still fill


def profile_object(
    bundle: Bundle, profiled: Profiled, numbers: Sequence[int], exit_code: int
) -> dict[str, Any]:
    """Return everything that was found, in plain JSON types, raw times included."""
    manifest = bundle.manifest
    return {
        "schema": "medge.profile/1",
        "exit_code": exit_code,
        "bundle": f"{manifest.name} {manifest.version}",
        "bundle_sha256": bundle.digest,
        "demonstration": manifest.demonstration,
        "reasons": list(profiled.reasons),
        "results": [
            {"number": number, "result": msgspec.to_builtins(result)}
            for number, result in zip(numbers, profiled.results, strict=True)
        ],
        "failures": [msgspec.to_builtins(failure) for failure in profiled.failures],
    }


def profile_rows(bundle: Bundle, profiled: Profiled, numbers: Sequence[int]) -> Iterator[Row]:
    """Yield the answers of all candidates, their details, and who could not be measured."""
    manifest = bundle.manifest
    yield ("bundle", "name", f"{manifest.name} {manifest.version}")
    if manifest.demonstration:
        yield ("bundle", "warning", "demonstration model, not for clinical use")
    for reason in profiled.reasons[:1]:
        yield ("bundle", "run as", reason)
    for result in profiled.results:
        yield from answer(result)
    for number, result in zip(numbers, profiled.results, strict=True):
        if len(profiled.results) > 1 and result.candidate is not None:
            yield ("details", "of", spoken(result.candidate))
        for section in SECTIONS:
            if section is not answer:
                yield from section(result)
        yield ("stored", "result", f"{number} (`medge results show {number}`)")
    for failure in profiled.failures:
        fault = failure.fault
        yield ("failed", fault.rule, f"{spoken(failure.candidate)}: {fault.message}")


def answer(result: Result) -> Iterator[Row]:
    """Yield what somebody at the device asks first."""
    if result.candidate is not None:
        device = result.candidate.device
        yield ("answer", "measured", f"{spoken(result.candidate)} ({result.backend_version})")
        gpu = result.device.gpu
        named = device if gpu is None else f"{device} ({gpu.name})"
        yield ("answer", "on", result.device.name if device == "cpu" else named)
    whole = _stage(result, WHOLE)
    if whole is not None:
        yield ("answer", WHOLE, f"p50 {_percentile(whole, 0.5)}; {_tail(whole, 0.99)}")
        yield ("answer", "frames a second", _frames(whole))
    network = _stage(result, "infer")
    if network is not None:
        yield (
            "answer",
            "network alone",
            f"p50 {_percentile(network, 0.5)}; {_tail(network, 0.99)}",
        )
    yield ("answer", "decisions", _decisions(result))
    names = dict.fromkeys(each.name for of in _sections(result).doubts.values() for each in of)
    yield ("answer", "doubts", f"{', '.join(names)}: see the end" if names else "none")


def stages(result: Result) -> Iterator[Row]:
    """Yield every stage with its percentiles, and what the samples cannot state."""
    yield ("stages", "in ms", f"{'p50 (95 % interval)':<24}{'p90':>7}{'p95':>7}{'p99':>7}")
    for name in STAGES:
        taken = _stage(result, name)
        if taken is not None:
            tails = "".join(f"{_stated(taken, p):>7}" for p in TAILS)
            yield ("stages", name, f"{_middle(taken):<24}{tails}")
    yield from _earlier(result)
    whole = _stage(result, WHOLE)
    if whole is not None:
        yield ("stages", "samples", _sample(whole))
        for p in (*TAILS, FAR_TAIL):
            if whole.interval(p) is None:
                yield ("stages", f"p{100 * p:g}", f"needs {_missing(whole, p)} more calls")
            elif p == FAR_TAIL:
                yield ("stages", f"p{100 * p:g}", f"{_tail(whole, p)}, file to decision")


def starts(result: Result) -> Iterator[Row]:
    """Yield how long new processes took to their first decision."""
    found = _sections(result).cold_start
    if isinstance(found, Absent):
        yield ("cold start", "not measured", found.reason)
    elif found is not None:
        total = percentile(found.total_ns, 0.5)
        low, high = min(found.total_ns), max(found.total_ns)
        value = f"{_ms(total)} ms to the first decision ({_ms(low)} to {_ms(high)}"
        yield ("cold start", "median", f"{value} in {len(found.total_ns)} processes)")
        steps = ", ".join(f"{name} {_ms(ns)}" for name, ns in found.steps_ns.items())
        yield ("cold start", "steps, ms", steps)


def memory(result: Result) -> Iterator[Row]:
    """Yield the memory of the process that ran this candidate alone."""
    found = _sections(result).memory
    if isinstance(found, Absent):
        yield ("memory", "not measured", found.reason)
    elif found is not None:
        base, loaded = found.base_rss_bytes, found.loaded_rss_bytes
        yield ("memory", "before the network", bytes_text(base))
        yield ("memory", "loaded", f"{bytes_text(loaded)}, {bytes_text(loaded - base)} more")
        yield ("memory", "highest", bytes_text(found.peak_rss_bytes))
        if found.helpers_peak_rss_bytes:
            value = f"{bytes_text(found.helpers_peak_rss_bytes)} more, at most"
            yield ("memory", "a helper of it", f"{value}: it compiles, or runs the network")
        low, high = found.growth_low_bytes, found.growth_high_bytes
        grows = "grows" if low > LEAST_GROWTH_BYTES else "no growth shown"
        if found.calls < LEAST_CALLS:
            grows = "too few calls to tell"
        value = f"{_signed(found.growth_bytes)} ({_signed(low)} to {_signed(high)})"
        yield ("memory", "in 1,000 calls", f"{grows}: {value}, from {found.calls} calls")
        device = found.device_bytes
        said = device.reason if isinstance(device, Absent) else bytes_text(device)
        yield ("memory", "on the device", said)


def energy(result: Result) -> Iterator[Row]:
    """Yield the energy of a picture, or why it is not known."""
    found = _sections(result).energy
    if isinstance(found, Absent):
        yield ("energy", "not measured", found.reason)
    elif found is not None:
        net = f"{found.net_mj:.3g} mJ ({found.net_low_mj:.3g} to {found.net_high_mj:.3g})"
        raw = f"{found.raw_mj:.3g} mJ ({found.raw_low_mj:.3g} to {found.raw_high_mj:.3g})"
        yield ("energy", "of a picture", f"{net} above idle, {raw} in all")
        yield ("energy", "power", f"{found.busy_w:.3g} W at work, {found.idle_w:.3g} W idle")
        yield ("energy", "read from", f"{', '.join(found.rails)}: {found.source}")


def sensors(result: Result) -> Iterator[Row]:
    """Yield what was read beside the times, and what this machine does not tell."""
    found = _sections(result).trace
    if isinstance(found, Absent):
        yield ("sensors", "not read", found.reason)
    elif found is not None:
        for channel, values in zip(found.channels, found.values, strict=True):
            told = [value for value in values if value is not None]
            if told and channel.quantity in ("clock", "temperature", "power"):
                span = f"{min(told):.4g} to {max(told):.4g} {channel.unit}"
                yield ("sensors", f"{channel.quantity} {channel.part}", span)
        missing: dict[str, list[str]] = {}
        for quantity, reason in found.missing.items():
            missing.setdefault(reason, []).append(quantity)
        for reason, quantities in missing.items():
            yield ("sensors", f"no {', '.join(quantities)}", reason)


def overhead(result: Result) -> Iterator[Row]:
    """Yield what the profiler itself costs."""
    found = _sections(result).overhead
    if isinstance(found, Absent):
        yield ("own cost", "not measured", found.reason)
    elif found is not None:
        yield (
            "own cost",
            "of a call",
            f"{found.null_ns / 1e3:.3g} us on a backend without network",
        )
        if found.ratio is None:
            yield ("own cost", "of sensors", "none: no sensor is read here")
        else:
            bounds = (
                "too few pairs to bound it"
                if found.low is None or found.high is None
                else f"{_change(found.low)} to {_change(found.high)}"
            )
            value = f"p50 {_change(found.ratio)} ({bounds}), allowed {_change(found.limit_ratio)}"
            yield ("own cost", "of sensors", value)


def proof(result: Result) -> Iterator[Row]:
    """Yield golden cases, what the network runs in, and how this run was not the default."""
    sections = _sections(result)
    found = sections.golden
    if found is not None and found.cases:
        value = f"differ by at most {found.max_abs:.2g} of {found.tolerance:.2g} allowed"
        yield ("proof", "golden cases", f"{found.cases} {value}")
        shares = ", ".join(f"{percent_text(part)} {name}" for name, part in found.shares.items())
        if shares:
            yield ("proof", "layers run in", shares)
    for said in sections.evidence.deviations:
        yield ("proof", "not the default", said)


def doubts(result: Result) -> Iterator[Row]:
    """Yield what speaks against these figures: number, limit, meaning and next step.

    A doubt that several stages share is told once.
    """
    told: dict[tuple[str, str], list[tuple[str, float, float]]] = {}
    for stage, found in _sections(result).doubts.items():
        for doubt in found:
            row = (stage, doubt.value, doubt.limit)
            told.setdefault((doubt.name, doubt.text), []).append(row)
    for (name, text), rows in told.items():
        where = ", ".join(f"{stage} {value:.3g}" for stage, value, _ in rows)
        yield ("doubts", name, f"{where} (limit {rows[0][2]:.3g}): {text}")


SECTIONS: tuple[Section, ...] = (
    answer,
    deadline,
    stages,
    starts,
    memory,
    energy,
    sensors,
    overhead,
    *FULL_SECTIONS,
    soak,
    loadgen,
    proof,
    doubts,
)
"""In the order of the page; each yields nothing where nothing was asked for."""


def _sections(result: Result) -> Sections:
    if result.sections is None:
        raise ValueError("a result of a profile has sections")
    return result.sections


def _stage(result: Result, name: str) -> Measurement | None:
    return next((taken for taken in result.measurements if taken.stage == name), None)


def _percentile(taken: Measurement, p: float) -> str:
    """Write a percentile in ms with its interval, or how many more samples that needs."""
    value = percentile(taken.samples_ns, p)
    bounds = taken.interval(p)
    if bounds is None:
        return f"{_ms(value)} ms (needs {_missing(taken, p)} more calls for an interval)"
    return f"{_ms(value)} ms ({_ms(bounds.low)} to {_ms(bounds.high)})"


def _middle(taken: Measurement) -> str:
    """Write the median in ms with its interval, shortly."""
    bounds = taken.interval(0.5)
    value = _ms(percentile(taken.samples_ns, 0.5))
    return value if bounds is None else f"{value} ({_ms(bounds.low)}-{_ms(bounds.high)})"


def _stated(taken: Measurement, p: float) -> str:
    """Write a percentile in ms, ``-`` where the samples cannot bound it."""
    bounds = taken.interval(p)
    return "-" if bounds is None else _ms(percentile(taken.samples_ns, p))


def _tail(taken: Measurement, p: float) -> str:
    """Write a high percentile with its upper bound; none where the samples cannot state it."""
    bounds = taken.interval(p)
    name = f"p{100 * p:g}"
    if bounds is None:
        return f"{name} needs {_missing(taken, p)} more calls"
    return f"{name} {_ms(percentile(taken.samples_ns, p))} ms (to {_ms(bounds.high)})"


def _missing(taken: Measurement, p: float) -> int:
    """Return how many more calls like these would bound a percentile."""
    count, found = len(taken.samples_ns), max(1.0, worth(taken.samples_ns, p))
    return max(1, round(interval_cases(p) * count / found) - count)


def _frames(whole: Measurement) -> str:
    """Say what rate the slow calls hold, which is what a live picture needs."""
    bounds = whole.interval(0.99)
    usual = 1e9 / percentile(whole.samples_ns, 0.5)
    if bounds is None:
        return f"{_rate(usual)} by p50; p99 {_tail(whole, 0.99).partition(' ')[2]}"
    return f"{_rate(1e9 / bounds.high)} held by p99's upper bound, {_rate(usual)} by p50"


def _rate(per_s: float) -> str:
    return f"{per_s:.0f}" if per_s >= 100 else f"{per_s:.3g}"


def _earlier(result: Result) -> Iterator[Row]:
    """Yield what the same took at other times, which the intervals of p50 count in."""
    for name in (WHOLE, "infer"):
        taken = _stage(result, name)
        if taken is not None and taken.earlier_p50_ns:
            value = f"{name}: p50 {_in_earlier(taken.earlier_p50_ns)}, which its interval counts in"
            yield ("stages", "at other times", value)


def _in_earlier(medians_ns: Sequence[float]) -> str:
    """Return in words between what the medians of earlier results lie."""
    if len(medians_ns) == 1:
        return f"{_ms(medians_ns[0])} ms in 1 earlier result"
    low, high = min(medians_ns), max(medians_ns)
    return f"{_ms(low)} to {_ms(high)} ms in {len(medians_ns)} earlier results"


def _sample(whole: Measurement) -> str:
    rule = "" if whole.settled is None else ", warm-up settled" if whole.settled else ""
    if whole.settled is False:
        rule = ", warm-up did not settle"
    order = "interleaved with others" if whole.procedure.order == "interleaved" else "alone"
    return f"{len(whole.samples_ns)} calls, {order}{rule} (after {len(whole.warm_up_ns)})"


def _decisions(result: Result) -> str:
    golden = _sections(result).golden
    if golden is not None and not golden.cases:
        return "no network runs on this backend, so nothing is decided"
    if result.candidate is not None and is_reference(result.candidate) and not result.drifts:
        return "fp32 is the reference; its golden cases were answered here"
    if not result.drifts:
        return "nobody judged them on this device tier: add --data DIR --labels FILE"
    return "; ".join(_drift(drift) for drift in result.drifts)


def _drift(drift: Drift) -> str:
    said = f"drift {drift.verdict} on {drift.tier}: {drift.flips} of {drift.cases} differ"
    if drift.verdict == "inconclusive":
        said += f", {drift.missing_cases} more pictures are needed"
    return said


def _ms(time_ns: float) -> str:
    """Write a time in ms with three digits, never less than its tenth of a microsecond."""
    value = time_ns / 1e6
    return f"{value:.4f}" if value < 0.01 else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _signed(size_bytes: float) -> str:
    sign = "-" if size_bytes < 0 else ""
    return sign + bytes_text(round(abs(size_bytes)))


def _change(ratio: float) -> str:
    return f"{100.0 * (ratio - 1.0):+.2g} %"
