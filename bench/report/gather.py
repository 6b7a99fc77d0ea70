"""Gather: finds the results that a report was asked for, and what is known beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import structs

from medge.bench.exchange import read_documents
from medge.bench.report.subject import BundleFacts, Entry, Hardware, Subject, ranked
from medge.bench.store import Store
from medge.engine.bundle import Bundle, built_in_names, find_bundle, open_bundle
from medge.errors import UsageError
from medge.profiles.device import identity
from medge.profiles.here import targets_here
from medge.profiles.match import Cpu, match_cpu
from medge.profiles.target import Target

NUMBER = re.compile("[0-9]{1,18}")
DOCUMENTS = (".json", ".jsonl")


def gather(asked: Sequence[str], bundle: str | None = None) -> Subject:
    """Find what a report is about.

    Parameters
    ----------
    asked
        Numbers of results and files of documents, or one bundle: then its newest result of each
        candidate. Nothing for the newest profile of all.
    bundle
        Where the bundle lies; None looks among those that were asked for and the built-in ones.

    Raises
    ------
    UsageError
        Rules ``result-unknown``; ``report-nothing``: there is no such result; ``report-mixed``:
        the results are of several bundles; ``report-bundle``: they are of another bundle.
    InputError
        A document is refused.
    StorageError
        The results cannot be read.
    BundleError
        The bundle is refused.
    """
    numbers = [int(word) for word in asked if NUMBER.fullmatch(word)]
    files = [Path(word) for word in asked if word.endswith(DOCUMENTS)]
    named = [w for w in asked if not (NUMBER.fullmatch(w) or w.endswith(DOCUMENTS))]
    if len(named) > 1 or (named and (numbers or files)):
        raise _mixed("A report is about one bundle: name one, or results of one.")
    facts = digest = None
    if named or bundle:
        with open_bundle(find_bundle(bundle or named[0])) as opened:
            facts, digest = _facts(opened), opened.digest
    if files and not numbers:
        found, others = _split([entry for path in files for entry in _documents(path)])
    else:
        with Store.open(writable=False) as store:
            entries = [Entry(number, store.get(number)) for number in dict.fromkeys(numbers)]
            entries += [entry for path in files for entry in _documents(path)]
            found, others = _split(entries) if entries else _newest_of(store, digest)
    measured = found[0].result.bundle_sha256
    if digest is not None and digest != measured:
        raise UsageError(
            "report-bundle",
            f"The results are of bundle {measured[:12]}, the one that is named is {digest[:12]}. "
            "Name the bundle that was measured.",
        )
    return Subject(
        entries=found,
        elsewhere=others,
        bundle=facts or _built_in(measured),
        hardware=_hardware(found[0]),
    )


def _documents(path: Path) -> Iterator[Entry]:
    """Yield the results of a file of documents; what is refused in it is an error."""
    for found in read_documents(path):
        if found.refused is not None:
            raise found.refused
        if found.result is not None:
            yield Entry(None, found.result)


def _split(entries: Sequence[Entry]) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Return the results of the first one's device, and the best of each other device."""
    first = entries[0].result
    if any(entry.result.bundle_sha256 != first.bundle_sha256 for entry in entries):
        raise _mixed("These results are of several bundles; make one report of each.")
    here = [e for e in entries if e.result.device_identity == first.device_identity]
    return ranked(here), _best_elsewhere(entries, first.device_identity)


def _newest_of(store: Store, digest: str | None) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Return the newest result of each candidate, of the newest profile's bundle and device."""
    entries = [Entry(number, result) for number, result in store.results(digest)]
    profiled = [entry for entry in entries if _is_profile(entry)] or entries
    if not profiled:
        raise UsageError(
            "report-nothing",
            "The store holds no result of this bundle. Measure it first: `medge profile B`.",
        )
    newest = profiled[-1].result
    of_bundle = [e for e in profiled if e.result.bundle_sha256 == newest.bundle_sha256]
    here = [e for e in of_bundle if e.result.device_identity == newest.device_identity]
    return ranked(_newest(here)), _best_elsewhere(of_bundle, newest.device_identity)


def _is_profile(entry: Entry) -> bool:
    """Whether `medge profile` stored it: a cell of a matrix has sections too."""
    return entry.sections is not None and entry.sections.cell is None


def _newest(entries: Iterable[Entry]) -> list[Entry]:
    """Return the last entry of each candidate."""
    return list({entry.result.candidate: entry for entry in entries}.values())


def _best_elsewhere(entries: Iterable[Entry], here: str) -> tuple[Entry, ...]:
    """Return of every other device the fastest that may run there."""
    by_device: dict[str, list[Entry]] = {}
    for entry in entries:
        by_device.setdefault(entry.result.device_identity, []).append(entry)
    by_device.pop(here, None)
    return ranked(Subject(ranked(_newest(some))).lead for some in by_device.values())


def _mixed(found: str) -> UsageError:
    text = f"{found} `medge results list` shows them; `medge bench` puts bundles beside each other."
    return UsageError("report-mixed", text)


def _facts(bundle: Bundle) -> BundleFacts:
    manifest = bundle.manifest
    return BundleFacts(
        name=manifest.name,
        version=manifest.version,
        demonstration=manifest.demonstration,
        intended_use=manifest.intended_use,
        limits=manifest.limits,
        data=tuple(data.name for data in manifest.data),
        network=bundle.layers(),
    )


def _built_in(digest: str) -> BundleFacts | None:
    for name in built_in_names():
        with open_bundle(find_bundle(name)) as opened:
            if opened.digest == digest:
                return _facts(opened)
    return None


def _hardware(entry: Entry) -> Hardware | None:
    """Return the device as the catalog knows it, with its own rates where this is it."""
    result = entry.result
    device = result.device
    if result.candidate is not None and result.candidate.device.lower() != "cpu":
        return None
    if result.device_identity == identity():
        here = next((target for target in targets_here() if target.kind == "cpu"), None)
        return None if here is None else Hardware(here, measured=True)
    near = match_cpu(Cpu(name=device.name, cores=device.cores, tier=device.tier), most=1)
    return Hardware(_part_of(near[0].target, device.cores), measured=False) if near else None


def _part_of(target: Target, cores: int) -> Target:
    """Return the rates of as many cores as the device has; memory is shared by all of them."""
    rate = target.fp32_tflops
    part = None if rate is None else rate * min(1.0, cores / target.cores)
    return structs.replace(target, fp32_tflops=part)
