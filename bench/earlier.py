"""Earlier: what this machine took for the same at other times, from the results it has stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec

from medge.bench.doubts import sessions_doubt
from medge.bench.measure import Measurement
from medge.bench.procedure import differences
from medge.bench.result import Result, same_device
from medge.bench.selection import read
from medge.bench.stats import percentile
from medge.bench.store import Store
from medge.errors import StorageError

MOST_EARLIER = 20  # of the median of so many sessions the interval leaves out five at each end
MOST_READ = 100  # results of other candidates of the bundle stand between them


def beside_earlier(result: Result, store: Store) -> Result:
    """Return a result that knows what was measured of the same before.

    Each measurement is given the medians of the newest results of the same bundle and candidate on
    this device, under the same runtime and procedure; where they lie apart, a doubt says so. What
    cannot be read of the store is left out: `medge results list` tells of it.

    Raises
    ------
    StorageError
        The store itself cannot be read.
    """
    measurements = {taken.stage: taken for taken in result.measurements}
    for before in _same(result, store):
        for taken in before.measurements:
            now = measurements.get(taken.stage)
            if now is not None and taken.samples_ns and not _unlike(now, taken):
                earlier_ns = (percentile(taken.samples_ns, 0.5), *now.earlier_p50_ns)
                measurements[taken.stage] = replace(now, earlier_p50_ns=earlier_ns)
    return _doubted(msgspec.structs.replace(result, measurements=tuple(measurements.values())))


def _same(result: Result, store: Store) -> Iterator[Result]:
    """Yield the newest results of the same, the newest first."""
    found = 0
    for number in store.numbers(result.bundle_sha256)[: -MOST_READ - 1 : -1]:
        before = read(store, number)
        if (
            not isinstance(before, StorageError)
            and before.candidate == result.candidate
            and before.backend_version == result.backend_version
            and same_device(before, result)
        ):
            yield before
            found += 1
            if found == MOST_EARLIER:
                return


def _unlike(now: Measurement, before: Measurement) -> bool:
    return bool(differences(now.procedure, before.procedure))


def _doubted(result: Result) -> Result:
    """Add to the doubts those about measurements that other sessions contradict."""
    sections = result.sections
    if sections is None:
        return result
    told = dict(sections.doubts)
    for taken in result.measurements:
        told[taken.stage] = (*told.get(taken.stage, ()), *sessions_doubt(taken))
    kept = {stage: found for stage, found in told.items() if found}
    return msgspec.structs.replace(result, sections=msgspec.structs.replace(sections, doubts=kept))
