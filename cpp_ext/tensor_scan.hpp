// One TensorProto of an ONNX graph: where its values are, and whether they are finite.
#pragma once
#include "graph_scan.hpp"
#include "protobuf.hpp"

namespace medge::graph {

/// Judge a serialized TensorProto.
Verdict scan_tensor(protobuf::Span message) noexcept;

/// How many of the float32 values in `raw` are NaN, and how many are Inf.
struct Odd {
  uint64_t nan, inf;
};
Odd count_odd_floats(protobuf::Span raw) noexcept;

}  // namespace medge::graph
