#include "observe/observers.h"

namespace rapt {
namespace {

/// sum p (i - j): every distance of a chunk from one place on.
class Lookback final : public RowObserver {
 public:
  int columns() const override { return 1; }
  void add(const WeightStrip& strip, float* sums, std::int64_t stride) const noexcept override {
    float offset[kMostStripQueries];
    for (int r = 0; r < strip.tile.rows; ++r) offset[r] = static_cast<float>(strip.offset[r]);
    strip.kernels.distances(strip.tile, offset, sums, stride);
  }
  void values(const RowSums& row, const float* sums, double* out) const noexcept override {
    *out = row.mass(sums[0]);
  }
};

}  // namespace

std::unique_ptr<RowObserver> make_lookback(const Problem&, const ObserveOptions&) {
  return std::make_unique<Lookback>();
}

}  // namespace rapt
