// Walk an ONNX model and judge every tensor in it; bind it for Python.
#include "graph_scan.hpp"

#include <nanobind/nanobind.h>

#include "bindings.hpp"
#include "tensor_scan.hpp"

namespace medge::graph {
namespace {

using protobuf::Field;
using protobuf::Reader;
using protobuf::Span;

constexpr int kNesting = 32;  // graphs within nodes within graphs; loops use two or three

const Verdict kClean{Status::clean, nullptr, 0, 0};
const Verdict kMalformed{Status::malformed, nullptr, 0, 0};

/// What a message of ONNX may hold that matters here.
enum class Kind {
  other,
  graph,
  node,
  function,
  attribute,
  tensor,
  sparse,
  training,
  operator_name,
  numbers,
};
enum class Message { model, graph, node, attribute, sparse, training, function };

struct Next {
  Kind kind;
  bool once;  ///< protobuf would merge a second one into the first
};

/// The field numbers of onnx.proto3.
Next next_of(Message message, uint32_t number) noexcept {
  switch (message) {
    case Message::model:
      if (number == 7) return {Kind::graph, true};
      if (number == 25) return {Kind::function, false};
      if (number == 20) return {Kind::training, false};
      break;
    case Message::graph:
      if (number == 1) return {Kind::node, false};
      if (number == 5) return {Kind::tensor, false};
      if (number == 15) return {Kind::sparse, false};
      break;
    case Message::function:
      if (number == 7) return {Kind::node, false};
      if (number == 11) return {Kind::attribute, false};
      break;
    case Message::node:
      if (number == 4) return {Kind::operator_name, true};
      if (number == 5) return {Kind::attribute, false};
      break;
    case Message::attribute:
      if (number == 5) return {Kind::tensor, true};
      if (number == 6) return {Kind::graph, true};
      if (number == 10) return {Kind::tensor, false};
      if (number == 11) return {Kind::graph, false};
      if (number == 22) return {Kind::sparse, true};
      if (number == 23) return {Kind::sparse, false};
      if (number == 2 || number == 7) return {Kind::numbers, false};
      break;
    case Message::sparse:
      if (number == 1 || number == 2) return {Kind::tensor, true};
      break;
    case Message::training:
      if (number == 1 || number == 2) return {Kind::graph, true};
      break;
  }
  return {Kind::other, false};
}

Verdict walk(Message message, Span bytes, int depth) noexcept;

Verdict judge_numbers(const Field &field) noexcept {
  const uint64_t nan = count_odd_floats(field.span).nan;
  return nan == 0 ? kClean : Verdict{Status::not_finite, nullptr, 0, nan};
}

bool is_engine(Span name) noexcept {
  return name.size == 9 && std::memcmp(name.data, "EPContext", 9) == 0;
}

Verdict judge(const Field &field, Kind kind, int depth) noexcept {
  if (kind == Kind::numbers) return judge_numbers(field);
  if (field.wire != protobuf::bytes) return kMalformed;
  switch (kind) {
    case Kind::graph: return walk(Message::graph, field.span, depth + 1);
    case Kind::node: return walk(Message::node, field.span, depth + 1);
    case Kind::function: return walk(Message::function, field.span, depth + 1);
    case Kind::attribute: return walk(Message::attribute, field.span, depth + 1);
    case Kind::sparse: return walk(Message::sparse, field.span, depth + 1);
    case Kind::training: return walk(Message::training, field.span, depth + 1);
    case Kind::tensor: return scan_tensor(field.span);
    case Kind::operator_name:
      if (is_engine(field.span))
        return {Status::engine, field.span.data, field.span.size, 0};
      return kClean;
    default: return kClean;
  }
}

Verdict walk(Message message, Span bytes, int depth) noexcept {
  if (depth > 3 * kNesting) return kMalformed;  // graph, node, attribute: three steps each
  Reader reader(bytes);
  Field field;
  uint32_t seen = 0;
  while (reader.next(field)) {
    const Next next = next_of(message, field.number);
    if (next.kind == Kind::other) continue;
    const uint32_t bit = 1u << field.number;
    if (next.once && (seen & bit)) return kMalformed;
    if (next.once) seen |= bit;
    const Verdict verdict = judge(field, next.kind, depth);
    if (verdict.status != Status::clean) return verdict;
  }
  return reader.faulty() ? kMalformed : kClean;
}

}  // namespace

Verdict scan_graph(const uint8_t *data, size_t size) noexcept {
  const Verdict verdict = walk(Message::model, {data, size}, 0);
  if (verdict.status != Status::clean) return verdict;
  Reader reader({data, size});
  Field field;
  while (reader.next(field))
    if (field.number == 7) return verdict;
  return kMalformed;  // a message without a graph is no model
}

}  // namespace medge::graph

namespace nb = nanobind;
using namespace nb::literals;

namespace {

nb::tuple scan_graph(nb::bytes model) {
  medge::graph::Verdict verdict;
  {
    nb::gil_scoped_release release;
    verdict =
        medge::graph::scan_graph(static_cast<const uint8_t *>(model.data()), model.size());
  }
  return nb::make_tuple(uint32_t(verdict.status), nb::bytes(verdict.name, verdict.name_size),
                        verdict.count);
}

}  // namespace

void bind_graph_scan(nb::module_ &m) {
  m.def("scan_graph", &scan_graph, "model"_a,
        nb::sig("def scan_graph(model: bytes) -> tuple[int, bytes, int]"),
        "Judge a serialized ONNX model. Returns (status, name of the tensor, count of values that\n"
        "are not finite); status 0: clean, 1: malformed, 2: external data, 3: not finite,\n"
        "4: holds a compiled engine.");
}
