// The items of encapsulated pixel data (PS3.5 A.4), found by reading their headers only.
#include <unistd.h>

#include <cerrno>

#include "dicom_scan.hpp"

namespace medge::dicom {
namespace {

constexpr uint32_t kItem = 0xFFFEE000u, kSequenceEnd = 0xFFFEE0DDu;

bool read_exactly(int fd, uint8_t *out, size_t bytes, uint64_t offset) noexcept {
  size_t have = 0;
  while (have < bytes) {
    const ssize_t n = pread(fd, out + have, bytes - have, off_t(offset + have));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    have += size_t(n);
  }
  return true;
}

}  // namespace

FragmentScan scan_fragments(int fd, uint64_t offset, uint64_t size, Fragment *fragments,
                            size_t capacity) noexcept {
  size_t count = 0;
  while (size - offset >= 8) {
    uint8_t raw[8];
    if (!read_exactly(fd, raw, sizeof raw, offset)) return {FragmentStatus::io, count, offset};
    const uint32_t tag = uint32_t(raw[1] << 8 | raw[0]) << 16 | uint32_t(raw[3] << 8 | raw[2]);
    const uint32_t length = uint32_t(raw[4]) | uint32_t(raw[5]) << 8 | uint32_t(raw[6]) << 16 |
                            uint32_t(raw[7]) << 24;
    if (tag == kSequenceEnd && length == 0) return {FragmentStatus::delimited, count, offset + 8};
    if (tag != kItem || length == kUndefined) return {FragmentStatus::structure, count, offset};
    if (length > size - offset - 8) return {FragmentStatus::length, count, offset};
    if (count == capacity) return {FragmentStatus::need_space, count, offset};
    fragments[count++] = {offset + 8, length};
    offset += 8 + uint64_t(length);
  }
  const bool clean = size == offset;
  return {clean ? FragmentStatus::unended : FragmentStatus::length, count, offset};
}

}  // namespace medge::dicom
