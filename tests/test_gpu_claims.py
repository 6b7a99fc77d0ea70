"""What README and docs say of GPUs is tied to a record of one, or says that none has seen it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from gpu_record import (
    FOLDER,
    ROOT,
    Baseline,
    Cell,
    Clocks,
    GpuRecord,
    Latency,
    Outcome,
    read_record,
    stale,
    write_record,
)

from medge.profiles.cuda_driver import CudaGpu

NOT_RUN = "compiled, not yet run on NVIDIA hardware"

PUBLISHED = {  # whole pages of figures that somebody else measured, or that are estimated from such
    *("estimate.md", "estimation.md", "targets.md", "toolchain.md"),
    "decisions/estimation.md",
}

REFUSALS = {"errors.md"}  # says what was wrong with something, never that it ran

_GPU = re.compile(
    r"\b(?:GPUs?|NVIDIA|CUDA|TensorRT(?:-RTX)?|Jetson|GeForce|RTX|Tesla|Orin|Xavier|Thor"
    r"|[ABHLV](?:4|10|30|40|100|200|300))\b"
)
_FIGURE = re.compile(
    r"\d(?:\.\d+)?\s?(?:(?:ms|µs|us|fps|mJ|W|x faster)\b"
    r"|(?:pictures|images|frames|results)(?:/| a second))"
    r"|\bspeed-?up of \d",
    re.IGNORECASE,
)
_DONE = re.compile(
    r"\b(?:was|were|has been|have been|is|are)\s+(?:run|measured|proven|tested|verified|timed)\b"
    r"|\b(?:ran|works?|runs|measured|proven|verified|tested|timed)\s+on\s+(?:an?\s|the\s|one\s)?"
    r"(?:real\s)?(?:GPUs?|NVIDIA|Jetson|GeForce|RTX|Orin|Xavier|Thor|[ABHLV]\d{1,3})\b",
    re.IGNORECASE,
)
_EXCUSE = re.compile(
    r"not yet|\bnever\b|\bno (?:GPU|NVIDIA|Jetson|machine|record)|unproven|\bwithout (?:a|any) GPU"
    r"|nothing here|not run|not proven|until a (?:record|GPU)|\bnone (?:has|was)|publish|estimat"
    r"|documented|catalog|stud(?:y|ies)|stand-in|made by hand|a model of latency|review",
    re.IGNORECASE,
)
_LINK = re.compile(r"gpu-records/([\w.-]+\.json)")


def pages() -> Iterator[Path]:
    yield ROOT / "README.md"
    for path in sorted((ROOT / "docs").rglob("*.md")):
        if str(path.relative_to(ROOT / "docs")) not in PUBLISHED | REFUSALS:
            yield path


def blocks(text: str) -> Iterator[str]:
    """Yield paragraphs, list entries and rows of tables; code is no claim."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for paragraph in re.split(r"\n\s*\n", text):
        yield from re.split(r"\n(?=[-*|] ?|\d+\. )", paragraph.strip())


def claims(text: str) -> list[str]:
    """Return what says that something ran, or how fast, on a GPU, with neither record nor doubt.

    A sentence claims; what stands in the same block may tie it to a record, or take it back.
    """
    return [
        sentence
        for block in blocks(text)
        if not _EXCUSE.search(block) and not _LINK.search(block)
        for sentence in re.split(r"(?<=[.;!?])\s+", block)
        if _GPU.search(sentence) and (_FIGURE.search(sentence) or _DONE.search(sentence))
    ]


def records() -> list[GpuRecord]:
    return [read_record(path) for path in sorted(FOLDER.glob("*.json"))]


@pytest.mark.parametrize("page", list(pages()), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_claims_of_a_gpu_what_no_record_shows(page: Path) -> None:
    assert claims(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", sorted(PUBLISHED))
def test_pages_of_others_figures_say_so_before_the_first_of_them(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert re.search(r"publish|estimat", text[:1500], re.IGNORECASE)


@pytest.mark.parametrize("page", list(pages()), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_record_that_a_page_names_exists_holds_and_is_not_stale(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        for name in _LINK.findall(block):
            record = read_record(FOLDER / name)
            assert not record.dirty, f"{name}: nobody can repeat it"
            assert not record.failed, f"{name}: {record.failed[0].test} failed"
            assert not stale(record) or "stale" in block, f"{name}: {stale(record)} changed since"


def test_readme_says_whether_a_gpu_has_seen_it() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    if records():
        assert _LINK.search(text), "README names no record, though there is one"
    else:
        assert NOT_RUN in text


def test_every_record_is_named_for_what_is_in_it() -> None:
    for path in sorted(FOLDER.glob("*.json")):
        record = read_record(path)
        assert record.name == path.name
        assert record.gpu.sm_count > 0, "a rehearsal is no record"


@pytest.mark.parametrize(
    "sentence",
    [
        "On an L4 it takes 1.2 ms.",
        "| NVIDIA A100 | 4000 pictures/s |",
        "The CUDA provider was tested on two cards.",
        "It runs on Jetson at 30 fps.",
        "TensorRT is 3x faster.",
        "Verified on an RTX 4090, in July.",
        "- GPU: 12 mJ a picture",
    ],
)
def test_a_claim_is_recognised(sentence: str) -> None:
    assert claims(f"# Title\n\n{sentence}\n\nNothing here ran on a GPU.\n") == [sentence]


@pytest.mark.parametrize(
    "sentence",
    [
        "On an L4 it takes 1.2 ms ([record](gpu-records/2026-12-01-nvidia-l4-0123456789ab.json)).",
        "NVIDIA publishes 1.2 ms for the L4.",
        "CUDA and NVML count GPUs in other orders.",
        "The CUDA provider is written, and not yet run on a GPU.",
        "A phantom takes 3 ms.",
        "```\nmedge run --device nvidia:0  # 1.2 ms on a GPU\n```",
    ],
)
def test_what_is_none_is_left_alone(sentence: str) -> None:
    assert claims(sentence) == []


def made_up(**changes: object) -> GpuRecord:
    latency = Latency(
        p50_ns=10, p50_low_ns=9, p50_high_ns=11, p99_ns=None, calls=20, pictures_per_s=1e8
    )
    cell = Cell(
        bundle="breast-ultrasound 1.0.0",
        bundle_sha256="a" * 64,
        model_sha256="b" * 64,
        backend="onnxruntime",
        backend_version="1.31.1",
        precision="fp32",
        batch=1,
        latency=latency,
    )
    record = GpuRecord(
        date="2026-12-01",
        commit="0" * 40,
        dirty=False,
        gpu=CudaGpu(
            ordinal=0,
            name="NVIDIA A/B 5",
            compute_capability="8.6",
            sm_count=1,
            memory_bytes=1,
        ),
        driver="580.1",
        cuda="13.0",
        cpu="A CPU",
        versions={"medge": "0.1.0"},
        clocks=Clocks(
            sm_mhz=(1, 2), max_sm_mhz=3, memory_mhz=4, power_limit_w=None, throttled=False
        ),
        suite=(Outcome(test="a", outcome="passed"), Outcome(test="b", outcome="failed")),
        cells=(cell,),
        baselines=(
            Baseline(network="resnet18", mode="eager", precision="fp32", batch=1, latency=None),
        ),
    )
    return msgspec.structs.replace(record, **changes)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = made_up()
    path = write_record(record, tmp_path)
    assert path.name == "2026-12-01-nvidia-a-b-5-000000000000.json"
    assert read_record(path) == record
    assert [each.test for each in record.failed] == ["b"]


def test_a_record_with_other_members_is_refused(tmp_path: Path) -> None:
    path = write_record(made_up(), tmp_path)
    plain = msgspec.json.decode(path.read_bytes())
    for changed in ({**plain, "note": "fast"}, {**plain, "commit": "main"}):
        path.write_bytes(msgspec.json.encode(changed))
        with pytest.raises(msgspec.ValidationError):
            read_record(path)


def test_a_record_is_stale_when_the_bundles_graph_is_another() -> None:
    assert stale(made_up()) == ("breast-ultrasound",)  # no graph has that digest
    assert stale(made_up(cells=())) == ()
