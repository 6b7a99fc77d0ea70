// Median, histogram equalisation and CLAHE of an 8-bit picture, by OpenCV's definitions.
#include "enhance.hpp"

#include <algorithm>
#include <cstring>

namespace medge {

namespace {

constexpr int32_t kLevels = 256;

/// Rounds half to even, as cvRound: beyond 2^23 a float has no fraction. No call, unlike nearbyint.
inline uint8_t saturate(float x) {
  return uint8_t((std::clamp(x, 0.0f, 255.0f) + 8388608.0f) - 8388608.0f);
}

typedef uint8_t Pixels __attribute__((vector_size(16)));
typedef uint8_t PixelsAt __attribute__((vector_size(16), aligned(1), may_alias));

inline void order(Pixels &a, Pixels &b) {
  const Pixels low = a < b ? a : b;
  b = a < b ? b : a;
  a = low;
}

/// Medians of `count` values at 16 places. Of count / 2 + 2 values neither the smallest nor the
/// largest is the median: both are dropped for the next value, until three are left.
template <int32_t count>
inline Pixels median_of(const Pixels *near) {
  Pixels held[count / 2 + 2];
  int32_t first = 0, taken = count / 2 + 2;
  for (int32_t i = 0; i < taken; ++i) held[i] = near[i];
  const int32_t last = taken - 1;
  for (;;) {
    for (int32_t i = first + 1; i <= last; ++i) order(held[first], held[i]);
    for (int32_t i = first + 1; i < last; ++i) order(held[i], held[last]);
    if (last - first == 2) return held[first + 1];
    held[last] = near[taken++];
    ++first;
  }
}

/// Median of a square of odd side; pixels outside repeat the border (BORDER_REPLICATE). `copy` holds
/// the picture with its margins, and 16 bytes more than are read.
template <int32_t side>
void median(const Enhance &e, uint8_t *picture) {
  const int32_t reach = side / 2;
  const size_t stride = size_t(e.width + 2 * reach);
  for (int32_t y = -reach; y < e.height + reach; ++y) {
    const uint8_t *row = picture + size_t(std::clamp(y, 0, e.height - 1)) * size_t(e.width);
    uint8_t *to = e.copy + size_t(y + reach) * stride;
    std::memset(to, row[0], size_t(reach));
    std::memcpy(to + reach, row, size_t(e.width));
    std::memset(to + reach + e.width, row[e.width - 1], size_t(reach));
  }
  for (int32_t y = 0; y < e.height; ++y)
    for (int32_t x = 0; x < e.width; x += 16) {
      Pixels near[side * side];
      for (int32_t i = 0; i < side * side; ++i)
        near[i] = *reinterpret_cast<const PixelsAt *>(e.copy + size_t(y + i / side) * stride +
                                                      size_t(x + i % side));
      const Pixels found = median_of<side * side>(near);
      std::memcpy(picture + size_t(y) * size_t(e.width) + x, &found, size_t(std::min(e.width - x, 16)));
    }
}

void equalize(const Enhance &e, uint8_t *picture) {
  const int32_t count = e.height * e.width;
  int32_t counts[kLevels] = {};
  for (int32_t i = 0; i < count; ++i) ++counts[picture[i]];
  int32_t level = 0;
  while (counts[level] == 0) ++level;
  if (counts[level] == count) return;  // one value only: it stays
  const float scale = 255.0f / float(count - counts[level]);
  uint8_t table[kLevels] = {};
  for (int32_t sum = 0; ++level < kLevels;) {
    sum += counts[level];
    table[level] = saturate(float(sum) * scale);
  }
  for (int32_t i = 0; i < count; ++i) picture[i] = table[picture[i]];
}

/// Index in 0..size-1 of one beyond the border (BORDER_REFLECT_101: the edge is not repeated).
int32_t reflect(int32_t i, int32_t size) {
  if (size == 1) return 0;
  while (i >= size) i = i < 2 * size - 1 ? 2 * size - 2 - i : i - (2 * size - 2);
  return i;
}

/// Cut counts to the clip limit and spread what was cut over all levels.
void clip(int32_t *counts, int32_t limit) {
  int32_t cut = 0;
  for (int32_t i = 0; i < kLevels; ++i) {
    cut += std::max(counts[i] - limit, 0);
    counts[i] = std::min(counts[i], limit);
  }
  const int32_t share = cut / kLevels;
  int32_t rest = cut - share * kLevels;
  for (int32_t i = 0; i < kLevels; ++i) counts[i] += share;
  if (rest == 0) return;
  const int32_t step = std::max(kLevels / rest, 1);
  for (int32_t i = 0; i < kLevels && rest > 0; i += step, --rest) ++counts[i];
}

/// One table a tile; tiles beyond the picture see it reflected.
void tile_tables(const Enhance &e, const uint8_t *picture) {
  const float scale = 255.0f / float(e.tile_height * e.tile_width);
  for (int32_t tile = 0; tile < e.tiles * e.tiles; ++tile) {
    const int32_t top = tile / e.tiles * e.tile_height, left = tile % e.tiles * e.tile_width;
    int32_t counts[kLevels] = {};
    for (int32_t y = top; y < top + e.tile_height; ++y) {
      const uint8_t *row = picture + size_t(reflect(y, e.height)) * size_t(e.width);
      for (int32_t x = left; x < left + e.tile_width; ++x) ++counts[row[reflect(x, e.width)]];
    }
    clip(counts, e.clip);
    uint8_t *table = e.tables + size_t(tile) * kLevels;
    for (int32_t i = 0, sum = 0; i < kLevels; ++i) {
      sum += counts[i];
      table[i] = saturate(float(sum) * scale);
    }
  }
}

/// The two tiles around a pixel along one axis, and the share of the second.
struct Between {
  int32_t first, second;
  float share;
};

Between between(int32_t i, float inverse, int32_t tiles) {
  const float at = float(i) * inverse - 0.5f;
  int32_t below = int32_t(at);
  below -= at < float(below);  // floor, without a call
  return {std::max(below, 0), std::min(below + 1, tiles - 1), at - float(below)};
}

void clahe(const Enhance &e, uint8_t *picture) {
  tile_tables(e, picture);
  const float inverse_h = 1.0f / float(e.tile_height), inverse_w = 1.0f / float(e.tile_width);
  for (int32_t y = 0; y < e.height; ++y) {
    const Between v = between(y, inverse_h, e.tiles);
    const uint8_t *above = e.tables + size_t(v.first) * size_t(e.tiles) * kLevels;
    const uint8_t *below = e.tables + size_t(v.second) * size_t(e.tiles) * kLevels;
    for (int32_t x = 0; x < e.width; ++x, ++picture) {
      const Between h = between(x, inverse_w, e.tiles);
      const int32_t a = h.first * kLevels + *picture, b = h.second * kLevels + *picture;
      const float top = float(above[a]) * (1.0f - h.share) + float(above[b]) * h.share;
      const float bottom = float(below[a]) * (1.0f - h.share) + float(below[b]) * h.share;
      *picture = saturate(top * (1.0f - v.share) + bottom * v.share);
    }
  }
}

}  // namespace

void enhance(const Enhance &plan, uint8_t *picture) noexcept {
  if (plan.median == 3) median<3>(plan, picture);
  if (plan.median == 5) median<5>(plan, picture);
  if (plan.histogram) equalize(plan, picture);
  if (plan.tiles != 0) clahe(plan, picture);
}

}  // namespace medge
