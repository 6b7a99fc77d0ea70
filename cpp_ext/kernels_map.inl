// From stored words to display values, one at a time: written once, compiled for each instruction
// set. Everything is in an anonymous namespace, so that no build's code can stand in for another's.
namespace {

// Arrays may begin at any byte, which memory of the plain types may not.
using Bytes = const uint8_t *;
typedef uint16_t Word16 __attribute__((aligned(1), may_alias));
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

/// The sample in a word: the shifts drop the bits beside it and extend its sign.
template <class WordAt, bool is_signed>
struct Sample {
  WordAt word;
  uint32_t left, right;
  int32_t operator()(size_t i) const {
    const uint32_t high = word(i) << left;
    return is_signed ? int32_t(high) >> right : int32_t(high >> right);
  }
};

/// Display values on a line; base is a whole number, so that the difference is exact.
template <class SampleAt, bool padded>
struct OnLine {
  SampleAt sample;
  float base, scale, offset;
  int32_t pad_low, pad_high;
  float operator()(size_t i) const {
    const int32_t value = sample(i);
    const float display = clamp((float(value) - base) * scale + offset);
    if (!padded) return display;
    return value >= pad_low && value <= pad_high ? 0.0f : display;
  }
};

struct FloatOnLine {
  const Float32 *at;
  float base, scale, offset;
  float operator()(size_t i) const { return clamp((at[i] - base) * scale + offset); }
};

template <class SampleAt>
struct FromTable {
  SampleAt sample;
  const float *table;
  float operator()(size_t i) const { return table[sample(i)]; }
};

struct Copied {
  const float *at;
  float operator()(size_t i) const { return at[i]; }
};

/// Call `use` with a functor that yields the sample at an index.
template <bool is_signed, class Use>
inline void with_sample(const Stored &s, Bytes row, Use use) {
  const Word16 *words = reinterpret_cast<const Word16 *>(row);
  if (s.word == Word::u8)
    use(Sample<Word8At, is_signed>{{row}, s.left, s.right});
  else if (s.word == Word::u16)
    use(Sample<Word16At, is_signed>{{words}, s.left, s.right});
  else
    use(Sample<SwappedAt, is_signed>{{words}, s.left, s.right});
}

template <class SampleAt, class Use>
inline void with_line(const Mapping &m, SampleAt sample, Use use) {
  if (m.padded)
    use(OnLine<SampleAt, true>{sample, m.base, m.scale, m.offset, m.pad_low, m.pad_high});
  else
    use(OnLine<SampleAt, false>{sample, m.base, m.scale, m.offset, 0, 0});
}

/// Call `use` with a functor that yields the display value at an index (line and table only).
template <class Use>
inline void with_value(const Plan &p, const Mapping &m, Bytes row, Use use) {
  const Stored &s = p.stored;
  if (p.map == Map::table)  // by the sample's bits, so the sign does not matter
    with_sample<false>(s, row, [&](auto at) { use(FromTable<decltype(at)>{at, m.table}); });
  else if (s.word == Word::f32)
    use(FloatOnLine{reinterpret_cast<const Float32 *>(row), m.base, m.scale, m.offset});
  else if (s.is_signed)
    with_sample<true>(s, row, [&](auto at) { with_line(m, at, use); });
  else
    with_sample<false>(s, row, [&](auto at) { with_line(m, at, use); });
}

/// Display colours of a palette picture: out holds three planes.
inline void map_palette(const Plan &p, const Mapping &m, Bytes row, float *out) {
  const size_t count = size_t(p.samples), stride = p.stride, size = m.table_size;
  const float *table = m.table;
  with_sample<false>(p.stored, row, [=](auto at) {
    for (size_t i = 0; i < count; ++i) {
      const size_t entry = size_t(at(i));
      out[i] = table[entry];
      out[i + stride] = table[entry + size];
      out[i + 2 * stride] = table[entry + 2 * size];
    }
  });
}

/// Full-range YCbCr to RGB (PS3.3 C.7.6.3.1.2, inverted), each clamped to 0..1.
template <class YAt, class CbAt, class CrAt>
inline void map_ybr(const Plan &p, const Mapping &m, YAt y_at, CbAt cb_at, CrAt cr_at,
                    float *__restrict out) {
  const size_t count = size_t(p.samples), stride = p.stride;
  const float middle = m.middle, scale = m.scale;
  float *__restrict red = out, *__restrict green = out + stride, *__restrict blue = out + 2 * stride;
  for (size_t i = 0; i < count; ++i) {
    const float y = float(y_at(i)) * scale;
    const float cb = (float(cb_at(i)) - middle) * scale;
    const float cr = (float(cr_at(i)) - middle) * scale;
    red[i] = clamp(y + 1.402f * cr);
    green[i] = clamp((y - 0.344136f * cb) - 0.714136f * cr);
    blue[i] = clamp(y + 1.772f * cb);
  }
}

inline void map_ybr_row(const Plan &p, const Mapping &m, Bytes row, float *out) {
  with_sample<false>(p.stored, row, [&](auto at) {
    if (p.stored.packing == Packing::interleaved)
      map_ybr(p, m, [at](size_t i) { return at(3 * i); }, [at](size_t i) { return at(3 * i + 1); },
              [at](size_t i) { return at(3 * i + 2); }, out);
    else if (p.stored.packing == Packing::ybr_422)
      map_ybr(p, m, [at](size_t i) { return at(4 * (i / 2) + i % 2); },
              [at](size_t i) { return at(4 * (i / 2) + 2); },
              [at](size_t i) { return at(4 * (i / 2) + 3); }, out);
    else
      with_sample<false>(p.stored, row + p.stored.plane_bytes, [&](auto cb) {
        with_sample<false>(p.stored, row + 2 * p.stored.plane_bytes,
                           [&](auto cr) { map_ybr(p, m, at, cb, cr, out); });
      });
  });
}

}  // namespace
