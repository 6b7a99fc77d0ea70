// A resized axis with its own copy of the weights.
#include <algorithm>
#include <stdexcept>

#include "plan.hpp"

namespace medge {

namespace {

constexpr size_t kMostWeights = size_t(1) << 28;

void require(bool holds, const char *what) {
  if (!holds) throw std::invalid_argument(what);
}

}  // namespace

void OwnAxis::set(const AxisView &view, int32_t input, int32_t group) {
  require(view.size > 0 && view.size <= 65536, "an axis has too few or too many outputs");
  require(view.taps > 0 && view.taps <= 65536, "an axis has too few or too many taps");
  const size_t padded = (view.taps + size_t(group) - 1) / size_t(group) * size_t(group);
  require(view.size * padded <= kMostWeights, "an axis has too many weights");
  first_.assign(view.first, view.first + view.size);
  count_.assign(view.count, view.count + view.size);
  for (size_t i = 0; i < view.size; ++i) {
    require(count_[i] > 0 && size_t(count_[i]) <= view.taps, "an axis has an empty window");
    require(first_[i] >= 0 && first_[i] <= input - count_[i], "an axis leaves the picture");
    require(i == 0 || (first_[i] >= first_[i - 1] &&
                       first_[i] + count_[i] >= first_[i - 1] + count_[i - 1]),
            "an axis goes backwards");
  }
  weights_.assign(view.size * padded, 0.0f);
  for (size_t i = 0; i < view.size; ++i)
    std::copy_n(view.weights + i * view.taps, count_[i], weights_.data() + i * padded);
  axis_ = {int32_t(view.size), int32_t(padded), first_.data(), count_.data(), weights_.data()};
}

int32_t OwnAxis::overlap(int32_t block) const {
  int32_t most = 1;
  for (int32_t i = 0, end = 0; i < axis_.size; ++i) {
    end = std::max(end, i);
    const int32_t last = first_[size_t(i)] + count_[size_t(i)] + block - 1;
    while (end < axis_.size && first_[size_t(end)] < last) ++end;
    most = std::max(most, end - i);
  }
  return most;
}

}  // namespace medge
