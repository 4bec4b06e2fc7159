#include "observe/observers.h"

namespace rapt {
namespace {

/// The weight of the key before the query's own.
class PreviousToken final : public RowObserver {
 public:
  int columns() const override { return 1; }
  void add(const WeightStrip& strip, float* sums, std::int64_t stride) const noexcept override {
    for (int r = 0; r < strip.tile.rows; ++r)
      sums[r * stride] = strip.mass(r, strip.offset[r] - 1, strip.offset[r]);
  }
  bool counts(const RowSums& row) const noexcept override {
    return row.place >= 1 && row.place <= row.slots;
  }
  void values(const RowSums& row, const float* sums, double* out) const noexcept override {
    *out = row.mass(sums[0]);
  }
};

}  // namespace

std::unique_ptr<RowObserver> make_previous_token(const Problem&, const ObserveOptions&) {
  return std::make_unique<PreviousToken>();
}

}  // namespace rapt
