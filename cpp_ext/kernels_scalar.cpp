// The kernels compiled without vectors; CMakeLists.txt gives this file its flags.
#include "kernels.hpp"

namespace medge {

#include "kernels_map.inl"
#include "kernels_sums.inl"
#include "kernels_resize.inl"

namespace {
bool supported() noexcept { return true; }
}  // namespace

const Kernels scalar_kernels = {"scalar", supported, rows, enhanced};

}  // namespace medge
