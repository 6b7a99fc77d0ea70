"""Drawings: matplotlib's SVG, made to stand inside a page and to follow its colours."""

from __future__ import annotations

import importlib.metadata
import io
import logging
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medge.bench.report.blocks import Figure
from medge.engine.state import state_folder
from medge.errors import BackendError

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

WIDTHS = {"wide": 720, "narrow": 344}  # CSS pixels; the stylesheet shows one of them
POINTS = 72  # to the inch: one unit of the drawing is one pixel

COLOURS = {  # of the stylesheet; drawn in numbers that no drawing has by chance
    name: f"#fe{place:02x}01"
    for place, name in enumerate(
        ("ink", "muted", "rule", "paper", "accent", "soft", "good", "bad", "warn", "second")
    )
}
_NAMES = {colour: name for name, colour in COLOURS.items()}
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"

STYLE: Any = {  # matplotlib types its keys one by one, and differently by version
    "svg.fonttype": "none",  # text stays text: it can be searched, and is set in the page's font
    "svg.hashsalt": "medge",  # the same drawing has the same bytes
    "text.parse_math": False,  # a dollar in a file's name is a dollar
    "path.simplify": True,
    "font.family": "DejaVu Sans",  # comes with matplotlib; wider than what pages are set in
    "font.size": 11.5,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.edgecolor": COLOURS["rule"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": COLOURS["rule"],
    "grid.linewidth": 0.6,
    "xtick.color": COLOURS["rule"],
    "ytick.color": COLOURS["rule"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "figure.facecolor": "none",
    "lines.linewidth": 1.6,
}


def check_installed() -> None:
    """Refuse to go on without the library that draws.

    Raises
    ------
    BackendError
        Rule ``report-packages``: matplotlib is not installed.
    """
    try:
        importlib.metadata.version("matplotlib")
    except importlib.metadata.PackageNotFoundError:
        raise BackendError(
            "report-packages",
            "Reports in HTML are drawn by matplotlib, which is not installed. Install it with "
            '`pip install "medge[bench]"`, or ask for --format md, which draws nothing.',
        ) from None


def drawn(figure: Figure, size: str) -> str:
    """Draw a figure as one ``<svg>`` element for a page.

    Parameters
    ----------
    size
        ``wide`` or ``narrow``.

    Returns
    -------
    str
        Names, colours and links of it hold within a page of many drawings: every colour is a
        variable of the stylesheet, every id begins with the figure's name and size.
    """
    with _drawing() as canvas_of:
        width, height = WIDTHS[size], figure.height[0 if size == "wide" else 1]
        canvas = canvas_of(figsize=(width / POINTS, height / POINTS), dpi=POINTS)
        canvas.set_layout_engine("constrained", w_pad=0.03, h_pad=0.04, wspace=0.06)
        figure.draw(canvas, size == "narrow")
        file = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        canvas.savefig(file, format="svg", metadata=nothing)
    return _embedded(file.getvalue(), figure, size)


@contextmanager
def _drawing() -> Iterator[type[Canvas]]:
    """Lend matplotlib's figure, in our style whatever the user's own settings are."""
    check_installed()
    # Its list of fonts is kept beside the rest that medge knows of this machine.
    os.environ.setdefault("MPLCONFIGDIR", str(state_folder() / "matplotlib"))
    # It tells of that list where a warning would stand.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    import matplotlib as mpl  # noqa: PLC0415 - half a second, and only pages draw
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415 - the same

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield Canvas


def _embedded(text: str, figure: Figure, size: str) -> str:
    root = ET.fromstring(text)  # noqa: S314 - matplotlib wrote it a moment ago
    prefix = f"{figure.name}-{size}-"
    _strip(root)
    used = set(_references(root))
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        _named(element, used, prefix)
        _coloured(element)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "class": size,
        "role": "img",
        "aria-labelledby": f"{prefix}title {prefix}desc",
    }
    for place, (tag, told) in enumerate((("title", figure.title), ("desc", figure.description))):
        child = ET.Element(tag, {"id": prefix + tag})
        child.text = told
        root.insert(place, child)
    return ET.tostring(root, encoding="unicode")


def _strip(root: ET.Element) -> None:
    """Take out what would speak to the whole page, or says nothing: styles, metadata, comments."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)
        parent.tail = None
        if parent.tag != f"{_SVG}text":
            parent.text = None


def _references(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        if _LINK in element.attrib:
            yield element.attrib[_LINK].removeprefix("#")
        for value in element.attrib.values():
            yield from _REFERENCE.findall(value)


def _named(element: ET.Element, used: set[str], prefix: str) -> None:
    name = element.attrib.pop("id", None)
    if name in used:
        element.set("id", f"{prefix}{name}")
    link = element.attrib.pop(_LINK, None)
    if link is not None:
        element.set("href", f"#{prefix}{link.removeprefix('#')}")
    for key, value in element.attrib.items():
        element.set(key, _REFERENCE.sub(lambda found: f"url(#{prefix}{found[1]})", value))


def _coloured(element: ET.Element) -> None:
    """Give a style the page's colours and font; what has another colour was drawn wrongly."""
    style = element.get("style")
    if style is None:
        return
    rules = [rule.strip() for rule in style.split(";") if rule.strip()]
    kept = [rule for rule in rules if not rule.startswith(("font-family", "font:"))]
    element.set("style", _COLOUR.sub(_variable, "; ".join(kept)))


def _variable(found: re.Match[str]) -> str:
    return f"var(--{_NAMES[found[0]]})"
