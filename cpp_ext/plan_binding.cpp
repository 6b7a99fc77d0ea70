// medge._native.Plan: the Python face of the pixel kernels.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bindings.hpp"
#include "plan.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace medge;

namespace {

using Picture = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Out = nb::ndarray<nb::c_contig, nb::device::cpu>;
using Indices = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Weights = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Table = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Counts = nb::ndarray<uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Spec = nb::typed<nb::dict, nb::str, nb::object>;
using AxisArrays = std::tuple<Indices, Indices, Weights>;
using Names = nb::typed<nb::tuple, nb::str, nb::ellipsis>;

const Kernels *chosen = nullptr;  // set once, when the module is imported

template <class T>
T field(const nb::dict &spec, const char *name) {
  return nb::cast<T>(spec[name]);
}

void three(const nb::dict &spec, const char *name, float *to) {
  const auto values = field<std::vector<float>>(spec, name);
  if (values.size() != 3) throw nb::value_error(name);
  std::copy_n(values.data(), 3, to);
}

PlanSpec plan_spec(const nb::dict &spec) {
  const auto number = [&](const char *name) { return field<int32_t>(spec, name); };
  PlanSpec s{};
  s.word = Word(number("word"));
  s.packing = Packing(number("packing"));
  s.map = Map(number("map"));
  s.want = Want(number("want"));
  s.is_signed = field<bool>(spec, "signed");
  s.bits_stored = number("bits_stored");
  s.high_bit = number("high_bit");
  s.rows = number("rows");
  s.columns = number("columns");
  s.begin = number("begin");
  s.width = number("width");
  s.channels = number("channels");
  s.height = number("height");
  s.out_width = number("out_width");
  s.top = number("top");
  s.left = number("left");
  s.pad = field<float>(spec, "pad");
  s.rounded = field<bool>(spec, "rounded");
  s.bytes = field<bool>(spec, "bytes");
  s.nhwc = field<bool>(spec, "nhwc");
  three(spec, "mean", s.mean);
  three(spec, "inverse_std", s.inverse_std);
  s.enhance.median = number("median");
  s.enhance.histogram = field<bool>(spec, "histogram");
  s.enhance.tiles = number("tiles");
  s.enhance.clip = number("clip");
  s.enhance.tile_height = number("tile_height");
  s.enhance.tile_width = number("tile_width");
  return s;
}

AxisView view(const AxisArrays &axis) {
  const auto &[first, count, weights] = axis;
  if (count.shape(0) != first.shape(0) || weights.shape(0) != first.shape(0))
    throw nb::value_error("the arrays of an axis differ in length");
  return {first.data(), count.data(), weights.data(), first.shape(0), weights.shape(1)};
}

const Kernels &build_named(const std::string &name) {
  const Kernels *found = name.empty() ? chosen : kernels_named(name.c_str());
  if (!found) throw nb::value_error("no such build of the kernels can run here");
  return *found;
}

void make(OwnPlan *self, Spec spec, AxisArrays rows, AxisArrays columns, const std::string &build) {
  new (self) OwnPlan(plan_spec(spec), view(rows), view(columns), build_named(build));
}

void set_line(OwnPlan &self, float base, float scale, float offset,
              std::optional<std::tuple<int32_t, int32_t>> padding) {
  self.set_line(base, scale, offset);
  if (padding) self.set_padding(std::get<0>(*padding), std::get<1>(*padding));
}

void set_table(OwnPlan &self, Table table) { self.set_table(table.data(), table.shape(0)); }

const uint8_t *checked(const OwnPlan &self, const Picture &stored) {
  if (stored.nbytes() != self.stored_bytes() || stored.itemsize() != self.word_bytes())
    throw nb::value_error("the stored values have not the size that the plan was made for");
  return static_cast<const uint8_t *>(stored.data());
}

/// The tensor's memory, checked.
void *room_in(const OwnPlan &self, const Out &out) {
  if (!self.ready()) throw nb::value_error("set_line or set_table comes first");
  const auto type = self.plan().tensor.bytes ? nb::dtype<uint8_t>() : nb::dtype<float>();
  if (out.size() != self.values() || out.dtype() != type)
    throw nb::value_error("out has not the size or the type of the tensor");
  return out.data();
}

void run(OwnPlan &self, Picture stored, Out out) {
  const uint8_t *data = checked(self, stored);
  void *to = room_in(self, out);
  nb::gil_scoped_release release;
  self.run(data, to);
}

int run_file(OwnPlan &self, int fd, uint64_t offset, Out out) {
  void *to = room_in(self, out);
  if (self.plan().stored.packing == Packing::planar)
    throw nb::value_error("planar pictures are not read in bands");
  nb::gil_scoped_release release;
  return self.run_file(fd, offset, to);
}

void histogram(const OwnPlan &self, Picture stored, int32_t plane, Counts counts) {
  const uint8_t *data = checked(self, stored);
  if (self.patterns() == 0 || counts.shape(0) != self.patterns())
    throw nb::value_error("there is one count for each pattern of bits");
  const int32_t planes = self.plan().stored.packing == Packing::mono ? 1 : 3;
  if (plane < 0 || plane >= planes) throw nb::value_error("there is no such plane");
  uint32_t *to = counts.data();
  nb::gil_scoped_release release;
  self.histogram(data, plane, to);
}

Names builds() {
  nb::list names;
  for (const Kernels *const *at = kernels_here(); *at; ++at) names.append((*at)->name);
  return Names(nb::tuple(names));
}

/// MEDGE_KERNELS names a build; one that cannot run here must not be replaced in silence.
void choose() {
  const char *asked = std::getenv("MEDGE_KERNELS");
  chosen = asked && *asked ? kernels_named(asked) : kernels_here()[0];
  if (chosen) return;
  std::string names;
  for (const Kernels *const *at = kernels_here(); *at; ++at)
    names += std::string(names.empty() ? "" : ", ") + (*at)->name;
  const std::string text =
      "MEDGE_KERNELS names no build of the kernels that can run on this machine; expected " + names +
      ". Correct it, or unset it to take the best.";
  nb::object kind = nb::module_::import_("medge.errors").attr("UsageError");
  nb::object error = kind("kernels", text);
  PyErr_SetObject(kind.ptr(), error.ptr());
  throw nb::python_error();
}

}  // namespace

void bind_plan(nb::module_ &m) {
  choose();
  m.def("kernels", [] { return chosen->name; }, "Name of the build of the pixel kernels in use.");
  m.def("kernel_builds", &builds, "Names of the builds that can run here, the best first.");
  nb::class_<OwnPlan>(m, "Plan",
                      "How pictures of one geometry become tensors; owns all memory that it needs.\n\n"
                      "`spec`: the fields of PlanSpec (plan.hpp). `rows`, `columns`: first and count,\n"
                      "int32 (n,), and weights, float32 (n, taps), of each resized axis. `build`: a\n"
                      "name of kernel_builds(); empty takes kernels(). Not for two threads at once.")
      .def("__init__", &make, "spec"_a, "rows"_a, "columns"_a, "build"_a = "")
      .def_prop_ro("kernels", [](const OwnPlan &self) { return self.build().name; },
                   "Name of the build that this plan runs.")
      .def("set_line", &set_line, "base"_a, "scale"_a, "offset"_a, "padding"_a = nb::none(),
           "Display value of a sample: clamp((sample - base) * scale + offset, 0, 1), in float32;\n"
           "0 for samples in the inclusive range `padding`. For YBR, base is the gray of chroma.")
      .def("set_table", &set_table, "table"_a,
           "Display value by the stored bits of a sample; three tables in a row for a palette.")
      .def("run", &run, "stored"_a.noconvert(), "out"_a.noconvert(),
           nb::sig("def run(self, stored: numpy.typing.NDArray[typing.Any], "
                   "out: numpy.typing.NDArray[typing.Any]) -> None"),
           "Prepare one picture into `out`. Allocates nothing and releases the GIL.")
      .def("run_file", &run_file, "fd"_a, "offset"_a, "out"_a.noconvert(),
           nb::sig("def run_file(self, fd: int, offset: int, "
                   "out: numpy.typing.NDArray[typing.Any]) -> int"),
           "Prepare one picture that begins at `offset` of an open file, not a planar one, reading\n"
           "only the rows that count. Returns 0, an errno, or -1 when the file ends early.")
      .def("histogram", &histogram, "stored"_a.noconvert(), "plane"_a, "counts"_a.noconvert(),
           nb::sig("def histogram(self, stored: numpy.typing.NDArray[typing.Any], plane: int, "
                   "counts: numpy.typing.NDArray[numpy.uint32]) -> None"),
           "Count the samples of one plane by their stored bits, uint32 (2 ** bits_stored,).");
}
