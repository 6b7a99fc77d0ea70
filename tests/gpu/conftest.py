"""What tests of a GPU share: where there is none they are skipped, with the driver's own reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from medge.engine.backends import BACKENDS, backend_class
from medge.engine.backends.presence import gpu_absence
from medge.engine.bundle import Bundle, find_bundle, open_bundle
from medge.engine.select import ON_NVIDIA
from medge.profiles.cuda_driver import CudaGpu, driver


@pytest.fixture(scope="session")
def gpus() -> tuple[CudaGpu, ...]:
    """Return the GPUs that CUDA offers."""
    found = driver()
    if found.problem is not None:
        pytest.skip(found.problem.found)
    return found.gpus


@pytest.fixture(params=ON_NVIDIA)
def backend(request: pytest.FixtureRequest, gpus: tuple[CudaGpu, ...]) -> str:
    """Return each backend for NVIDIA GPUs that is installed."""
    name = str(request.param)
    missing = gpu_absence(name) if name in BACKENDS else None
    if name not in BACKENDS or missing is not None:
        pytest.skip(f"{name}: {missing.message if missing else 'not in this version'}")
    runtime = backend_class(name)()
    try:
        if gpus[0].device not in runtime.devices():
            pytest.skip(f"{name} does not run on {gpus[0].name}")
    finally:
        runtime.close()
    if name == "tensorrt-rtx" and gpus[0].compute_capability == "7.5":
        pytest.skip(f"{name} has no matrix products in fp32 on {gpus[0].name}")
    return name


@pytest.fixture(params=["breast-ultrasound", "chest-x-ray"])
def bundle(request: pytest.FixtureRequest) -> Iterator[Bundle]:
    """Open each built-in bundle."""
    with open_bundle(find_bundle(str(request.param))) as opened:
        yield opened
