"""Golden cases: inputs and the outputs they must give, packed in golden.npz without pickle."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from medge.engine.manifest import GOLDEN, Manifest
from medge.errors import BundleError

MEMBER_CAP_BYTES = 1 << 28  # 64 cases of 3 x 512 x 512 float32, with room
MEMBER_CAP = 64

Tensor = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Golden:
    """Cases along the first axis of every array; names are those of the graph.

    Outputs are what the graph itself gives, before activation and temperature. ``variants`` holds,
    by variant and output, what a narrower graph gives when it is computed as ONNX defines it.
    """

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    variants: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def cases(self) -> int:
        """How many cases there are, at least one."""
        return len(next(iter(self.outputs.values())))


def pack_golden(
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    variants: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> bytes:
    """Pack cases into the bytes of golden.npz; equal cases give equal bytes."""
    folders = {"input": inputs, "output": outputs}
    folders |= {f"variant/{name}": arrays for name, arrays in sorted((variants or {}).items())}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for folder, arrays in folders.items():
            for name, array in sorted(arrays.items()):
                member = io.BytesIO()
                np.lib.format.write_array(
                    member, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False
                )
                # ZipInfo's own date (1980) keeps the bytes free of the clock.
                entry = zipfile.ZipInfo(f"{folder}/{name}.npy")
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, member.getvalue())
    return buffer.getvalue()


def unpack_golden(raw: bytes, manifest: Manifest) -> Golden:
    """Read golden.npz against the inputs and outputs that the manifest declares.

    Raises
    ------
    BundleError
        Rule ``golden``: another name, dtype, shape or count than declared, or a value that is not
        finite.
    """
    try:
        arrays = dict(_members(raw))
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise _fault("is not an archive of plain arrays") from error
    golden = Golden(inputs={}, outputs={})
    cases = {len(array) if array.ndim else 0 for array in arrays.values()}
    if len(cases) != 1 or 0 in cases:
        raise _fault("needs the same number of cases, at least one, in every array")
    for spec in manifest.inputs:
        array = _take(arrays, f"input/{spec.name}.npy", spec.shape, spec.dtype)
        golden.inputs[spec.name] = array
    for output in manifest.outputs:
        array = _take(arrays, f"output/{output.name}.npy", (len(output.classes),), "float32")
        golden.outputs[output.name] = array
        for variant in manifest.variants:
            member = f"variant/{variant.name}/{output.name}.npy"
            if variant.golden_tolerance is not None:
                array = _take(arrays, member, (len(output.classes),), "float32")
                golden.variants.setdefault(variant.name, {})[output.name] = array
    if arrays:
        raise _fault(f"holds {len(arrays)} arrays that the manifest does not declare")
    return golden


def _members(raw: bytes) -> Iterator[tuple[str, Tensor]]:
    """Yield every array of the archive; sizes are checked before anything is allocated."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        entries = archive.infolist()
        total = sum(entry.file_size for entry in entries)
        if total > MEMBER_CAP_BYTES or len(entries) > MEMBER_CAP:
            raise _fault(
                f"unpacks to {total} bytes in {len(entries)} arrays; "
                f"at most {MEMBER_CAP_BYTES} in {MEMBER_CAP} are read"
            )
        if len({entry.filename for entry in entries}) != len(entries):
            raise _fault("holds an array twice")
        for entry in entries:
            yield entry.filename, _array(archive.read(entry))


def _array(member: bytes) -> Tensor:
    stream = io.BytesIO(member)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("npy version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if fortran or dtype not in (np.dtype("<f4"), np.dtype("u1")):
        raise ValueError("npy layout")
    if math.prod(shape) * dtype.itemsize != len(member) - stream.tell():
        raise ValueError("npy length")
    return np.frombuffer(member, dtype, offset=stream.tell()).reshape(shape)


def _take(arrays: dict[str, Tensor], member: str, shape: tuple[int, ...], dtype: str) -> Tensor:
    array = arrays.pop(member, None)
    if array is None:
        raise _fault(f"has no {member}")
    if array.shape[1:] != shape or array.dtype != np.dtype(dtype):
        raise _fault(
            f"{member} is {array.dtype} {array.shape}; the manifest declares {dtype} (n, "
            f"{', '.join(map(str, shape))})"
        )
    if not np.isfinite(array).all():
        raise _fault(f"{member} holds {np.count_nonzero(~np.isfinite(array))} NaN or Inf values")
    return array


def _fault(found: str) -> BundleError:
    return BundleError("golden", f"{GOLDEN} {found}. Export the bundle again.")
