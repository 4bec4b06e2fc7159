#include "base/check.h"
#include "observe/observers.h"

namespace rapt {
namespace {

/// Mass nearer than a window on both sides.
class Locality final : public RowObserver {
 public:
  explicit Locality(std::int64_t window) : window_(window) {}
  int columns() const override { return 1; }
  void add(const WeightStrip& strip, float* sums, std::int64_t stride) const noexcept override {
    for (int r = 0; r < strip.tile.rows; ++r)
      sums[r * stride] = strip.mass(r, strip.offset[r] - window_ + 1, strip.offset[r] + window_);
  }
  void values(const RowSums& row, const float* sums, double* out) const noexcept override {
    *out = row.mass(sums[0]);
  }

 private:
  std::int64_t window_;
};

}  // namespace

std::unique_ptr<RowObserver> make_locality(const Problem&, const ObserveOptions& options) {
  require(options.window >= 1 && options.window <= std::int64_t{1} << 40, ErrorCode::kBadArgument,
          "ObserveOptions.window", "1 to 2^40", options.window);
  return std::make_unique<Locality>(options.window);
}

}  // namespace rapt
