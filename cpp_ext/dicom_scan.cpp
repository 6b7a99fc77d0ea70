// Structural walk of a DICOM header (PS3.5 section 7). No allocation, no recursion, no exceptions.
#include "dicom_scan.hpp"

namespace medge::dicom {
namespace {

constexpr uint32_t kItem = 0xFFFEE000u, kItemEnd = 0xFFFEE00Du, kSequenceEnd = 0xFFFEE0DDu;
constexpr uint32_t kPixelData = 0x7FE00010u, kFloat = 0x7FE00008u, kDouble = 0x7FE00009u;

constexpr uint32_t letters(char a, char b) { return uint32_t(uint8_t(a)) << 8 | uint8_t(b); }
constexpr uint32_t kSQ = letters('S', 'Q'), kUN = letters('U', 'N');
constexpr uint32_t kOB = letters('O', 'B'), kOW = letters('O', 'W');

bool long_form(uint32_t vr) noexcept {  // two reserved bytes, then a 32-bit length (PS3.5 7.1.2)
  switch (vr) {
    case kSQ: case kUN: case kOB: case kOW:
    case letters('O', 'D'): case letters('O', 'F'): case letters('O', 'L'): case letters('O', 'V'):
    case letters('S', 'V'): case letters('U', 'C'): case letters('U', 'R'): case letters('U', 'T'):
    case letters('U', 'V'):
      return true;
    default:
      return false;
  }
}

/// What the walk is inside of. Fragments: encapsulated pixels of a nested icon.
enum class Kind : uint8_t { dataset, sequence, fragments };

struct Level {
  uint64_t limit;    ///< no byte at or after this belongs to the level
  Kind kind;
  bool undefined;    ///< ends with a delimiter instead of at `limit`
  bool explicit_vr;
  bool big;
  bool recorded;
};

struct Header {
  uint32_t tag, vr, length;
  uint64_t value;  ///< offset of the value
};

class Walk {
 public:
  Walk(const Source &source, const Wanted *wanted, size_t wanted_count, Record *records,
       size_t capacity) noexcept
      : source_(source), wanted_(wanted), wanted_count_(wanted_count), records_(records),
        capacity_(capacity) {
    at_ = source.start;
    levels_[0] = {source.total, Kind::dataset, false, source.explicit_vr, source.big_endian, true};
  }

  Scan run() noexcept {
    while (!done_) step();
    return result_;
  }

 private:
  uint16_t u16(uint64_t p, bool big) const noexcept {
    const uint8_t *d = source_.data + p;
    return uint16_t(big ? d[0] << 8 | d[1] : d[1] << 8 | d[0]);
  }
  uint32_t u32(uint64_t p, bool big) const noexcept {
    const uint32_t a = u16(p, big), b = u16(p + 2, big);
    return big ? a << 16 | b : b << 16 | a;
  }
  uint32_t depth() const noexcept { return (top_ + 1) / 2; }  // levels alternate: sequence, item

  void stop(Status status, const Header &h, uint64_t offset) noexcept {
    result_ = {status, count_, offset, h.tag, h.vr, h.length, depth(), 0};
    done_ = true;
  }
  /// True when `bytes` more may be read at the cursor; otherwise the walk has stopped.
  bool have(uint64_t bytes, const Header &h) noexcept {
    if (levels_[top_].limit - at_ < bytes) {
      stop(Status::length, h, at_);
      return false;
    }
    if (at_ + bytes > source_.size) {
      stop(Status::need_more, h, at_);
      result_.needed = at_ + bytes;
      return false;
    }
    return true;
  }

  void step() noexcept {
    const Level &level = levels_[top_];
    if (at_ == level.limit && (!level.undefined || top_ == 0)) {
      if (top_ == 0) return stop(Status::end, {}, at_);
      --top_;
      return;
    }
    Header h{};
    // What follows the meta group may be shorter than an element: deflated data.
    if (top_ == 0 && source_.meta_only && level.limit - at_ < 8) return stop(Status::end, {}, at_);
    if (!have(8, h)) return;
    h.tag = uint32_t(u16(at_, level.big)) << 16 | u16(at_ + 2, level.big);
    if (top_ == 0 && source_.meta_only && h.tag >> 16 != 2) return stop(Status::end, {}, at_);
    if (h.tag >> 16 == 0xFFFE) return marker(h);
    if (level.kind != Kind::dataset) return stop(Status::structure, h, at_);
    if (read_header(h)) element(h);
  }

  /// Items and delimiters: no VR, always a 32-bit length (PS3.5 7.5).
  void marker(Header &h) noexcept {
    const Level level = levels_[top_];
    h.length = u32(at_ + 4, level.big);
    h.value = at_ + 8;
    const bool inside = level.kind != Kind::dataset;
    const uint32_t closes = inside ? kSequenceEnd : kItemEnd;
    if (h.tag == closes && level.undefined) {
      if (h.length != 0) return stop(Status::structure, h, at_);
      at_ += 8;
      --top_;
      return;
    }
    if (h.tag != kItem || !inside) return stop(Status::structure, h, at_);
    if (h.length != kUndefined && h.length > level.limit - h.value)
      return stop(Status::length, h, at_);
    if (level.kind == Kind::fragments) {
      if (h.length == kUndefined) return stop(Status::structure, h, at_);
      at_ = h.value + h.length;
      return;
    }
    if (level.recorded && !record(h, level, depth())) return;
    push(h, Kind::dataset, level.explicit_vr, level.big, level.recorded);
  }

  bool read_header(Header &h) noexcept {
    const Level &level = levels_[top_];
    if (!level.explicit_vr) {
      h.length = u32(at_ + 4, level.big);
      h.value = at_ + 8;
      return true;
    }
    const uint8_t a = source_.data[at_ + 4], b = source_.data[at_ + 5];
    if (a < 'A' || a > 'Z' || b < 'A' || b > 'Z') {
      stop(Status::vr, h, at_);
      return false;
    }
    h.vr = uint32_t(a) << 8 | b;
    if (!long_form(h.vr)) {
      h.length = u16(at_ + 6, level.big);
      h.value = at_ + 8;
      return true;
    }
    if (!have(12, h)) return false;
    h.length = u32(at_ + 8, level.big);
    h.value = at_ + 12;
    return true;
  }

  void element(const Header &h) noexcept {
    const Level level = levels_[top_];
    const bool pixels = h.tag == kPixelData || h.tag == kFloat || h.tag == kDouble;
    if (top_ == 0 && pixels) return stop(Status::pixels, h, h.value);
    if (h.length != kUndefined && h.length > level.limit - h.value)
      return stop(Status::length, h, at_);
    const Wanted *want = find(h.tag);
    const bool recorded = want != nullptr && level.recorded;
    if (recorded && !record(h, level, depth())) return;
    const bool undefined = h.length == kUndefined;
    if (undefined && (h.vr == kOB || h.vr == kOW || (h.vr == 0 && h.tag == kPixelData)))
      return push(h, Kind::fragments, false, level.big, false);
    if (undefined && h.vr != 0 && h.vr != kSQ && h.vr != kUN) return stop(Status::vr, h, at_);
    const bool known = want != nullptr && want->sequence != 0 && (h.vr == 0 || h.vr == kUN);
    if (!undefined && h.vr != kSQ && !known) {
      at_ = h.value + h.length;
      return;
    }
    // A sequence that travels as UN is implicit VR little endian whatever the file is (6.2.2).
    const bool un = h.vr == kUN;
    push(h, Kind::sequence, level.explicit_vr && !un, level.big && !un, recorded);
  }

  void push(const Header &h, Kind kind, bool explicit_vr, bool big, bool recorded) noexcept {
    const uint64_t limit = h.length == kUndefined ? levels_[top_].limit : h.value + h.length;
    if (kind != Kind::dataset && depth() == kMaxDepth) return stop(Status::depth, h, at_);
    levels_[++top_] = {limit, kind, h.length == kUndefined, explicit_vr, big, recorded};
    at_ = h.value;
  }

  const Wanted *find(uint32_t tag) const noexcept {
    size_t low = 0, high = wanted_count_;
    while (low < high) {
      const size_t middle = low + (high - low) / 2;
      if (wanted_[middle].tag < tag) low = middle + 1;
      else high = middle;
    }
    return low < wanted_count_ && wanted_[low].tag == tag ? wanted_ + low : nullptr;
  }

  bool record(const Header &h, const Level &level, uint32_t depth) noexcept {
    if (h.value > 0xFFFFFFFFu) {  // headers are capped far below 4 GiB before they get here
      stop(Status::length, h, at_);
      return false;
    }
    if (count_ == capacity_) {
      stop(Status::need_space, h, at_);
      return false;
    }
    const bool little = source_.big_endian && (!level.big || h.vr == kUN);
    records_[count_++] = {h.tag, h.vr << 16 | (little ? kLittle : 0) | depth, uint32_t(h.value),
                          h.length};
    return true;
  }

  const Source source_;
  const Wanted *wanted_;
  const size_t wanted_count_;
  Record *records_;
  const size_t capacity_;
  uint64_t at_ = 0;
  uint32_t count_ = 0, top_ = 0;
  bool done_ = false;
  Scan result_{};
  Level levels_[2 * kMaxDepth + 1];
};

}  // namespace

Scan scan(const Source &source, const Wanted *wanted, size_t wanted_count, Record *records,
          size_t capacity) noexcept {
  return Walk(source, wanted, wanted_count, records, capacity).run();
}

}  // namespace medge::dicom
