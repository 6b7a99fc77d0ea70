"""The page of a report can be read by all, asks for nothing, and stays small."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from report_pages import Page, session_page, subject
from report_results import deadline, profiled, taken

import medge.bench.report
from medge.bench.report.contents import report
from medge.bench.report.html import html
from medge.bench.report.svg import COLOURS

STYLE = Path(medge.bench.report.__path__[0]) / "report.css"


@pytest.fixture
def whole() -> str:
    return session_page()


def test_the_page_can_be_read_by_a_screen_reader(whole: str) -> None:
    page = Page(whole)
    assert page.open == []
    assert page.all("html")[0]["lang"] == "en"
    assert [len(page.all(each)) for each in ("h1", "main", "header", "footer", "nav")] == [1] * 5
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert len(page.all("table")) == len(page.all("caption")) > 15
    assert all(each.get("scope") in ("col", "row") for each in page.all("th"))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for named in page.values("aria-labelledby"):
        assert set(named.split()) <= set(ids)
    drawings = page.all("svg")
    assert len(drawings) == len(page.all("desc")) > 15
    assert all(each["role"] == "img" and each["aria-labelledby"] for each in drawings)


def test_the_page_asks_for_nothing(whole: str) -> None:
    page = Page(whole)
    used = {tag for tag, _ in page.tags}
    assert not used & {"script", "img", "iframe", "object", "embed", "form", "base", "image"}
    ids = set(page.values("id"))
    for link in page.values("href", "src", "xlink:href", "action"):
        assert link == "data:," or (link[:1] == "#" and link[1:] in ids)
    for found in re.findall(r"url\(([^)]*)\)", whole):
        assert found[:1] == "#"
        assert found[1:] in ids
    policy = next(e for e in page.all("meta") if e.get("http-equiv") == "Content-Security-Policy")
    assert str(policy["content"]).startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]


def test_drawings_have_the_page_s_colours_only(whole: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", whole, re.DOTALL)
    assert not any(re.search(r"#[0-9a-f]{6}\b", each) for each in drawings)
    assert all(f"--{name}:" in STYLE.read_text() for name in COLOURS)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast_is_that_of_wcag_aa(scheme: int) -> None:
    block = STYLE.read_text().split(":root {")[1 + scheme].split("}")[0]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", block))
    paper = luminance(colours["paper"])
    ratio = {
        name: (max(paper, luminance(c)) + 0.05) / (min(paper, luminance(c)) + 0.05)
        for name, c in colours.items()
    }
    assert all(ratio[name] >= 4.5 for name in ("ink", "muted", "accent", "good", "bad", "warn"))
    assert all(ratio[name] >= 3.0 for name in ("soft", "second"))  # of drawings, not of text


def test_a_page_of_long_series_stays_below_its_size() -> None:
    long = profiled(1, 5.0, deadline=deadline(18_000), sweep=(), idle_gaps=(), soak=None)
    calls = (taken(1, "infer", 5.0, 20_000), taken(2, "file-to-decision", 9.0, 20_000))
    found = msgspec.structs.replace(long, measurements=calls)
    assert len(html(report(subject(found))).encode()) <= 1_500_000
