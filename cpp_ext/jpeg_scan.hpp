// Accounting of a Huffman coded JPEG: is every coded bit there, and none too many?
#pragma once
#include <cstddef>
#include <cstdint>

namespace medge::jpeg {

enum class Status : uint32_t {
  whole = 0,     ///< every block of every component is coded, and nothing else
  header = 1,    ///< a segment or table that T.81 does not allow
  code = 2,      ///< bits that are no code, or a coefficient behind the last
  ended = 3,     ///< a marker, or the end of the data, before the last block
  leftover = 4,  ///< coded bytes behind the last block
  restart = 5,   ///< a restart marker is missing or out of turn
  missing = 6,   ///< a component without a scan
};

struct Scan {
  Status status;
  size_t offset;    ///< where it was found
  uint64_t blocks;  ///< decoded so far: 8 x 8 samples each, or single samples when lossless
};

/// Follow the codes of an 8-bit sequential JPEG, or of a lossless one (process 14), from SOI to EOI
/// without making a picture of them.
/// libjpeg fills missing bits with zeros and skips what is too much, with warnings nobody sees.
Scan account(const uint8_t *data, size_t size, bool lossless) noexcept;

}  // namespace medge::jpeg
