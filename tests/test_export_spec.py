"""spec.toml: the printed one works as it is, and every mistake is named with its place."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from export_kit import SPEC, write_spec

from medge.engine.manifest import ImageInput, Manifest, Output
from medge.errors import UsageError
from medge.exporters.spec import COMMENTED_SPEC, Spec, read_spec

# Comments that begin with a key or a table are settings; the others are prose.
SETTING = re.compile(r"^# (?=\[|[a-z_]+ = |           )", re.MULTILINE)


def names(kind: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


@pytest.fixture
def printed(tmp_path: Path) -> Path:
    path = tmp_path / "spec.toml"
    path.write_text(COMMENTED_SPEC, encoding="utf-8")
    return path


def uncommented(folder: Path) -> Path:
    path = folder / "all.toml"
    path.write_text(SETTING.sub("", COMMENTED_SPEC), encoding="utf-8")
    return path


def test_the_printed_specification_is_valid_as_it_is(printed: Path) -> None:
    assert read_spec(printed).outputs[0].classes == ("class-0", "class-1")


def test_what_the_printed_specification_shows_as_default_is_the_default(
    printed: Path, tmp_path: Path
) -> None:
    """Uncommenting everything that is no example changes nothing."""
    before_the_examples = COMMENTED_SPEC.partition("# [[data]]")[0]
    kept = [line for line in before_the_examples.splitlines() if "example" not in line.lower()]
    path = tmp_path / "defaults.toml"
    path.write_text(SETTING.sub("", "\n".join(kept)), encoding="utf-8")
    assert path.read_text().count("\n#") < before_the_examples.count("\n#") / 2
    shown, plain = read_spec(path), read_spec(printed)
    assert shown.input == plain.input
    assert shown.outputs == plain.outputs
    assert shown.scope == plain.scope
    assert (shown.demonstration, shown.limits) == (plain.demonstration, plain.limits)


def test_the_printed_specification_names_every_key(tmp_path: Path) -> None:
    said = msgspec.toml.decode(uncommented(tmp_path).read_bytes())
    assert set(said) == names(Spec)
    assert set(said["input"]) == names(ImageInput)
    assert set(said["outputs"][0]) == names(Output)


def test_all_that_a_manifest_says_of_use_and_data_can_be_specified() -> None:
    made_by_the_export = {
        "schema", "inputs", "source", "variants", "parity", "files", "seal",
        "calibration_sha256", "parent_sha256",
    }  # fmt: skip
    assert names(Manifest) - made_by_the_export <= names(Spec)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"licens": "MIT", "licence": None}, "has no key `licens`; did you mean `licence`?"),
        ({"input": {**SPEC["input"], "hieght": 3}}, "[input] has no key `hieght`; did you mean"),
        ({"input": {**SPEC["input"], "mean": [0.5, 0.5]}}, "mean and std need 1 numbers"),
        ({"outputs": []}, "length >= 1"),
        ({"outputs": [{"name": "a", "classes": ["x"]}]}, "one class alone is a multi-label task"),
        ({"outputs": [{"name": "a", "classes": ["x", "x"]}]}, "names a class twice"),
        ({"licence": None}, "missing required field `licence`"),
        ({"version": "one"}, "`$.version`"),
        ({"task": "regression"}, "regression"),
        ({"task": "multi-label"}, "task is 'multi-label', that of its output 'single-label'"),
        ({"outputs": [{"name": "image", "classes": ["a", "b"]}]}, "need names that all differ"),
        ({"outputs": [SPEC["outputs"][0]] * 2}, "need names that all differ"),
    ],
)
def test_a_mistake_is_named_with_its_place(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read_spec(write_spec(tmp_path, **changes))
    assert caught.value.rule == "spec-invalid"
    assert "spec.toml" in caught.value.message
    assert said in caught.value.message


@pytest.mark.parametrize("line", ["golden_tolerance = inf", "metrics = [{ value = nan }]"])
def test_numbers_are_finite(tmp_path: Path, line: str) -> None:
    path = write_spec(tmp_path)
    path.write_text(f"{line}\n{path.read_text()}")
    with pytest.raises(UsageError, match=r"`(golden_tolerance|metrics)` holds nan or inf"):
        read_spec(path)


def test_what_is_no_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text("name = tiny\n")
    with pytest.raises(UsageError, match=r"is not TOML.*line 1"):
        read_spec(path)


@pytest.mark.parametrize("raw", [b"\xff\xfe", b'name = "\xff"'])
def test_what_is_no_text_is_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "spec.toml"
    path.write_bytes(raw)
    with pytest.raises(UsageError, match="is not TOML"):
        read_spec(path)


def test_without_a_specification_the_way_to_one_is_told() -> None:
    with pytest.raises(UsageError, match="--print-spec") as caught:
        read_spec(None)
    assert caught.value.rule == "spec-missing"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.toml.*No such file") as caught:
        read_spec(tmp_path / "nowhere.toml")
    assert caught.value.rule == "spec-unreadable"


class TestClasses:
    """--classes FILE: one class a line, in the network's order."""

    def test_they_fill_the_only_output(self, tmp_path: Path) -> None:
        file = tmp_path / "classes.txt"
        file.write_text("\ufeffbenign\r\nmalignant\n\n", encoding="utf-8")
        spec = write_spec(tmp_path, outputs=[{"name": "scores"}])
        assert read_spec(spec, classes=file).outputs[0].classes == ("benign", "malignant")

    def test_the_same_again_is_no_contradiction(self, tmp_path: Path) -> None:
        file = tmp_path / "classes.txt"
        file.write_text("benign\nmalignant\n")
        assert len(read_spec(write_spec(tmp_path), classes=file).outputs[0].classes) == 2

    @pytest.mark.parametrize("text", ["malignant\nbenign\n", "a\nb\nc\n"])
    def test_another_order_or_number_is_refused(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "classes.txt"
        file.write_text(text)
        with pytest.raises(UsageError, match="different classes") as caught:
            read_spec(write_spec(tmp_path), classes=file)
        assert caught.value.rule == "classes"

    def test_an_empty_file_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "classes.txt"
        file.write_text("\n")
        with pytest.raises(UsageError, match="names 0 classes"):
            read_spec(write_spec(tmp_path), classes=file)

    def test_with_several_outputs_they_belong_into_the_specification(self, tmp_path: Path) -> None:
        file = tmp_path / "classes.txt"
        file.write_text("a\nb\n")
        outputs = [{"name": "one", "classes": ["a", "b"]}, {"name": "two", "classes": ["a", "b"]}]
        with pytest.raises(UsageError, match="exactly one"):
            read_spec(write_spec(tmp_path, outputs=outputs), classes=file)


def test_the_command_line_wins_over_name_and_task(tmp_path: Path) -> None:
    outputs = [{"name": "scores", "classes": ["a", "b"], "activation": "sigmoid"}]
    spec = read_spec(write_spec(tmp_path, outputs=outputs), task="multi-label", name="other")
    assert (spec.name, spec.manifest_task, spec.outputs[0].task) == (
        "other",
        "multi-label",
        "multi-label",
    )


def test_several_outputs_are_a_multi_task(tmp_path: Path) -> None:
    outputs = [{"name": "one", "classes": ["a", "b"]}, {"name": "two", "classes": ["a", "b"]}]
    path = write_spec(tmp_path, outputs=outputs)
    assert read_spec(path).manifest_task == "multi-task"
    with pytest.raises(UsageError, match="takes one output"):
        read_spec(path, task="single-label")
