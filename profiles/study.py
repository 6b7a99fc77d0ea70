"""The 80 studies of the review: what each classified, with what network, on what hardware."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from msgspec import Meta, Struct

from medge.errors import UsageError
from medge.profiles.rows import read_rows
from medge.profiles.target import Positive, Slug, Target, targets

DATA = Path(__file__).parent / "data"
CITATION = (
    "Laçi H., Sevrani K., Iqbal S.: Deep learning approaches for classification tasks in medical "
    "X-ray, MRI, and ultrasound images: a scoping review. BMC Medical Imaging 25:156, 2025, "
    "doi:10.1186/s12880-025-01701-5, CC BY-NC-ND 4.0; facts only"
)
LISTS = ("diseases", "architectures", "gpus", "gpu_alternatives", "frameworks")

Ref = Annotated[int, Meta(ge=28, le=107)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Name = Annotated[str, Meta(min_length=1)]


class Study(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One study as the review describes it; None is what it does not say.

    Parameters
    ----------
    ref
        Number in the reference list of the review.
    title
        What it is about in at most eight words; not its printed title.
    dataset_size
        Images or samples, as printed.
    model
        As the review gives it.
    family
        The group that the review's shares count it under, from its tables.
    architectures
        Every network that is part of the model, spelled alike (``resnet50``); a bare family name
        where the depth is not stated.
    gpus, cpu
        Ids of the catalog (see ``target``); of several GPUs one was used at a time.
    gpu_alternatives
        Other devices of the catalog that the text could mean.
    gpu_count
        GPUs working together; None where none is named.
    gpu_memory_gb_stated, ram_gb_stated
        As printed, even where it cannot be: see ``impossible``.
    cpu_stated
        What is printed of a CPU that cannot be identified.
    hardware_named
        A GPU, a CPU or a size of memory is stated; the name of a cloud alone does not count.
    training_h_low, training_h_high
        Hours, equal where one figure is printed.
    inference_ms
        Of one image; an upper bound where the review prints one.
    """

    ref: Ref
    first_author: Name
    year: Annotated[int, Meta(ge=2010, le=2025)]
    title: Name
    diseases: Annotated[tuple[Name, ...], Meta(min_length=1)]
    organ: Name
    modality: Literal["X-ray", "MRI", "Ultrasound"]
    dataset_size: Annotated[int, Meta(ge=1)]
    model: Name
    family: Literal[
        "custom-cnn",
        "hybrid",
        "resnet",
        "vgg16",
        "efficientnet",
        "densenet",
        "genetic-dcnn",
        "other",
    ]
    architectures: Annotated[tuple[Slug, ...], Meta(min_length=1)]
    accuracy_ratio: Ratio | None = None
    gpus: tuple[Slug, ...] = ()
    gpu_alternatives: tuple[Slug, ...] = ()
    gpu_count: Annotated[int, Meta(ge=1)] | None = None
    gpu_memory_gb_stated: Positive | None = None
    cpu: Slug | None = None
    cpu_stated: str | None = None
    ram_gb_stated: Positive | None = None
    os: str | None = None
    frameworks: tuple[str, ...] = ()
    cloud: str | None = None
    hardware_named: bool
    training_h_low: Positive | None = None
    training_h_high: Positive | None = None
    inference_ms: Positive | None = None
    source: Name
    confidence: Literal["high", "medium", "low"]
    date: datetime.date
    notes: str = ""


class Impossible(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A figure that a study states and that cannot be, beside the real one where it is known.

    ``device`` is the catalog's id of what the real figure belongs to.
    """

    ref: Ref
    field: Literal["gpu_memory", "ram", "cpu", "cpu_clock", "training_time"]
    stated: Name
    real: str | None = None
    device: Slug | None = None
    explanation: Name


@cache
def studies() -> Mapping[int, Study]:
    """Return every study by its reference number, in ascending order.

    Raises
    ------
    ValueError
        The data themselves are wrong: the installation is damaged. Names file and line.
    """
    rows = read_rows(DATA / "studies.csv", Study, LISTS)
    return MappingProxyType(dict(sorted((study.ref, study) for _, study in rows)))


@cache
def impossible() -> tuple[Impossible, ...]:
    """Return every statement of the review about hardware or time that cannot be."""
    return tuple(row for _, row in read_rows(DATA / "impossible.csv", Impossible, LISTS))


def find_study(ref: str | int) -> Study:
    """Return the study with this reference number.

    Raises
    ------
    UsageError
        The review has no such study; the message says which it has.
    """
    text = str(ref).strip()
    number = int(text) if re.fullmatch("[0-9]{1,4}", text) else 0
    found = studies().get(number)
    if found is None:
        raise UsageError(
            "study",
            f"{text[:40]!r} is no study of the review, whose references are numbered "
            f"{min(studies())} to {max(studies())}. `medge studies` lists all.",
        )
    return found


def studies_on(target: Target) -> tuple[Study, ...]:
    """Return the studies that used this device."""
    return tuple(studies()[ref] for ref in target.refs)


def gpus_of(study: Study) -> tuple[Target, ...]:
    """Return the catalog's entries of the GPUs that a study used."""
    return tuple(targets()[gpu] for gpu in study.gpus)
