// PackBits decoding and its Python face.
#include "packbits.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>

#include <cstring>
#include <tuple>

#include "bindings.hpp"

namespace medge::packbits {
namespace {

void copy(const uint8_t *in, uint8_t *out, size_t count, size_t stride) noexcept {
  if (stride == 1) {
    std::memcpy(out, in, count);
    return;
  }
  for (size_t i = 0; i < count; ++i) out[i * stride] = in[i];
}

void fill(uint8_t value, uint8_t *out, size_t count, size_t stride) noexcept {
  if (stride == 1) {
    std::memset(out, value, count);
    return;
  }
  for (size_t i = 0; i < count; ++i) out[i * stride] = value;
}

}  // namespace

Unpacked unpack(const uint8_t *in, size_t size, uint8_t *out, size_t count,
                size_t stride) noexcept {
  size_t at = 0, done = 0;
  while (done < count) {
    if (at == size) return {Status::short_, at, done};
    const size_t code = in[at];
    if (code == 128) {  // "no operation": writes nothing
      ++at;
      continue;
    }
    const bool literal = code < 128;
    const size_t run = literal ? code + 1 : 257 - code;
    const size_t length = literal ? run + 1 : 2;
    if (length > size - at) return {Status::short_, at, done};
    if (run > count - done) return {Status::overrun, at, done};
    if (literal)
      copy(in + at + 1, out + done * stride, run, stride);
    else
      fill(in[at + 1], out + done * stride, run, stride);
    at += length;
    done += run;
  }
  return {Status::filled, at, done};
}

}  // namespace medge::packbits

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Segment = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Plane = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

std::tuple<uint32_t, size_t, size_t> unpack_packbits(Segment segment, Plane out, size_t first, size_t stride) {
  if (stride == 0 || first >= stride || out.size() % stride != 0)
    throw nb::value_error("first < stride, and len(out) a multiple of stride, does not hold");
  medge::packbits::Unpacked done;
  {
    nb::gil_scoped_release release;
    done = medge::packbits::unpack(segment.data(), segment.size(), out.data() + first,
                                   out.size() / stride, stride);
  }
  return {uint32_t(done.status), done.read, done.written};
}

}  // namespace

void bind_packbits(nb::module_ &m) {
  m.def("unpack_packbits", &unpack_packbits, "segment"_a, "out"_a, "first"_a, "stride"_a,
        "Expand one RLE segment (PS3.5 G.3) into out[first::stride], uint8.\n\n"
        "Returns (status, bytes read, bytes written); status 0: filled, 1: the segment is too\n"
        "short, 2: a run goes beyond the end of `out`.");
}
