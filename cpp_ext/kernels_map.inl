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
  const Word16 *at;
  uint32_t operator()(size_t i) const { return at[i]; }
};
struct SwappedAt {
  const Word16 *at;
  uint32_t operator()(size_t i) const {
    const uint32_t word = at[i];
    return ((word & 0xffu) << 8) | (word >> 8);
  }
};

/// The sample in a word.
template <class WordAt>
struct Unsigned {
  WordAt word;
  uint32_t right, mask;
  int32_t operator()(size_t i) const { return int32_t((word(i) >> right) & mask); }
};
template <class WordAt>
struct Signed {
  WordAt word;
  uint32_t left, right;
  int32_t operator()(size_t i) const { return int32_t(word(i) << left) >> right; }
};
/// Words that are samples as they are, the commonest kinds.
struct WholeByte {
  Bytes at;
  int32_t operator()(size_t i) const { return at[i]; }
};
struct WholeWord {
  const Word16 *at;
  int32_t operator()(size_t i) const { return at[i]; }
};
struct WholeInt {
  const Int16 *at;
  int32_t operator()(size_t i) const { return at[i]; }
};

template <class WordAt, class Use>
inline void with_bits(const Stored &s, WordAt word, bool as_signed, Use use) {
  if (as_signed)
    use(Signed<WordAt>{word, s.left, s.right});
  else
    use(Unsigned<WordAt>{word, s.right - s.left, 0xffffffffu >> s.right});
}

/// Call `use` with a functor that yields the sample at an index; its bits alone unless as_signed.
template <class Use>
inline void with_sample(const Stored &s, Bytes row, bool as_signed, Use use) {
  const Word16 *words = reinterpret_cast<const Word16 *>(row);
  const bool whole = s.left == s.right;
  if (s.word == Word::u8 && whole && s.left == 24 && !as_signed) return use(WholeByte{row});
  if (s.word == Word::u16 && whole && s.left == 16) {
    if (as_signed) return use(WholeInt{reinterpret_cast<const Int16 *>(row)});
    return use(WholeWord{words});
  }
  if (s.word == Word::u8) return with_bits(s, Word8At{row}, as_signed, use);
  if (s.word == Word::u16) return with_bits(s, Word16At{words}, as_signed, use);
  with_bits(s, SwappedAt{words}, as_signed, use);
}

/// Display values on a line; base is a whole number, so that the difference is exact.
template <class SampleAt>
inline void map_line(const Mapping &m, SampleAt sample, size_t count, float *__restrict out) {
  const float base = m.base, scale = m.scale, offset = m.offset;
  const int32_t low = m.pad_low, high = m.pad_high;
  if (m.padded) {
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
template <class SampleAt>
#if defined(__GNUC__) && !defined(__clang__)
__attribute__((optimize("no-tree-vectorize")))
#endif
void map_table(const Mapping &m, SampleAt sample, size_t count, size_t tables, float *__restrict out,
               size_t stride) {
  const float *table = m.table;
  const size_t size = m.table_size;
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

inline void map_ybr_stretch(const Plan &p, const Mapping &m, Bytes row, size_t count, float *out,
                            size_t stride) {
  const Stored &s = p.stored;
  float *green = out + stride, *blue = green + stride;
  with_sample(s, row, false, [&](auto at) {
    if (s.packing == Packing::interleaved)
      map_ybr(m, [at](size_t i) { return at(3 * i); }, [at](size_t i) { return at(3 * i + 1); },
              [at](size_t i) { return at(3 * i + 2); }, count, out, green, blue);
    else if (s.packing == Packing::ybr_422)
      map_ybr(m, [at](size_t i) { return at(4 * (i / 2) + i % 2); },
              [at](size_t i) { return at(4 * (i / 2) + 2); },
              [at](size_t i) { return at(4 * (i / 2) + 3); }, count, out, green, blue);
    else
      with_sample(s, row + s.plane_bytes, false, [&](auto cb) {
        with_sample(s, row + 2 * s.plane_bytes, false,
                    [&](auto cr) { map_ybr(m, at, cb, cr, count, out, green, blue); });
      });
  });
}

/// Samples [from, from + count) of a row, mapped to `out`: all planes, `stride` floats apart.
inline void map_stretch(const Plan &p, const Mapping &m, Bytes row, size_t from, size_t count,
                        float *out, size_t stride) {
  const Stored &s = p.stored;
  row += from * p.sample_bytes;
  if (p.map == Map::ybr) return map_ybr_stretch(p, m, row, count, out, stride);
  if (p.map == Map::table || p.map == Map::palette)
    return with_sample(s, row, false, [&](auto at) {
      map_table(m, at, count, p.map == Map::palette ? 3 : 1, out, stride);
    });
  for (int32_t plane = 0; plane < p.planes; ++plane, row += s.plane_bytes, out += stride) {
    if (s.word == Word::f32)
      map_floats(m, row, count, out);
    else
      with_sample(s, row, s.is_signed, [&](auto at) { map_line(m, at, count, out); });
  }
}

}  // namespace
