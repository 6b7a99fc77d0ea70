"""The specification of an export: all of the manifest that the network cannot say."""

from __future__ import annotations

import difflib
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from medge.engine.manifest import Data, ImageInput, Metric, Output, Scope
from medge.errors import UsageError
from medge.exporters.spec_text import COMMENTED_SPEC
from medge.profiles.terms import Name, Text

__all__ = ["COMMENTED_SPEC", "Spec", "Task", "read_spec"]

Task: TypeAlias = Literal["single-label", "multi-label", "multi-task"]

SPEC_CAP_BYTES = 1 << 20
CLASSES_CAP_BYTES = 1 << 20

_KNOWN = re.compile(r"unknown field `(.{1,80}?)`(?: - at `\$\.?(.*?)`)?$", re.DOTALL)


class Spec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """spec.toml, strictly: what is not listed here is refused.

    ``arguments`` are keyword arguments for the function that builds the network; they win over
    what medge derives from ``input`` and ``outputs`` (channels and number of classes).
    """

    name: Name
    version: Annotated[str, Meta(pattern=r"^\d+\.\d+\.\d+$")] = "1.0.0"
    task: Task | None = None
    intended_use: Text
    demonstration: bool = False
    licence: Text
    limits: tuple[Text, ...] = ()
    golden_tolerance: Annotated[float, Meta(gt=0.0)] | None = None
    input: ImageInput
    outputs: Annotated[tuple[Output, ...], Meta(min_length=1)]
    scope: Scope = Scope()
    data: tuple[Data, ...] = ()
    metrics: tuple[Metric, ...] = ()
    arguments: dict[str, Any] = {}

    def __post_init__(self) -> None:
        names = [self.input.name, *(output.name for output in self.outputs)]
        if len(set(names)) != len(names):
            raise ValueError("input and outputs need names that all differ")
        first = self.outputs[0]
        if self.manifest_task != "multi-task" and len(self.outputs) > 1:
            raise ValueError(f"task {self.manifest_task!r} takes one output")
        if self.manifest_task not in ("multi-task", first.task):
            raise ValueError(f"task is {self.manifest_task!r}, that of its output {first.task!r}")

    @property
    def manifest_task(self) -> Task:
        """The task of the whole bundle: that of its only output, or ``multi-task``."""
        if self.task is not None:
            return self.task
        return self.outputs[0].task if len(self.outputs) == 1 else "multi-task"


def read_spec(
    path: Path | None,
    *,
    classes: Path | None = None,
    task: str | None = None,
    name: str | None = None,
) -> Spec:
    """Read spec.toml and what the command line adds to it.

    Parameters
    ----------
    classes
        A text file with one class a line, in the order of the network's output. For
        specifications with one output, which then need not list them.
    task, name
        Replace what the specification says; ``task`` also sets that of a single output.

    Raises
    ------
    UsageError
        Rule ``spec-missing``, ``spec-unreadable``, ``spec-invalid`` or ``classes``.
    """
    if path is None:
        raise UsageError(
            "spec-missing",
            "A bundle needs to know its input, classes, use and licence. Write them down with "
            "`medge export --print-spec > spec.toml`, then add --spec spec.toml.",
        )
    said = _parse(path)
    if name is not None:
        said["name"] = name
    if classes is not None:
        _add_classes(said, classes)
    if task is not None:
        _set_task(said, task)
    for key in said.keys() - {"arguments"}:
        if not _all_finite(said[key]):
            raise UsageError(
                "spec-invalid", f"{path.name}: `{_plain(key)}` holds nan or inf. Write a number."
            )
    try:
        return msgspec.convert(said, Spec)
    except msgspec.ValidationError as error:
        raise UsageError("spec-invalid", f"{path.name}: {_explained(str(error))}") from None


def _parse(path: Path) -> dict[str, Any]:
    raw = _read(path, "spec-unreadable", SPEC_CAP_BYTES)
    try:
        said = msgspec.toml.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        where = "" if isinstance(error, UnicodeDecodeError) else f": {_plain(str(error))}"
        raise UsageError(
            "spec-invalid", f"{path.name} is not TOML{where}. Compare it with --print-spec."
        ) from None
    return said


def _all_finite(said: Any) -> bool:
    """Whether every number is one; a manifest cannot write nan and inf, which TOML can."""
    if isinstance(said, dict):
        return all(_all_finite(value) for value in said.values())
    if isinstance(said, list):
        return all(_all_finite(value) for value in said)
    return not isinstance(said, float) or math.isfinite(said)


def _add_classes(said: dict[str, Any], path: Path) -> None:
    raw = _read(path, "classes", CLASSES_CAP_BYTES)
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UsageError("classes", f"{path.name} is not UTF-8 text. Save it as UTF-8.") from None
    labels = [line.strip() for line in lines if line.strip()]
    outputs = said.get("outputs")
    if not labels or not isinstance(outputs, list) or len(outputs) != 1:
        raise UsageError(
            "classes",
            f"{path.name} names {len(labels)} classes; --classes takes one class a line and a "
            "specification with exactly one [[outputs]]. List them under `classes` instead.",
        )
    listed = outputs[0].get("classes")
    if listed is not None and list(listed) != labels:
        raise UsageError(
            "classes",
            f"{path.name} and the specification name different classes ({len(labels)} and "
            f"{len(listed)}, or another order). Keep one of them.",
        )
    outputs[0]["classes"] = labels


def _set_task(said: dict[str, Any], task: str) -> None:
    said["task"] = task
    outputs = said.get("outputs")
    if task != "multi-task" and isinstance(outputs, list) and len(outputs) == 1:
        outputs[0]["task"] = task


def _read(path: Path, rule: str, cap_bytes: int) -> bytes:
    try:
        with path.open("rb") as stream:
            raw = stream.read(cap_bytes + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(rule, f"{path}: cannot read: {reason}. Check the path.") from None
    if len(raw) > cap_bytes:
        raise UsageError(rule, f"{path.name} has more than {cap_bytes} bytes. Is it the right one?")
    return raw


def _explained(fault: str) -> str:
    """Return msgspec's words on the user's own file, with the nearest key for a wrong one."""
    found = _KNOWN.search(fault)
    if found is None:
        return f"{_plain(fault)}. Compare it with `medge export --print-spec`."
    where = found[2] or ""
    names = _fields(where)
    near = difflib.get_close_matches(found[1], names, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"allowed are {', '.join(names)}."
    table = f"[{'.'.join(re.findall(r'[a-z_]+', where))}] " if where else ""
    return f"{table}has no key `{_plain(found[1])}`; {hint}"


def _fields(where: str) -> list[str]:
    """Return the keys that a table allows; ``where`` is ``input.resize`` or ``outputs[...]``."""
    kind: Any = Spec
    for step in re.findall(r"[a-z_]+", where):
        hints = {field.name: field.type for field in msgspec.structs.fields(kind)}
        kind = _struct_in(hints[step])
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def _struct_in(hint: Any) -> Any:
    """Return the struct that a type hint is, or holds."""
    if isinstance(hint, type) and issubclass(hint, Struct):
        return hint
    return next(found for part in hint.__args__ if (found := _struct_in(part)) is not None)


def _plain(text: str) -> str:
    """Keep a file's words from driving a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:300]).rstrip(".")
