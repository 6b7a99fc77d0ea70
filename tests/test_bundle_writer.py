"""Writing bundles: whole or not at all, and nothing that the reader would refuse."""

from __future__ import annotations

import errno
import io
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from bundles import forge, tiny_bundle, tiny_files, tiny_graph, tiny_manifest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from medge.engine.bundle import open_bundle
from medge.engine.bundle_writer import write_bundle
from medge.engine.golden import pack_golden
from medge.errors import BundleError, MedgeError, StorageError, UsageError


def test_an_existing_bundle_is_replaced_only_when_told(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path)
    files = tiny_files(tiny_graph(seed=9))
    with pytest.raises(StorageError, match="exists"):
        write_bundle(path, tiny_manifest(), files)
    digest = write_bundle(path, tiny_manifest(), files, overwrite=True)
    with open_bundle(path) as opened:
        assert opened.digest == digest
        assert opened.read("model.onnx") == files["model.onnx"]
    assert os.listdir(tmp_path) == [path.name]


def test_what_is_not_a_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "letters.medge").mkdir()
    (tmp_path / "letters.medge/one.txt").write_text("dear")
    (tmp_path / "link.medge").symlink_to(tiny_bundle(tmp_path))
    for name in ("letters.medge", "link.medge"):
        with pytest.raises(StorageError, match="not a bundle"):
            write_bundle(tmp_path / name, tiny_manifest(), tiny_files(tiny_graph()), overwrite=True)
    assert (tmp_path / "letters.medge/one.txt").read_text() == "dear"


def test_the_name_must_end_as_bundles_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.medge"):
        write_bundle(tmp_path / "tiny", tiny_manifest(), tiny_files(tiny_graph()))


def test_others_may_read_a_bundle_as_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        path = tiny_bundle(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert stat.S_IMODE((path / "model.onnx").stat().st_mode) == 0o644


CALLS = ("mkdir", "open", "fsync", "rename")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("replacing", [False, True])
def test_a_failing_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, replacing: bool
) -> None:
    """Every call on the way to a written bundle fails once, the first, then the second, and on."""
    path = tmp_path / "tiny.medge"
    old = write_bundle(path, tiny_manifest(version="0.9.0"), tiny_files(tiny_graph()))
    target = path if replacing else tmp_path / "new.medge"
    for failing in range(1, 50):
        with monkeypatch.context() as patch:
            calls = fail(patch, call, failing, code)
            error = attempt(target)
        assert (error is not None) == (calls() >= failing)
        with open_bundle(path) as opened:  # the old one, or the new one, and always a whole one
            assert (opened.digest == old) or (replacing and opened.manifest.version == "1.0.0")
        assert {name for name in os.listdir(tmp_path) if name.startswith(".")} == set()
        if error is None:
            break
        assert (error.rule, error.exit_code) == ("bundle-output", 6)
        assert os.strerror(code) in error.message
    assert failing > 1, "the call was never made"
    open_bundle(target).close()


def attempt(path: Path) -> StorageError | None:
    try:
        write_bundle(path, tiny_manifest(), tiny_files(tiny_graph()), overwrite=True)
    except StorageError as error:
        return error
    return None


def fail(patch: pytest.MonkeyPatch, call: str, failing: int, code: int) -> Callable[[], int]:
    """Let the call with this number raise an OSError; return how often it was called."""
    owner: Any = os if call == "fsync" else Path
    real = getattr(owner, call)
    count = 0

    def flaky(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == failing:
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    patch.setattr(owner, call, flaky)
    return lambda: count


def refused(tmp_path: Path, files: dict[str, bytes], **changes: Any) -> MedgeError:
    with pytest.raises(BundleError) as caught:
        write_bundle(tmp_path / "bad.medge", tiny_manifest(**changes), files)
    assert os.listdir(tmp_path) == []
    return caught.value


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_numbers_are_refused_with_their_name_and_count(
    tmp_path: Path, value: float
) -> None:
    weights = np.ones((4, 2), "f4")
    weights[1] = value
    golden = np.zeros((2, 2), "f4")
    files = tiny_files(tiny_graph(weights={"head.w": weights}), golden=golden)
    error = refused(tmp_path, files)
    assert (error.rule, error.exit_code) == ("weights-not-finite", 4)
    assert "'head.w' (2 values)" in error.message


def test_a_graph_with_external_data_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(tiny_graph())
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "weights.bin")
    files = tiny_files(tiny_graph()) | {"model.onnx": model.SerializeToString()}
    assert refused(tmp_path, files).rule == "external-data"


@pytest.mark.parametrize(
    "raw", [b"", b"\x80\x04K\x01.", b"PK\x03\x04", b"\x7fELF", b"import os\n", b"ORTM" * 20]
)
def test_what_is_no_onnx_graph_is_refused_by_its_content(tmp_path: Path, raw: bytes) -> None:
    files = tiny_files(tiny_graph()) | {"model.onnx": raw}
    assert refused(tmp_path, files).rule == "not-onnx"


@pytest.mark.parametrize(
    ("missing", "extra"), [("golden.npz", None), ("layers.json", None), (None, "notes.txt")]
)
def test_the_files_must_be_those_of_a_bundle(
    tmp_path: Path, missing: str | None, extra: str | None
) -> None:
    files = tiny_files(tiny_graph())
    if missing:
        del files[missing]
    if extra:
        files[extra] = b""
    assert refused(tmp_path, files).rule == "manifest"


@pytest.mark.parametrize(
    "changes",
    [{"version": "1"}, {"name": "Tiny"}, {"intended_use": ""}, {"golden_tolerance": 0.0}],
)
def test_a_manifest_that_the_reader_would_refuse_is_not_written(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert refused(tmp_path, tiny_files(tiny_graph()), **changes).rule == "manifest"


IMAGE = np.zeros((2, 1, 8, 8), "f4")
SCORES = np.zeros((2, 2), "f4")


@pytest.mark.parametrize(
    ("golden", "told"),
    [
        (pack_golden({"image": IMAGE * np.nan}, {"scores": SCORES}), "128 NaN or Inf"),
        (pack_golden({"image": IMAGE}, {"scores": SCORES + np.inf}), "4 NaN or Inf"),
        (pack_golden({"image": IMAGE}, {}), "scores"),
        (pack_golden({"image": IMAGE[:1]}, {"scores": SCORES}), "same number of cases"),
        (pack_golden({"image": IMAGE[:0]}, {"scores": SCORES[:0]}), "at least one"),
        (pack_golden({"image": IMAGE[:, :, 1:]}, {"scores": SCORES}), "1, 8, 8"),
        (pack_golden({"image": IMAGE.astype("u1")}, {"scores": SCORES}), "float32"),
        (pack_golden({"image": IMAGE, "more": IMAGE}, {"scores": SCORES}), "does not declare"),
        (b"PK\x05\x06", "archive"),
        (b"", "archive"),
    ],
)
def test_golden_cases_must_be_finite_and_as_declared(
    tmp_path: Path, golden: bytes, told: str
) -> None:
    error = refused(tmp_path, tiny_files(tiny_graph()) | {"golden.npz": golden})
    assert error.rule == "golden"
    assert told in error.message


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as stream:
        for name, raw in members.items():
            stream.writestr(name, raw)
    return buffer.getvalue()


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "member",
    [
        npy(np.array([{}], dtype=object)),  # a pickle
        npy(np.zeros((2, 2), "f4"))[:-1],
        npy(np.zeros((2, 2), "f4")) + b"\0",
        npy(np.asfortranarray(np.zeros((2, 2), "f4"))),
        npy(np.zeros((2, 2), ">f4")),
        npy(np.zeros((2, 2), "f4"), version=(2, 0)),
        npy(np.zeros((2, 2), "f4")).replace(b"(2, 2)", b"(9999999999, 9999999999)"),
        b"not an array",
    ],
)
def test_no_pickle_and_no_lying_array_is_read_from_golden_cases(
    tmp_path: Path, member: bytes
) -> None:
    golden = archive({"input/image.npy": npy(IMAGE), "output/scores.npy": member})
    assert refused(tmp_path, tiny_files(tiny_graph()) | {"golden.npz": golden}).rule == "golden"


def test_golden_cases_that_unpack_to_too_much_are_not_unpacked(tmp_path: Path) -> None:
    bomb = archive({"input/image.npy": bytes(2**28 + 1)})
    assert len(bomb) < 2**19
    error = refused(tmp_path, tiny_files(tiny_graph()) | {"golden.npz": bomb})
    assert str(2**28) in error.message


def test_a_forged_bundle_with_right_digests_is_still_judged_by_its_content(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path)
    nan = np.full((4, 2), np.nan, "f4")
    forge(path, "model.onnx", tiny_graph(weights={"head.w": nan}))
    with pytest.raises(BundleError, match=r"'head\.w' \(8 values\)"):
        open_bundle(path)


class TestGraphs:
    """Where ONNX can keep values, and how the scan finds them; graphs are made by onnx itself."""

    @staticmethod
    def rule(tmp_path: Path, model: onnx.ModelProto) -> str | None:
        files = tiny_files(tiny_graph()) | {"model.onnx": model.SerializeToString()}
        try:
            write_bundle(tmp_path / "x.medge", tiny_manifest(), files, overwrite=True)
        except BundleError as error:
            return error.rule
        return None

    @staticmethod
    def model(tensor: TensorProto | None = None, node: onnx.NodeProto | None = None) -> Any:
        model = onnx.load_from_string(tiny_graph())
        if tensor is not None:
            model.graph.initializer.append(tensor)
        if node is not None:
            model.graph.node.append(node)
        return model

    @pytest.mark.parametrize("kind", ["FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE"])
    @pytest.mark.parametrize("raw", [False, True])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65504.0, -0.0])
    def test_every_width_in_every_place_is_read(
        self, tmp_path: Path, kind: str, raw: bool, value: float
    ) -> None:
        data_type = getattr(TensorProto, kind)
        if raw:
            plain = np.array([1.0, value]).astype(helper.tensor_dtype_to_np_dtype(data_type))
            tensor = helper.make_tensor("t", data_type, [2], plain.tobytes(), raw=True)
        else:
            tensor = helper.make_tensor("t", data_type, [2], [1.0, value])
        expected = None if np.isfinite(value) else "weights-not-finite"
        assert self.rule(tmp_path, self.model(tensor)) == expected

    def test_bits_of_whole_numbers_are_not_taken_for_nan(self, tmp_path: Path) -> None:
        tensor = numpy_helper.from_array(np.full(4, -1, "i4"), "t")
        assert self.rule(tmp_path, self.model(tensor)) is None

    def test_one_infinite_value_alone_may_mean_no_limit_but_nan_never_may(
        self, tmp_path: Path
    ) -> None:
        for value, expected in ((-np.inf, None), (np.nan, "weights-not-finite")):
            tensor = numpy_helper.from_array(np.array(value, "f4"), "t")
            assert self.rule(tmp_path, self.model(tensor)) == expected

    def test_constants_subgraphs_functions_and_sparse_tensors_are_walked(
        self, tmp_path: Path
    ) -> None:
        bad = numpy_helper.from_array(np.array([np.nan, 1], "f4"), "t")
        constant = helper.make_node("Constant", [], ["k"], value=bad)
        inner = helper.make_graph([constant], "inner", [], [])
        sparse = helper.make_sparse_tensor(bad, numpy_helper.from_array(np.array([0, 1]), "i"), [4])
        function = helper.make_function("f", "F", [], ["k"], [constant], [])
        models = [
            self.model(node=constant),
            self.model(node=helper.make_node("If", ["c"], ["k"], then_branch=inner)),
            self.model(node=helper.make_node("Constant", [], ["k"], sparse_value=sparse)),
            self.model(node=helper.make_node("Constant", [], ["k"], value_floats=[1.0, np.nan])),
            self.model(),
            self.model(),
        ]
        models[4].functions.append(function)
        models[5].graph.sparse_initializer.append(sparse)
        assert [self.rule(tmp_path, model) for model in models] == ["weights-not-finite"] * 6

    @pytest.mark.parametrize("place", ["initializer", "constant", "sparse"])
    @pytest.mark.parametrize("location", ["w.bin", "../w.bin", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"])
    def test_external_data_is_found_in_every_place(
        self, tmp_path: Path, place: str, location: str
    ) -> None:
        tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[2])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        if place == "initializer":
            model = self.model(tensor)
        elif place == "constant":
            model = self.model(node=helper.make_node("Constant", [], ["k"], value=tensor))
        else:
            model = self.model()
            model.graph.sparse_initializer.add().values.CopyFrom(tensor)
        assert self.rule(tmp_path, model) == "external-data"

    def test_a_compiled_engine_inside_a_graph_is_refused(self, tmp_path: Path) -> None:
        node = helper.make_node("EPContext", [], ["k"], domain="com.microsoft", embed_mode=0)
        assert self.rule(tmp_path, self.model(node=node)) == "engine"

    @given(st.data())
    def test_no_bytes_make_the_scan_read_outside_or_fail(self, data: st.DataObject) -> None:
        from medge._native import scan_graph

        graph = bytearray(tiny_graph())
        for at, value in data.draw(
            st.lists(st.tuples(st.integers(0, len(graph) - 1), st.integers(0, 255)), max_size=8)
        ):
            graph[at] = value
        end = data.draw(st.integers(0, len(graph)))
        status, name, _ = scan_graph(bytes(graph[:end]))
        assert status in range(5)
        assert len(name) <= len(graph)

    def test_a_cut_graph_is_refused_or_lacks_nothing_the_scan_needs(self) -> None:
        """A message cut between two of its fields parses; the digests find that."""
        from medge._native import scan_graph

        graph = tiny_graph()
        whole = sum(scan_graph(graph[:end])[0] == 0 for end in range(len(graph)))
        assert whole <= 2  # before the opset, and before the opset's own end


def test_a_draft_is_not_changed_by_writing_it(tmp_path: Path) -> None:
    draft = tiny_manifest()
    copy = msgspec.structs.replace(draft)
    write_bundle(tmp_path / "x.medge", draft, tiny_files(tiny_graph()))
    assert draft == copy
    assert draft.files == {}
