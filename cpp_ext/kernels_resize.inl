// From rows of display values to the tensor: written once, compiled for each instruction set.
// Sums have one order in all builds: down a column in ascending row order, along a row in 8 lanes
// (tap k goes to lane k mod 8) that are joined by one fixed tree. No product is fused with a sum.
namespace {

constexpr int32_t kLanes = 8;
typedef float Lanes __attribute__((vector_size(4 * kLanes)));
typedef float LanesAt __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

constexpr float kRed = 0.299f, kGreen = 0.587f, kBlue = 0.114f;  // ITU-R BT.601 luma

/// acc += weight * value, along a row, for one or two output rows.
template <class ValueAt>
inline void add_one(ValueAt value, size_t count, float weight, float *__restrict acc) {
  for (size_t i = 0; i < count; ++i) acc[i] += weight * value(i);
}
template <class ValueAt>
inline void add_two(ValueAt value, size_t count, float w0, float *__restrict a0, float w1,
                    float *__restrict a1) {
  for (size_t i = 0; i < count; ++i) {
    const float x = value(i);
    a0[i] += w0 * x;
    a1[i] += w1 * x;
  }
}

inline void clear(float *row, size_t count) {
  for (size_t i = 0; i < count; ++i) row[i] = 0.0f;
}

/// Sum of taps * row over `count` taps, a multiple of 8.
inline float dot(const float *row, const float *taps, int32_t count) {
  Lanes sum = {};
  for (int32_t k = 0; k < count; k += kLanes)
    sum = sum + *reinterpret_cast<const LanesAt *>(taps + k) *
                    *reinterpret_cast<const LanesAt *>(row + k);
  const float a = (sum[0] + sum[4]) + (sum[2] + sum[6]);
  const float b = (sum[1] + sum[5]) + (sum[3] + sum[7]);
  return a + b;
}

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
    for (int32_t x = 0; x < h.size; ++x)
      lines[c][p.left + x] =
          dot(planes[c] + h.first[x], h.weights + size_t(x) * size_t(h.taps), h.taps);
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

/// Add display values of one source row to every output row that it belongs to.
template <class ValueAt>
inline void push(const Plan &p, ValueAt value, int32_t plane, int32_t r, int32_t next) {
  const Axis &v = p.vertical;
  const size_t count = size_t(p.samples);
  int32_t y = next, last = next;
  while (last < v.size && v.first[last] <= r) ++last;
  for (; y + 1 < last; y += 2)
    add_two(value, count, v.weights[y * v.taps + r - v.first[y]], slot(p, y) + plane * p.stride,
            v.weights[(y + 1) * v.taps + r - v.first[y + 1]], slot(p, y + 1) + plane * p.stride);
  if (y < last)
    add_one(value, count, v.weights[y * v.taps + r - v.first[y]], slot(p, y) + plane * p.stride);
}

/// Map one source row into `to`, all planes.
inline void map_row(const Plan &p, const Mapping &m, Bytes row, float *to) {
  if (p.map == Map::palette) return map_palette(p, m, row, to);
  if (p.map == Map::ybr) return map_ybr_row(p, m, row, to);
  const size_t count = size_t(p.samples);
  for (int32_t plane = 0; plane < p.planes; ++plane, to += p.stride, row += p.stored.plane_bytes)
    with_value(p, m, row, [=](auto value) {
      float *__restrict out = to;
      for (size_t i = 0; i < count; ++i) out[i] = value(i);
    });
}

/// One source row to the accumulators (reducing: few output rows are under way at a time).
inline void push_row(const Plan &p, const Mapping &m, Progress &s, Bytes row, int32_t r, void *out) {
  const Axis &v = p.vertical;
  for (int32_t y = s.next; y < v.size && v.first[y] <= r; ++y)
    if (v.first[y] == r) clear(slot(p, y), size_t(p.planes) * p.stride);
  if (p.map == Map::palette || p.map == Map::ybr) {
    map_row(p, m, row, p.mapped);
    for (int32_t plane = 0; plane < p.planes; ++plane)
      push(p, Copied{p.mapped + plane * p.stride}, plane, r, s.next);
  } else {
    for (int32_t plane = 0; plane < p.planes; ++plane)
      with_value(p, m, row + size_t(plane) * p.stored.plane_bytes,
                 [&](auto value) { push(p, value, plane, r, s.next); });
  }
  while (s.next < v.size && end_of(v, s.next) <= r + 1) {
    emit(p, s.next, slot(p, s.next), out);
    ++s.next;
  }
}

/// One source row is kept, and output rows whose last one it is are made (enlarging).
inline void pull_row(const Plan &p, const Mapping &m, Progress &s, Bytes row, int32_t r, void *out) {
  const Axis &v = p.vertical;
  map_row(p, m, row, slot(p, r));
  for (; s.next < v.size && end_of(v, s.next) <= r + 1; ++s.next) {
    const int32_t y = s.next;
    clear(p.mapped, size_t(p.planes) * p.stride);
    for (int32_t k = 0; k < v.count[y]; ++k)
      add_one(Copied{slot(p, v.first[y] + k)}, size_t(p.planes) * p.stride,
              v.weights[y * v.taps + k], p.mapped);
    emit(p, y, p.mapped, out);
  }
}

void rows(const Plan &p, const Mapping &m, Progress &s, const uint8_t *data, int32_t first,
          int32_t last, void *out) noexcept {
  const Axis &v = p.vertical;
  const int32_t begin = first > v.first[0] ? first : v.first[0];
  const int32_t end = last < end_of(v, v.size - 1) ? last : end_of(v, v.size - 1);
  if (begin >= end) return;
  if (begin == v.first[0]) write_margin(p, 0, p.top, out);
  for (int32_t r = begin; r < end; ++r) {
    Bytes row = data + size_t(r - first) * p.stored.row_bytes + p.stored.begin_bytes;
    if (p.pull)
      pull_row(p, m, s, row, r, out);
    else
      push_row(p, m, s, row, r, out);
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
