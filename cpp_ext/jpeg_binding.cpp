// Python face of the JPEG accounting.
#include <nanobind/nanobind.h>
#include <nanobind/stl/tuple.h>

#include <tuple>

#include "bindings.hpp"
#include "jpeg_scan.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

std::tuple<uint32_t, size_t, uint64_t> account_jpeg(nb::bytes data, bool lossless) {
  medge::jpeg::Scan found;
  {
    nb::gil_scoped_release release;
    found = medge::jpeg::account(static_cast<const uint8_t *>(data.data()), data.size(), lossless);
  }
  return {uint32_t(found.status), found.offset, found.blocks};
}

}  // namespace

void bind_jpeg(nb::module_ &m) {
  m.def("account_jpeg", &account_jpeg, "data"_a, "lossless"_a = false,
        "Follow every Huffman code of a JPEG, 8-bit sequential or lossless, from SOI to EOI.\n\n"
        "Returns (status, offset, blocks of 8 x 8, or of one sample when lossless); status 0: all\n"
        "are there and nothing else, 1: a header or table is wrong, 2: bits that are no code, 3:\n"
        "ended early, 4: bytes behind the last block, 5: a restart marker is wrong, 6: a component\n"
        "is missing.");
}
