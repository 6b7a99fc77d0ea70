"""The studies of the review and its shares, as rows for people and as objects for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from medge.console import Row, percent_text
from medge.errors import UsageError
from medge.pages.target import impossible_text
from medge.pages.targets import plain_cells
from medge.profiles.shares import Share
from medge.profiles.study import CITATION, Study, impossible, studies
from medge.profiles.target import targets

COLUMNS = ("ref", "modality", "disease", "model", "hardware")
ALL_COLUMNS = tuple(field.name for field in msgspec.structs.fields(Study))
SUMMARY_COLUMNS = ("group", "what", "counted", "review", "difference")


def select_studies(
    *,
    modality: str | None = None,
    disease: str | None = None,
    model: str | None = None,
    organ: str | None = None,
) -> list[Study]:
    """Return the studies that fit all that is asked; words match parts of names in any case.

    Raises
    ------
    UsageError
        No study fits. Says what each word alone would find.
    """
    words = {"modality": modality, "disease": disease, "model": model, "organ": organ}
    asked = {name: word.lower() for name, word in words.items() if word}
    found = [
        study
        for study in studies().values()
        if all(word in _searched(study, name) for name, word in asked.items())
    ]
    if not found and asked:
        alone = ", ".join(
            f"--{name} {words[name]!r} alone {_hits(name, word)}" for name, word in asked.items()
        )
        raise UsageError(
            "filter", f"No study fits: {alone}. Leave one out, or see `medge studies`."
        )
    return found


def _hits(name: str, word: str) -> int:
    return sum(word in _searched(study, name) for study in studies().values())


def _searched(study: Study, name: str) -> str:
    """Return the text that a word of one filter is looked for in."""
    if name == "model":
        return " ".join((study.model, study.family, *study.architectures)).lower()
    if name == "disease":
        return " ".join(study.diseases).lower()
    return str(getattr(study, name)).lower()


def list_object(found: Sequence[Study]) -> dict[str, Any]:
    """Return the studies in plain JSON types; what the review does not say is null."""
    return {
        "schema": "medge.studies/1",
        "source": CITATION,
        "count": len(found),
        "studies": [msgspec.to_builtins(study) for study in found],
    }


def list_columns(form: str) -> Sequence[str]:
    """Return every column for a spreadsheet, and for people those that fit on a screen."""
    return ALL_COLUMNS if form == "csv" else COLUMNS


def list_rows(found: Sequence[Study], form: str) -> Iterator[tuple[str, ...]]:
    """Yield one row a study."""
    for study in found:
        if form == "csv":
            yield plain_cells(study)
            continue
        yield (
            str(study.ref),
            study.modality,
            ", ".join(study.diseases),
            study.model,
            _hardware(study) or ("" if not study.hardware_named else "named, no model"),
        )


def _hardware(study: Study) -> str:
    names = [_short(targets()[gpu].name) for gpu in study.gpus]
    text = " or ".join(names)
    if names and (study.gpu_count or 1) > 1:
        text = f"{study.gpu_count}x {text}"
    return text or (targets()[study.cpu].name if study.cpu else study.cpu_stated or "")


def _short(name: str) -> str:
    return name.removeprefix("NVIDIA ").removeprefix("GeForce ")


def study_object(study: Study) -> dict[str, Any]:
    """Return one study, its hardware as in the catalog, and what of it cannot be."""
    devices = [*study.gpus, *([study.cpu] if study.cpu else [])]
    return {
        "schema": "medge.study/1",
        "source": CITATION,
        "study": msgspec.to_builtins(study),
        "targets": [msgspec.to_builtins(targets()[device]) for device in devices],
        "impossible": [msgspec.to_builtins(row) for row in impossible() if row.ref == study.ref],
    }


def study_rows(study: Study) -> Iterator[Row]:
    """Yield what was classified, with what, on what, and how sure that is."""
    yield ("study", "ref", str(study.ref))
    yield ("study", "author, year", f"{study.first_author}, {study.year}")
    yield ("study", "about", study.title)
    yield ("study", "disease", ", ".join(study.diseases))
    yield ("study", "picture", f"{study.modality}, {study.organ.lower()}")
    yield ("study", "samples", f"{study.dataset_size}")
    yield ("model", "as stated", study.model)
    yield ("model", "networks", ", ".join(study.architectures))
    if study.accuracy_ratio is not None:
        yield ("model", "accuracy, published", percent_text(study.accuracy_ratio))
    yield from _hardware_rows(study)
    for row in impossible():
        if row.ref == study.ref:
            yield ("impossible", row.field.replace("_", " "), impossible_text(row))
    if study.notes:
        yield ("source", "notes", study.notes)
    yield ("source", "confidence", f"{study.confidence}, as of {study.date.isoformat()}")
    yield ("source", "from", f"{study.source} of {CITATION}")


def _hardware_rows(study: Study) -> Iterator[Row]:
    for gpu in study.gpus:
        count = f", {study.gpu_count} of them" if (study.gpu_count or 1) > 1 else ""
        yield ("hardware", "GPU", f"{_card(gpu)}{count}")
    for gpu in study.gpu_alternatives:
        yield ("hardware", "or perhaps", _card(gpu))
    if study.cpu:
        yield ("hardware", "CPU", f"{targets()[study.cpu].name} ({study.cpu})")
    elif study.cpu_stated:
        yield ("hardware", "CPU", f"{study.cpu_stated}, not identifiable")
    for what, value, unit in (
        ("GPU memory, stated", study.gpu_memory_gb_stated, "GB"),
        ("memory, stated", study.ram_gb_stated, "GB"),
    ):
        if value is not None:
            yield ("hardware", what, f"{value:g} {unit}")
    if not study.hardware_named:
        yield ("hardware", "none", "the review names none")
    yield from _software_and_times(study)


def _software_and_times(study: Study) -> Iterator[Row]:
    for what, text in (
        ("system", study.os),
        ("framework", ", ".join(study.frameworks)),
        ("cloud", study.cloud),
    ):
        if text:
            yield ("software", what, text)
    if study.training_h_low is not None and study.training_h_high is not None:
        low, high = f"{study.training_h_low:g}", f"{study.training_h_high:g}"
        hours = low if low == high else f"{low} to {high}"
        yield ("times", "training, published", f"{hours} h")
    if study.inference_ms is not None:
        yield ("times", "inference, published", f"{study.inference_ms:g} ms an image")


def _card(gpu: str) -> str:
    target = targets()[gpu]
    return f"{target.name} ({gpu}) with {target.memory_gb:g} GB"


def summary_object(found: Sequence[Share]) -> dict[str, Any]:
    """Return every share in plain JSON types; ratios are parts of 1."""
    return {
        "schema": "medge.study-summary/1",
        "source": CITATION,
        "shares": [msgspec.to_builtins(share) for share in found],
    }


def summary_rows(found: Sequence[Share]) -> Iterator[tuple[str, ...]]:
    """Yield each share: what was counted, what the review prints, and why they differ."""
    for share in found:
        counted = f"{share.count}/{share.of}, {percent_text(share.ratio)}"
        printed = "" if share.printed_ratio is None else percent_text(share.printed_ratio)
        if share.printed_count is not None:
            printed += f", {share.printed_count}"
        verdict = "differs. " if share.agrees is False else ""
        yield (
            share.group,
            share.what,
            counted,
            printed,
            f"{verdict}{share.explanation}".strip(),
        )
