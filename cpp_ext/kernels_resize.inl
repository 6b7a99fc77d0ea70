// From rows of display values to the tensor: written once, compiled for each instruction set.
namespace {

constexpr float kRed = 0.299f, kGreen = 0.587f, kBlue = 0.114f;  // ITU-R BT.601 luma

/// One accumulated row to the planes of the picture; where they already are, no copy is made.
inline void pick_planes(const Plan &p, const float *acc, const float *planes[3]) {
  const size_t count = size_t(p.width), stride = p.stride;
  float *__restrict to = p.picked;
  for (int32_t c = 0; c < 3; ++c) planes[c] = p.pick == Pick::planes ? acc + c * stride : to + c * stride;
  switch (p.pick) {
    case Pick::planes:
      break;
    case Pick::split:
      for (size_t i = 0; i < count; ++i) {
        to[i] = acc[3 * i];
        to[i + stride] = acc[3 * i + 1];
        to[i + 2 * stride] = acc[3 * i + 2];
      }
      break;
    case Pick::luma_of_split:
      for (size_t i = 0; i < count; ++i)
        to[i] = (kRed * acc[3 * i] + kGreen * acc[3 * i + 1]) + kBlue * acc[3 * i + 2];
      break;
    case Pick::luma_of_planes:
      for (size_t i = 0; i < count; ++i)
        to[i] = (kRed * acc[i] + kGreen * acc[i + stride]) + kBlue * acc[i + 2 * stride];
      break;
    case Pick::first_of_3:
      for (size_t i = 0; i < count; ++i) to[i] = acc[3 * i];
      break;
    case Pick::first_of_422:
      for (size_t i = 0; i < count; ++i) to[i] = acc[4 * (i / 2) + i % 2];
      break;
  }
}

/// Display value to 0..255, rounded half up.
inline uint32_t to_byte(float display) { return uint32_t(int32_t(clamp(display) * 255.0f + 0.5f)); }
inline float from_byte(uint32_t byte) { return float(int32_t(byte)) * (1.0f / 255.0f); }

/// `count` display values to the tensor, at row y and column x of channel c.
inline void write(const Plan &p, int32_t c, int32_t y, int32_t x, const float *__restrict display,
                  int32_t count, void *out) {
  const Tensor &t = p.tensor;
  const size_t plane = size_t(t.height) * size_t(t.width);
  const size_t pixel = size_t(y) * size_t(t.width) + size_t(x);
  const size_t step = t.nhwc ? size_t(t.channels) : 1;
  const size_t start = t.nhwc ? pixel * step + size_t(c) : size_t(c) * plane + pixel;
  const size_t n = size_t(count);
  if (t.bytes) {
    uint8_t *__restrict to = static_cast<uint8_t *>(out) + start;
    for (size_t i = 0; i < n; ++i) to[i * step] = uint8_t(to_byte(display[i]));
    return;
  }
  float *__restrict to = static_cast<float *>(out) + start;
  const float mean = t.mean[c], inverse = t.inverse_std[c];
  if (step == 1)
    for (size_t i = 0; i < n; ++i) to[i] = (display[i] - mean) * inverse;
  else
    for (size_t i = 0; i < n; ++i) to[i * step] = (display[i] - mean) * inverse;
}

inline void fill(float *row, int32_t count, float value) {
  for (int32_t i = 0; i < count; ++i) row[i] = value;
}

/// A whole row of display values to all channels of the tensor, or to the picture to be enhanced.
inline void write_row(const Plan &p, int32_t y, float *const lines[3], void *out) {
  const int32_t width = p.tensor.width;
  if (p.enhanced) {
    uint8_t *__restrict to = p.enhanced + size_t(y) * size_t(width);
    for (int32_t i = 0; i < width; ++i) to[i] = uint8_t(to_byte(lines[0][i]));
    return;
  }
  if (p.rounded)
    for (int32_t c = 0; c < p.colours; ++c)
      for (int32_t i = 0; i < width; ++i) lines[c][i] = from_byte(to_byte(lines[c][i]));
  for (int32_t c = 0; c < p.tensor.channels; ++c)
    write(p, c, y, 0, lines[c < p.colours ? c : 0], width, out);
}

/// A finished accumulated row: resize it along, and write it.
inline void emit(const Plan &p, int32_t y, const float *acc, void *out) {
  const Axis &h = p.horizontal;
  const int32_t width = p.tensor.width;
  const float *planes[3];
  pick_planes(p, acc, planes);
  float *lines[3];
  for (int32_t c = 0; c < p.colours; ++c) {
    lines[c] = p.line + size_t(c) * size_t(width);
    fill(lines[c], p.left, p.pad);
    resize_along(h, planes[c], lines[c] + p.left);
    fill(lines[c] + p.left + h.size, width - p.left - h.size, p.pad);
  }
  write_row(p, p.top + y, lines, out);
}

/// Rows of the tensor above and below the picture.
inline void write_margin(const Plan &p, int32_t first, int32_t last, void *out) {
  float *lines[3];
  for (int32_t y = first; y < last; ++y) {
    for (int32_t c = 0; c < p.colours; ++c) {
      lines[c] = p.line + size_t(c) * size_t(p.tensor.width);
      fill(lines[c], p.tensor.width, p.pad);  // again for each row: rounding works in place
    }
    write_row(p, y, lines, out);
  }
}

inline float *slot(const Plan &p, int32_t number) {
  return p.kept + size_t(number % p.slots) * size_t(p.planes) * p.stride;
}

inline int32_t end_of(const Axis &axis, int32_t i) { return axis.first[i] + axis.count[i]; }

/// Rows [r, r + count) to the accumulators (reducing: few output rows are under way at a time), a
/// stretch of columns after the other, so that mapped values stay in the nearest cache.
inline void push_block(const Plan &p, const Mapping &m, Progress &s, Bytes data, int32_t r,
                       int32_t count, void *out) {
  const Axis &v = p.vertical;
  const size_t plane_stride = size_t(kBlock) * kTile;
  for (size_t from = 0; from < size_t(p.samples); from += kTile) {
    const size_t left = size_t(p.samples) - from, n = left < kTile ? left : kTile;
    map_stretch(p, m, {data + from * p.sample_bytes, count, n, p.mapped, kTile, plane_stride});
    for (int32_t y = s.next; y < v.size && v.first[y] < r + count; ++y) {
      const int32_t begin = v.first[y] > r ? v.first[y] : r;
      const int32_t end = end_of(v, y) < r + count ? end_of(v, y) : r + count;
      const float *weights = v.weights + size_t(y) * size_t(v.taps) + (begin - v.first[y]);
      const float *x = p.mapped + size_t(begin - r) * kTile;
      float *acc = slot(p, y) + from;
      for (int32_t plane = 0; plane < p.planes; ++plane, x += plane_stride, acc += p.stride) {
        if (begin == v.first[y])
          add_rows<true>(end - begin, x, weights, acc, n);
        else
          add_rows<false>(end - begin, x, weights, acc, n);
      }
    }
  }
  for (; s.next < v.size && end_of(v, s.next) <= r + count; ++s.next)
    emit(p, s.next, slot(p, s.next), out);
}

/// One source row is kept, and output rows whose last one it is are made (enlarging).
inline void pull_row(const Plan &p, const Mapping &m, Progress &s, Bytes row, int32_t r, void *out) {
  const Axis &v = p.vertical;
  const size_t all = size_t(p.planes) * p.stride;
  map_stretch(p, m, {row, 1, size_t(p.samples), slot(p, r), 0, p.stride});
  for (; s.next < v.size && end_of(v, s.next) <= r + 1; ++s.next) {
    float *__restrict sum = p.mapped;
    for (size_t i = 0; i < all; ++i) sum[i] = 0.0f;
    for (int32_t k = 0; k < v.count[s.next]; ++k) {
      const float *kept = slot(p, v.first[s.next] + k);
      const float weight = v.weights[size_t(s.next) * size_t(v.taps) + size_t(k)];
      for (size_t i = 0; i < all; ++i) sum[i] += weight * kept[i];
    }
    emit(p, s.next, sum, out);
  }
}

void rows(const Plan &p, const Mapping &m, Progress &s, const uint8_t *data, int32_t first,
          int32_t last, void *out) noexcept {
  const Axis &v = p.vertical;
  const int32_t begin = first > v.first[0] ? first : v.first[0];
  const int32_t end = last < end_of(v, v.size - 1) ? last : end_of(v, v.size - 1);
  if (begin >= end) return;
  if (begin == v.first[0]) write_margin(p, 0, p.top, out);
  const int32_t step = p.pull ? 1 : kBlock;
  for (int32_t r = begin; r < end; r += step) {
    Bytes row = data + size_t(r - first) * p.stored.row_bytes + p.stored.begin_bytes;
    if (p.pull)
      pull_row(p, m, s, row, r, out);
    else
      push_block(p, m, s, row, r, end - r < kBlock ? end - r : kBlock, out);
  }
  if (s.next == v.size) write_margin(p, p.top + v.size, p.tensor.height, out);
}

void enhanced(const Plan &p, void *out) noexcept {
  const int32_t width = p.tensor.width;
  for (int32_t y = 0; y < p.tensor.height; ++y) {
    const uint8_t *from = p.enhanced + size_t(y) * size_t(width);
    for (int32_t i = 0; i < width; ++i) p.line[i] = from_byte(from[i]);
    for (int32_t c = 0; c < p.tensor.channels; ++c) write(p, c, y, 0, p.line, width, out);
  }
}

}  // namespace
