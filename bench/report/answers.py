"""Answers: the first screen of a report: what is fastest, is it safe, does it hold the rate."""

from __future__ import annotations

import math
from collections.abc import Iterator

from medge.bench.binomial import at_most
from medge.bench.candidates import is_reference
from medge.bench.measure import Measurement
from medge.bench.report.blocks import Answer
from medge.bench.report.quantities import (
    count,
    milliseconds,
    milliseconds_between,
    number,
    percent,
    percent_set,
    setting,
    told_apart,
)
from medge.bench.report.subject import NETWORK, WHOLE, Entry, Subject, paired
from medge.bench.sections import Deadline
from medge.bench.stats import (
    Comparison,
    Interval,
    cases_needed,
    compare,
    percentile,
    percentile_upper,
)

FPS = 30.0
FRAME_NS = round(1e9 / FPS)
NOT_STATED = "not stated"
PROOF = 0.99  # of frames on time, with this confidence


def answers(subject: Subject) -> tuple[Answer, ...]:
    """Return the three answers, in the order in which they are asked."""
    return (_fastest(subject), _safe(subject.lead), _rate(subject.lead))


def interval_text(bounds: Interval) -> str:
    """Say the bounds of a percentile."""
    return milliseconds_between(bounds.low, bounds.high)


def ratio_of(fast: Entry, slow: Entry) -> Comparison | None:
    """Return how many times as long ``slow`` takes; None where they share no rounds."""
    a, b = fast.measurement(NETWORK), slow.measurement(NETWORK)
    if a is None or b is None or not paired(fast, slow):
        return None
    return compare(b.samples_ns, a.samples_ns)


def _ratio_text(fast: Entry, slow: Entry) -> str:
    found = ratio_of(fast, slow)
    if found is None:
        times = number(slow.picture_ns / fast.picture_ns)
        return f"{slow.name} took {times} times as long, in rounds of its own."
    if found.verdict == "cannot-tell":
        return f"Against {slow.name} no difference can be told (99 %)."
    low, high = told_apart(found.low, found.high)
    return f"{slow.name} takes {number(found.ratio)} times as long ({low} to {high}, 99 %)."


def _fastest(subject: Subject) -> Answer:
    lead = subject.lead
    question = "Fastest configuration that may run"
    taken = lead.measurement(NETWORK)
    if taken is None:
        return Answer(question, "open", lead.name, "The network's latency was not measured.")
    if lead.standing[0] != "yes":
        told = f"None; fastest is {lead.name}"
        return Answer(question, lead.standing[0], told, f"Not safe to run: {lead.standing[1]}.")
    return Answer(question, "yes", lead.name, " ".join(_speed(subject, taken)))


def _speed(subject: Subject, taken: Measurement) -> Iterator[str]:
    """Yield how fast the lead is, against the reference, and what was faster but may not run."""
    lead = subject.lead
    bounds = taken.interval(0.5)
    between = "" if bounds is None else f", 95 % interval {interval_text(bounds)}"
    yield f"{milliseconds(lead.picture_ns)} a picture, median of the network alone{between}."
    others = [entry for entry in subject.entries if entry is not lead and _is_reference(entry)]
    if others:
        # fp32 on ONNX Runtime is what runs where nothing was chosen.
        usual = [entry for entry in others if _backend(entry) == "onnxruntime"]
        yield _ratio_text(lead, (usual or others)[0])
    faster = [entry for entry in subject.entries if entry.picture_ns < lead.picture_ns]
    if faster:
        yield f"{count(len(faster), 'faster one')} may not run: see Configurations."
    if len(subject.entries) == 1:
        yield "No other was measured."


def _is_reference(entry: Entry) -> bool:
    candidate = entry.result.candidate
    return candidate is not None and is_reference(candidate) and math.isfinite(entry.picture_ns)


def _backend(entry: Entry) -> str:
    return "" if entry.result.candidate is None else entry.result.candidate.backend


def _safe(lead: Entry) -> Answer:
    question = "Safe: decides as the reference does"
    verdict, reason = lead.standing
    if _is_reference(lead) and verdict == "yes":
        said = f"Nothing to drift from. {_golden(lead)}"
        return Answer(question, "yes", "Yes, it is the reference", said)
    headline = f"{SHORT[verdict]}: {reason}"
    drift = lead.drift
    if drift is None:
        known = _golden(lead)
        if verdict == "open":
            known += " `medge profile B --data DIR --labels FILE` judges it."
        return Answer(question, verdict, headline, known.strip())
    worst = max(drift.checks, key=lambda check: check.high / check.margin, default=None)
    said = f"All {len(drift.checks)} checks hold with 95 %; " if verdict == "yes" else ""
    if worst is not None:
        said += (
            f"nearest to its margin: {worst.name}, at most {percent(worst.high)} of "
            f"{percent_set(worst.margin)} allowed. "
        )
    return Answer(question, verdict, headline, said[:1].upper() + said[1:] + _golden(lead))


SHORT = {"yes": "Yes", "no": "No", "open": "Not proven"}


def _golden(lead: Entry) -> str:
    golden = None if lead.sections is None else lead.sections.golden
    if golden is None:
        return ""
    return (
        f"{count(golden.cases, 'golden case')} within {number(golden.max_abs, 2)} here, "
        f"{setting(golden.tolerance)} allowed."
    )


def _rate(lead: Entry) -> Answer:
    """Answer by a replayed cine where there is one, else by what the latencies can tell."""
    deadline = None if lead.sections is None else lead.sections.deadline
    if isinstance(deadline, Deadline):
        return _replayed(deadline)
    question = f"Holds {FPS:g} frames a second"
    taken = lead.measurement(WHOLE) or lead.measurement(NETWORK)
    if taken is None:
        return Answer(question, "open", "Not known", "No latency was measured.")
    return _by_latency(question, taken)


def _replayed(found: Deadline) -> Answer:
    question = f"Holds {found.fps:g} frames a second"
    frames = len(found.latency_ns)
    told = (
        f"A cine replayed at its rate: {found.late:,} late, {found.dropped:,} dropped; at most "
        f"{percent(found.miss_high_ratio)} miss {milliseconds(found.deadline_ns)}, with 99 % "
        f"confidence ({percent_set(found.limit_ratio)} allowed)."
    )
    on_time = f"{found.on_time:,} of {count(frames, 'frame')} on time"
    if found.certified:
        return Answer(question, "yes", f"Yes: {on_time}", told)
    if found.missing_frames:
        more = f"{count(found.missing_frames, 'more frame')} on time would prove it."
        return Answer(question, "open", f"Not proven: {on_time}", f"{told} {more}")
    return Answer(question, "no", f"No: {on_time}", told)


def _by_latency(question: str, taken: Measurement) -> Answer:
    """Answer from single calls: MLPerf's early-stopping rule on p99 against one frame's time."""
    samples = taken.samples_ns
    late = sum(time_ns > FRAME_NS for time_ns in samples)
    whole = taken.stage == WHOLE
    # Few calls state no p99; the longest says at least that much.
    slow = ("p99", percentile(samples, PROOF))
    if taken.interval(PROOF) is None:
        slow = ("longest", max(samples))
    told = (
        f"{'From file to decision' if whole else 'Of the network alone'}: {slow[0]} "
        f"{milliseconds(slow[1])}; a frame lasts {milliseconds(FRAME_NS)}. No cine was replayed: "
        "`medge profile B --fps 30`."
    )
    on_time = f"{len(samples) - late:,} of {count(len(samples), 'call')} in time"
    high = percentile_upper(samples, PROOF)
    if high is not None and high <= FRAME_NS:
        # Calls one after the other are no frames that arrive: what they promise is not proven.
        return Answer(question, "open", f"Likely: {on_time}", told)
    if at_most(late - 1, len(samples), 1.0 - PROOF) >= PROOF:  # more than 1 % are late
        return Answer(question, "no", f"No: only {on_time}", told)
    missing = cases_needed(PROOF, PROOF, late) - len(samples)
    more = f"{count(missing, 'more call')} in time would bound p99."
    if missing <= 0:
        more = "Latency moves in waves, so that these calls are worth fewer: measure longer."
    return Answer(question, "open", f"Not proven: {on_time}", f"{told} {more}")
