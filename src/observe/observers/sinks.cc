#include "base/check.h"
#include "observe/observers.h"

namespace rapt {
namespace {

/// Mass on the first keys of the sequence.
class SinkMass final : public RowObserver {
 public:
  explicit SinkMass(std::int64_t tokens) : tokens_(tokens) {}
  int columns() const override { return 1; }
  void add(const WeightStrip& strip, float* sums, std::int64_t stride) const noexcept override {
    const std::int64_t end = tokens_ - strip.chunk * kChunkKeys;
    if (end <= 0) return;
    for (int r = 0; r < strip.tile.rows; ++r) sums[r * stride] = strip.mass(r, 0, end);
  }
  void values(const RowSums& row, const float* sums, double* out) const noexcept override {
    *out = row.mass(sums[0]);
  }

 private:
  std::int64_t tokens_;
};

/// What a logit without a value takes.
class LearnedSink final : public RowObserver {
 public:
  void values(const RowSums& row, const float*, double* out) const noexcept override {
    *out = 1.0 - row.share;
  }
};

}  // namespace

std::unique_ptr<RowObserver> make_sink_mass(const Problem&, const ObserveOptions& options) {
  require(options.sink_tokens >= 1, ErrorCode::kBadArgument, "ObserveOptions.sink_tokens",
          "at least 1", options.sink_tokens);
  return std::make_unique<SinkMass>(options.sink_tokens);
}
std::unique_ptr<RowObserver> make_learned_sink(const Problem&, const ObserveOptions&) {
  return std::make_unique<LearnedSink>();
}

}  // namespace rapt
