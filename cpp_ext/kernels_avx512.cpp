// The kernels compiled for AVX-512; CMakeLists.txt gives this file its flags.
#if defined(__x86_64__)
#include "kernels.hpp"

namespace medge {

#include "kernels_map.inl"
#include "kernels_sums.inl"
#include "kernels_resize.inl"

namespace {
bool supported() noexcept {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
}  // namespace

const Kernels avx512_kernels = {"avx512", supported, rows, enhanced};

}  // namespace medge
#endif
