// Median, histogram equalisation and CLAHE of an 8-bit picture, by OpenCV's definitions.
#pragma once
#include <cstddef>
#include <cstdint>

namespace medge {

/// Size of a picture and what CLAHE divides it into; buffers are the caller's.
struct Enhance {
  int32_t height, width;
  int32_t median;           ///< side of the square, 3 or 5; 0: none
  bool histogram;           ///< equalise the whole picture
  int32_t tiles;            ///< CLAHE: tiles along each axis; 0: none
  int32_t clip;             ///< CLAHE: most pixels of a tile with one value, before redistribution
  int32_t tile_height, tile_width;
  uint8_t *copy;            ///< (height + 4) x (width + 4) and 32 more, for the median
  uint8_t *tables;          ///< tiles x tiles x 256
};

/// Enhance `picture` in place. Allocates nothing.
void enhance(const Enhance &plan, uint8_t *picture) noexcept;

}  // namespace medge
