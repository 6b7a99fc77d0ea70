"""Sources and their weights: what is named is found, fits exactly, and never runs as a pickle."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from export_kit import SPEC, export, save, write_spec
from export_networks import Tiny, trained

from medge.errors import UsageError
from medge.exporters.pt2_file import check_pt2
from medge.exporters.sources import Source, load, parse_source
from medge.exporters.spec import read_spec
from medge.exporters.state import load_weights


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("net.onnx", "onnx", "net.onnx"),
        ("folder/NET.ONNX", "onnx", "folder/NET.ONNX"),
        ("a:b.pt2", "pt2", "a:b.pt2"),
        ("timm:resnet18.a1_in1k", "timm", "resnet18.a1_in1k"),
        ("torchvision:resnet18", "torchvision", "resnet18"),
        ("monai:DenseNet121", "monai", "DenseNet121"),
        ("package.module:Class.build", "callable", "package.module:Class.build"),
    ],
)
def test_the_forms_of_a_source_are_told_apart(text: str, kind: str, name: str) -> None:
    assert parse_source(text) == Source(kind, name)


@pytest.mark.parametrize("text", ["", "resnet18", "timm:", "os:x()", "a b:c", "net.pth", ":"])
def test_anything_else_is_no_source(text: str) -> None:
    with pytest.raises(UsageError, match="is no source") as caught:
        parse_source(text)
    assert caught.value.rule == "source"


def loaded(folder: Path, text: str, seed: int | None = 0, **changes: Any) -> Any:
    return load(parse_source(text), read_spec(write_spec(folder, **changes)), None, seed)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("timm:resnet1888", "did you mean"),
        ("torchvision:resnet1888", "did you mean resnet18"),
        ("monai:DenseNet12", "did you mean DenseNet"),
        ("export_networks:Tyni", "AttributeError"),
        ("no_such_module:build", "ModuleNotFoundError"),
        ("export_networks:torch", "expected a function or class"),
    ],
)
def test_a_network_that_is_not_there_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        loaded(tmp_path, text)
    assert caught.value.rule == "source-unknown"


def test_an_argument_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no argument 'chanels'; did you mean channels") as caught:
        loaded(tmp_path, "export_networks:Tiny", arguments={"chanels": 1})
    assert caught.value.rule == "source-arguments"


def test_arguments_that_do_not_work_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"with \(channels=-1\): RuntimeError") as caught:
        loaded(tmp_path, "export_networks:Tiny", arguments={"channels": -1})
    assert caught.value.rule == "source-arguments"


def test_what_builds_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="returned OrderedDict") as caught:
        loaded(tmp_path, "collections:OrderedDict")
    assert caught.value.rule == "source-result"


@pytest.mark.parametrize(
    ("source", "channels"),
    [("timm:test_resnet", 1), ("timm:test_resnet", 3), ("monai:TorchVisionFCModel", 3)],
)
def test_channels_and_classes_come_from_the_specification(
    tmp_path: Path, source: str, channels: int
) -> None:
    size = {"channels": channels, "mean": [0.5] * channels, "std": [0.2] * channels}
    outputs = [{"name": "scores", "classes": list("abcde")}]
    network = loaded(tmp_path, source, input={**SPEC["input"], **size}, outputs=outputs)
    with torch.no_grad():
        found = network._network(torch.zeros(2, channels, 224, 224))
    assert found.shape == (2, 5)


def test_random_weights_are_those_of_the_seed(tmp_path: Path) -> None:
    one, same, other = (
        loaded(tmp_path, "torchvision:squeezenet1_1", seed)._network.state_dict()
        for seed in (1, 1, 2)
    )
    key = "features.0.weight"
    assert torch.equal(one[key], same[key])
    assert not torch.equal(one[key], other[key])


class TestWeights:
    """A file of weights fits exactly, or is refused with what is missing and what is too much."""

    @pytest.fixture
    def network(self) -> torch.nn.Module:
        return trained(Tiny())

    def filled(self, path: Path) -> tuple[torch.nn.Module, list[str]]:
        empty = Tiny()
        return empty, load_weights(empty, path)

    def same(self, one: torch.nn.Module, other: torch.nn.Module) -> bool:
        pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        return all(torch.equal(a, b) for a, b in pairs)

    def test_safetensors_and_state_dicts_are_read(
        self, tmp_path: Path, network: torch.nn.Module
    ) -> None:
        from safetensors.torch import save_file

        save_file(network.state_dict(), tmp_path / "w.safetensors")
        for path in (tmp_path / "w.safetensors", save(network, tmp_path)):
            found, notes = self.filled(path)
            assert self.same(found, network)
            assert notes == []

    @pytest.mark.parametrize(
        ("nest", "prefix"),
        [
            ("state_dict", ""),
            ("model", "module."),
            ("", "module."),
            ("", "_orig_mod.module."),
            ("state_dict", "model."),
        ],
    )
    def test_what_training_loops_put_around_it_is_taken_off_and_noted(
        self, tmp_path: Path, network: torch.nn.Module, nest: str, prefix: str
    ) -> None:
        state: Any = {prefix + k: v for k, v in network.state_dict().items()}
        torch.save({nest: state, "epoch": 3} if nest else state, tmp_path / "w.pt")
        found, notes = self.filled(tmp_path / "w.pt")
        assert self.same(found, network)
        assert len(notes) == bool(nest) + prefix.count(".")

    def test_counters_of_training_may_be_absent(
        self, tmp_path: Path, network: torch.nn.Module
    ) -> None:
        state = network.state_dict()
        del state["norm.num_batches_tracked"]
        torch.save(state, tmp_path / "w.pt")
        assert self.filled(tmp_path / "w.pt")[1] == [
            "1 BatchNorm counters are not in the file; they have no effect"
        ]

    @pytest.mark.parametrize(
        ("dropped", "added", "said"),
        [
            ("head.bias", {}, r"1 of 10 are missing, first 'head\.bias'"),
            ("", {"extra": (1,)}, r"1 are unexpected, first 'extra'"),
            ("head.bias", {"haed.bias": (2,)}, "missing.*unexpected"),
            ("", {"head.weight": (3, 8)}, r"'head\.weight': 3x8 in the file, 2x8 in the network"),
        ],
    )
    def test_keys_and_shapes_must_fit(
        self, tmp_path: Path, dropped: str, added: dict[str, tuple[int, ...]], said: str
    ) -> None:
        state = {k: v for k, v in Tiny().state_dict().items() if k != dropped}
        state |= {name: torch.zeros(shape) for name, shape in added.items()}
        torch.save(state, tmp_path / "w.pt")
        with pytest.raises(UsageError, match=said) as caught:
            self.filled(tmp_path / "w.pt")
        assert caught.value.rule == "weights-mismatch"

    def test_a_pickle_that_runs_code_does_not_run(self, tmp_path: Path) -> None:
        torch.save({"head.weight": Bomb(tmp_path / "ran")}, tmp_path / "w.pt")
        (tmp_path / "raw.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
        for name in ("w.pt", "raw.pkl"):
            with pytest.raises(UsageError, match="without running code") as caught:
                self.filled(tmp_path / name)
            assert caught.value.rule == "weights-unreadable"
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "raw", [b"", b"PK\x03\x04", b"\x10\x00\x00\x00\x00\x00\x00\x00{}", b"x" * 100]
    )
    def test_a_damaged_file_is_refused(self, tmp_path: Path, raw: bytes) -> None:
        (tmp_path / "w").write_bytes(raw)
        with pytest.raises(UsageError) as caught:
            self.filled(tmp_path / "w")
        assert caught.value.rule == "weights-unreadable"

    def test_a_whole_pickled_network_is_refused(
        self, tmp_path: Path, network: torch.nn.Module
    ) -> None:
        torch.save(network, tmp_path / "w.pt")
        with pytest.raises(UsageError, match=r"save_file\(network.state_dict"):
            self.filled(tmp_path / "w.pt")

    @pytest.mark.parametrize(
        ("source", "weights", "seed", "rule"),
        [
            ("timm:resnet18", False, None, "weights-missing"),
            ("timm:resnet18", True, 0, "weights-twice"),
            ("net.onnx", True, None, "weights-twice"),
            ("net.pt2", False, 0, "weights-twice"),
        ],
    )
    def test_weights_come_from_exactly_one_place(
        self, tmp_path: Path, source: str, weights: bool, seed: int | None, rule: str
    ) -> None:
        file = tmp_path / "w.pt" if weights else None
        with pytest.raises(UsageError) as caught:
            load(parse_source(source), read_spec(write_spec(tmp_path)), file, seed)
        assert caught.value.rule == rule


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save the tiny network as torch.export does, with a free batch."""
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    image, batch = torch.zeros(2, 1, 16, 16), torch.export.Dim("batch")
    traced = torch.export.export(trained(Tiny()), (image,), dynamic_shapes=({0: batch},))
    torch.export.save(traced, path)
    return path


class TestPt2:
    """A .pt2 is loaded when it holds a program and nothing else."""

    def rewritten(self, program: Path, folder: Path, changes: dict[str, bytes | None]) -> Path:
        """Copy the archive with members replaced, added, or (None) left out."""
        path = folder / "changed.pt2"
        with zipfile.ZipFile(program) as old, zipfile.ZipFile(path, "w") as new:
            top = old.namelist()[0].partition("/")[0]
            members = {n.partition("/")[2]: old.read(n) for n in old.namelist()}
            for name, raw in {**members, **changes}.items():
                if raw is not None:
                    new.writestr(f"{top}/{name}", raw)
        return path

    def test_it_becomes_a_bundle_with_a_free_batch(self, tmp_path: Path, program: Path) -> None:
        report = export(tmp_path, str(program))
        assert report.manifest.source.framework == "torch"
        assert report.manifest.source.weights_sha256 is not None

    def test_a_program_of_batch_one_stays_one(self, tmp_path: Path) -> None:
        import onnx

        path = tmp_path / "one.pt2"
        image = torch.zeros(1, 1, 16, 16)
        torch.export.save(torch.export.export(trained(Tiny()), (image,)), path)
        report = export(tmp_path, str(path))
        model = onnx.load(report.path / "model.onnx")
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1

    def test_it_is_let_through_as_it_is(self, program: Path) -> None:
        check_pt2(program)

    @pytest.mark.parametrize(
        "member",
        [
            "data/aotinductor/model/model.so",
            "data/constants/custom_obj_0",
            "data/weights/../../evil",
            "extra/script.py",
        ],
    )
    def test_other_members_are_refused(self, tmp_path: Path, program: Path, member: str) -> None:
        path = self.rewritten(program, tmp_path, {member: b""})
        with pytest.raises(UsageError, match="holds 1 members that a plain program has not"):
            check_pt2(path)

    def test_pickled_code_does_not_run(self, tmp_path: Path, program: Path) -> None:
        torch.save((Bomb(tmp_path / "ran"),), tmp_path / "bomb")
        bomb = (tmp_path / "bomb").read_bytes()
        config = {"config": {"first.weight": {"path_name": "weight_0", "use_pickle": True}}}
        changes: list[dict[str, bytes | None]] = [
            {"data/sample_inputs/model.pt": bomb},
            {
                "data/weights/weight_0": bomb,
                "data/weights/model_weights_config.json": json.dumps(config).encode(),
            },
        ]
        for change in changes:
            path = self.rewritten(program, tmp_path, change)
            with pytest.raises(UsageError, match="no plain tensors") as caught:
                load(parse_source(str(path)), read_spec(write_spec(tmp_path)), None, None)
            assert caught.value.rule == "source-unreadable"
        assert not (tmp_path / "ran").exists()

    def test_expressions_are_arithmetic(self, tmp_path: Path, program: Path) -> None:
        with zipfile.ZipFile(program) as archive:
            name = next(n for n in archive.namelist() if n.endswith("models/model.json"))
            text = archive.read(name).decode()
        code = f"open({str(tmp_path / 'ran')!r}, 'w')"
        evil = re.sub(r'"expr_str": "[^"]*"', f'"expr_str": {json.dumps(code)}', text)
        assert evil != text
        path = self.rewritten(program, tmp_path, {"models/model.json": evil.encode()})
        with pytest.raises(UsageError, match="no arithmetic"):
            load(parse_source(str(path)), read_spec(write_spec(tmp_path)), None, None)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("raw", [None, b"", b"PK\x03\x04 not really"])
    def test_a_damaged_file_is_refused(self, tmp_path: Path, raw: bytes | None) -> None:
        path = tmp_path / "net.pt2"
        if raw is not None:
            path.write_bytes(raw)
        with pytest.raises(UsageError) as caught:
            load(parse_source(str(path)), read_spec(write_spec(tmp_path)), None, None)
        assert caught.value.rule == "source-unreadable"
