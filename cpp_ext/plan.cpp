// One geometry of picture and tensor, with all memory that its frames need.
#include "plan.hpp"

#include <algorithm>
#include <stdexcept>

#include "histogram.hpp"

namespace medge {

namespace {

void require(bool holds, const char *what) {
  if (!holds) throw std::invalid_argument(what);
}

void between(int32_t value, int32_t low, int32_t high, const char *name) {
  require(value >= low && value <= high, name);
}

}  // namespace

OwnPlan::OwnPlan(const PlanSpec &spec, const AxisView &rows, const AxisView &columns,
                 const Kernels &build)
    : build_(build) {
  set_stored(spec);
  set_pick(spec);
  vertical_.set(rows, spec.rows, 1);
  horizontal_.set(columns, spec.width, 8);
  plan_.vertical = vertical_.axis();
  plan_.horizontal = horizontal_.axis();
  set_tensor(spec);
  make_scratch();
}

void OwnPlan::set_stored(const PlanSpec &spec) {
  Stored &s = plan_.stored;
  between(int32_t(spec.word), 0, 3, "word");
  between(int32_t(spec.packing), 0, 3, "packing");
  between(spec.rows, 1, 65535, "rows");
  between(spec.columns, 1, 65535, "columns");
  between(spec.begin, 0, spec.columns - 1, "begin");
  between(spec.width, 1, spec.columns - spec.begin, "width");
  s.word = spec.word;
  s.packing = spec.packing;
  s.is_signed = spec.is_signed;
  plan_.width = spec.width;

  word_bytes_ = s.word == Word::u8 ? 1 : s.word == Word::f32 ? 4 : 2;
  if (s.word != Word::f32) {
    between(spec.bits_stored, 1, int32_t(8 * word_bytes_), "bits_stored");
    between(spec.high_bit, spec.bits_stored - 1, int32_t(8 * word_bytes_) - 1, "high_bit");
    s.left = uint32_t(31 - spec.high_bit);
    s.right = uint32_t(32 - spec.bits_stored);
    patterns_ = size_t(1) << spec.bits_stored;
  }
  const bool pairs = s.packing == Packing::ybr_422;
  require(!pairs || (spec.columns % 2 == 0 && spec.begin % 2 == 0), "pairs of pixels are cut");
  const size_t per_pixel = s.packing == Packing::interleaved ? 3 : pairs ? 2 : 1;
  const size_t planes = s.packing == Packing::planar ? 3 : 1;
  s.row_bytes = size_t(spec.columns) * per_pixel * word_bytes_;
  s.begin_bytes = size_t(spec.begin) * per_pixel * word_bytes_;
  s.plane_bytes = planes == 1 ? 0 : s.row_bytes * size_t(spec.rows);
  rows_ = spec.rows;
  stored_pixels_ = size_t(spec.rows) * size_t(spec.columns);
  stored_bytes_ = s.row_bytes * size_t(spec.rows) * planes;
}

/// What each combination of map, packing and want takes from a row.
void OwnPlan::set_pick(const PlanSpec &spec) {
  Plan &p = plan_;
  between(int32_t(spec.map), 0, 3, "map");
  between(int32_t(spec.want), 0, 2, "want");
  p.map = spec.map;
  p.planes = p.colours = 1;
  p.samples = p.width;
  p.pick = Pick::planes;
  const bool mono = spec.packing == Packing::mono, planar = spec.packing == Packing::planar;
  const bool pairs = spec.packing == Packing::ybr_422, colour = spec.want == Want::colour;
  require(p.map == Map::line || spec.word != Word::f32, "float pictures take a line");
  require(p.map != Map::ybr || (!mono && colour), "YBR becomes RGB, from three samples a pixel");
  require(mono || p.map == Map::line || p.map == Map::ybr, "tables are for one sample a pixel");
  require(!mono || colour, "nothing is picked from one sample a pixel");
  require(!pairs || p.map == Map::ybr || spec.want == Want::first, "pairs of pixels are YBR");
  if (p.map == Map::palette || p.map == Map::ybr) {
    p.planes = p.colours = 3;
  } else if (planar && spec.want != Want::first) {
    p.planes = 3;
    p.colours = colour ? 3 : 1;
    p.pick = colour ? Pick::planes : Pick::luma_of_planes;
  } else if (pairs) {
    p.samples = 2 * p.width;
    p.pick = Pick::first_of_422;
  } else if (!mono && !planar) {
    p.samples = 3 * p.width;
    p.colours = colour ? 3 : 1;
    p.pick = colour ? Pick::split : spec.want == Want::luma ? Pick::luma_of_split : Pick::first_of_3;
  }
  const size_t stored = spec.packing == Packing::interleaved ? 3 : pairs ? 2 : 1;
  p.sample_bytes = p.map == Map::ybr ? stored * word_bytes_ : word_bytes_;
}

void OwnPlan::set_tensor(const PlanSpec &spec) {
  Tensor &t = plan_.tensor;
  between(spec.channels, 1, 3, "channels");
  between(spec.height, 1, 65536, "height");
  between(spec.out_width, 1, 65536, "out_width");
  require(spec.channels >= plan_.colours && spec.channels != 2, "channels and colours differ");
  t = {spec.channels, spec.height, spec.out_width, spec.bytes, spec.nhwc, {}, {}};
  std::copy_n(spec.mean, 3, t.mean);
  std::copy_n(spec.inverse_std, 3, t.inverse_std);
  plan_.top = spec.top;
  plan_.left = spec.left;
  between(spec.top, 0, t.height - plan_.vertical.size, "top");
  between(spec.left, 0, t.width - plan_.horizontal.size, "left");
  plan_.pad = spec.pad;
  plan_.rounded = spec.rounded;

  enhance_ = spec.enhance;
  Enhance &e = enhance_;
  e.height = t.height;
  e.width = t.width;
  require(e.median == 0 || e.median == 3 || e.median == 5, "median");
  between(e.tiles, 0, 64, "tiles");
  between(e.tile_height, 0, 1 << 17, "tile_height");
  between(e.tile_width, 0, 1 << 17, "tile_width");
  require(e.tiles == 0 || (e.clip > 0 && e.tiles * e.tile_height >= t.height &&
                           e.tiles * e.tile_width >= t.width),
          "tiles do not cover the picture");
}

void OwnPlan::make_scratch() {
  Plan &p = plan_;
  const Axis &v = p.vertical;
  // Rows are read beyond their end by as many samples as the widest window has: zeros.
  p.stride = (size_t(p.samples) + size_t(p.horizontal.taps) + 15) / 16 * 16;
  p.pull = v.size > v.first[v.size - 1] + v.count[v.size - 1] - v.first[0];
  p.slots = p.pull ? v.taps : vertical_.overlap(kBlock);
  const size_t row = size_t(p.planes) * p.stride;
  const size_t picked = p.pick == Pick::planes ? 0 : size_t(p.colours) * p.stride;
  const size_t mapped = std::max(row, 3 * size_t(kBlock) * kTile);
  // All but the lines are whole cache lines, so that no vector lies across two of them.
  scratch_.assign(size_t(p.slots) * row + mapped + picked + 3 * size_t(p.tensor.width) + 15, 0.0f);
  p.kept = scratch_.data() + (64 - reinterpret_cast<uintptr_t>(scratch_.data()) % 64) % 64 / 4;
  p.mapped = p.kept + size_t(p.slots) * row;
  p.picked = p.mapped + mapped;
  p.line = p.picked + picked;
  if (enhance_.median == 0 && !enhance_.histogram && enhance_.tiles == 0) return;
  require(p.colours == 1, "only gray pictures are enhanced");
  const size_t pixels = size_t(p.tensor.height) * size_t(p.tensor.width);
  const size_t copy = (size_t(p.tensor.height) + 4) * (size_t(p.tensor.width) + 4) + 32;
  enhanced_.assign(pixels + copy + size_t(enhance_.tiles) * size_t(enhance_.tiles) * 256, 0);
  p.enhanced = enhanced_.data();
  enhance_.copy = p.enhanced + pixels;
  enhance_.tables = enhance_.copy + copy;
}

void OwnPlan::set_line(float base, float scale, float offset) {
  require(plan_.map == Map::line || plan_.map == Map::ybr, "this plan takes a table");
  mapping_.base = mapping_.middle = base;
  mapping_.scale = scale;
  mapping_.offset = offset;
  mapping_.padded = false;
  // The full range from 0: with nothing to add and nothing to cut, the commonest line of all.
  const float most = float(int64_t(patterns_) - 1);
  mapping_.plain = patterns_ != 0 && !plan_.stored.is_signed && base == 0.0f && offset == 0.0f &&
                   scale > 0.0f && most * scale <= 1.0f;
  ready_ = true;
}

void OwnPlan::set_padding(int32_t low, int32_t high) {
  require(plan_.map == Map::line && patterns_ != 0, "padding goes with a line of whole numbers");
  mapping_.padded = true;
  mapping_.plain = false;
  mapping_.pad_low = low;
  mapping_.pad_high = high;
}

void OwnPlan::set_table(const float *table, size_t size) {
  const size_t tables = plan_.map == Map::palette ? 3 : 1;
  require(plan_.map == Map::table || plan_.map == Map::palette, "this plan takes a line");
  require(size == tables * patterns_, "a table has one entry for each pattern of bits");
  table_.assign(table, table + size);
  mapping_.table = table_.data();
  mapping_.table_size = patterns_;
  ready_ = true;
}

size_t OwnPlan::values() const {
  const Tensor &t = plan_.tensor;
  return size_t(t.channels) * size_t(t.height) * size_t(t.width);
}

void OwnPlan::run(const uint8_t *stored, void *out) noexcept {
  Progress progress{};
  build_.rows(plan_, mapping_, progress, stored, 0, rows_, out);
  finish(out);
}

void OwnPlan::finish(void *out) noexcept {
  if (!plan_.enhanced) return;
  enhance(enhance_, plan_.enhanced);
  build_.enhanced(plan_, out);
}

void OwnPlan::histogram(const uint8_t *stored, int32_t plane, uint32_t *counts) const noexcept {
  const Stored &s = plan_.stored;
  Samples samples{stored + size_t(plane) * s.plane_bytes, word_bytes_, stored_pixels_, 1,
                  s.word == Word::u16_swapped, s.left, s.right};
  if (s.packing == Packing::interleaved) {
    samples.data += size_t(plane) * word_bytes_;
    samples.step = 3;
  } else if (s.packing == Packing::ybr_422) {  // Y0 Y1 Cb Cr
    samples.data += size_t(plane == 0 ? 0 : plane + 1) * word_bytes_;
    samples.step = 4;
    samples.count /= 2;
  }
  std::fill_n(counts, patterns_, 0u);
  count_samples(samples, counts);
  if (s.packing != Packing::ybr_422 || plane != 0) return;
  samples.data += word_bytes_;
  count_samples(samples, counts);
}

}  // namespace medge
