// Structural walk of a DICOM header: where elements lie, and whether their lengths can be true.
#pragma once
#include <cstddef>
#include <cstdint>

namespace medge::dicom {

constexpr uint32_t kUndefined = 0xFFFFFFFFu;  ///< undefined length (PS3.5 7.1.1)
constexpr uint32_t kMaxDepth = 32;            ///< nested sequences; deeper is refused

/// How a walk ended. Values are part of the binding: engine/frames/header.py names them.
enum class Status : uint32_t {
  pixels = 0,      ///< stopped at Pixel Data, Float Pixel Data or Double Float Pixel Data
  end = 1,         ///< the data (or the group asked for) ended before any pixel data
  need_more = 2,   ///< the buffer ends first: read up to `needed` bytes and walk again
  need_space = 3,  ///< `records` is full: walk again with a larger one
  length = 4,      ///< an element is longer than what holds it
  depth = 5,       ///< sequences nested deeper than kMaxDepth
  structure = 6,   ///< an item or a delimiter where none may be
  vr = 7,          ///< explicit VR that is not two capital letters, or of undefined length
};

/// One element that the caller asked for. Offsets are bytes from the start of the file.
struct Record {
  uint32_t tag;     ///< group << 16 | element; 0xFFFEE000 opens an item
  uint32_t vr;      ///< VR letters << 16 (0: implicit) | kLittle | level (0: top)
  uint32_t offset;  ///< of the value
  uint32_t length;  ///< of the value; kUndefined only for sequences and items
};
constexpr uint32_t kLittle = 0x100;  ///< the value is little endian although the file is not

/// An element worth recording; the list is sorted by tag.
struct Wanted {
  uint32_t tag;
  uint32_t sequence;  ///< 1 when it is a sequence: in implicit VR only a dictionary can tell
};

/// The bytes to walk: the first `size` bytes of something `total` bytes long.
struct Source {
  const uint8_t *data;
  uint64_t size;
  uint64_t total;
  uint64_t start;        ///< where the walk begins
  bool explicit_vr;
  bool big_endian;
  bool meta_only;        ///< stop at the first tag outside group 0002
};

struct Scan {
  Status status;
  uint32_t count;         ///< records written
  uint64_t offset;        ///< of the pixel data value, of the fault, or of the end
  uint32_t tag;           ///< of the pixel data, or of the element at fault
  uint32_t vr;            ///< VR letters of the pixel data; 0 when implicit
  uint32_t length;        ///< of the pixel data value, or the length at fault
  uint32_t depth;         ///< nested sequences at that point
  uint64_t needed;        ///< need_more: bytes that the buffer must hold
};

/// Walk the elements in order. An element is recorded when it and all sequences around it are in
/// `wanted`. Reads no byte outside [start, size), writes at most `capacity` records.
Scan scan(const Source &source, const Wanted *wanted, size_t wanted_count, Record *records,
          size_t capacity) noexcept;

/// One fragment of encapsulated pixel data: the bytes after its item header.
struct Fragment {
  uint64_t offset;
  uint64_t length;
};

enum class FragmentStatus : uint32_t {
  delimited = 0,   ///< the sequence delimiter was found
  need_space = 1,  ///< `fragments` is full: go on from `next`
  unended = 2,     ///< the file ended at a fragment's end, without a delimiter
  length = 3,      ///< a fragment is longer than the file
  structure = 4,   ///< something else than an item or the delimiter
  io = 5,          ///< the file could not be read
};

struct FragmentScan {
  FragmentStatus status;
  size_t count;
  uint64_t next;  ///< where the next item header is (or should have been)
};

/// List the items of encapsulated pixel data (PS3.5 A.4) from `offset` to the end of the file at
/// `size`, reading only the 8-byte headers.
FragmentScan scan_fragments(int fd, uint64_t offset, uint64_t size, Fragment *fragments,
                            size_t capacity) noexcept;

}  // namespace medge::dicom
