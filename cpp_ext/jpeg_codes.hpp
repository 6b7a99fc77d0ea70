// Huffman codes of JPEG (ITU-T T.81 F.2, H.2), followed only as far as counting needs.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace medge::jpeg {

constexpr bool kLittle = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
constexpr int kFast = 10;  // bits looked up at once; longer codes are rare

/// What one symbol does: bits to skip (its code and those behind it), coefficients to go on.
struct Step {
  uint8_t bits, on;
};
constexpr uint8_t kEnd = 100;  // the block is done
constexpr uint8_t kBad = 200;  // no such code

enum class Codes { dc, ac, sample };

struct Table {
  bool defined = false;
  uint16_t fast[1 << kFast];  ///< by the next bits: bits to skip << 8 | coefficients; 0: no entry
  Step steps[256];        ///< by the index of a symbol; without the code's own bits
  int32_t last[17];       ///< largest code of each length, -1 when there is none
  int32_t shift[17];      ///< index of a symbol minus its code, for each length

  /// Canonical codes from the counts of each length (T.81 C.2).
  bool define(const uint8_t *counts, const uint8_t *symbols, Codes codes) noexcept {
    std::memset(fast, 0, sizeof fast);
    int32_t code = 0, index = 0;
    for (int length = 1; length <= 16; ++length, code <<= 1) {
      last[length] = -1;
      shift[length] = index - code;
      for (int i = 0; i < counts[length - 1]; ++i, ++code, ++index) {
        if (code >= 1 << length) return false;
        last[length] = code;
        steps[index] = codes == Codes::ac   ? coefficient(symbols[index])
                       : codes == Codes::dc ? difference(symbols[index], 11)
                                            : difference(symbols[index], 16);
        const Step step = steps[index];
        if (length > kFast) continue;
        const int spare = kFast - length;
        std::fill_n(fast + (code << spare), 1 << spare,
                    uint16_t((length + step.bits) << 8 | step.on));
      }
    }
    return defined = true;
  }

  /// DC or lossless: so many bits follow (T.81 tables F.1, H.2); 16 says -32768, without any.
  static Step difference(uint8_t symbol, int most) noexcept {
    if (symbol > most) return {0, kBad};
    return {uint8_t(symbol == 16 ? 0 : symbol), 1};
  }
  /// AC: a run of zeros and a value of at most 10 bits (T.81 table F.2).
  static Step coefficient(uint8_t symbol) noexcept {
    const uint8_t run = symbol >> 4, bits = symbol & 15;
    if (bits) return bits <= 10 ? Step{bits, uint8_t(run + 1)} : Step{0, kBad};
    if (run == 0) return {0, kEnd};
    return run == 15 ? Step{0, 16} : Step{0, kBad};
  }
};

/// Coded bits, stuffing removed; stops at a marker.
struct Bits {
  const uint8_t *at, *end;
  uint64_t word = 0;  ///< the next bits, left-aligned
  int count = 0;      ///< of them are real; below them are zeros

  void fill() noexcept {
    if (end - at >= 8) {  // eight bytes at once, unless one of them is FF
      uint64_t next;
      std::memcpy(&next, at, 8);
      if (!((~next - 0x0101010101010101) & next & 0x8080808080808080)) {
        if constexpr (kLittle) next = __builtin_bswap64(next);
        const int bytes = (64 - count) >> 3;
        word |= (next >> (64 - 8 * bytes)) << (64 - 8 * bytes) >> count;
        at += bytes;
        count += 8 * bytes;
        return;
      }
    }
    while (count <= 56 && at < end) {
      const uint8_t byte = *at;
      if (byte == 0xFF && (end - at < 2 || at[1] != 0)) return;  // a marker
      at += byte == 0xFF ? 2 : 1;
      word |= uint64_t(byte) << (56 - count);
      count += 8;
    }
  }
  void skip(int bits) noexcept {
    word <<= bits;
    count -= bits;
  }
  void align() noexcept { skip(count & 7); }
};

enum class Block { whole, ended, code };

/// Take one symbol and what follows it; return how many coefficients that makes.
inline int take(Bits &bits, const Table &table) noexcept {
  if (const uint16_t hit = table.fast[bits.word >> (64 - kFast)]) {
    bits.skip(hit >> 8);
    return hit & 0xFF;
  }
  for (int length = 1; length <= 16; ++length) {
    const int32_t code = int32_t(bits.word >> (64 - length));
    if (code > table.last[length]) continue;
    const Step step = table.steps[(code + table.shift[length]) & 0xFF];
    bits.skip(length + step.bits);
    return step.on;
  }
  return kBad;
}

/// One sample of a lossless picture: a difference of up to 16 bits (T.81 H.1.2.2).
inline Block sample(Bits &bits, const Table &table) noexcept {
  if (bits.count < 32) bits.fill();
  const int on = take(bits, table);
  if (bits.count < 0 || (on == kBad && bits.count < 16)) return Block::ended;
  return on == 1 ? Block::whole : Block::code;
}

/// One block: a DC difference and up to 63 coefficients (T.81 F.2.2), 8 bits a sample.
inline Block decode(Bits &bits, const Table &dc, const Table &ac) noexcept {
  int k = 0;
  for (const Table *table = &dc; k < 64; table = &ac) {
    if (bits.count < 32) {
      if (bits.count < 0) return Block::ended;
      bits.fill();
    }
    k += take(bits, *table);
  }
  if (bits.count < 0) return Block::ended;
  if (k == 64 || (k >= kEnd && k < kBad)) return Block::whole;
  return bits.count < 16 ? Block::ended : Block::code;  // zeros behind the end are no code
}

}  // namespace medge::jpeg
