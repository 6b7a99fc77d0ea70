"""Which JetPack a Jetson has, and what graphs its TensorRT takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medge.errors import UsageError
from medge.exporters.jetson.lowering_rules import DECOMPOSED
from medge.exporters.trt_tables import Release, operators, release_of
from medge.profiles.support import host_of, key, parts, supports
from medge.profiles.target import Target
from medge.profiles.toolchain import Ladder, ladder

ROUTE = "jetpack"
NEWEST_OPSET = 20  # what JetPack 6 takes, so that one build bundle serves it and 7
STRONGLY_TYPED = (10,)  # from this TensorRT on precision is the graph's alone


@dataclass(frozen=True, slots=True)
class JetPack:
    """What graphs for one Jetson must keep to.

    Attributes
    ----------
    version, tensorrt, python
        The releases that the toolchain tables list for it, TensorRT and Python the oldest of them.
    releases
        The parsers that must all take the graphs.
    precisions
        Those that the board computes faster than fp32.
    slower
        By precision, why the board gains nothing by it.
    """

    version: str
    tensorrt: str
    python: str
    releases: tuple[Release, ...]
    precisions: frozenset[str]
    slower: dict[str, str]

    @property
    def opset(self) -> int:
        """The newest that all of them take, and that is asked of them."""
        return min(NEWEST_OPSET, *(release.opsets[1] for release in self.releases))

    @property
    def without(self) -> frozenset[str]:
        """Operators that one of them lacks, and that can be written in others."""
        known = operators()
        return frozenset(
            name
            for name in DECOMPOSED
            if any(release.name not in known.get(name, ()) for release in self.releases)
        )

    @property
    def wide_literals(self) -> bool:
        """Whether a parser takes bounds and fill values for fp32 (``literals``)."""
        return any(release.name == "8.2" for release in self.releases)

    @property
    def int8_weights(self) -> Literal["pairs", "integers"]:
        """How weights are stored: TensorRT 8 wants them as float, with Q and DQ behind.

        ONNX Runtime's quantiser says so of its option ``AddQDQPairToWeight``.
        """
        return "integers" if key(self.tensorrt) >= STRONGLY_TYPED else "pairs"


def jetpack_of(target: Target) -> JetPack:
    """Return what a Jetson of the catalog runs.

    A board that several generations of JetPack support gets the newest that has TensorRT of one
    kind: 6 and 7 together, as both take the same graphs; else the newest alone.

    Raises
    ------
    UsageError
        Rule ``build-target``: it is no Jetson, its CPU, or one that no JetPack supports.
    """
    host = host_of(target)
    if host.kind != "jetson":
        raise UsageError(
            "build-target",
            f"{target.id} is no Jetson; build bundles are for those alone. `medge targets` lists "
            "all devices.",
        )
    if target.kind != "gpu":
        raise UsageError(
            "build-target",
            f"{target.id} is the CPU of a Jetson, which runs bundles as they are. Name its GPU: "
            f"{target.id.removesuffix('-cpu')}.",
        )
    found = ladder(target)
    route = next((one for one in found.routes if one.id == ROUTE), None)
    if route is None or not route.possible:
        reason = "no route is listed" if route is None else route.reason
        raise UsageError(
            "build-target",
            f"{target.id}: no JetPack runs it: {reason}. Choose another device.",
        )
    steps = {step.part: step.version for step in route.steps}
    packs = [row for row in parts()["jetpack"].release if supports(row, host)]
    modern = key(steps["tensorrt"]) >= STRONGLY_TYPED
    together = [
        row
        for row in packs
        if row.version == steps["jetpack"] or (modern and _needs(row.needs) >= STRONGLY_TYPED)
    ]
    versions = sorted((row.needs["tensorrt"].lstrip("=") for row in together), key=key)
    pythons = sorted((row.needs["python"].lstrip("=") for row in together), key=key)
    return JetPack(
        version=" or ".join(sorted((row.version for row in together), key=key)),
        tensorrt=versions[0],
        python=pythons[0],
        releases=tuple(dict.fromkeys(release_of(version) for version in versions)),
        precisions=frozenset({"fp32", *route.precisions}),
        slower=_slower(found),
    )


def _needs(needs: dict[str, str]) -> tuple[int, ...]:
    return key(needs["tensorrt"].lstrip("="))


def _slower(found: Ladder) -> dict[str, str]:
    """Return why a precision gains nothing, for those that are not faster."""
    told: dict[str, str] = {s.precision: s.how for s in found.speeds if not s.faster}
    known: set[str] = {speed.precision for speed in found.speeds}
    absent = {name: f"{found.hardware} has no {name} units" for name in ("fp16", "int8")}
    return {**{name: why for name, why in absent.items() if name not in known}, **told}
