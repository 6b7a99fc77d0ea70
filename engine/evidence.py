"""Evidence: what was measured of a variant's decisions, as bundles and the passport keep it."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from medge.profiles.terms import Count, Name, Positive, Probability, Sha256, Text

Verdict = Literal["pass", "fail", "inconclusive", "not-judged"]
"""``pass``: every margin holds with 95 % confidence; ``fail``: one is exceeded with 95 %
confidence; ``inconclusive``: neither, the images are too few; ``not-judged``: decisions of this
network prove nothing (untrained weights, constant outputs)."""


class Margins(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a variant may lose: as a part of all cases, of the AUC's 0..1, of the diseased."""

    flip_ratio: Probability = 0.01
    auc_drop: Probability = 0.005
    sensitivity_drop: Probability = 0.01


class Check(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One figure against its margin.

    ``low`` and ``high`` are one-sided 95 % bounds of ``value``. The check passes when ``high`` is
    at most ``margin``, fails when ``low`` is above it, and is inconclusive between.
    ``cases`` is how many images it rests on; ``missing_cases`` how many more of this kind would be
    needed for a pass if they showed no further loss, 0 unless inconclusive.
    """

    name: Text  # "flips", "AUC drop of pneumonia", "sensitivity drop of pneumonia"
    value: float
    low: float
    high: float
    margin: float
    cases: Count
    missing_cases: Count
    verdict: Verdict


class Drift(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the decisions of one precision differ from the reference's on the same images.

    ``precision`` is variant and runtime precision in one word, as ``Choice.precision_name`` says
    it. ``tier`` is the CPU's instruction set tier or the GPU's capability: the same graph decides
    differently on another one. ``labelled`` is False when only flips could be judged.
    ``data_sha256`` is the digest of the sorted digests of the judged files. ``accepted``: the
    verdict is ``inconclusive``, and whoever asked for it took it all the same; only then it counts
    as a pass.
    """

    verdict: Verdict
    precision: Text
    against: Text  # the precision that it is compared with: "fp32"
    backend: Name
    backend_version: Text
    tier: Text
    cases: Positive
    flips: Count
    labelled: bool
    margins: Margins
    checks: tuple[Check, ...]
    data_sha256: Sha256
    date: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None
    accepted: bool = False

    def __post_init__(self) -> None:
        if self.accepted and self.verdict != "inconclusive":
            raise ValueError("only an inconclusive verdict can be accepted")

    @property
    def passed(self) -> bool:
        """Whether this precision may be used: it passed, or its user accepted it."""
        return self.verdict == "pass" or self.accepted

    @property
    def missing_cases(self) -> int:
        """How many more images the neediest inconclusive check asks for."""
        return max((check.missing_cases for check in self.checks), default=0)
