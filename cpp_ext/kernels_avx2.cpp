// The kernels compiled for AVX2; CMakeLists.txt gives this file its flags.
#if defined(__x86_64__)
#include "kernels.hpp"

namespace medge {

#include "kernels_map.inl"
#include "kernels_sums.inl"
#include "kernels_resize.inl"

namespace {
bool supported() noexcept { return __builtin_cpu_supports("avx2"); }
}  // namespace

const Kernels avx2_kernels = {"avx2", supported, rows, enhanced};

}  // namespace medge
#endif
