// Runs one build of the kernels over the cases of vectors.py and compares bit for bit.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <vector>

#include "plan.hpp"

using namespace medge;

namespace {

template <class T>
void take(std::ifstream &from, T *to, size_t count) {
  if (count == 0) return;  // an empty array may have no address
  from.read(reinterpret_cast<char *>(to), std::streamsize(count * sizeof(T)));
}

int32_t number(std::ifstream &from) {
  int32_t value = 0;
  take(from, &value, 1);
  return value;
}

struct OwnView {
  std::vector<int32_t> first, count;
  std::vector<float> weights;
  AxisView view{};

  explicit OwnView(std::ifstream &from) {
    const size_t size = size_t(number(from)), taps = size_t(number(from));
    first.resize(size);
    count.resize(size);
    weights.resize(size * taps);
    take(from, first.data(), size);
    take(from, count.data(), size);
    take(from, weights.data(), size * taps);
    view = {first.data(), count.data(), weights.data(), size, taps};
  }
};

/// In the order of INTEGERS.
PlanSpec spec_of(std::ifstream &from) {
  PlanSpec s{};
  s.word = Word(number(from));
  s.packing = Packing(number(from));
  s.map = Map(number(from));
  s.want = Want(number(from));
  s.is_signed = number(from) != 0;
  for (int32_t *field : {&s.bits_stored, &s.high_bit, &s.rows, &s.columns, &s.begin, &s.width,
                         &s.channels, &s.height, &s.out_width, &s.top, &s.left})
    *field = number(from);
  s.rounded = number(from) != 0;
  s.bytes = number(from) != 0;
  s.nhwc = number(from) != 0;
  s.enhance.median = number(from);
  s.enhance.histogram = number(from) != 0;
  for (int32_t *field :
       {&s.enhance.tiles, &s.enhance.clip, &s.enhance.tile_height, &s.enhance.tile_width})
    *field = number(from);
  take(from, &s.pad, 1);
  take(from, s.mean, 3);
  take(from, s.inverse_std, 3);
  return s;
}

template <class T>
std::vector<T> array(std::ifstream &from) {
  std::vector<T> values(size_t(number(from)) / sizeof(T));
  take(from, values.data(), values.size());
  return values;
}

bool same(std::ifstream &from, const Kernels &build) {
  const PlanSpec spec = spec_of(from);
  const OwnView rows(from), columns(from);
  OwnPlan plan(spec, rows.view, columns.view, build);
  float line[3];
  take(from, line, 3);
  const bool padded = number(from) != 0;
  const int32_t low = number(from), high = number(from);
  const auto table = array<float>(from);
  if (table.empty())
    plan.set_line(line[0], line[1], line[2]);
  else
    plan.set_table(table.data(), table.size());
  if (padded) plan.set_padding(low, high);
  const auto stored = array<uint8_t>(from), expected = array<uint8_t>(from);
  std::vector<float> out(expected.size() / 4 + 1);  // aligned for either type of tensor
  if (!from || stored.size() != plan.stored_bytes()) return false;
  plan.run(stored.data(), out.data());
  return std::memcmp(out.data(), expected.data(), expected.size()) == 0;
}

}  // namespace

int main(int count, char **arguments) {
  if (count != 3) return 2;
  const Kernels *build = kernels_named(arguments[1]);
  if (!build) {
    std::printf("there is no build %s here\n", arguments[1]);
    return 1;
  }
  std::ifstream from(arguments[2], std::ios::binary);
  const int32_t cases = number(from);
  int32_t wrong = 0;
  for (int32_t i = 0; i < cases; ++i)
    if (!same(from, *build)) {
      if (++wrong <= 10) std::printf("%s: case %d differs\n", build->name, i);
      if (!from) break;  // what follows would be read from the wrong place
    }
  std::printf("%s: %d of %d cases equal the reference bit for bit\n", build->name, cases - wrong, cases);
  return cases > 0 && wrong == 0 ? 0 : 1;
}
