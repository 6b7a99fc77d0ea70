"""Plans: what the real TensorRT-RTX builds without a GPU, what it refuses, and what it survives."""

from __future__ import annotations

import hashlib
from importlib import metadata

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_graphs import REFUSED, convolution, product, quantised, request

from medge.engine.backends.trt.library import require_package
from medge.engine.backends.trt.plan import RTX_COMPUTE_CAPABILITIES, Batches, build_plan
from medge.engine.backends.trt.words import REASONS, PlanRefusedError, reason_of
from medge.errors import BackendError, BundleError, UsageError

try:
    metadata.version("tensorrt-rtx")
except metadata.PackageNotFoundError:
    pytest.skip("tensorrt-rtx is not installed", allow_module_level=True)


def test_a_plan_is_built_without_a_gpu_and_is_the_same_every_time() -> None:
    first, second = (build_plan(convolution(), request("8.6")) for _ in range(2))
    assert (first.package, first.version) == ("tensorrt_rtx", metadata.version("tensorrt-rtx"))
    assert first.plan[:4] == b"vtrt"  # what every plan of TensorRT-RTX 1.7 begins with
    assert hashlib.sha256(first.plan).digest() == hashlib.sha256(second.plan).digest()
    assert (first.compute, first.batch) == (("conv",), 1)
    assert first.seconds > 0


def test_a_plan_for_several_gpus_is_the_same_in_whatever_order_they_are_named() -> None:
    plans = [
        build_plan(convolution("n"), request(*each, batches=Batches(1, 2, 4)))
        for each in (("8.6", "12.0"), ("12.0", "8.6"))
    ]
    assert plans[0].plan == plans[1].plan
    assert plans[0].batch is None


def test_int8_as_medge_writes_it_is_built() -> None:
    plan = build_plan(quantised(np.int8(0)), request("8.0"))
    assert plan.compute == ("conv",)


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_must_not_take_is_refused_with_operator_and_reason(name: str) -> None:
    made, operator, reason = REFUSED[name]
    with pytest.raises(PlanRefusedError) as caught:
        build_plan(made(), request("8.6"))
    assert (caught.value.operator, caught.value.reason) == (operator, reason)
    assert (caught.value.rule, caught.value.exit_code) == ("graph", 4)
    assert "Assertion" not in caught.value.message
    assert REASONS[caught.value.reason] in caught.value.message


def test_fp32_matrix_products_are_refused_for_turing_and_named() -> None:
    asked = request("7.5", answer=(4,))
    with pytest.raises(PlanRefusedError, match="Use the variant fp16") as caught:
        build_plan(product(), asked)
    assert caught.value.reason == "turing-fp32"


def test_a_graph_that_is_not_what_was_promised_is_refused() -> None:
    with pytest.raises(BundleError, match="output 'y' is 1x4x6x6, promised 4x5x5"):
        build_plan(convolution(), request("8.6", answer=(4, 5, 5)))
    with pytest.raises(BundleError, match="it has no input 'x'"):
        build_plan(b"", request("8.6"))


@pytest.mark.parametrize("capability", ["9.0", "8.7", "86", ""])
def test_a_compute_capability_that_it_does_not_compile_for_is_refused(capability: str) -> None:
    with pytest.raises(UsageError, match=r"8\.9, 12\.0") as caught:
        build_plan(convolution(), request(capability))
    assert caught.value.rule == "compute-capability"


def test_tensorrt_itself_builds_nothing_ahead_of_time() -> None:
    with pytest.raises(UsageError, match="on the GPU that will run it"):
        build_plan(b"", msgspec.structs.replace(request("8.6"), flavour="tensorrt"))


def test_the_compute_capabilities_are_those_of_the_library() -> None:
    import tensorrt_rtx

    known = set(tensorrt_rtx.ComputeCapability.__members__) - {"NONE", "CURRENT"}
    assert known == {f"SM{each.replace('.', '')}" for each in RTX_COMPUTE_CAPABILITIES}


def test_without_a_driver_nothing_is_built_for_the_gpu_of_this_machine() -> None:
    from medge.profiles.cuda_driver import driver

    if driver().state != "no-driver":
        pytest.skip("there is a driver here")
    with pytest.raises(BackendError, match="needs an NVIDIA GPU") as caught:
        build_plan(convolution(), request())
    assert (caught.value.rule, caught.value.exit_code) == ("cuda-driver", 5)


def test_a_package_that_is_absent_is_named_with_its_command() -> None:
    try:
        metadata.version("tensorrt")
    except metadata.PackageNotFoundError:
        with pytest.raises(BackendError, match="python -m pip install tensorrt") as caught:
            require_package("tensorrt")
        assert caught.value.rule == "backend-missing"
    else:
        pytest.skip("tensorrt is installed here")


@given(words=st.text(max_size=200), operator=st.text(max_size=80))
@settings(max_examples=50, deadline=None)
def test_the_librarys_own_text_never_reaches_the_message(words: str, operator: str) -> None:
    error = PlanRefusedError("tensorrt-rtx 1.7", operator, reason_of("INVALID_NODE", words))
    plain = PlanRefusedError("tensorrt-rtx 1.7", "", error.reason)
    if error.operator:
        assert error.message == plain.message.replace("graph:", f"graph at operator {operator}:")
    else:
        assert error.message == plain.message
