// A picture that is prepared while it is read: its bytes pass memory once.
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "plan.hpp"

namespace medge {

namespace {

constexpr size_t kBandBytes = size_t(1) << 18;  // half of a small second-level cache

/// Returns 0, an errno, or -1 at the end of the file.
int read_whole(int fd, uint8_t *to, size_t size, uint64_t offset) noexcept {
  while (size != 0) {
    const ssize_t count = pread(fd, to, size, off_t(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count == 0 ? -1 : errno;
    to += count;
    size -= size_t(count);
    offset += size_t(count);
  }
  return 0;
}

}  // namespace

int OwnPlan::run_file(int fd, uint64_t offset, void *out) {
  const Axis &v = plan_.vertical;
  const size_t row = plan_.stored.row_bytes;
  const int32_t end = v.first[v.size - 1] + v.count[v.size - 1];
  const int32_t band = int32_t(std::max(kBandBytes / row / kBlock, size_t(1))) * kBlock;
  band_.resize(size_t(band) * row);
  Progress progress{};
  for (int32_t r = v.first[0]; r < end; r += band) {
    const int32_t last = std::min(r + band, end);
    const int status = read_whole(fd, band_.data(), size_t(last - r) * row, offset + size_t(r) * row);
    if (status != 0) return status;
    build_.rows(plan_, mapping_, progress, band_.data(), r, last, out);
  }
  finish(out);
  return 0;
}

}  // namespace medge
