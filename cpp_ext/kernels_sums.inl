// Weighted sums of rows and along a row: written once, compiled for each instruction set. They have
// one order in all builds: down a column in ascending row order, along a row in 8 lanes (tap k goes
// to lane k mod 8) that are joined by one fixed tree. No product is fused with a sum.
namespace {

constexpr int32_t kLanes = 8;
typedef float Lanes __attribute__((vector_size(4 * kLanes)));
typedef float LanesAt __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

/// acc = fresh ? sum : acc + sum, with the rows of x in ascending order.
template <int32_t rows, bool fresh>
inline void add(const float *__restrict x, const float *weights, float *__restrict acc, size_t count) {
  float w[rows];
  for (int32_t k = 0; k < rows; ++k) w[k] = weights[k];
  for (size_t i = 0; i < count; ++i) {
    float sum = fresh ? 0.0f : acc[i];
    for (int32_t k = 0; k < rows; ++k) sum += w[k] * x[size_t(k) * kTile + i];
    acc[i] = sum;
  }
}

template <bool fresh>
inline void add_rows(int32_t rows, const float *x, const float *weights, float *acc, size_t count) {
  static_assert(kBlock == 4, "one case for each number of rows");
  switch (rows) {
    case 1: return add<1, fresh>(x, weights, acc, count);
    case 2: return add<2, fresh>(x, weights, acc, count);
    case 3: return add<3, fresh>(x, weights, acc, count);
    case 4: return add<4, fresh>(x, weights, acc, count);
  }
}

/// Sums of taps * row over `taps` taps, a multiple of 8, in 8 lanes.
inline Lanes lane_sums(const float *row, const float *weights, int32_t taps) {
  const auto product = [=](int32_t k) {
    return *reinterpret_cast<const LanesAt *>(weights + k) * *reinterpret_cast<const LanesAt *>(row + k);
  };
  Lanes sum = product(0);
  for (int32_t k = kLanes; k < taps; k += kLanes) sum = sum + product(k);
  return sum;
}

typedef int32_t Order __attribute__((vector_size(4 * kLanes)));
#if defined(__clang__)
#define MEDGE_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MEDGE_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Order{__VA_ARGS__})
#endif

/// ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)) of each of 8 sums.
inline Lanes join(const Lanes *s) {
  Lanes halves[4], quarters[2];
  for (int32_t i = 0; i < 4; ++i)
    halves[i] = MEDGE_SHUFFLE(s[i], s[i + 4], 0, 1, 2, 3, 8, 9, 10, 11) +
                MEDGE_SHUFFLE(s[i], s[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  for (int32_t i = 0; i < 2; ++i)
    quarters[i] = MEDGE_SHUFFLE(halves[2 * i], halves[2 * i + 1], 0, 1, 8, 9, 4, 5, 12, 13) +
                  MEDGE_SHUFFLE(halves[2 * i], halves[2 * i + 1], 2, 3, 10, 11, 6, 7, 14, 15);
  return MEDGE_SHUFFLE(quarters[0], quarters[1], 0, 2, 8, 10, 4, 6, 12, 14) +
         MEDGE_SHUFFLE(quarters[0], quarters[1], 1, 3, 9, 11, 5, 7, 13, 15);
}

/// Resize one plane of a row along, 8 outputs at a time; the last 8 may repeat some.
template <int32_t known_taps>
inline void resize_eights(const Axis &h, const float *row, float *out) {
  const int32_t taps = known_taps ? known_taps : h.taps;
  for (int32_t x = 0;; x = x + 2 * kLanes <= h.size ? x + kLanes : h.size - kLanes) {
    const int32_t *first = h.first + x;
    const float *weights = h.weights + size_t(x) * size_t(taps);
    Lanes sums[kLanes];
#pragma GCC unroll 8
    for (int32_t i = 0; i < kLanes; ++i) sums[i] = lane_sums(row + first[i], weights + i * taps, taps);
    *reinterpret_cast<LanesAt *>(out + x) = join(sums);
    if (x + kLanes == h.size) return;
  }
}

inline void resize_along(const Axis &h, const float *row, float *out) {
  if (h.size >= kLanes) {
    if (h.taps == 8) return resize_eights<8>(h, row, out);
    if (h.taps == 16) return resize_eights<16>(h, row, out);
    if (h.taps == 24) return resize_eights<24>(h, row, out);
    return resize_eights<0>(h, row, out);
  }
  for (int32_t x = 0; x < h.size; ++x) {
    const float *weights = h.weights + size_t(x) * size_t(h.taps);
    const Lanes sums[kLanes] = {lane_sums(row + h.first[x], weights, h.taps)};
    out[x] = join(sums)[0];
  }
}

}  // namespace
