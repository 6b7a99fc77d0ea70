"""docs/errors.md lists every rule that the code can raise, with its exit code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from medge import errors

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for folder in ("profiles", "engine", "exporters", "bench", "medge")
    for path in (ROOT / folder).rglob("*.py")
)  # links within medge/ are not walked


def raised(path: Path) -> Iterator[tuple[str, int]]:
    """Every rule that is written as the first argument of an error of medge."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        kind = getattr(errors, node.func.id, None)
        if kind is not None and node.args and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value), kind.exit_code


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_rule_is_listed_with_its_exit_code(path: Path) -> None:
    listed = set(
        re.findall(r"^\| `([\w-]+)` \| (\d+) \|", (ROOT / "docs/errors.md").read_text(), re.M)
    )
    assert {(rule, str(code)) for rule, code in raised(path)} <= listed


def test_the_rules_of_the_graph_scan_are_listed() -> None:
    from medge.engine.graph_scan import _RULES

    text = (ROOT / "docs/errors.md").read_text()
    for rule, _ in _RULES.values():
        assert f"| `{rule}` | 4 |" in text
