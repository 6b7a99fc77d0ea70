"""The page in a real browser: on a desk, on a phone, in the dark, on paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import WHY_NOT, Chromium
from report_pages import EVIL, hostile_page, session_page

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
VIEWS = {"desk": (1280, 800), "phone": (375, 812)}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(session_page(), encoding="utf-8")
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_the_page_opens_without_a_word_or_a_request(
    browser: Chromium, page: Path, view: str, dark: bool
) -> None:
    seen = browser.open(page, *VIEWS[view], dark=dark)
    assert seen.logged == []
    assert [url for url in seen.asked_for if url not in (page.as_uri(), "data:,")] == []
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
    paper = browser.value("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")


@pytest.mark.parametrize("view", VIEWS)
def test_the_first_screen_holds_all_three_answers(browser: Chromium, page: Path, view: str) -> None:
    browser.open(page, *VIEWS[view])
    ends = browser.value(
        "[...document.querySelectorAll('.answer')].map(e => e.getBoundingClientRect().bottom)"
    )
    assert len(ends) == 3
    assert max(ends) <= VIEWS[view][1]


@pytest.mark.parametrize(("view", "shown"), [("desk", "wide"), ("phone", "narrow")])
def test_each_drawing_is_shown_once_in_the_size_that_fits(
    browser: Chromium, page: Path, view: str, shown: str
) -> None:
    browser.open(page, *VIEWS[view])
    sizes = browser.value(
        "[...document.querySelectorAll('svg')].filter(e => e.getBoundingClientRect().width > 0)"
        ".map(e => e.getAttribute('class'))"
    )
    assert set(sizes) == {shown}
    texts = browser.value(
        "Math.min(...[...document.querySelectorAll('svg." + shown + " text')]"
        ".map(e => e.getBoundingClientRect().height))"
    )
    assert texts >= 9  # CSS pixels: can be read


def test_on_paper_it_is_black_on_white_and_nothing_is_cut(browser: Chromium, page: Path) -> None:
    browser.open(page, 700, 990, media="print", dark=True)
    assert browser.value("getComputedStyle(document.body).color") == "rgb(26, 30, 35)"
    cut = browser.value(
        "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)"
        ".map(e => e.querySelector('caption').textContent)"
    )
    assert cut == []


def test_hostile_names_start_nothing(browser: Chromium, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(hostile_page("\n".join(EVIL)), encoding="utf-8")
    seen = browser.open(path)
    assert seen.logged == []
    assert [url for url in seen.asked_for if url not in (path.as_uri(), "data:,")] == []


def test_a_page_that_does_ask_or_complain_is_seen(browser: Chromium, tmp_path: Path) -> None:
    path = tmp_path / "loud.html"
    path.write_text("<img src='http://127.0.0.1:9/x.png'><script>console.error('loud')</script>")
    seen = browser.open(path)
    assert any("127.0.0.1:9" in url for url in seen.asked_for)
    assert any("loud" in line for line in seen.logged)
