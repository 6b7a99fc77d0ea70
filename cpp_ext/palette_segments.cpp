// Segmented palettes (PS3.3 C.7.9.2) and their Python face.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "bindings.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Numbers = nb::ndarray<const uint16_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Table = nb::ndarray<uint16_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

enum class Status : uint32_t {
  complete = 0,
  inside = 1,    ///< the numbers end inside a segment
  empty = 2,     ///< a segment without entries, which would let a small file ask for endless work
  type = 3,      ///< a segment of an unknown type, or an indirect one inside another
  nowhere = 4,   ///< a line that no entry comes before
  too_many = 5,  ///< more entries than the table has
  other = 6,     ///< fewer entries, or numbers left over
};

/// The numbers of one table, and what they have expanded to so far.
struct Segments {
  const uint16_t *numbers;
  size_t count;
  size_t offset_parts;  ///< numbers of an offset, which is 32 bits wide: 2, or 4 of 8 bits
  uint16_t *out;
  size_t room;
  size_t done = 0;
  uint32_t last_type = 0;

  Status line(size_t length, uint16_t target) {
    if (done == 0) return Status::nowhere;
    if (length > room - done) return Status::too_many;
    const double begin = out[done - 1], step = (double(target) - begin) / double(length);
    for (size_t i = 1; i < length; ++i) out[done++] = uint16_t(std::nearbyint(begin + step * double(i)));
    out[done++] = target;
    return Status::complete;
  }

  Status discrete(size_t at, size_t length) {
    if (length > count - at) return Status::inside;
    if (length > room - done) return Status::too_many;
    std::copy_n(numbers + at, length, out + done);
    done += length;
    return Status::complete;
  }

  /// Repeat segments from a byte offset; C.7.9.2.3 forbids nesting.
  Status indirect(size_t at, size_t segments) {
    if (offset_parts > count - at) return Status::inside;
    uint64_t offset = 0;
    for (size_t i = 0; i < offset_parts; ++i)
      offset |= uint64_t(numbers[at + i]) << (32 / offset_parts * i);
    size_t from = size_t(offset_parts == 2 ? offset / 2 : offset);
    Status status = Status::complete;
    for (size_t i = 0; i < segments && status == Status::complete; ++i) status = segment(from, false);
    return status;
  }

  Status segment(size_t &at, bool may_be_indirect) {
    if (at >= count || count - at < 3) return Status::inside;
    const size_t length = numbers[at + 1], begin = at + 2;
    last_type = numbers[at];
    if (length == 0) return Status::empty;
    if (last_type == 0) return at = begin + length, discrete(begin, length);
    if (last_type == 1) return at = begin + 1, line(length, numbers[begin]);
    if (last_type == 2 && may_be_indirect) return at = begin + offset_parts, indirect(begin, length);
    return Status::type;
  }

  Status expand() {
    size_t at = 0;
    while (at < count && done < room) {
      const Status status = segment(at, true);
      if (status != Status::complete) return status;
    }
    // One trailing zero byte makes the length of an 8-bit table even.
    return done == room && count - at <= 1 ? Status::complete : Status::other;
  }
};

std::tuple<uint32_t, size_t, uint32_t> expand_segments(Numbers numbers, Table out, bool bytes) {
  Segments segments{numbers.data(), numbers.size(), size_t(bytes ? 4 : 2), out.data(), out.size()};
  const Status status = segments.expand();
  return {uint32_t(status), segments.done, segments.last_type};
}

}  // namespace

void bind_palette_segments(nb::module_ &m) {
  m.def("expand_segments", &expand_segments, "numbers"_a, "out"_a.noconvert(), "bytes"_a,
        "Expand a segmented palette (PS3.3 C.7.9.2) to `out`, uint16; `bytes`: numbers were 8 bits.\n\n"
        "Returns (status, entries written, type of the last segment); status 0: complete, 1: ends\n"
        "inside a segment, 2: an empty segment, 3: a segment type that may not be there, 4: a line\n"
        "from nowhere, 5: more entries than `out` has, 6: fewer entries, or numbers left over.");
}
