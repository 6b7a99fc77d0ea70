// From stored words to display values, a stretch of a row at a time: written once, compiled for each
// instruction set. All is in an anonymous namespace, so that no build's code stands in for another's.
namespace {

// Arrays may begin at any byte, which memory of the plain types may not.
using Bytes = const uint8_t *;
typedef uint16_t Word16 __attribute__((aligned(1), may_alias));
typedef int16_t Int16 __attribute__((aligned(1), may_alias));
typedef float Float32 __attribute__((aligned(1), may_alias));

inline float clamp(float x) {
  x = x > 0.0f ? x : 0.0f;  // also -0 and NaN
  return x < 1.0f ? x : 1.0f;
}

/// A word at index i, as 32 bits.
struct Word8At {
  Bytes at;
  uint32_t operator()(size_t i) const { return at[i]; }
};
struct Word16At {
  Bytes at;
  uint32_t operator()(size_t i) const { return reinterpret_cast<const Word16 *>(at)[i]; }
};
struct SwappedAt {
  Bytes at;
  uint32_t operator()(size_t i) const {
    const uint32_t word = reinterpret_cast<const Word16 *>(at)[i];
    return ((word & 0xffu) << 8) | (word >> 8);
  }
};

/// The sample in a word, without a sign and with one.
template <class WordAt>
struct Unsigned {
  WordAt word;
  uint32_t right, mask;
  Unsigned(Bytes at, const Stored &s)
      : word{at}, right(s.right - s.left), mask(0xffffffffu >> s.right) {}
  int32_t operator()(size_t i) const { return int32_t((word(i) >> right) & mask); }
};
template <class WordAt>
struct Signed {
  WordAt word;
  uint32_t left, right;
  Signed(Bytes at, const Stored &s) : word{at}, left(s.left), right(s.right) {}
  int32_t operator()(size_t i) const { return int32_t(word(i) << left) >> right; }
};
/// The commonest kinds: samples that are whole words, or the low bits of one.
struct WholeByte {
  Bytes at;
  WholeByte(Bytes start, const Stored &) : at(start) {}
  int32_t operator()(size_t i) const { return at[i]; }
};
struct WholeInt {
  Bytes at;
  WholeInt(Bytes start, const Stored &) : at(start) {}
  int32_t operator()(size_t i) const { return reinterpret_cast<const Int16 *>(at)[i]; }
};
struct LowBits {
  Word16At word;
  uint32_t mask;
  LowBits(Bytes at, const Stored &s) : word{at}, mask(0xffffffffu >> s.right) {}
  int32_t operator()(size_t i) const { return int32_t(word(i) & mask); }
};

/// Call `use` with functors that yield the sample at an index, one for each of `rows`; a sample's
/// bits without their sign unless as_signed.
template <class Use, class... Rows>
inline void with_samples(const Stored &s, bool as_signed, Use use, Rows... rows) {
  const bool low = s.left == s.right;
  if (s.word == Word::u8) {
    if (as_signed) return use(Signed<Word8At>(rows, s)...);
    if (low && s.left == 24) return use(WholeByte(rows, s)...);
    return use(Unsigned<Word8At>(rows, s)...);
  }
  if (s.word == Word::u16) {
    if (as_signed && low && s.left == 16) return use(WholeInt(rows, s)...);
    if (as_signed) return use(Signed<Word16At>(rows, s)...);
    if (low) return use(LowBits(rows, s)...);
    return use(Unsigned<Word16At>(rows, s)...);
  }
  if (as_signed) return use(Signed<SwappedAt>(rows, s)...);
  use(Unsigned<SwappedAt>(rows, s)...);
}

/// Display values on a line; base is a whole number, so that the difference is exact.
template <class SampleAt>
inline void map_line(const Mapping &m, SampleAt sample, size_t count, float *__restrict out) {
  const float base = m.base, scale = m.scale, offset = m.offset;
  const int32_t low = m.pad_low, high = m.pad_high;
  if (m.plain) {
    for (size_t i = 0; i < count; ++i) out[i] = float(sample(i)) * scale;
  } else if (m.padded) {
    for (size_t i = 0; i < count; ++i) {
      const int32_t value = sample(i);
      const float display = clamp((float(value) - base) * scale + offset);
      out[i] = value >= low && value <= high ? 0.0f : display;
    }
  } else {
    for (size_t i = 0; i < count; ++i) out[i] = clamp((float(sample(i)) - base) * scale + offset);
  }
}

inline void map_floats(const Mapping &m, Bytes row, size_t count, float *__restrict out) {
  const Float32 *at = reinterpret_cast<const Float32 *>(row);
  const float base = m.base, scale = m.scale, offset = m.offset;
  for (size_t i = 0; i < count; ++i) out[i] = clamp((at[i] - base) * scale + offset);
}

/// One table, or the three of a palette. Gathers are slower than single loads, hence no vectors.
template <size_t tables, class SampleAt>
#if defined(__GNUC__) && !defined(__clang__)
__attribute__((optimize("no-tree-vectorize")))
#endif
void map_table(const Mapping &m, SampleAt sample, size_t count, float *__restrict out,
               size_t stride) {
  const float *table = m.table;
  const size_t size = m.table_size;
#pragma GCC unroll 4
  for (size_t i = 0; i < count; ++i) {
    const float *entry = table + sample(i);
    out[i] = entry[0];
    for (size_t k = 1; k < tables; ++k) out[k * stride + i] = entry[k * size];
  }
}

/// Full-range YCbCr to RGB (PS3.3 C.7.6.3.1.2, inverted), each clamped to 0..1.
template <class YAt, class CbAt, class CrAt>
inline void map_ybr(const Mapping &m, YAt y_at, CbAt cb_at, CrAt cr_at, size_t count,
                    float *__restrict red, float *__restrict green, float *__restrict blue) {
  const float middle = m.middle, scale = m.scale;
  for (size_t i = 0; i < count; ++i) {
    const float y = float(y_at(i)) * scale;
    const float cb = (float(cb_at(i)) - middle) * scale;
    const float cr = (float(cr_at(i)) - middle) * scale;
    red[i] = clamp(y + 1.402f * cr);
    green[i] = clamp((y - 0.344136f * cb) - 0.714136f * cr);
    blue[i] = clamp(y + 1.772f * cb);
  }
}

inline void map_ybr_row(const Plan &p, const Mapping &m, Bytes row, size_t count, float *out,
                        size_t stride) {
  const Stored &s = p.stored;
  float *green = out + stride, *blue = green + stride;
  if (s.packing == Packing::planar)
    with_samples(
        s, false, [&](auto y, auto cb, auto cr) { map_ybr(m, y, cb, cr, count, out, green, blue); },
        row, row + s.plane_bytes, row + 2 * s.plane_bytes);
  else if (s.packing == Packing::interleaved)
    with_samples(
        s, false,
        [&](auto at) {
          map_ybr(m, [at](size_t i) { return at(3 * i); }, [at](size_t i) { return at(3 * i + 1); },
                  [at](size_t i) { return at(3 * i + 2); }, count, out, green, blue);
        },
        row);
  else
    with_samples(
        s, false,
        [&](auto at) {
          map_ybr(m, [at](size_t i) { return at(4 * (i / 2) + i % 2); },
                  [at](size_t i) { return at(4 * (i / 2) + 2); },
                  [at](size_t i) { return at(4 * (i / 2) + 3); }, count, out, green, blue);
        },
        row);
}

/// Samples of a few rows, mapped to `out`, with floats from row to row and from plane to plane.
struct Stretch {
  Bytes row;  ///< its first sample in the first row
  int32_t rows;
  size_t count;
  float *out;
  size_t row_stride, plane_stride;
};

inline void map_stretch(const Plan &p, const Mapping &m, const Stretch &t) {
  const Stored &s = p.stored;
  const auto each_row = [&](Bytes row, float *out, auto use) {
    for (int32_t k = 0; k < t.rows; ++k, row += s.row_bytes, out += t.row_stride) use(row, out);
  };
  if (p.map == Map::ybr)
    return each_row(t.row, t.out, [&](Bytes row, float *out) {
      map_ybr_row(p, m, row, t.count, out, t.plane_stride);
    });
  if (p.map == Map::table || p.map == Map::palette) {
    return each_row(t.row, t.out, [&](Bytes row, float *out) {
      with_samples(
          s, false,
          [&](auto at) {
            if (p.map == Map::table)
              map_table<1>(m, at, t.count, out, t.plane_stride);
            else
              map_table<3>(m, at, t.count, out, t.plane_stride);
          },
          row);
    });
  }
  for (int32_t plane = 0; plane < p.planes; ++plane)
    each_row(t.row + size_t(plane) * s.plane_bytes, t.out + size_t(plane) * t.plane_stride,
             [&](Bytes row, float *out) {
               if (s.word == Word::f32) return map_floats(m, row, t.count, out);
               with_samples(
                   s, s.is_signed, [&](auto at) { map_line(m, at, t.count, out); }, row);
             });
}

}  // namespace
