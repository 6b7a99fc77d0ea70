// Segments, scans and minimum coded units of sequential and lossless JPEG (T.81 A.2, B.2, H).
#include "jpeg_scan.hpp"

#include <algorithm>

#include "jpeg_codes.hpp"

namespace medge::jpeg {
namespace {

struct Component {
  uint8_t id, wide, high;  ///< blocks of a minimum coded unit
  bool scanned;
};

class Account {
 public:
  Account(const uint8_t *data, size_t size, bool lossless) noexcept
      : data_(data), end_(data + size), lossless_(lossless), side_(lossless ? 1 : 8) {}

  Scan run() noexcept {
    const uint8_t *at = data_ + 2;
    if (end_ - data_ < 4 || data_[0] != 0xFF || data_[1] != 0xD8) return stop(Status::header, data_);
    for (;;) {
      while (end_ - at >= 2 && at[0] == 0xFF && at[1] == 0xFF) ++at;  // fill bytes
      if (end_ - at < 2 || at[0] != 0xFF) return stop(Status::ended, at);
      const uint8_t marker = at[1];
      if (marker == 0xD9) break;
      if (end_ - at < 4) return stop(Status::ended, at);
      const size_t length = size_t(at[2]) << 8 | at[3];
      if (length < 2 || size_t(end_ - at) < length + 2) return stop(Status::header, at);
      const uint8_t *body = at + 4, *next = at + 2 + length;
      if (!segment(marker, body, next)) return stop(Status::header, at);
      at = next;
      if (marker == 0xDA) {
        const Status found = scan(body, at);
        if (found != Status::whole) return stop(found, at);
      }
    }
    for (int i = 0; i < count_; ++i)
      if (!components_[i].scanned) return stop(Status::missing, end_);
    return stop(count_ ? Status::whole : Status::missing, end_);
  }

 private:
  const uint8_t *data_, *end_;
  const bool lossless_;
  const int side_;  ///< of a block; lossless codes single samples
  Table dc_[4], ac_[4];
  Component components_[4];
  int count_ = 0, wide_ = 1, high_ = 1;  ///< components; largest sampling factors
  size_t rows_ = 0, columns_ = 0, interval_ = 0;
  uint64_t blocks_ = 0;

  Scan stop(Status status, const uint8_t *at) const noexcept {
    return {status, size_t(at - data_), blocks_};
  }

  bool segment(uint8_t marker, const uint8_t *body, const uint8_t *next) noexcept {
    switch (marker) {
      case 0xC4: return tables(body, next);
      case 0xC0:
      case 0xC1: return !lossless_ && frame(body, next);
      case 0xC3: return lossless_ && frame(body, next);
      case 0xDD:
        if (next - body != 2) return false;
        interval_ = size_t(body[0]) << 8 | body[1];
        return true;
      default: return true;
    }
  }

  bool tables(const uint8_t *at, const uint8_t *next) noexcept {
    while (at < next) {
      if (next - at < 17) return false;
      size_t total = 0;
      for (int i = 1; i <= 16; ++i) total += at[i];
      if ((at[0] & 0xEC) || total > 256 || size_t(next - at) < 17 + total) return false;
      Table &table = (at[0] >> 4 ? ac_ : dc_)[at[0] & 3];
      const Codes codes = at[0] >> 4 ? Codes::ac : lossless_ ? Codes::sample : Codes::dc;
      if (!table.define(at + 1, at + 17, codes)) return false;
      at += 17 + total;
    }
    return true;
  }

  bool frame(const uint8_t *body, const uint8_t *next) noexcept {
    if (count_ || next - body < 6 || body[5] > 4 || next - body != 6 + 3 * body[5]) return false;
    rows_ = size_t(body[1]) << 8 | body[2];
    columns_ = size_t(body[3]) << 8 | body[4];
    count_ = body[5];
    for (int i = 0; i < count_; ++i) {
      const uint8_t factors = body[7 + 3 * i];
      components_[i] = {body[6 + 3 * i], uint8_t(factors >> 4), uint8_t(factors & 15), false};
      if (!components_[i].wide || !components_[i].high) return false;
      wide_ = std::max<int>(wide_, components_[i].wide);
      high_ = std::max<int>(high_, components_[i].high);
    }
    return rows_ && columns_;
  }

  struct Part {
    const Table *dc, *ac;
    int blocks;  ///< in a minimum coded unit
  };

  /// Decode one scan whose header is at `body`; `at` moves from its first byte to the next marker.
  Status scan(const uint8_t *body, const uint8_t *&at) noexcept {
    const int parts = at > body ? body[0] : 0;
    if (!parts || parts > 4 || at - body != 4 + 2 * parts) return Status::header;
    Part part[4];
    size_t across = 0, down = 0;
    for (int i = 0; i < parts; ++i) {
      Component *found = std::find_if(components_, components_ + count_, [&](const Component &c) {
        return c.id == body[1 + 2 * i];
      });
      const uint8_t use = body[2 + 2 * i];
      if (found == components_ + count_ || found->scanned || (use & 0xCC)) return Status::header;
      found->scanned = true;
      part[i] = {&dc_[use >> 4], &ac_[use & 3], found->wide * found->high};
      if (!part[i].dc->defined || !(lossless_ || part[i].ac->defined)) return Status::header;
      if (parts == 1) {  // not interleaved: only the blocks that the component has (T.81 A.2.2)
        part[i].blocks = 1;
        across = units(units(columns_ * found->wide, wide_), side_);
        down = units(units(rows_ * found->high, high_), side_);
      }
    }
    if (parts > 1) across = units(columns_, side_ * wide_), down = units(rows_, side_ * high_);
    return units_of(part, parts, uint64_t(across) * down, at);
  }

  static size_t units(size_t length, size_t unit) noexcept { return (length + unit - 1) / unit; }

  Status units_of(const Part *part, int parts, uint64_t total, const uint8_t *&at) noexcept {
    Bits bits{at, end_};
    uint64_t left = interval_ ? interval_ : total;
    int restart = 0;
    for (uint64_t unit = 0; unit < total; ++unit, --left) {
      if (left == 0) {
        at = bits.at;
        if (!finish(bits, at)) return Status::leftover;
        if (end_ - at < 2 || at[1] != 0xD0 + restart) return Status::restart;
        bits = {at += 2, end_};
        restart = (restart + 1) & 7;
        left = interval_;
      }
      for (int i = 0; i < parts; ++i)
        for (int block = 0; block < part[i].blocks; ++block) {
          const Block found = lossless_ ? sample(bits, *part[i].dc)
                                        : decode(bits, *part[i].dc, *part[i].ac);
          if (found != Block::whole) {
            at = bits.at;
            return found == Block::ended ? Status::ended : Status::code;
          }
          ++blocks_;
        }
    }
    at = bits.at;
    return finish(bits, at) ? Status::whole : Status::leftover;
  }

  /// Skip the padding bits; a marker must follow.
  bool finish(Bits &bits, const uint8_t *at) const noexcept {
    bits.align();
    return bits.count == 0 && (end_ - at < 2 || (at[0] == 0xFF && at[1] != 0));
  }
};

}  // namespace

Scan account(const uint8_t *data, size_t size, bool lossless) noexcept {
  return Account(data, size, lossless).run();
}

}  // namespace medge::jpeg
