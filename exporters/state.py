"""State: read a file of weights without unpickling code, and fit it to a network, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch

from medge.errors import UsageError
from medge.exporters.quiet import quiet

State: TypeAlias = Mapping[str, torch.Tensor]

NESTS = ("state_dict", "model_state_dict", "model", "net")  # where training loops put it
PREFIXES = ("module.", "_orig_mod.", "model.")  # DistributedDataParallel, torch.compile, Lightning
SAFE_UNPICKLER = (2, 10)  # weights_only=True could still run code before (CVE-2026-24747)
COUNTER = ".num_batches_tracked"  # of BatchNorm, used in training only; old files lack it


def load_weights(network: torch.nn.Module, path: Path) -> list[str]:
    """Fill a network from a file; return what was done to the file's names, for the report.

    Raises
    ------
    UsageError
        Rule ``weights-unreadable``: not safetensors, nor a state dict that torch reads without
        running code. Rule ``weights-mismatch``: keys or shapes are not those of the network; the
        message counts them and names the first.
    """
    notes: list[str] = []
    state = _unprefixed(_read(path, notes), network.state_dict(), notes)
    expected = network.state_dict()
    counters = [k for k in expected.keys() - state.keys() if k.endswith(COUNTER)]
    if counters:
        notes.append(f"{len(counters)} BatchNorm counters are not in the file; they have no effect")
        state = {**state, **{k: expected[k] for k in counters}}
    _check_fit(path, state, expected)
    kinds = {str(t.dtype).removeprefix("torch.") for t in state.values() if t.is_floating_point()}
    if kinds - {"float32"}:
        notes.append(f"weights are stored as {', '.join(sorted(kinds))}; the network is float32")
    network.load_state_dict(state, strict=True)
    return notes


def unpickles_safely() -> bool:
    """Whether ``weights_only=True`` keeps its promise in the torch that is installed."""
    return tuple(int(n) for n in torch.__version__.split(".")[:2]) >= SAFE_UNPICKLER


def _read(path: Path, notes: list[str]) -> State:
    try:
        with path.open("rb") as stream:
            head = stream.read(9)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError("weights-unreadable", f"{path}: cannot read: {reason}.") from None
    # A safetensors file begins with the length of its JSON header, then the header's brace.
    if head[8:] == b"{":
        return _read_safetensors(path)
    return _unnested(path, _read_torch(path), notes)


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UsageError(
            "weights-unreadable",
            f"{path.name} looks like safetensors and is damaged. Save it again.",
        ) from error


def _read_torch(path: Path) -> Any:
    if not unpickles_safely():
        raise UsageError(
            "weights-unreadable",
            f"{path.name} is not safetensors, and torch {torch.__version__} cannot read pickled "
            "weights safely. Save it as safetensors, or update torch to 2.10 or newer.",
        )
    try:
        with quiet():
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch raise classes without a common base
        raise UsageError(
            "weights-unreadable",
            f"{path.name} is neither safetensors nor a state dict that torch reads without "
            "running code from it. In the program that trained it: "
            "safetensors.torch.save_file(network.state_dict(), 'weights.safetensors').",
        ) from error


def _unnested(path: Path, found: Any, notes: list[str]) -> State:
    """Return the state dict in what a training loop saved."""
    if isinstance(found, Mapping):
        for nest in NESTS:
            if isinstance(found.get(nest), Mapping):
                notes.append(f"weights taken from key {nest!r} of the file")
                found = found[nest]
                break
    if not isinstance(found, Mapping) or not found or not _all_tensors(found):
        raise UsageError(
            "weights-unreadable",
            f"{path.name} holds {type(found).__name__}, expected a state dict: names and tensors. "
            "Save network.state_dict().",
        )
    return found


def _all_tensors(found: Mapping[Any, Any]) -> bool:
    return all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in found.items())


def _unprefixed(state: State, expected: State, notes: list[str]) -> State:
    """Take off prefixes that wrappers put before every name, and the network does not have."""
    for _ in PREFIXES:
        if state.keys() & expected.keys():
            break
        prefix = next((p for p in PREFIXES if all(k.startswith(p) for k in state)), None)
        if prefix is None:
            break
        notes.append(f"prefix {prefix!r} taken off all {len(state)} names of the weights")
        state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state


def _check_fit(path: Path, state: State, expected: State) -> None:
    missing = [k for k in expected if k not in state]
    extra = [k for k in state if k not in expected]
    shapes = [k for k in expected if k in state and state[k].shape != expected[k].shape]
    found = []
    if missing:
        found.append(f"{len(missing)} of {len(expected)} are missing, first {_told(missing[0])}")
    if extra:
        found.append(f"{len(extra)} are unexpected, first {_told(extra[0])}")
    if shapes:
        key = shapes[0]
        found.append(
            f"{len(shapes)} have another shape, first {_told(key)}: {_size(state[key])} in the "
            f"file, {_size(expected[key])} in the network"
        )
    if found:
        raise UsageError(
            "weights-mismatch",
            f"{path.name} does not fit the network: {'; '.join(found)}. Choose the architecture, "
            "classes, channels and [arguments] that it was trained with.",
        )


def _told(key: str) -> str:
    return ascii(key[:80])


def _size(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
