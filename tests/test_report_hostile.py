"""Names that come with a result are shown as what they are: text."""

from __future__ import annotations

import html as standard
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from report_pages import EVIL, Page, hostile, hostile_page, subject

from medge.bench.report import markdown as md
from medge.bench.report.blocks import Figure
from medge.bench.report.html import text
from medge.bench.report.plots import lines
from medge.bench.report.quantities import clean, number
from medge.bench.report.svg import drawn
from medge.bench.report.trace import trace


@pytest.fixture(scope="module")
def page() -> str:
    return hostile_page("\n".join(EVIL))


def test_a_hostile_name_adds_no_element_and_no_attribute(page: str) -> None:
    harmless = Page(hostile_page("harmless"))
    evil = Page(page)
    assert evil.open == []

    def kinds(page: Page) -> set[tuple[str, str]]:
        return {(tag, name) for tag, attrs in page.tags for name in attrs}

    assert kinds(evil) == kinds(harmless)
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in harmless.tags]


def test_a_hostile_name_is_still_told(page: str) -> None:
    told = "".join(Page(page).texts)
    for part in EVIL:
        assert clean(part.encode("utf-8", "replace").decode()) in told


def test_a_drawing_takes_every_label_as_text() -> None:
    labels = [clean(each) for each in EVIL]
    series = [(label, [1.0, 2.0]) for label in labels]
    draw = lines(series, labels[:2], (labels[3], labels[4]))
    made = Page(drawn(Figure("f", labels[0], labels[1], draw), "wide"))
    assert set(labels) <= set(made.texts)
    allowed = {"svg", "title", "desc", "g", "path", "text", "use", "defs", "clippath", "rect"}
    assert {tag for tag, _ in made.tags} <= allowed


@given(st.text())
def test_escaping_loses_nothing_that_can_be_seen(raw: str) -> None:
    assert standard.unescape(text(raw)) == clean(raw)
    assert not set(text(raw)) & set("<>\"'")


@given(st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from("\\`*_[]()<>|#~!&;:/.-+ ")))
def test_markdown_reads_an_escaped_text_back_as_one_text(raw: str) -> None:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    (tokens,) = parser.parseInline("x" + md.text(f"y{raw}z"))
    assert "".join(t.content for t in tokens.children or []) == "x" + " ".join(
        f"y{clean(raw)}z".split()
    )
    assert {t.type for t in tokens.children or []} <= {"text", "text_special"}


@pytest.mark.parametrize("name", EVIL)
def test_a_trace_is_json_whatever_the_names_are(name: str) -> None:
    found = json.loads(trace(subject(hostile(name))))
    assert clean(name.encode("utf-8", "replace").decode()) in {
        each["name"] for each in found["traceEvents"]
    }


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_written_within_its_digits_and_without_an_exponent(value: float) -> None:
    written = number(value)
    assert "e" not in written
    back = float(written.replace(",", "").replace("\N{MINUS SIGN}", "-"))
    assert back == pytest.approx(value, rel=0.005, abs=1e-300)
