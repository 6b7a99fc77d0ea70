"""The review's shares, counted again from its studies, beside the figures that it prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from medge.profiles.rows import read_rows
from medge.profiles.study import DATA, Study, gpus_of, impossible, studies

# A printed 36 % may stand for anything from 35.5 to 36.5 %.
ROUNDING_RATIO = 0.005
SIZES = {"below-1000": (0, 999), "1000-10000": (1000, 10_000), "10000-100000": (10_001, 100_000)}
NEWER = {"Ada Lovelace", "Hopper", "Blackwell"}
INCEPTION = ("inception", "googlenet")

Ratio = Annotated[float, Meta(gt=0, le=1)]
Count = Annotated[int, Meta(ge=0)]


class Printed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One share that the review prints, or that it should be read beside.

    ``of`` is the number of studies that it is a share of: all 80, or the 45 that name a GPU.
    """

    group: str
    key: str
    what: str
    of: Literal[80, 45]
    printed_ratio: Ratio | None = None
    printed_count: Count | None = None
    explanation: str = ""


class Share(Struct, frozen=True, kw_only=True):
    """A share counted from the studies; ``agrees`` is None where the review prints nothing."""

    group: str
    what: str
    refs: tuple[int, ...]
    count: int
    of: int
    ratio: float
    printed_ratio: float | None
    printed_count: int | None
    agrees: bool | None
    explanation: str


def shares() -> tuple[Share, ...]:
    """Count every share again, in the order of the data."""
    rows = read_rows(DATA / "shares.csv", Printed, ())
    return tuple(_share(printed) for _, printed in rows)


def _share(printed: Printed) -> Share:
    rule = RULES[printed.group]
    refs = tuple(study.ref for study in studies().values() if rule(study, printed.key))
    ratio = len(refs) / printed.of
    return Share(
        group=printed.group,
        what=printed.what,
        refs=refs,
        count=len(refs),
        of=printed.of,
        ratio=ratio,
        printed_ratio=printed.printed_ratio,
        printed_count=printed.printed_count,
        agrees=_agrees(printed, len(refs)),
        explanation=printed.explanation,
    )


def _agrees(printed: Printed, count: int) -> bool | None:
    if printed.printed_count is not None:
        return printed.printed_count == count
    if printed.printed_ratio is None:
        return None
    return abs(printed.printed_ratio - count / printed.of) <= ROUNDING_RATIO + 1e-9


def _size(study: Study, key: str) -> bool:
    low, high = SIZES.get(key, (100_001, 10**9))
    return low <= study.dataset_size <= high


def _network(study: Study, key: str) -> bool:
    names = {"inception": INCEPTION, "transformer": ("transformer", "vit")}.get(key, (key,))
    return any(part.startswith(names) for part in study.architectures)


def _framework(study: Study, key: str) -> bool:
    named = set(study.frameworks)
    tensorflow = "TensorFlow" in named
    keras_alone = "Keras" in named and not named & {"TensorFlow", "Theano"}
    colab = "Colab" in (study.cloud or "")
    return {
        "tensorflow-or-keras": tensorflow or keras_alone,
        "tensorflow-with-keras-or-colab": tensorflow and ("Keras" in named or colab),
        "none": not named,
    }.get(key, key in named)


def _hardware(study: Study, key: str) -> bool:
    times = (study.training_h_low, study.inference_ms)
    return {
        "any": study.hardware_named,
        "gpu": bool(study.gpus),
        "cpu": bool(study.cpu or study.cpu_stated),
        "cpu-model": study.cpu is not None,
        "ram": study.ram_gb_stated is not None,
        "gpu-memory": study.gpu_memory_gb_stated is not None,
        "gpu-memory-impossible": study.ref in _wrong_memory(),
        "several-gpus": (study.gpu_count or 0) > 1,
        "time": any(time is not None for time in times),
        "cloud": study.cloud is not None,
    }[key]


def _wrong_memory() -> set[int]:
    return {row.ref for row in impossible() if row.field == "gpu_memory"}


def _gpu_architecture(study: Study, key: str) -> bool:
    found = {gpu.architecture for gpu in gpus_of(study)}
    return bool(found & (NEWER if key == "newer" else {key}))


def _gpu_rates(study: Study, key: str) -> bool:
    gpus = gpus_of(study)
    fast = any((gpu.fp16_tflops or 0) > (gpu.fp32_tflops or 0) for gpu in gpus)
    fast |= any(gpu.tensor_fp16_tflops for gpu in gpus)
    return (
        bool(gpus)
        and {
            "tensor-cores": any(gpu.tensor_fp16_tflops for gpu in gpus),
            "no-fast-fp16": not fast,
            "below-7.5": all(float(gpu.compute_capability or 0) < 7.5 for gpu in gpus),
        }[key]
    )


def _gpu_memory(study: Study, key: str) -> bool:
    sizes = [gpu.memory_gb or 0 for gpu in gpus_of(study)]
    return bool(sizes) and max(sizes) == float(key)


RULES: Mapping[str, Callable[[Study, str], bool]] = {
    "modality": lambda study, key: study.modality == key,
    "organ": lambda study, key: study.organ == key,
    "size": _size,
    "model": lambda study, key: study.family == key,
    "network": _network,
    "framework": _framework,
    "hardware": _hardware,
    "GPU": _gpu_architecture,
    "GPU rates": _gpu_rates,
    "GPU memory": _gpu_memory,
}
