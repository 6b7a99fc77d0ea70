// Which builds of the kernels this machine can run.
#include "kernels.hpp"

#include <cstring>
#include <initializer_list>

namespace medge {

namespace {

const Kernels *const *find() noexcept {
  static const Kernels *here[4] = {};
  size_t count = 0;
#if defined(__x86_64__)
  for (const Kernels *one : {&avx512_kernels, &avx2_kernels, &scalar_kernels})
#elif defined(__aarch64__)
  for (const Kernels *one : {&neon_kernels, &scalar_kernels})
#else
  for (const Kernels *one : {&scalar_kernels})
#endif
    if (one->supported()) here[count++] = one;
  return here;
}

}  // namespace

const Kernels *const *kernels_here() noexcept {
  static const Kernels *const *const here = find();
  return here;
}

const Kernels *kernels_named(const char *name) noexcept {
  for (const Kernels *const *at = kernels_here(); *at; ++at)
    if (std::strcmp((*at)->name, name) == 0) return *at;
  return nullptr;
}

}  // namespace medge
