"""Native parts of medge."""

from typing import Annotated

import numpy
from numpy.typing import NDArray


def scan_header(data: bytes, start: int, total: int, explicit_vr: bool, big_endian: bool, meta_only: bool, wanted: Annotated[NDArray[numpy.uint32], dict(shape=(None, 2), order='C', device='cpu', writable=False)], records: Annotated[NDArray[numpy.uint32], dict(shape=(None, 4), order='C', device='cpu')]) -> tuple:
    """
    Walk the DICOM elements of `data`, the first bytes of a file of `total` bytes.

    `wanted`: uint32 (n, 2), tag and 1 for a sequence, sorted by tag. `records`: uint32
    (m, 4), filled with tag, VR << 16 | little << 8 | level, offset, length.
    Returns (status, count, offset, tag, vr, length, depth, needed); see dicom_scan.hpp.
    """

def scan_fragments(fd: int, offset: int, size: int, fragments: Annotated[NDArray[numpy.uint64], dict(shape=(None, 2), order='C', device='cpu')]) -> tuple:
    """
    List the items of encapsulated pixel data into `fragments`, uint64 (n, 2): offset and
    length of each. Returns (status, count, next); see dicom_scan.hpp.
    """

def unpack_packbits(segment: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu')], first: int, stride: int) -> tuple:
    """
    Expand one RLE segment (PS3.5 G.3) into out[first::stride], uint8.

    Returns (status, bytes read, bytes written); status 0: filled, 1: the segment is too
    short, 2: a run goes beyond the end of `out`.
    """

def account_jpeg(data: bytes, lossless: bool = False) -> tuple:
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
