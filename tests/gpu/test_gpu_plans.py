"""On a GPU: plans of TensorRT and TensorRT-RTX are recorded, kept, read back and timed.

Not run yet on any GPU; docs/gpu-records says when that changed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from medge.engine.backends.trt.backend import TensorRT, TensorRTRTX
from medge.engine.bundle import Bundle
from medge.engine.cache import EngineCache
from medge.engine.select import GPU_ONLY, choose
from medge.engine.selftest import open_proven
from medge.engine.session import Session

pytestmark = pytest.mark.gpu


@pytest.fixture
def plans(backend: str) -> str:
    if backend not in GPU_ONLY:
        pytest.skip(f"{backend} builds no plans")
    return backend


def test_a_call_is_one_graph_over_locked_memory(bundle: Bundle, plans: str) -> None:
    with Session(bundle, choose(bundle, plans, "nvidia:0")) as session:
        runtime = session._runtime
        assert isinstance(runtime, TensorRT | TensorRTRTX)
        told = runtime._opened
        assert told is not None
        assert (told.cuda_graph, told.pinned) == (True, True)


def test_a_kept_plan_is_opened_and_answers_as_before(
    bundle: Bundle, plans: str, tmp_path: Path
) -> None:
    choice, from_cache = choose(bundle, plans, "nvidia:0"), []
    for _ in range(2):
        session, tested = open_proven(bundle, choice, EngineCache(tmp_path))
        session.close()
        from_cache.append(session.from_cache)
        assert tested.cases > 0
    assert from_cache == [False, True]


@pytest.mark.parametrize("variant", ["fp16", "int8"])
def test_narrow_layers_are_read_back_as_narrow(bundle: Bundle, plans: str, variant: str) -> None:
    if bundle.manifest.variant(variant) is None:
        pytest.skip(f"the bundle has no variant {variant}")
    session, tested = open_proven(bundle, choose(bundle, plans, "nvidia:0", variant))
    session.close()
    assert tested.placement.compute.get(variant, 0) > 0


def test_layers_are_timed_while_watched(bundle: Bundle, plans: str) -> None:
    golden = bundle.golden()
    picture = {name: array[:1] for name, array in golden.inputs.items()}
    with Session(bundle, choose(bundle, plans, "nvidia:0"), watched=True) as session:
        for _ in range(3):
            session.infer(picture)
        nodes = session.timed_nodes()
    assert nodes
    assert {len(node.times_ns) for node in nodes} == {3}
    assert sum(sum(node.times_ns) for node in nodes) > 0
