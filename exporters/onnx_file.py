"""Read an ONNX file, with the weights that it keeps in other files beside it."""

from __future__ import annotations

from pathlib import Path

import onnx

from medge.errors import UsageError

FILE_CAP_BYTES = (1 << 31) - 1  # one protobuf message


def read_onnx(path: Path) -> tuple[onnx.ModelProto, list[str]]:
    """Return the model and what was done while it was read.

    Raises
    ------
    UsageError
        Rule ``source-unreadable``: absent, too large, damaged, or weights beside it are missing.
    """
    try:
        size = path.stat().st_size
        if size > FILE_CAP_BYTES:
            raise _unreadable(path, f"has {size} bytes; one ONNX file holds {FILE_CAP_BYTES}")
        raw = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror or 'no reason'}") from None
    try:
        model = onnx.load_from_string(raw)
    except Exception:  # protobuf's class differs between its implementations
        raise _unreadable(path, "is not an ONNX file, or is damaged") from None
    if not model.graph.node or not any(o.domain in ("", "ai.onnx") for o in model.opset_import):
        raise _unreadable(path, "is not an ONNX file, or holds no node of ONNX's own")
    return model, _take_in(model, path)


def _take_in(model: onnx.ModelProto, path: Path) -> list[str]:
    """Bring weights that lie in other files into the model; onnx keeps to the model's folder."""
    outside = [t for t in model.graph.initializer if t.data_location == t.EXTERNAL]
    if not outside:
        return []
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise _unreadable(
            path,
            f"keeps {len(outside)} tensors in another file, which is missing or damaged "
            f"({type(error).__name__}); put it beside this one",
        ) from None
    return [f"{len(outside)} tensors were taken in from files beside it"]


def _unreadable(path: Path, found: str) -> UsageError:
    return UsageError("source-unreadable", f"{path.name} {found}. Export it again.")
