// How often each stored value occurs.
#pragma once
#include <cstddef>
#include <cstdint>

namespace medge {

/// `count` samples, every `step` words; the shifts leave a sample's bits (kernels.hpp).
struct Samples {
  const uint8_t *data;
  size_t word_bytes, count, step;
  bool swapped;
  uint32_t left, right;
};

/// Add to counts[bits of the sample].
void count_samples(const Samples &samples, uint32_t *counts) noexcept;

}  // namespace medge
