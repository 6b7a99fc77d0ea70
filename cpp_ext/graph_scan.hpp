// What must not be in an ONNX graph, found without an ONNX library: see scan_graph.
#pragma once
#include <cstddef>
#include <cstdint>

namespace medge::graph {

enum class Status : uint32_t {
  clean = 0,
  malformed = 1,   ///< not an ONNX message, or one that parsers may read in two ways
  external = 2,    ///< a tensor keeps its data in another file
  not_finite = 3,  ///< a tensor holds NaN, or has several values and holds Inf
  engine = 4,      ///< an EPContext node: a compiled engine, or the path of one
};

/// The first fault; `name` points into the scanned bytes and may be null.
struct Verdict {
  Status status;
  const uint8_t *name;
  size_t name_size;
  uint64_t count;  ///< of values that are not finite
};

/// Walk a serialized ModelProto (onnx.proto3): every tensor of every graph, node and function.
/// One value that is Inf may stand for "no limit", as in padding before a maximum; NaN never may.
Verdict scan_graph(const uint8_t *data, size_t size) noexcept;

}  // namespace medge::graph
