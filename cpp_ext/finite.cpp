// Whether a tensor holds NaN or Inf, and the Python face of it.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "bindings.hpp"

// The compiler builds the loop for each instruction set and the loader picks one.
#if defined(__x86_64__) && defined(__gnu_linux__)
#define MEDGE_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define MEDGE_CLONES
#endif

namespace {

constexpr uint32_t kExponent = 0x7f800000u;  // all set: NaN or Inf
constexpr size_t kBlock = 4096;              // values between two looks at the result

MEDGE_CLONES
bool finite_block(const float *values, size_t count) noexcept {
  uint32_t odd = 0;
  for (size_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, values + i, sizeof bits);
    odd |= uint32_t((bits & kExponent) == kExponent);
  }
  return odd == 0;
}

}  // namespace

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Values = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;

bool all_finite(Values values) {
  const float *at = values.data();
  for (size_t left = values.size(); left > 0;) {
    const size_t count = left < kBlock ? left : kBlock;
    if (!finite_block(at, count)) return false;
    at += count;
    left -= count;
  }
  return true;
}

}  // namespace

void bind_finite(nb::module_ &m) {
  m.def("all_finite", &all_finite, "values"_a.noconvert(),
        "Whether no value of a float32 array, C-contiguous and of any shape, is NaN or Inf.");
}
