"""Loaded: one candidate of one bundle as a worker holds it, and how it was loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from msgspec import Struct

from medge.bench.entrants import Built, choice_of
from medge.bench.profile.resident import Helpers, resident
from medge.engine.backends import Tensor, backend_class
from medge.engine.bundle import Bundle, open_bundle
from medge.engine.classify import Classifier
from medge.engine.frames.study import Asked
from medge.engine.sealed import Candidate
from medge.engine.select import Choice
from medge.engine.selftest import SelfTest, kept_at, open_proven
from medge.engine.session import Session
from medge.errors import BundleError
from medge.profiles.terms import Count


class Load(Struct, frozen=True, kw_only=True):
    """What a worker is to load; it is the first thing that a worker is asked.

    ``folder`` is the bundle's path as the system's own bytes. ``sealed`` opens the engine that
    `medge compile` kept, as `medge run` does.
    """

    folder: bytes
    bundle_sha256: str
    candidate: Candidate
    sealed: bool = False


class LoadFacts(Struct, frozen=True, kw_only=True):
    """What loading showed: the self-test, the runtime's version, and the memory around it.

    ``shares`` is the part of the convolutions and matrix products by precision, ``elsewhere``
    counts operations that are not on the device that was asked for. ``device`` is what results
    call it. Memory is in bytes, ``pss`` None where the kernel does not tell; ``helpers`` are
    processes that loading started.
    """

    backend_version: str
    device: str
    answers: bool
    cases: Count
    max_abs: float
    tolerance: float
    self_test_ns: Count
    shares: dict[str, float]
    elsewhere: Count
    base_rss_bytes: Count
    base_pss_bytes: Count | None
    loaded_rss_bytes: Count
    loaded_pss_bytes: Count | None
    helpers_peak_rss_bytes: Count = 0


@dataclass
class Loaded:
    """What every function that a worker runs is given.

    Attributes
    ----------
    session, tested
        The loaded network, proven on its golden cases.
    one
        A batch of one golden case: the same arrays on every call, so that they stay bound.
    classifier
        Runs files from their bytes to a decision on the same session.
    built
        Runs golden cases in every stream and batch of the candidate, on the same session.
    asked
        How files are opened: as `medge run` opens them.
    files
        The files that ``file-to-decision`` runs through, set by ``stages.take_files``.
    """

    bundle: Bundle
    candidate: Candidate
    session: Session
    tested: SelfTest
    one: dict[str, Tensor]
    classifier: Classifier
    built: Built
    asked: Asked
    files: tuple[Path, ...] = ()

    @property
    def choice(self) -> Choice:
        """How it runs."""
        return self.session.choice

    def close(self) -> None:
        """Release the runtime."""
        self.built.close()
        self.bundle.close()


def load_of(bundle: Bundle, candidate: Candidate, *, sealed: bool) -> Load:
    """Return what a worker is asked to load."""
    return Load(
        folder=os.fsencode(bundle.path.absolute()),
        bundle_sha256=bundle.digest,
        candidate=candidate,
        sealed=sealed,
    )


def load(asked: Load) -> tuple[Loaded, LoadFacts]:
    """Open the bundle, load the candidate, let it prove itself.

    Raises
    ------
    BackendError, BundleError, GateError
        It cannot run here, or answers otherwise than it must. Rule ``bundle-changed``: the folder
        holds another bundle than when the profile began.
    """
    candidate = asked.candidate
    backend_class(candidate.backend)().close()  # the runtime is imported: what follows is ours
    base = resident()
    bundle = open_bundle(Path(os.fsdecode(asked.folder)))
    if bundle.digest != asked.bundle_sha256:
        bundle.close()
        raise BundleError(
            "bundle-changed",
            f"{bundle.path.name}: is another bundle than when the profile began. Leave it as it "
            "is while it is measured, and begin again.",
        )
    with Helpers() as helpers:
        choice = replace(choice_of(candidate), sealed=asked.sealed)
        session, tested = open_proven(bundle, choice, kept_at(choice))
    loaded = resident()
    golden = bundle.golden()
    classifier = Classifier(bundle, session.choice, session, tested)
    found = Loaded(
        bundle=bundle,
        candidate=candidate,
        session=session,
        tested=tested,
        one={name: np.ascontiguousarray(array[:1]) for name, array in golden.inputs.items()},
        classifier=classifier,
        built=Built(bundle, session, tested),
        asked=Asked(gray_only=classifier.wants_gray),
    )
    return found, LoadFacts(
        backend_version=session.backend_version,
        device=session.device,
        answers=session.answers,
        cases=tested.cases,
        max_abs=tested.max_abs,
        tolerance=tested.tolerance,
        self_test_ns=tested.time_ns,
        shares=tested.placement.shares,
        elsewhere=tested.placement.elsewhere,
        base_rss_bytes=base.rss_bytes,
        base_pss_bytes=base.pss_bytes,
        loaded_rss_bytes=loaded.rss_bytes,
        loaded_pss_bytes=loaded.pss_bytes,
        helpers_peak_rss_bytes=helpers.peak_rss_bytes,
    )
