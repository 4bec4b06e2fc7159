#include <vector>

#include "base/check.h"
#include "observe/observers.h"
#include "observe/seen_rows.h"

namespace rapt {
namespace {

/// The weight of the key that the query is linked to.
class Link final : public RowObserver {
 public:
  Link(const Problem& problem, const ObserveOptions& options)
      : q_tokens_(problem.q_tokens), seen_(problem) {
    require_tokens(options.links.size(), problem.q_tokens, problem.batch, "ObserveOptions.links");
    const bool shared = std::ssize(options.links) == problem.q_tokens;
    for (std::int64_t b = 0; b < problem.batch; ++b) {
      const Range keys = problem.kv_range(b);
      for (std::int64_t i = 0; i < problem.q_tokens; ++i) {
        const std::int64_t key =
            options.links[static_cast<std::size_t>(shared ? i : b * problem.q_tokens + i)];
        require(key >= -1 && key < problem.kv_tokens, ErrorCode::kBadArgument,
                "ObserveOptions.links", "-1 to " + std::to_string(problem.kv_tokens - 1), key);
        slots_.push_back(key >= keys.begin && key < keys.end ? key - keys.begin : -1);
      }
    }
  }

  int columns() const override { return 1; }
  void add(const WeightStrip& strip, float* sums, std::int64_t stride) const noexcept override {
    for (int r = 0; r < strip.tile.rows; ++r) {
      const std::int64_t key = slot(strip.sequence, strip.query[r]) - strip.chunk * kChunkKeys;
      if (key < 0 || key >= kChunkKeys || !sees(strip.tile, r, key)) continue;
      seen_.set(strip.sequence, strip.head[r], strip.query[r]);
      sums[r * stride] = strip.mass(r, key, key + 1);
    }
  }
  bool counts(const RowSums& row) const noexcept override {
    return seen_.has(row.sequence, row.head, row.query);
  }
  void values(const RowSums& row, const float* sums, double* out) const noexcept override {
    *out = row.mass(sums[0]);
  }

 private:
  std::int64_t slot(std::int64_t b, std::int64_t i) const {
    return slots_[static_cast<std::size_t>(b * q_tokens_ + i)];
  }

  std::int64_t q_tokens_;
  std::vector<std::int64_t> slots_;  // [B, Tq], -1 for none
  mutable SeenRows seen_;
};

}  // namespace

std::unique_ptr<RowObserver> make_link(const Problem& problem, const ObserveOptions& options) {
  return std::make_unique<Link>(problem, options);
}

}  // namespace rapt
