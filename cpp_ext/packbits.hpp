// PackBits runs of DICOM RLE Lossless (PS3.5 G.3): one segment into one byte plane.
#pragma once
#include <cstddef>
#include <cstdint>

namespace medge::packbits {

enum class Status : uint32_t {
  filled = 0,   ///< every byte of the plane was written
  short_ = 1,   ///< the segment ended first
  overrun = 2,  ///< a run goes beyond the end of the plane
};

struct Unpacked {
  Status status;
  size_t read;     ///< bytes of the segment that were used
  size_t written;  ///< bytes of the plane that were written
};

/// Expand `size` bytes at `in` to `count` bytes at out[0], out[stride], out[2 * stride] ... Stops
/// at the first fault; reads and writes nothing outside.
Unpacked unpack(const uint8_t *in, size_t size, uint8_t *out, size_t count,
                size_t stride) noexcept;

}  // namespace medge::packbits
