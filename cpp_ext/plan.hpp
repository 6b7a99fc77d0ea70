// One geometry of picture and tensor, with all memory that its frames need.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "enhance.hpp"
#include "kernels.hpp"

namespace medge {

/// What is wanted of a picture with three samples a pixel.
enum class Want : int32_t { colour, luma, first };  // first: the Y of YCbCr

/// An axis as the caller holds it: first and count (size,), weights (size, taps).
struct AxisView {
  const int32_t *first, *count;
  const float *weights;
  size_t size, taps;
};

/// All that a plan is made from; engine/preprocess/fields.py fills it in.
struct PlanSpec {
  Word word;
  Packing packing;
  Map map;
  Want want;
  bool is_signed;
  int32_t bits_stored, high_bit;
  int32_t rows, columns;           ///< of the whole picture
  int32_t begin, width;            ///< columns that are read
  int32_t channels, height, out_width;
  int32_t top, left;               ///< place of the resized picture in the tensor
  float pad;
  bool rounded, bytes, nhwc;
  float mean[3], inverse_std[3];
  Enhance enhance;                 ///< without buffers
};

/// An axis with its own copy of the weights, taps padded to a multiple of `group`.
class OwnAxis {
 public:
  void set(const AxisView &view, int32_t input, int32_t group);
  /// The most outputs that are under way when inputs come in blocks of this size.
  int32_t overlap(int32_t block) const;
  const Axis &axis() const { return axis_; }

 private:
  std::vector<int32_t> first_, count_;
  std::vector<float> weights_;
  Axis axis_{};
};

/// Throws std::invalid_argument when sizes do not fit each other; nothing is read out of bounds.
class OwnPlan {
 public:
  OwnPlan(const PlanSpec &spec, const AxisView &rows, const AxisView &columns, const Kernels &build);
  OwnPlan(const OwnPlan &) = delete;
  OwnPlan &operator=(const OwnPlan &) = delete;

  void set_line(float base, float scale, float offset);
  void set_padding(int32_t low, int32_t high);
  void set_table(const float *table, size_t size);
  /// Prepare one picture; needs no Python and allocates nothing.
  void run(const uint8_t *stored, void *out) noexcept;
  /// The same of a picture in a file, read in bands of rows that stay in the cache. Returns 0, an
  /// errno, or -1 when the file ends early. Not for planar pictures. Allocates when it is the first.
  int run_file(int fd, uint64_t offset, void *out);
  /// Count the samples of one plane by their stored bits.
  void histogram(const uint8_t *stored, int32_t plane, uint32_t *counts) const noexcept;

  const Kernels &build() const { return build_; }
  const Plan &plan() const { return plan_; }
  bool ready() const { return ready_; }
  size_t word_bytes() const { return word_bytes_; }
  size_t stored_bytes() const { return stored_bytes_; }
  size_t patterns() const { return patterns_; }  ///< different samples; 0: float
  size_t values() const;                         ///< of the tensor

 private:
  void set_stored(const PlanSpec &spec);
  void set_pick(const PlanSpec &spec);
  void set_tensor(const PlanSpec &spec);
  void make_scratch();
  void finish(void *out) noexcept;

  const Kernels &build_;
  OwnAxis vertical_, horizontal_;
  Plan plan_{};
  Mapping mapping_{};
  Enhance enhance_{};
  bool ready_ = false;
  int32_t rows_ = 0;
  size_t word_bytes_ = 0, stored_bytes_ = 0, stored_pixels_ = 0, patterns_ = 0;
  std::vector<float> table_, scratch_;
  std::vector<uint8_t> enhanced_, band_;
};

}  // namespace medge
