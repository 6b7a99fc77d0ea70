"""Write the tables of docs/toolchain.md from the support tables: one row for each kind of hardware.

    python examples/toolchain_table.py --write

Without ``--write`` they are printed. A test compares docs/toolchain.md with what this prints.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from medge.profiles.support import host_of
from medge.profiles.target import Target, targets
from medge.profiles.toolchain import Ladder, Route, ladder

PAGE = Path(__file__).parent.parent / "docs" / "toolchain.md"
START, END = "<!-- made by examples/toolchain_table.py -->", "<!-- end -->"
SHORT = {"driver": "driver", "onnxruntime-gpu": "ORT", "onnxruntime": "ORT", "torch": "torch"}
UNLISTED = ", not in OpenVINO's list"
LEFT_OUT = {"numpy", "medge", "onnxruntime"}  # the same on nearly every row


def tables() -> str:
    """Return the tables: NVIDIA cards, Jetson modules, Intel GPUs, CPUs."""
    return "\n".join(
        line
        for title, kinds in (
            ("NVIDIA cards", ("nvidia",)),
            ("Jetson modules", ("jetson",)),
            ("Intel GPUs", ("intel-gpu",)),
            ("CPUs", ("x86-cpu", "arm-cpu")),
        )
        for line in _table(title, kinds)
    )


def _table(title: str, kinds: tuple[str, ...]) -> Iterator[str]:
    rows = [(name, ladder(target)) for name, target in _hardware() if host_of(target).kind in kinds]
    ids = list(dict.fromkeys(route.id for _, found in rows for route in found.routes))
    yield from (f"### {title}", "", f"| hardware | faster than fp32 | {' | '.join(ids)} |")
    yield f"|{'---|' * (len(ids) + 2)}"
    for name, found in rows:
        by_id = {route.id: route for route in found.routes}
        cells = [name, _faster(found), *(_cell(by_id.get(route_id)) for route_id in ids)]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _hardware() -> Iterator[tuple[str, Target]]:
    """Yield one device of each kind of hardware that the tables tell apart, oldest first."""
    found: dict[str, Target] = {}
    for target in targets().values():
        if target.kind == "gpu" or host_of(target).kind != "jetson":  # a Jetson's row is its GPU's
            found.setdefault(_name(target), target)
    yield from sorted(found.items(), key=lambda row: _order(row[1]))


def _name(target: Target) -> str:
    host = host_of(target)
    if target.kind == "gpu":
        return f"{target.architecture}, {host.called}" if host.compute_capability else host.called
    possible = {route.id for route in ladder(target).routes if route.possible}
    npu = ", with NPU" if "openvino-npu" in possible else ""
    return f"{', '.join(target.isa)}{npu}" + ("" if "openvino" in possible else UNLISTED)


def _order(target: Target) -> tuple[float, str]:
    return (float(target.compute_capability or 0), _name(target))


def _faster(found: Ladder) -> str:
    return ", ".join(speed.precision for speed in found.speeds if speed.faster) or "none"


def _cell(route: Route | None) -> str:
    if route is None or not route.possible:
        return "no"
    left_out = LEFT_OUT - {route.id}
    steps = [
        f"{SHORT.get(step.part, step.title)} {step.shown.partition(',')[0]}"
        for step in sorted(route.steps, key=lambda step: step.part != route.id)
        if step.part not in left_out and (step.part != "python" or "JetPack" in route.title)
    ]
    return ", ".join(steps) + (", runner only" if route.runner else "")


def page() -> str:
    """Return docs/toolchain.md with its tables renewed."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--write", action="store_true", help="renew docs/toolchain.md")
    if asked.parse_args().write:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(tables() + "\n")
