"""ONNX Runtime's TensorRT provider: only where it is asked for by name, never a candidate.

It tells neither layers nor precisions, so that nothing but fp32 passes the self-test. Its own cache
finds an engine by the names in a graph, not by its weights (onnxruntime issue 32254): another
bundle's engine could answer. So each graph has a folder of its own, named for all that an engine
depends on, and no engine is taken from it that is not byte for byte what was left there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import ClassVar

import msgspec

from medge.engine.backends import Options
from medge.engine.backends.ort import OnnxRuntime
from medge.engine.backends.ort_cuda import CUDA_PROVIDER, cuda_options, require_cuda
from medge.engine.cache import cache_folder
from medge.errors import BackendError, StorageError
from medge.profiles.cuda_gpus import identity_of_device, nvidia_devices
from medge.profiles.device_names import ordinal

PROVIDER = "TensorrtExecutionProvider"
SEAL = "seal.json"  # digests of the other files of a folder
TF32 = "NVIDIA_TF32_OVERRIDE"  # the provider has no option for it


class OnnxRuntimeTensorRT(OnnxRuntime):
    """The graph through TensorRT, what that does not take through CUDA; the CPU gets nothing."""

    requires: ClassVar[tuple[str, ...]] = ("onnxruntime>=1.17",)
    provider: ClassVar[str] = PROVIDER

    def __init__(self) -> None:
        super().__init__()
        self._engines: Path | None = None

    def devices(self) -> tuple[str, ...]:
        """See Backend.devices."""
        return nvidia_devices() if PROVIDER in self._library.get_available_providers() else ()

    def precisions(self, device: str) -> tuple[str, ...]:
        """See Backend.precisions: no other can be read back."""
        return ("fp32",)

    def load(self, model: bytes, options: Options, engine: bytes | None = None) -> None:
        """See Backend.load; engines stay in a folder of this graph's, beside medge's own cache."""
        if ordinal(options.device) is None:
            raise BackendError(
                "backend-option",
                f"onnxruntime-tensorrt runs on nvidia:0 and so on, not on {options.device}. Choose "
                "--device nvidia:0, or another backend.",
            )
        os.environ.setdefault(TF32, "0")  # read when NVIDIA's libraries are loaded
        require_cuda(self._library, options.device, PROVIDER)
        facts = (self.version, identity_of_device(options.device), str(options.streams))
        self._engines = opened_folder(model, facts)
        super().load(model, options, None)

    def close(self) -> None:
        """See Backend.close; what was built until now may be opened the next time."""
        super().close()
        folder, self._engines = self._engines, None
        if folder is not None:
            seal(folder)

    def _providers(self, gpu: int) -> list[tuple[str, dict[str, str]]]:
        if self._engines is None:
            raise ValueError("the provider is asked for within load")
        folder = str(self._engines)
        options = {
            "device_id": str(gpu),
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": folder,
            "trt_engine_cache_prefix": self._engines.name[:16],
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": folder,
            "trt_fp16_enable": "0",
            "trt_int8_enable": "0",
        }
        return [(PROVIDER, options), (CUDA_PROVIDER, cuda_options(gpu))]


def opened_folder(model: bytes, facts: tuple[str, ...], base: Path | None = None) -> Path:
    """Return the folder of a graph's engines, empty where one of them is not as it was left.

    Parameters
    ----------
    facts
        What an engine depends on besides the graph: versions and GPU.
    base
        Where folders lie; default: beside medge's sealed engines.

    Raises
    ------
    StorageError
        Rule ``cache-write``: the folder cannot be made, or others may write to it.
    """
    digest = hashlib.sha256(hashlib.sha256(model).digest() + "\0".join(facts).encode())
    folder = (
        (cache_folder() if base is None else base) / "onnxruntime-tensorrt" / digest.hexdigest()
    )
    try:
        if folder.exists() and not _as_left(folder):
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise _unusable(folder, error.strerror or type(error).__name__) from None
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or others:
        raise _unusable(folder, "it is not this user's alone to write")
    return folder


def seal(folder: Path) -> None:
    """Write down what the runtime left; without this, the next opening starts from nothing.

    Raises
    ------
    StorageError
        Rule ``cache-write``.
    """
    try:
        (folder / SEAL).write_bytes(msgspec.json.encode(_digests(folder)))
    except OSError as error:
        raise _unusable(folder, error.strerror or type(error).__name__) from None


def _as_left(folder: Path) -> bool:
    try:
        told = msgspec.json.decode((folder / SEAL).read_bytes(), type=dict[str, str])
        return told == _digests(folder)
    except (FileNotFoundError, msgspec.DecodeError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    files = (file for file in folder.iterdir() if file.name != SEAL)
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        if file.is_file() and not file.is_symlink()
        else "no plain file"
        for file in files
    }


def _unusable(folder: Path, why: str) -> StorageError:
    return StorageError(
        "cache-write",
        f"{folder}: engines cannot be kept: {why}. Free space, or set MEDGE_HOME to a folder that "
        "only you can write.",
    )
