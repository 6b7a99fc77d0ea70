"""Look into a .pt2 file before torch loads it: it may hold a program, but no Python and no binary.

torch's loader unpickles what the file asks it to, evaluates expressions with SymPy (which calls
Python's ``eval``) and runs compiled libraries. So only members, pickles and expressions that an
ordinary ``torch.export.save`` of a network writes are let through.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from medge.errors import UsageError
from medge.exporters.quiet import quiet
from medge.exporters.state import unpickles_safely

MEMBERS = re.compile(
    r"""[^/]+/(
        archive_format | archive_version | byteorder | version | \.data/[\w.]+
        | models/\w+\.json
        | data/weights/(weight_\d+ | \w+_weights_config\.json)
        | data/constants/(tensor_\d+ | \w+_constants_config\.json)
        | data/sample_inputs/\w+\.pt
    )""",
    re.VERBOSE,
)

# Sizes that depend on the batch: symbols, whole numbers, and arithmetic on them.
SYMBOL = re.compile(r"Symbol\('[su]\d{1,6}'(, (positive|nonnegative|integer)=True)*\)")
ARITHMETIC = re.compile(r"(\d{1,12}|FloorDiv|Mod|Max|Min|[ +*/(),-])*")


def check_pt2(path: Path) -> None:
    """Refuse a file whose loading could run code that is no operator of torch.

    Raises
    ------
    UsageError
        Rule ``source-unreadable``: not a program of ``torch.export.save``, or one with custom
        objects, compiled libraries, pickled code or unusual expressions.
    """
    if not unpickles_safely():
        raise refused(path, "needs torch 2.10 or newer to be looked into safely")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            # Readers of ZIP files differ in which of two equal names they find.
            if len({name.lower() for name in names}) != len(names):
                raise refused(path, "holds a member twice")
            strange = [name for name in names if not MEMBERS.fullmatch(name)]
            if strange or len({name.partition("/")[0] for name in names}) != 1:
                raise refused(
                    path,
                    f"holds {len(strange) or len(names)} members that a plain program has not, "
                    "such as custom objects, compiled code, or an older layout",
                )
            _check_expressions(path, archive)
            _check_pickles(path, archive)
    except (OSError, zipfile.BadZipFile, ValueError, RecursionError) as error:
        raise refused(path, f"is damaged or no program ({type(error).__name__})") from None


def refused(path: Path, found: str) -> UsageError:
    """Return the error that says so."""
    return UsageError(
        "source-unreadable",
        f"{path.name} {found}. Save it with torch.export.save of this torch "
        f"({torch.__version__}), or export it to FILE.onnx where it was trained.",
    )


def _check_expressions(path: Path, archive: zipfile.ZipFile) -> None:
    for name in archive.namelist():
        if name.endswith(".json"):
            for expression in _expressions(json.loads(archive.read(name))):
                if not ARITHMETIC.fullmatch(SYMBOL.sub("", str(expression))):
                    raise refused(path, "sizes a tensor by an expression that is no arithmetic")


def _expressions(found: Any) -> Iterator[Any]:
    """Yield every expression of a JSON tree."""
    if isinstance(found, dict):
        if "expr_str" in found:
            yield found["expr_str"]
        for value in found.values():
            yield from _expressions(value)
    elif isinstance(found, list):
        for value in found:
            yield from _expressions(value)


def _check_pickles(path: Path, archive: zipfile.ZipFile) -> None:
    """Load every pickled member as plain tensors; torch would fall back to running its code."""
    for name in archive.namelist():
        pickled = [name] if name.endswith(".pt") else []
        if name.endswith("_config.json"):
            entries = json.loads(archive.read(name)).get("config", {}).values()
            folder = name.rpartition("/")[0]
            pickled = [f"{folder}/{e['path_name']}" for e in entries if e["use_pickle"]]
        for member in pickled:
            try:
                with quiet():
                    torch.load(io.BytesIO(archive.read(member)), weights_only=True)
            except Exception:  # pickle, zip and torch raise classes without a common base
                raise refused(path, "holds pickled objects that are no plain tensors") from None
