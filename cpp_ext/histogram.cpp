// How often each stored value occurs.
#include "histogram.hpp"

#include <cstring>

namespace medge {

namespace {

/// Equal neighbours would wait for each other's count, so four tables take turns.
template <size_t size, class WordAt>
void count_small(const Samples &s, WordAt word_at, uint32_t *counts) noexcept {
  uint32_t four[4][size] = {};
  size_t i = 0;
  for (; i + 4 <= s.count; i += 4)
    for (size_t k = 0; k < 4; ++k) ++four[k][word_at(i + k)];
  for (; i < s.count; ++i) ++four[0][word_at(i)];
  const size_t patterns = (0xffffffffu >> s.right) + size_t(1);
  for (size_t k = 0; k < patterns; ++k)
    counts[k] += four[0][k] + four[1][k] + four[2][k] + four[3][k];
}

}  // namespace

void count_samples(const Samples &s, uint32_t *counts) noexcept {
  const uint8_t *data = s.data;
  const size_t step = s.step * s.word_bytes;
  const uint32_t left = s.left, right = s.right;
  const bool swapped = s.swapped;
  if (s.word_bytes == 1)
    return count_small<256>(
        s, [=](size_t i) { return (uint32_t(data[i * step]) << left) >> right; }, counts);
  const auto word_at = [=](size_t i) {
    uint16_t word;
    std::memcpy(&word, data + i * step, sizeof word);
    if (swapped) word = uint16_t(word << 8 | word >> 8);
    return (uint32_t(word) << left) >> right;
  };
  if (right >= 20) return count_small<4096>(s, word_at, counts);  // 12 bits: a stack of 64 KiB
  for (size_t i = 0; i < s.count; ++i) ++counts[word_at(i)];
}

}  // namespace medge
