// One TensorProto: fields in any order, values packed, unpacked or raw.
#include "tensor_scan.hpp"

namespace medge::graph {
namespace {

using protobuf::Field;
using protobuf::Reader;
using protobuf::Span;

// Field numbers and data types of onnx.proto3.
enum Tensor : uint32_t {
  dims = 1,
  data_type = 2,
  segment = 3,
  float_data = 4,
  int32_data = 5,
  name = 8,
  raw_data = 9,
  double_data = 10,
  external_data = 13,
  data_location = 14,
};
enum Type : uint64_t { f32 = 1, f16 = 10, f64 = 11, complex64 = 14, complex128 = 15, bf16 = 16 };

/// Values whose exponent bits are all set: NaN if any bit of the fraction is set, else Inf.
template <class Bits>
Odd count_odd(Span raw, Bits exponent, Bits fraction) noexcept {
  Odd odd{0, 0};
  for (size_t at = 0; at + sizeof(Bits) <= raw.size; at += sizeof(Bits)) {
    Bits value;
    std::memcpy(&value, raw.data + at, sizeof value);
    const bool special = (value & exponent) == exponent;
    const bool fractional = (value & fraction) != 0;
    odd.nan += special & fractional;
    odd.inf += special & !fractional;
  }
  return odd;
}

Odd count_in_raw(uint64_t type, Span raw) noexcept {
  switch (type) {
    case f32:
    case complex64: return count_odd_floats(raw);
    case f64:
    case complex128: return count_odd<uint64_t>(raw, 0x7ffull << 52, (1ull << 52) - 1);
    case f16: return count_odd<uint16_t>(raw, 0x7c00, 0x03ff);
    case bf16: return count_odd<uint16_t>(raw, 0x7f80, 0x007f);
    default: return {0, 0};
  }
}

/// float16 and bfloat16 may also stand in int32_data, one varint each.
Odd count_in_varints(uint64_t type, Span packed, bool &faulty) noexcept {
  Odd odd{0, 0};
  Reader reader(packed);
  while (!reader.done()) {
    uint64_t value;
    if (!reader.read_varint(value)) {
      faulty = true;
      break;
    }
    const uint16_t bits = uint16_t(value);
    const Odd one = count_in_raw(type, {reinterpret_cast<const uint8_t *>(&bits), sizeof bits});
    odd.nan += one.nan;
    odd.inf += one.inf;
  }
  return odd;
}

/// What a first pass over the fields learns: the type may come after the values.
struct Facts {
  uint64_t type = 0, values = 1;
  Span name{nullptr, 0};
  bool external = false, twice = false, filled = false;
};

/// Dimensions may be packed into one field or stand one by one.
void multiply(Facts &facts, const Field &field) noexcept {
  if (field.wire == protobuf::varint) {
    facts.values *= field.value;
    return;
  }
  Reader reader(field.span);
  uint64_t size;
  while (!reader.done() && reader.read_varint(size)) facts.values *= size;
}

Facts learn(Span message, bool &faulty) noexcept {
  Facts facts;
  Reader reader(message);
  Field field;
  while (reader.next(field)) {
    switch (field.number) {
      case dims: multiply(facts, field); break;
      case data_type:
        facts.twice |= facts.type != 0;
        facts.type = field.value;
        break;
      case name: facts.name = field.span; break;
      case external_data: facts.external = true; break;
      case data_location: facts.external |= field.value != 0; break;
      case segment: facts.twice = true; break;  // a tensor in pieces, which no exporter writes
      case float_data:
      case int32_data:
      case raw_data:
      case double_data: facts.filled = true; break;
      default: break;
    }
  }
  faulty |= reader.faulty();
  return facts;
}

}  // namespace

Odd count_odd_floats(Span raw) noexcept {
  return count_odd<uint32_t>(raw, 0x7f800000u, 0x007fffffu);
}

Verdict scan_tensor(Span message) noexcept {
  bool faulty = false;
  const Facts facts = learn(message, faulty);
  const auto verdict = [&](Status status, uint64_t count) {
    return Verdict{status, facts.name.data, facts.name.size, count};
  };
  if (facts.external) return verdict(Status::external, 0);
  // Values of an unknown or doubtful type could hide anything.
  if (faulty || facts.twice || (facts.filled && facts.type == 0))
    return verdict(Status::malformed, 0);
  Odd odd{0, 0};
  Reader reader(message);
  Field field;
  while (reader.next(field)) {
    Odd found{0, 0};
    if (field.number == raw_data)
      found = count_in_raw(facts.type, field.span);
    else if (field.number == float_data)
      found = count_odd_floats(field.span);
    else if (field.number == double_data)
      found = count_in_raw(f64, field.span);
    else if (field.number == int32_data && (facts.type == f16 || facts.type == bf16))
      found = count_in_varints(facts.type, field.span, faulty);
    odd.nan += found.nan;
    odd.inf += found.inf;
  }
  if (faulty) return verdict(Status::malformed, 0);
  const uint64_t refused = facts.values == 1 ? odd.nan : odd.nan + odd.inf;
  return verdict(refused == 0 ? Status::clean : Status::not_finite, refused);
}

}  // namespace medge::graph
