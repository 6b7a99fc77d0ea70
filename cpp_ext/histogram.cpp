// How often each stored value occurs.
#include "histogram.hpp"

#include <cstring>

namespace medge {

void count_samples(const Samples &s, uint32_t *counts) noexcept {
  const size_t step = s.step * s.word_bytes;
  const uint8_t *at = s.data;
  if (s.word_bytes == 1) {
    // Equal neighbours would wait for each other's sum, so four counts take turns.
    uint32_t four[4][256] = {};
    size_t i = 0;
    for (; i + 4 <= s.count; i += 4, at += 4 * step)
      for (size_t k = 0; k < 4; ++k) ++four[k][at[k * step]];
    for (; i < s.count; ++i, at += step) ++four[0][*at];
    for (uint32_t word = 0; word < 256; ++word)
      counts[(word << s.left) >> s.right] +=
          four[0][word] + four[1][word] + four[2][word] + four[3][word];
    return;
  }
  for (size_t i = 0; i < s.count; ++i, at += step) {
    uint16_t word;
    std::memcpy(&word, at, sizeof word);
    if (s.swapped) word = uint16_t(word << 8 | word >> 8);
    ++counts[(uint32_t(word) << s.left) >> s.right];
  }
}

}  // namespace medge
