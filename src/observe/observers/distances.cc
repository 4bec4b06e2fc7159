#include <bit>

#include "observe/observers.h"

namespace rapt {
namespace {

/// Mass in each bin of distance. The keys of a bin are a range, and most chunks lie in one whole.
class Distances final : public RowObserver {
 public:
  int columns() const override { return kDistanceBins; }
  int outputs() const override { return kDistanceBins; }
  void add(const WeightStrip& strip, float* sums, std::int64_t stride) const noexcept override {
    for (int r = 0; r < strip.tile.rows; ++r) {
      float* bins = sums + r * stride;
      for (std::int64_t key = 0; key < kChunkKeys;) {
        const std::int64_t bin = distance_bin(strip.offset[r] - key);
        const std::int64_t end = bin == 0 ? kChunkKeys : strip.offset[r] - nearest(bin) + 1;
        bins[bin] = strip.mass(r, key, end);
        key = end;
      }
    }
  }
  void values(const RowSums& row, const float* sums, double* out) const noexcept override {
    for (std::int64_t bin = 0; bin < kDistanceBins; ++bin) out[bin] = row.mass(sums[bin]);
  }

 private:
  /// The smallest distance of a bin that is not the first.
  static std::int64_t nearest(std::int64_t bin) {
    return bin == 1 ? 0 : std::int64_t{1} << (bin - 2);
  }
};

}  // namespace

std::int64_t distance_bin(std::int64_t distance) {
  if (distance < 0) return 0;
  const auto bin = 1 + std::bit_width(static_cast<std::uint64_t>(distance));
  return std::min<std::int64_t>(bin, kDistanceBins - 1);
}

std::unique_ptr<RowObserver> make_distances(const Problem&, const ObserveOptions&) {
  return std::make_unique<Distances>();
}

}  // namespace rapt
