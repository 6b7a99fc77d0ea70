// The kernels compiled for NEON; CMakeLists.txt gives this file its flags.
#if defined(__aarch64__)
#include "kernels.hpp"

namespace medge {

#include "kernels_map.inl"
#include "kernels_sums.inl"
#include "kernels_resize.inl"

namespace {
bool supported() noexcept { return true; }  // part of every aarch64
}  // namespace

const Kernels neon_kernels = {"neon", supported, rows, enhanced};

}  // namespace medge
#endif
