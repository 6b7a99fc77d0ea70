"""Drift: whether another precision decides as the reference does, on the same images."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medge.bench.decisions import Decisions, Progress, collect_all, silent
from medge.bench.drift_report import Report, report_of
from medge.bench.images import Images, gather, set_digest
from medge.bench.pairing import Pairing
from medge.engine.backends.presence import installed_version
from medge.engine.evidence import Drift, Margins
from medge.engine.select import Choice, choose
from medge.engine.selftest import self_test
from medge.engine.session import Session
from medge.errors import BackendError, InputError, UsageError
from medge.profiles.cuda_gpus import tier_of_device

if TYPE_CHECKING:
    from medge.engine.bundle import Bundle

UNTRAINED = "(untrained, random weights"  # how an export marks an architecture without training
PASS_BYTES = 1 << 28  # of the graphs that are loaded at the same time


class Judge:
    """Judges precisions of one bundle on one set of images.

    The images are found and digested when it is made; the reference runs once, with the first
    candidate. What is kept of an image are its scores.

    Attributes
    ----------
    images
        The files that judge.
    """

    def __init__(
        self,
        bundle: Bundle,
        data: Path,
        labels: Path | None = None,
        margins: Margins | None = None,
        *,
        reference: Choice | None = None,
        excluded: frozenset[str] = frozenset(),
        progress: Progress = silent,
    ) -> None:
        """Find the images.

        Parameters
        ----------
        data
            Folder of pictures, as ``medge run`` takes it.
        labels
            CSV file (docs/drift.md); only the files that it lists judge. None: only flips can be
            judged, on every picture of the folder.
        margins
            What may be lost; None takes the defaults.
        reference
            What is compared with; None takes fp32 on ONNX Runtime.
        excluded
            SHA-256 digests of files that must not judge: those that calibrated the candidate.
        progress
            Is told files done and files in all, on every pass.

        Raises
        ------
        UsageError, InputError
            A margin, the folder, the label file or the pictures cannot judge.
        """
        self.margins = _checked(margins or Margins())
        self._bundle = bundle
        self._reference = reference or choose(bundle, "onnxruntime", precision="fp32")
        self._progress = progress
        self._before: Decisions | None = None
        self.images: Images = gather(data, labels, bundle.manifest.outputs, excluded)

    def judge(self, choice: Choice, model: bytes | None = None) -> Report:
        """Judge one candidate.

        Parameters
        ----------
        choice
            How it runs; its precision name is what the evidence speaks of.
        model
            An ONNX graph that takes the place of the variant's, as ``Session`` takes it.

        Raises
        ------
        BackendError
            The candidate, or the reference, cannot run here.
        GateError
            Rule ``self-test``: the reference differs from its golden cases on this device.
        InputError
            Rule ``nothing-judged``: every picture is refused; or ``changed``.
        """
        (report,) = self.judge_many([(choice, model)])
        return report

    def judge_many(self, candidates: Sequence[tuple[Choice, bytes | None]]) -> tuple[Report, ...]:
        """Judge several candidates; each image is read and prepared once for all of a pass.

        A pass loads so many that their graphs have at most 256 MiB together, and at least one.
        """
        reports: list[Report] = []
        for some in self._passes(candidates):
            reports += self._pass(some)
        return tuple(reports)

    def _passes(
        self, candidates: Sequence[tuple[Choice, bytes | None]]
    ) -> Iterator[list[tuple[Choice, bytes | None]]]:
        some: list[tuple[Choice, bytes | None]] = []
        total_bytes = 0
        for choice, model in candidates:
            size_bytes = self._size_bytes(choice, model)
            if some and total_bytes + size_bytes > PASS_BYTES:
                yield some
                some, total_bytes = [], 0
            some.append((choice, model))
            total_bytes += size_bytes
        if some:
            yield some

    def _size_bytes(self, choice: Choice, model: bytes | None) -> int:
        variant = self._bundle.manifest.variant(choice.variant)
        if model is not None:
            return len(model)
        return 0 if variant is None else self._bundle.manifest.files[variant.file].bytes

    def _pass(self, candidates: Sequence[tuple[Choice, bytes | None]]) -> list[Report]:
        with ExitStack() as stack:
            sessions = [
                stack.enter_context(_session(self._bundle, choice, model))
                for choice, model in candidates
            ]
            if self._before is None:
                reference = stack.enter_context(_session(self._bundle, self._reference, None))
                self_test(reference, self._bundle)
                sessions.append(reference)
            found = collect_all(self._bundle, sessions, self.images.files, self._progress)
        self.images.check_unchanged()
        before = self._before or found[-1]
        self._before = before
        return [
            self._report(choice, Pairing(before, after))
            for (choice, _), after in zip(candidates, found, strict=False)
        ]

    def _report(self, choice: Choice, pairing: Pairing) -> Report:
        if not len(pairing.files):
            raise InputError("nothing-judged", self._why_nothing(pairing.before))
        drift = Drift(
            verdict="not-judged",  # until the checks are there
            precision=choice.precision_name,
            against=self._reference.precision_name,
            backend=choice.backend,
            backend_version=installed_version(choice.backend) or "",
            tier=tier_of_device(choice.device),
            cases=len(pairing.files),
            flips=int(pairing.flipped.sum()),
            labelled=self.images.labels is not None,
            margins=self.margins,
            checks=(),
            data_sha256=set_digest([self.images.digests[index] for index in pairing.files]),
            date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        )
        return report_of(drift, pairing, self.images, self._bundle.manifest, self._why_not(pairing))

    def _why_not(self, pairing: Pairing) -> str:
        """Return why no verdict on this network means anything, "" when it does."""
        if UNTRAINED in self._bundle.manifest.source.architecture:
            return "the weights are random: what it decides means nothing"
        if pairing.constant():
            return "the reference answers every picture with the same scores"
        return ""

    def _why_nothing(self, before: Decisions) -> str:
        rules = Counter(refusal.rule for refusal in before.refused)
        rules.update(rule for rule in before.invalid if rule)
        told = ", ".join(f"{rule} {count}" for rule, count in sorted(rules.items()))
        return (
            f"None of {len(self.images.files)} files could be judged ({told}). Name pictures that "
            "this bundle accepts; `medge run` tells more of each."
        )


def _session(bundle: Bundle, choice: Choice, model: bytes | None) -> Session:
    session = Session(bundle, choice, model)
    if not session.answers:
        session.close()
        raise BackendError(
            "backend-option",
            f"Backend {choice.backend} runs no network, so it decides nothing. Choose another.",
        )
    return session


def _checked(margins: Margins) -> Margins:
    for name in margins.__struct_fields__:
        value = getattr(margins, name)
        if not (np.isfinite(value) and 0.0 < value <= 1.0):
            raise UsageError(
                "margin",
                f"The margin {name} is {value:g}; it must be above 0 and at most 1. No number of "
                "images can show that a precision never differs.",
            )
    return margins
