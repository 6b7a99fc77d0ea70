"""The manifest: strict in every word, equal when written and read, sealed against damage."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bundles import tiny_files, tiny_graph, tiny_manifest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from medge.engine import manifest as words
from medge.engine.manifest import (
    Crop,
    Data,
    Enhance,
    FileEntry,
    ImageInput,
    Manifest,
    Metric,
    Output,
    Parity,
    Resize,
    Scope,
    Source,
    Threshold,
    Variant,
    Voi,
    decode,
    encode,
)

ROOT = Path(__file__).parent.parent

text = st.text(min_size=1, max_size=20)
number = st.floats(-1e6, 1e6)
ratio = st.floats(0, 1)
sha256 = st.text("0123456789abcdef", min_size=64, max_size=64)

vois = st.one_of(
    st.builds(Voi, rule=st.sampled_from(["file", "required", "full", "minmax"])),
    st.builds(Voi, rule=st.just("file"), index=st.integers(0, 9)),
    st.builds(Voi, rule=st.just("window"), center=number, width=st.floats(1e-3, 1e6)),
    st.builds(Voi, rule=st.just("percentile"), low=st.floats(0, 49), high=st.floats(50, 100)),
)
crops = st.builds(
    Crop, rule=st.sampled_from(["none", "region", "center"]), ratio=st.floats(0.01, 1)
)
resizes = st.builds(
    Resize,
    filter=st.sampled_from(["area", "bilinear"]),
    fit=st.sampled_from(["stretch", "letterbox", "cover"]),
    pad=ratio,
    rounding=st.sampled_from(["none", "uint8"]),
)
enhances = st.builds(
    Enhance,
    median=st.sampled_from([0, 3, 5]),
    equalize=st.sampled_from(["none", "histogram", "clahe"]),
    clahe_clip=st.floats(0.1, 40),
    clahe_tiles=st.integers(1, 64),
)


@st.composite
def image_inputs(draw: st.DrawFn) -> ImageInput:
    channels = draw(st.sampled_from([1, 3]))
    uint8 = draw(st.booleans())
    three = st.just(()) if uint8 else st.tuples(*[number] * channels)
    positive = st.just(()) if uint8 else st.tuples(*[st.floats(1e-3, 1e3)] * channels)
    return ImageInput(
        name=draw(text),
        height=draw(st.integers(1, 4096)),
        width=draw(st.integers(1, 4096)),
        channels=channels,
        layout=draw(st.sampled_from(["NCHW", "NHWC"])),
        dtype="uint8" if uint8 else "float32",
        voi=draw(vois),
        crop=draw(crops),
        resize=draw(resizes),
        enhance=draw(enhances),
        mean=draw(three),
        std=draw(positive),
    )


@st.composite
def outputs(draw: st.DrawFn) -> Output:
    task = draw(st.sampled_from(["single-label", "multi-label"]))
    single = task == "single-label"
    classes = draw(st.lists(text, unique=True, min_size=2 if single else 1, max_size=5))
    activation = draw(st.sampled_from(["softmax", "sigmoid", "none"][0 if single else 1 :]))
    return Output(
        name=draw(text),
        classes=tuple(classes),
        task=task,
        activation=activation,
        temperature=1.0 if activation == "none" else draw(st.floats(0.01, 100)),
        thresholds=tuple(
            Threshold(label=label, value=draw(ratio))
            for label in classes[1:]
            if draw(st.booleans())
        ),
        abstain_below=draw(ratio) if single else 0.0,
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    output = draw(outputs())
    variants = draw(
        st.lists(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,9}", fullmatch=True), max_size=2)
    )
    names = ["fp32", *sorted({*variants} - {"fp32"})]
    draft = Manifest(
        name=draw(st.from_regex(words.Name.__metadata__[0].pattern, fullmatch=True)),
        version=draw(st.from_regex(r"[0-9]\.[0-9]\.[0-9]", fullmatch=True)),
        task=output.task,
        inputs=(draw(image_inputs()),),
        outputs=(output,),
        scope=draw(
            st.builds(
                Scope,
                modality=st.lists(text, max_size=2).map(tuple),
                pixel_spacing_mm=st.none() | st.tuples(ratio, ratio),
            )
        ),
        intended_use=draw(text),
        limits=tuple(draw(st.lists(text, max_size=2))),
        data=tuple(draw(st.lists(st.builds(Data, name=text, licence=text, citation=text)))),
        metrics=tuple(
            draw(st.lists(st.builds(Metric, name=text, value=number, method=text), max_size=2))
        ),
        licence=draw(text),
        source=draw(
            st.builds(
                Source,
                framework=text,
                framework_version=text,
                architecture=text,
                weights_sha256=st.none() | sha256,
            )
        ),
        variants=tuple(
            Variant(
                name=name,
                file="model.onnx" if name == "fp32" else f"variants/{name}.onnx",
                opset=draw(st.integers(1, 30)),
            )
            for name in names
        ),
        parity=tuple(
            draw(
                st.lists(
                    st.builds(
                        Parity,
                        against=text,
                        inputs=st.sampled_from(["seeded", "real", "synthetic"]),
                        cases=st.integers(1, 99),
                        max_abs=ratio,
                        max_rel=ratio,
                        cosine_min=ratio,
                    ),
                    max_size=1,
                )
            )
        ),
        golden_tolerance=draw(st.floats(1e-9, 1)),
    )
    entries = {
        name: FileEntry(sha256=draw(sha256), bytes=draw(st.integers(0, 2**31)))
        for name in sorted(draft.expected_files)
    }
    return replace(draft, files=entries)


# Whole manifests are drawn: on a busy machine that is slow, and says nothing about medge.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(manifests())
def test_what_is_written_is_read_back_equal_and_written_again_alike(manifest: Manifest) -> None:
    raw = encode(manifest)
    found = decode(raw)
    assert replace(found, seal=manifest.seal) == manifest
    assert encode(found) == raw


@given(manifests(), st.data())
def test_any_changed_byte_is_refused(manifest: Manifest, data: st.DataObject) -> None:
    raw = bytearray(encode(manifest))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(msgspec.DecodeError):
        decode(bytes(raw))


def written() -> dict[str, Any]:
    """A whole manifest as plain JSON values, with one entry of every kind of list."""
    draft = tiny_manifest(
        thresholds={"malignant": 0.4},
        data=(Data(name="d", licence="l", citation="c"),),
        metrics=(Metric(name="auc", value=0.9, method="m"),),
        parity=(
            Parity(against="torch", inputs="seeded", cases=1, max_abs=0, max_rel=0, cosine_min=1),
        ),
    )
    entries = {
        name: FileEntry(sha256="0" * 64, bytes=len(raw))
        for name, raw in tiny_files(tiny_graph()).items()
    }
    return json.loads(encode(replace(draft, files=entries)))


def sealed(plain: dict[str, Any], first: str = "") -> bytes:
    """Seal any JSON object, as the writer would if it let such a one through."""
    zeros = "0" * 64
    raw = json.dumps(plain | {"seal": zeros}).replace("{", "{" + first, 1).encode()
    seal = hashlib.sha256(raw).hexdigest()
    return raw.replace(f'"seal": "{zeros}"'.encode(), f'"seal": "{seal}"'.encode())


def objects(value: Any, path: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every JSON object within another, with its path."""
    if isinstance(value, dict):
        yield path, value
        for key, inner in value.items():
            yield from objects(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from objects(inner, f"{path}[{index}]")


def test_the_seal_of_these_tests_is_that_of_the_writer() -> None:
    assert decode(sealed(written())).name == "tiny"


@pytest.mark.parametrize("path", [path for path, _ in objects(written())])
def test_an_unknown_key_is_refused_at_every_depth(path: str) -> None:
    plain = written()
    dict(objects(plain))[path]["colour_of_the_box"] = "beige"
    with pytest.raises(msgspec.ValidationError):
        decode(sealed(plain))


@pytest.mark.parametrize("key", sorted(written().keys() - {"seal"}))
def test_a_key_that_is_named_twice_is_refused(key: str) -> None:
    twice = f'"{key}": {json.dumps(written()[key])}, '
    with pytest.raises(msgspec.ValidationError, match="twice"):
        decode(sealed(written(), first=twice))


@pytest.mark.parametrize("field", ["files", "schema", "seal", "name", "outputs", "licence"])
def test_a_missing_key_is_refused_by_name(field: str) -> None:
    plain = json.loads(sealed(written()))
    del plain[field]
    with pytest.raises(msgspec.ValidationError, match=field):
        decode(json.dumps(plain).encode())


def change(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(plain: dict[str, Any]) -> None:
        value: Any = plain
        for step in path[:-1]:
            value = value[step]
        value[path[-1]] = to

    return apply


@pytest.mark.parametrize(
    "apply",
    [
        change("schema", to="medge.bundle/2"),
        change("name", to="../x"),
        change("version", to="1.0"),
        change("task", to="multi-label"),
        change("inputs", to=[]),
        change("inputs", 0, "kind", to="volume"),
        change("inputs", 0, "channels", to=3),
        change("inputs", 0, "channels", to=2),
        change("inputs", 0, "mean", to=[]),
        change("inputs", 0, "mean", to=[1e999]),
        change("inputs", 0, "std", to=[0.0]),
        change("inputs", 0, "dtype", to="uint8"),
        change("inputs", 0, "voi", "rule", to="window"),
        change("inputs", 0, "voi", "center", to=40.0),
        change("inputs", 0, "resize", "pad", to=1.5),
        change("inputs", 0, "enhance", "median", to=4),
        change("outputs", 0, "classes", to=["one"]),
        change("outputs", 0, "classes", to=["one", "one"]),
        change("outputs", 0, "thresholds", 0, "label", to="other"),
        change("outputs", 0, "thresholds", 0, "value", to=1.5),
        change("outputs", 0, "temperature", to=0.0),
        change("outputs", 0, "abstain_below", to=-0.1),
        change("variants", 0, "file", to="../model.onnx"),
        change("variants", 0, "name", to="int8"),
        change("variants", to=[]),
        change("files", to={}),
        change("files", "model.onnx", "sha256", to="0" * 63),
        change("files", "model.onnx", "bytes", to=-1),
        change("files", "weights.pkl", to={"sha256": "0" * 64, "bytes": 0}),
        change("golden_tolerance", to=0),
        change("demonstration", to=1),
        change("licence", to=None),
    ],
)
def test_what_the_schema_does_not_allow_is_refused(apply: Callable[[dict[str, Any]], None]) -> None:
    plain = written()
    apply(plain)
    with pytest.raises(msgspec.DecodeError):
        decode(sealed(plain))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"task": "multi-label", "activation": "softmax"}, "multi-label"),
        ({"task": "multi-label", "activation": "none", "abstain_below": 0.5}, "multi-label"),
        ({"activation": "none", "temperature": 2.0}, "temperature"),
        (
            {"thresholds": (Threshold(label="a", value=0), Threshold(label="b", value=0))},
            "one class without",
        ),
    ],
)
def test_rules_between_fields_are_held_when_a_manifest_is_made(
    changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        Output(name="scores", classes=("a", "b"), **changes)


def test_the_published_schema_is_that_of_the_code() -> None:
    command = [sys.executable, "-m", "medge.engine.manifest_schema"]
    fresh = subprocess.run(command, capture_output=True, check=True).stdout  # ourselves
    assert (ROOT / "docs/bundle.schema.json").read_bytes() == fresh


def test_the_published_schema_refuses_unknown_keys_and_names_all_that_a_manifest_holds() -> None:
    schema = json.loads((ROOT / "docs/bundle.schema.json").read_text())
    for definition in schema["$defs"].values():
        assert definition["additionalProperties"] is False
    manifest = schema["$defs"]["Manifest"]
    assert set(manifest["properties"]) == set(written())
    assert {"files", "schema", "seal"} <= set(manifest["required"])
