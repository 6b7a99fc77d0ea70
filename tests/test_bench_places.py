"""Places of a matrix: CPUs and devices as they are typed, and which may work at the same time."""

from __future__ import annotations

import os

import pytest
from bench_matrix import CPUS, HERE, TWO, bench, subject
from command_line import Typed
from hypothesis import given
from hypothesis import strategies as st

from medge.bench.matrix.cells import Asked, plan
from medge.bench.matrix.places import Place, apart, list_text, pinned, read_places
from medge.errors import UsageError


@given(st.sets(st.integers(0, 200), min_size=1))
def test_cpus_are_listed_as_the_kernel_does(cpus: set[int]) -> None:
    listed = list_text(sorted(cpus))
    found: set[int] = set()
    for part in listed.split(","):
        low, _, high = part.partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    assert found == cpus
    assert listed.count(",") == sum(cpu + 1 not in cpus for cpu in cpus) - 1


def test_devices_are_read_as_they_are_typed() -> None:
    first = CPUS[0]
    assert read_places(["cpu", "gpu.0", f"cpu:{first}", "CPU"]) == (
        HERE,
        Place(device="GPU.0"),
        Place(device="cpu", cpus=(first,)),
    )
    assert read_places(["all"]) is None
    with pytest.raises(UsageError, match="may not use"):
        read_places(["cpu:0-9999"])


def test_only_what_shares_nothing_works_at_once() -> None:
    gpus = (Place(device="GPU.0"), Place(device="GPU.1"))
    low, high = Place(device="cpu", cpus=(0, 1)), Place(device="cpu", cpus=(2, 3))
    both = Place(device="cpu", cpus=(1, 2))
    assert apart([HERE, *gpus]) == gpus
    assert apart([low, both, high]) == (low, high)
    assert apart([HERE, low]) == (low,)


def test_a_process_is_pinned_only_while_it_is_started() -> None:
    with pinned(TWO[0]):
        assert os.sched_getaffinity(0) == set(TWO[0].cpus or ())
    assert os.sched_getaffinity(0) == set(CPUS)
    with pinned(HERE):
        assert os.sched_getaffinity(0) == set(CPUS)


@pytest.fixture
def accelerators() -> tuple[Place, ...]:
    planned = plan([subject()], Asked(places=None, seconds=1.0))
    places = {cell.place for cell in planned.cells} - {HERE}
    if not places:
        pytest.skip("no runtime here names a device besides the CPU")
    return tuple(places)


@pytest.mark.gpu
def test_every_accelerator_of_the_machine_is_measured(
    typed: Typed, accelerators: tuple[Place, ...]
) -> None:
    found = bench(typed, "--device", "all", "--precisions", "fp32")
    measured = {row["place"] for row in found["rows"] if row["pictures_per_s"]}
    assert {place.name for place in accelerators} <= measured
    assert len(found["at_once"]) == (len(accelerators) if len(accelerators) > 1 else 0)
