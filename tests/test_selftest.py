"""Self-test: a bundle that answers otherwise here than where it was made is not used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from bundles import forge, reference, tiny_bundle, tiny_files, tiny_graph
from narrow_graphs import golden_scores, int8_graph, narrow_bundle

from medge.engine.bundle import open_bundle
from medge.engine.golden import pack_golden
from medge.engine.select import choose
from medge.engine.selftest import SelfTest, self_test
from medge.engine.session import Session
from medge.errors import BundleError, GateError


def run(path: Path, backend: str = "onnxruntime", precision: str = "auto") -> SelfTest:
    with open_bundle(path) as bundle:
        choice = choose(bundle, backend=backend, precision=precision, threads=1)
        with Session(bundle, choice) as session:
            return self_test(session, bundle)


def test_a_sound_bundle_passes_and_says_by_how_much(tmp_path: Path) -> None:
    tested = run(tiny_bundle(tmp_path))
    assert tested.cases == 2
    assert tested.tolerance == 1e-3
    assert 0 <= tested.max_abs < 1e-5
    assert tested.time_ns > 0


@pytest.mark.parametrize("case", [0, 1])
def test_any_golden_case_that_differs_is_refused_by_number(tmp_path: Path, case: int) -> None:
    golden = expected()
    golden[case, 1] += 2e-3
    with pytest.raises(GateError, match=f"Golden case {case + 1}") as caught:
        run(tiny_bundle(tmp_path, golden=golden))
    assert (caught.value.rule, caught.value.exit_code) == ("self-test", 8)


def test_the_manifest_says_how_much_may_differ(tmp_path: Path) -> None:
    golden = expected() + np.float32(2e-3)
    assert run(tiny_bundle(tmp_path, golden=golden, golden_tolerance=3e-3)).max_abs > 1e-3


def test_other_weights_than_those_of_the_golden_cases_are_found(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path)
    forge(path, "model.onnx", tiny_graph(seed=5))
    with pytest.raises(GateError):
        run(path)


def test_answers_that_are_no_numbers_fail_the_test(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path)
    forge(path, "model.onnx", tiny_graph(weights={"head.w": np.full((4, 2), 3e38, "f4")}))
    with pytest.raises(GateError, match="not-finite-output"):
        run(path)


def test_damaged_golden_cases_refuse_the_bundle(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path)
    forge(path, "golden.npz", pack_golden({"image": np.zeros((1, 1, 8, 8), "f4")}, {}))
    with pytest.raises(BundleError, match="scores"):
        run(path)


def test_a_variant_may_differ_a_little_if_it_decides_alike(tmp_path: Path) -> None:
    close = tiny_graph(weights=shifted({"head.b": 0.02}))
    tested = run(tiny_bundle(tmp_path, variants={"half": close}), precision="half")
    assert tested.max_abs == pytest.approx(0.02, abs=1e-4)
    assert tested.tolerance == pytest.approx(0.05 * np.abs(expected()).max())


@pytest.mark.parametrize(
    ("shift", "told"), [({"head.b": 0.5}, "differ by"), ({"swap": 1.0}, "another decision")]
)
def test_a_variant_that_differs_much_or_decides_otherwise_is_refused(
    tmp_path: Path, shift: Mapping[str, float], told: str
) -> None:
    far = tiny_graph(weights=shifted(shift))
    with pytest.raises(GateError, match=told):
        run(tiny_bundle(tmp_path, variants={"half": far}), precision="half")


def test_a_variant_answers_as_its_own_graph_does_not_as_fp32_does(tmp_path: Path) -> None:
    tested = run(narrow_bundle(tmp_path, "int8", int8_graph()), precision="int8")
    assert tested.tolerance == 0.2
    assert tested.max_abs <= 0.05  # steps of the last quantisation are half of that
    assert tested.placement.shares == {"int8": 1.0}


def test_a_variant_beyond_its_own_tolerance_is_refused_though_fp32_is_near(tmp_path: Path) -> None:
    path = narrow_bundle(
        tmp_path, "int8", int8_graph(), golden=golden_scores(int8_graph()) + np.float32(0.3)
    )
    with pytest.raises(GateError, match=r"more than the 0\.2 allowed"):
        run(path, precision="int8")


def test_a_variant_without_golden_outputs_of_its_own_is_held_to_those_of_fp32(
    tmp_path: Path,
) -> None:
    path = narrow_bundle(tmp_path, "int8", int8_graph(), golden_tolerance=None)
    tested = run(path, precision="int8")
    assert tested.tolerance == pytest.approx(0.05 * np.abs(golden_scores(tiny_graph())).max())


def test_a_variant_that_decides_otherwise_than_its_own_golden_outputs_is_refused(
    tmp_path: Path,
) -> None:
    golden = golden_scores(int8_graph())[
        :, ::-1
    ].copy()  # within the tolerance, and the other class
    path = narrow_bundle(tmp_path, "int8", int8_graph(), golden=golden, golden_tolerance=1.0)
    with pytest.raises(GateError, match="another decision"):
        run(path, precision="int8")


def test_a_graph_that_is_not_in_the_bundle_has_no_golden_outputs_of_its_own(
    tmp_path: Path,
) -> None:
    path = narrow_bundle(
        tmp_path, "int8", int8_graph(), golden=golden_scores(int8_graph()) + np.float32(9)
    )
    with open_bundle(path) as bundle:
        choice = choose(bundle, backend="onnxruntime", precision="int8", threads=1)
        with Session(bundle, choice, model=int8_graph()) as session:
            assert not session.from_bundle
            assert self_test(session, bundle).max_abs < 0.1


def test_the_null_backend_has_nothing_to_prove(tmp_path: Path) -> None:
    assert run(tiny_bundle(tmp_path), backend="null").cases == 0


def expected() -> np.ndarray:
    """Outputs of the tiny graph for the golden inputs of tests/bundles.py."""
    image = np.random.default_rng(1).normal(size=(2, 1, 8, 8)).astype("f4")
    return reference(tiny_graph(), image)


def shifted(shift: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Weights of the tiny graph with a bias moved, or with both classes swapped."""
    random = np.random.default_rng(0)
    for shape in ((4, 1, 3, 3), (4,)):
        random.normal(size=shape)
    weight, bias = random.normal(size=(4, 2)).astype("f4"), random.normal(size=2).astype("f4")
    if "swap" in shift:
        return {"head.w": weight[:, ::-1].copy(), "head.b": bias[::-1].copy()}
    return {"head.b": bias + np.float32(shift["head.b"])}


def test_the_golden_inputs_of_the_tests_are_those_of_the_builder() -> None:
    from bundles import tiny_manifest

    from medge.engine.golden import unpack_golden

    golden = unpack_golden(tiny_files(tiny_graph())["golden.npz"], tiny_manifest())
    np.testing.assert_array_equal(golden.outputs["scores"], expected())
