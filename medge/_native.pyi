"""Native parts of medge."""

from typing import Annotated, Any

import numpy
import numpy.typing
from numpy.typing import NDArray


def scan_header(data: bytes, start: int, total: int, explicit_vr: bool, big_endian: bool, meta_only: bool, wanted: Annotated[NDArray[numpy.uint32], dict(shape=(None, 2), order='C', device='cpu', writable=False)], records: Annotated[NDArray[numpy.uint32], dict(shape=(None, 4), order='C', device='cpu')]) -> tuple[int, int, int, int, int, int, int, int]:
    """
    Walk the DICOM elements of `data`, the first bytes of a file of `total` bytes.

    `wanted`: uint32 (n, 2), tag and 1 for a sequence, sorted by tag. `records`: uint32
    (m, 4), filled with tag, VR << 16 | little << 8 | level, offset, length.
    Returns (status, count, offset, tag, vr, length, depth, needed); see dicom_scan.hpp.
    """

def scan_fragments(fd: int, offset: int, size: int, fragments: Annotated[NDArray[numpy.uint64], dict(shape=(None, 2), order='C', device='cpu')]) -> tuple[int, int, int]:
    """
    List the items of encapsulated pixel data into `fragments`, uint64 (n, 2): offset and
    length of each. Returns (status, count, next); see dicom_scan.hpp.
    """

def unpack_packbits(segment: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu')], first: int, stride: int) -> tuple[int, int, int]:
    """
    Expand one RLE segment (PS3.5 G.3) into out[first::stride], uint8.

    Returns (status, bytes read, bytes written); status 0: filled, 1: the segment is too
    short, 2: a run goes beyond the end of `out`.
    """

def account_jpeg(data: bytes, lossless: bool = False) -> tuple[int, int, int]:
    """
    Follow every Huffman code of a JPEG, 8-bit sequential or lossless, from SOI to EOI.

    Returns (status, offset, blocks of 8 x 8, or of one sample when lossless); status 0: all
    are there and nothing else, 1: a header or table is wrong, 2: bits that are no code, 3:
    ended early, 4: bytes behind the last block, 5: a restart marker is wrong, 6: a component
    is missing.
    """

def drop_fourth(pixels: Annotated[NDArray[numpy.uint8], dict(shape=(None, None, 4), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint8], dict(shape=(None, None, 3), order='C', device='cpu')]) -> None:
    """
    Copy uint8 (h, w, 4) to `out`, uint8 (h, w, 3), without the fourth sample.
    """

def scan_graph(model: bytes) -> tuple[int, bytes, int]:
    """
    Judge a serialized ONNX model. Returns (status, name of the tensor, count of values that
    are not finite); status 0: clean, 1: malformed, 2: external data, 3: not finite,
    4: holds a compiled engine.
    """

def all_finite(values: Annotated[NDArray[numpy.float32], dict(order='C', device='cpu', writable=False)]) -> bool:
    """
    Whether no value of a float32 array, C-contiguous and of any shape, is NaN or Inf.
    """

def expand_segments(numbers: Annotated[NDArray[numpy.uint16], dict(shape=(None,), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint16], dict(shape=(None,), order='C', device='cpu')], bytes: bool) -> tuple[int, int, int]:
    """
    Expand a segmented palette (PS3.3 C.7.9.2) to `out`, uint16; `bytes`: numbers were 8 bits.

    Returns (status, entries written, type of the last segment); status 0: complete, 1: ends
    inside a segment, 2: an empty segment, 3: a segment type that may not be there, 4: a line
    from nowhere, 5: more entries than `out` has, 6: fewer entries, or numbers left over.
    """

def kernels() -> str:
    """Name of the build of the pixel kernels in use."""

def kernel_builds() -> tuple[str, ...]:
    """Names of the builds that can run here, the best first."""

class Plan:
    """
    How pictures of one geometry become tensors; owns all memory that it needs.

    `spec`: the fields of PlanSpec (plan.hpp). `rows`, `columns`: first and count,
    int32 (n,), and weights, float32 (n, taps), of each resized axis. `build`: a
    name of kernel_builds(); empty takes kernels(). Not for two threads at once.
    """

    def __init__(self, spec: dict[str, object], rows: tuple[Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)]], columns: tuple[Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)]], build: str = '') -> None: ...

    @property
    def kernels(self) -> str:
        """Name of the build that this plan runs."""

    def set_line(self, base: float, scale: float, offset: float, padding: tuple[int, int] | None = None) -> None:
        """
        Display value of a sample: clamp((sample - base) * scale + offset, 0, 1), in float32;
        0 for samples in the inclusive range `padding`. For YBR, base is the gray of chroma.
        """

    def set_table(self, table: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> None:
        """
        Display value by the stored bits of a sample; three tables in a row for a palette.
        """

    def run(self, stored: numpy.typing.NDArray[Any], out: numpy.typing.NDArray[Any]) -> None:
        """
        Prepare one picture into `out`. Allocates nothing and releases the GIL.
        """

    def run_file(self, fd: int, offset: int, out: numpy.typing.NDArray[Any]) -> int:
        """
        Prepare one picture that begins at `offset` of an open file, not a planar one, reading
        only the rows that count. Returns 0, an errno, or -1 when the file ends early.
        """

    def histogram(self, stored: numpy.typing.NDArray[Any], plane: int, counts: numpy.typing.NDArray[numpy.uint32]) -> None:
        """
        Count the samples of one plane by their stored bits, uint32 (2 ** bits_stored,).
        """
