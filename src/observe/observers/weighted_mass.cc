#include <vector>

#include "attention/views.h"
#include "observe/observers.h"

namespace rapt {
namespace {

/// Sum of p w_j. The weights of a key lie by slot, in whole chunks.
class WeightedMass final : public RowObserver {
 public:
  WeightedMass(const Problem& problem, const ConstTensor& weights) : heads_(problem.q_heads) {
    require_view(weights, {1, problem.batch, problem.q_heads, problem.kv_tokens},
                 "ObserveOptions.key_weights");
    std::int64_t slots = 0;
    for (std::int64_t b = 0; b < problem.batch; ++b)
      slots = std::max(slots, problem.kv_range(b).size());
    slots_ = chunks_of(slots) * kChunkKeys;
    by_slot_.assign(static_cast<std::size_t>(problem.batch * heads_ * slots_), 0.0f);
    for (std::int64_t b = 0; b < problem.batch; ++b)
      for (std::int64_t h = 0; h < heads_; ++h) {
        const Range keys = problem.kv_range(b);
        for (std::int64_t slot = 0; slot < keys.size(); ++slot)
          by_slot_[static_cast<std::size_t>((b * heads_ + h) * slots_ + slot)] =
              weights.at(0, b, h, keys.begin + slot);
      }
  }

  int columns() const override { return 1; }
  void add(const WeightStrip& strip, float* sums, std::int64_t stride) const noexcept override {
    for (int r = 0; r < strip.tile.rows; ++r) {
      const float* weights = by_slot_.data() + (strip.sequence * heads_ + strip.head[r]) * slots_ +
                             strip.chunk * kChunkKeys;
      sums[r * stride] = strip.kernels.weighted_mass(
          strip.p(r), strip.tile.seen[r], strip.tile.whole[r], strip.tile.visible[r], weights);
    }
  }
  void values(const RowSums& row, const float* sums, double* out) const noexcept override {
    *out = row.mass(sums[0]);
  }

 private:
  std::int64_t heads_, slots_ = 0;
  std::vector<float> by_slot_;  // [B, Hq, slots]
};

}  // namespace

std::unique_ptr<RowObserver> make_weighted_mass(const Problem& problem,
                                                const ObserveOptions& options) {
  return std::make_unique<WeightedMass>(problem, options.key_weights);
}

}  // namespace rapt
