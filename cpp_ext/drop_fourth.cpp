// Four bytes a pixel, as Pillow keeps colour, to three: the fourth is dropped.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <cstring>

#include "bindings.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Four = nb::ndarray<const uint8_t, nb::shape<-1, -1, 4>, nb::c_contig, nb::device::cpu>;
using Three = nb::ndarray<uint8_t, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;

void drop_fourth(Four pixels, Three out) {
  if (pixels.shape(0) != out.shape(0) || pixels.shape(1) != out.shape(1))
    throw nb::value_error("pixels and out have different sizes");
  const size_t count = pixels.shape(0) * pixels.shape(1);
  if (count == 0) return;
  const uint8_t *in = pixels.data();
  uint8_t *to = out.data();
  nb::gil_scoped_release release;
  // Four bytes are moved at once; the next pixel overwrites the fourth, so the last one needs care.
  for (size_t i = 0; i + 1 < count; ++i) std::memcpy(to + 3 * i, in + 4 * i, 4);
  std::memcpy(to + 3 * (count - 1), in + 4 * (count - 1), 3);
}

}  // namespace

void bind_drop_fourth(nb::module_ &m) {
  m.def("drop_fourth", &drop_fourth, "pixels"_a, "out"_a,
        "Copy uint8 (h, w, 4) to `out`, uint8 (h, w, 3), without the fourth sample.");
}
