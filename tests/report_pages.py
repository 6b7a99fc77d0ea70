"""What reports are made of in tests: subjects, hostile names, and a page taken apart."""

from __future__ import annotations

import dataclasses
from functools import cache
from html.parser import HTMLParser

import msgspec
from report_results import DEVICE, candidate, profiled, session

from medge.bench.doubts import Doubt
from medge.bench.measure import Measurement
from medge.bench.procedure import Procedure
from medge.bench.report.contents import report
from medge.bench.report.html import html
from medge.bench.report.subject import BundleFacts, Entry, Subject, ranked
from medge.bench.result import Result
from medge.bench.sections import Absent, Layers, LayerTime
from medge.engine.bundle import find_bundle, open_bundle

EVIL = (
    "<script>alert(1)</script>",
    '"><img src=http://evil.example/x onerror=alert(1)>',
    "</title></style></svg><iframe src=//evil.example>",
    "$\\frac{1}{0}$ & ${x} %s {0} {{x}}",
    "]]> --> <!-- <![CDATA[ &lt; &#60;",
    "a\u202egnp.exe\u2066\x00\x1b[31m\n\r\tb\ud800",
    "[click](http://evil.example) `x` *y* | # _z_ ~~q~~ ![p](http://evil.example)",
)


def hostile(name: str) -> Result:
    # Surrogates cannot be stored; everything else can.
    name = name.encode("utf-8", "replace").decode()
    found = profiled(
        1, 17.0, candidate(), energy=Absent(reason=name), cold_start=Absent(reason=name)
    )
    layer = LayerTime(name=name, kind=name, precision=name, time_ns=5, share_ratio=1.0)
    told = msgspec.structs.replace(
        found.sections.evidence,
        bundle=name,
        versions={name: name},
        seeds={name: 3},
        command=(name,),
        deviations=(name,),
    )
    sections = msgspec.structs.replace(
        found.sections,
        evidence=told,
        layers=Layers(runs=3, source=name, layers=(layer,)),
        doubts={name: (Doubt(name, 1.0, 2.0, name),)},
    )
    device = dataclasses.replace(DEVICE, name=name, tier=name)
    # Few drawings: names are in the text around them, and drawn labels have a test of their own.
    few = msgspec.structs.replace(
        sections, deadline=None, soak=None, sweep=(), idle_gaps=(), trace=Absent(reason=name)
    )
    network = tuple(one for one in found.measurements if one.stage == "infer")
    return msgspec.structs.replace(
        found,
        measurements=network,
        device=device,
        device_identity=name,
        backend_version=name,
        sections=few,
    )


@cache
def session_page() -> str:
    """Return the page of a whole session, with another device beside it; drawn once."""
    with open_bundle(find_bundle("chest-x-ray")) as opened:
        facts = BundleFacts("chest", "1.0.0", True, "tests", (), (), opened.layers())
    other = dataclasses.replace(DEVICE, name="Cortex-A78AE", tier="neon-dot")
    elsewhere = msgspec.structs.replace(profiled(9, 31.0), device=other, device_identity="arm")
    here = ranked(Entry(n, each) for n, each in enumerate(session(), 1))
    return html(report(Subject(here, (Entry(7, elsewhere),), facts)))


@cache
def hostile_page(name: str) -> str:
    """Return a page whose every name is this one."""
    return html(report(subject(hostile(name))))


def subject(*results: Result, bundle: BundleFacts | None = None) -> Subject:
    return Subject(ranked(Entry(n, each) for n, each in enumerate(results, 1)), bundle=bundle)


def in_time(calls: int, late: int = 0, stage: str = "file-to-decision") -> Measurement:
    """Return calls of 20 ms, of which ``late`` take 40."""
    times = [20_000_000 + place % 97 for place in range(calls)]
    for place in range(late):
        times[3 + 7 * place] = 40_000_000
    return Measurement(stage, tuple(times), Procedure(span=stage))


def plain(*measurements: Measurement) -> Result:
    """Return a result as `medge compile` stores it."""
    changes = {"measurements": measurements, "sections": None, "candidate": candidate()}
    return msgspec.structs.replace(profiled(1, 17.0), **changes)


class Page(HTMLParser):
    """What a page is made of."""

    VOID = frozenset(("meta", "link", "br", "img", "input"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag in names]

    def values(self, *names: str) -> list[str]:
        return [attrs[n] or "" for _, attrs in self.tags for n in names if n in attrs]
