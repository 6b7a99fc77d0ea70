// Just enough of the protobuf wire format to walk a message; every length is checked.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace medge::protobuf {

struct Span {
  const uint8_t *data;
  size_t size;
};

enum Wire : uint32_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

/// One field: `number` and `wire` of its tag; `value` of a varint, else `span` of its bytes.
struct Field {
  uint32_t number;
  uint32_t wire;
  uint64_t value;
  Span span;
};

/// Reads fields one after the other; `next` is false at the end and at the first fault.
class Reader {
 public:
  explicit Reader(Span message) noexcept : at_(message.data), end_(message.data + message.size) {}

  bool next(Field &field) noexcept {
    if (at_ == end_ || faulty_) return false;
    uint64_t tag;
    faulty_ = !read_varint(tag) || tag >> 32 != 0 || tag < 8 || !read_value(field, tag);
    return !faulty_;
  }
  bool read_varint(uint64_t &value) noexcept {
    value = 0;
    for (uint32_t shift = 0; shift < 64 && at_ != end_; shift += 7) {
      const uint8_t byte = *at_++;
      value |= uint64_t(byte & 127) << shift;
      if (byte < 128) return true;
    }
    return false;
  }
  bool done() const noexcept { return at_ == end_; }
  bool faulty() const noexcept { return faulty_; }

 private:
  bool read_value(Field &field, uint64_t tag) noexcept {
    field.number = uint32_t(tag >> 3);
    field.wire = uint32_t(tag & 7);
    field.value = 0;
    field.span = {nullptr, 0};
    uint64_t length = 0;
    switch (field.wire) {
      case varint: return read_varint(field.value);
      case fixed64: length = 8; break;
      case fixed32: length = 4; break;
      case bytes:
        if (!read_varint(length)) return false;
        break;
      default: return false;  // groups, which ONNX never had
    }
    if (length > size_t(end_ - at_)) return false;
    field.span = {at_, size_t(length)};
    at_ += length;
    return true;
  }

  const uint8_t *at_;
  const uint8_t *end_;
  bool faulty_ = false;
};

}  // namespace medge::protobuf
