"""Bundles: what is written is read back, and whatever else is there is refused by name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundles import forge, tiny_bundle, tiny_files, tiny_graph, tiny_manifest

from medge.engine import bundle as bundle_module
from medge.engine.bundle import find_bundle, open_bundle
from medge.engine.bundle_writer import write_bundle
from medge.errors import BundleError

FILES = ("manifest.json", "model.onnx", "golden.npz", "layers.json", "variants/half.onnx")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with one more variant, so that its folder is there too."""
    return tiny_bundle(tmp_path, variants={"half": tiny_graph(seed=3)})


def refused(path: Path) -> BundleError:
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    return caught.value


def test_what_is_written_is_read_back(bundle: Path) -> None:
    with open_bundle(bundle) as opened:
        assert opened.manifest.name == "tiny"
        assert opened.golden().cases == 2
        assert opened.layers().layers[0].op == "Gemm"
        for name in FILES[1:]:
            assert opened.read(name) == (bundle / name).read_bytes()


def test_the_digest_is_that_of_the_manifest_and_equal_content_gives_equal_bundles(
    tmp_path: Path,
) -> None:
    twins = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.medge"
        digest = write_bundle(path, tiny_manifest(), tiny_files(tiny_graph()))
        with open_bundle(path) as opened:
            assert opened.digest == digest
        twins.append(digest)
    assert twins[0] == twins[1]


@pytest.mark.parametrize("name", FILES)
def test_any_changed_bit_is_refused(bundle: Path, name: str) -> None:
    """Sampled over every file: 64 positions each, one bit at a time."""
    whole = (bundle / name).read_bytes()
    chance = np.random.default_rng(len(name))
    for at in chance.integers(len(whole), size=64):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(chance.integers(8))
        (bundle / name).write_bytes(damaged)
        error = refused(bundle)
        assert error.rule == ("manifest" if name == "manifest.json" else "digest")
        assert name in error.message
    (bundle / name).write_bytes(whole)
    open_bundle(bundle).close()


@pytest.mark.parametrize("name", FILES)
def test_a_cut_or_grown_file_is_refused(bundle: Path, name: str) -> None:
    whole = (bundle / name).read_bytes()
    for damaged in (whole[:-1], whole + b"\n", b""):
        (bundle / name).write_bytes(damaged)
        assert refused(bundle).rule == ("manifest" if name == "manifest.json" else "size")


def test_a_wrong_digest_is_told_with_both_digests_shortened(bundle: Path) -> None:
    raw = bytearray((bundle / "model.onnx").read_bytes())
    raw[100] ^= 1
    (bundle / "model.onnx").write_bytes(raw)
    assert len(re.findall(r"\b[0-9a-f]{12}\.\.\.", refused(bundle).message)) == 2


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    error = refused(bundle)
    assert (error.rule, error.exit_code) == ("missing-file", 4)
    assert name in error.message


@pytest.mark.parametrize(
    "name",
    ["weights.pkl", "engine.plan", "run.py", "Model.onnx", "model.onnx.data", "variants/x.onnx"],
)
def test_an_extra_file_is_refused_whatever_it_is(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"\x80\x04.")
    error = refused(bundle)
    assert error.rule == "extra-file"
    assert name in error.message


def test_an_extra_folder_is_refused(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path)
    (bundle / "variants").mkdir()
    assert refused(bundle).rule == "extra-file"


def symlink(path: Path, elsewhere: Path) -> None:
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def hard_link(path: Path, elsewhere: Path) -> None:
    os.link(path, elsewhere)


def fifo(path: Path, _elsewhere: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path, _elsewhere: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("change", "rule"),
    [(symlink, "link"), (hard_link, "link"), (fifo, "not-regular"), (folder, "not-regular")],
)
def test_only_plain_files_with_one_name_are_read(
    bundle: Path, name: str, change: Callable[[Path, Path], None], rule: str
) -> None:
    change(bundle / name, bundle.parent / "elsewhere")
    assert refused(bundle).rule == rule


def test_a_linked_folder_of_variants_is_refused(bundle: Path) -> None:
    (bundle / "variants").rename(bundle.parent / "elsewhere")
    (bundle / "variants").symlink_to(bundle.parent / "elsewhere")
    assert refused(bundle).rule in {"link", "not-regular"}


def test_a_file_changed_after_opening_is_not_handed_over(bundle: Path) -> None:
    with open_bundle(bundle) as opened:
        before = (bundle / "model.onnx").read_bytes()
        for name in ("model.onnx", "layers.json"):
            raw = bytearray((bundle / name).read_bytes())
            raw[-3] ^= 1
            (bundle / name).write_bytes(raw)
        assert opened.read("model.onnx") == before  # the very bytes that were checked
        for name in ("model.onnx", "layers.json"):
            with pytest.raises(BundleError, match="SHA-256"):
                opened.read(name)


def test_a_bundle_checked_behind_the_scenes_gives_nothing_before_it_is_checked(
    bundle: Path,
) -> None:
    (bundle / "layers.json").write_bytes(b"{}")
    opened = open_bundle(bundle, wait=False)
    with opened, pytest.raises(BundleError, match=r"layers\.json"):
        opened.read("model.onnx")


def test_a_name_that_is_not_in_the_manifest_is_not_read(bundle: Path) -> None:
    with open_bundle(bundle) as opened, pytest.raises(BundleError) as caught:
        opened.read("../tiny.medge/model.onnx")
    assert caught.value.rule == "not-listed"


def test_a_manifest_of_more_than_a_megabyte_is_not_read(bundle: Path) -> None:
    with (bundle / "manifest.json").open("ab") as stream:
        stream.write(b" " * 2**20)
    assert refused(bundle).rule == "size"


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.medge").rule == "not-found"
    assert refused(tmp_path).rule == "missing-file"
    (tmp_path / "file.medge").write_bytes(b"")
    assert refused(tmp_path / "file.medge").rule == "not-a-folder"


def test_a_hostile_file_name_cannot_drive_the_terminal(bundle: Path) -> None:
    (bundle / "a\x1b[2J\n.pkl").write_bytes(b"")
    assert refused(bundle).message.isprintable()


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"layers": [{"name": 1}]}'])
def test_layers_that_break_the_schema_are_refused(bundle: Path, raw: bytes) -> None:
    forge(bundle, "layers.json", raw)
    with open_bundle(bundle) as opened, pytest.raises(BundleError) as caught:
        opened.layers()
    assert caught.value.rule == "layers"


class TestFinding:
    @pytest.fixture(autouse=True)
    def built_in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.delenv("MEDGE_BUNDLE", raising=False)
        monkeypatch.setattr(bundle_module, "BUILT_IN", tmp_path)
        for name in ("breast-ultrasound", "chest"):
            tiny_bundle(tmp_path, name)
        return tmp_path

    def test_a_word_is_a_built_in_name_and_a_slash_or_the_ending_makes_a_path(
        self, built_in: Path
    ) -> None:
        assert find_bundle("chest") == built_in / "chest.medge"
        assert find_bundle("chest.medge") == Path("chest.medge")
        assert find_bundle("./chest") == Path("chest")

    def test_nothing_asked_for_is_the_environments_else_the_demonstration(
        self, built_in: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert find_bundle(None) == built_in / "breast-ultrasound.medge"
        monkeypatch.setenv("MEDGE_BUNDLE", "chest")
        assert find_bundle(None) == built_in / "chest.medge"
        assert find_bundle("/x/y.medge") == Path("/x/y.medge")

    def test_an_unknown_name_is_refused_with_the_known_ones(self) -> None:
        with pytest.raises(BundleError, match="breast-ultrasound, chest") as caught:
            find_bundle("knee")
        assert caught.value.rule == "not-found"

    def test_a_built_in_bundle_may_be_hard_linked_as_installers_do(self, built_in: Path) -> None:
        os.link(built_in / "chest.medge/model.onnx", built_in / "cache")
        open_bundle(find_bundle("chest")).close()
