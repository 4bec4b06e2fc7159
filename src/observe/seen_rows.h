#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "observe/row_observer.h"

namespace rapt {

/// Whether a row of a tile sees a key of the chunk.
inline bool sees(const AttentionTile& tile, int r, std::int64_t key) {
  const auto group = static_cast<int>(key / kGroupKeys);
  if ((tile.seen[r] >> group & 1) == 0) return false;
  return (tile.whole[r] >> group & 1) != 0 || tile.visible[r].has(static_cast<int>(key));
}

/// Rows that see a key of some kind, however small its weight: any worker that meets one says so.
class SeenRows {
 public:
  explicit SeenRows(const Problem& problem)
      : heads_(problem.q_heads),
        queries_(problem.q_tokens),
        seen_(static_cast<std::size_t>(problem.batch * heads_ * queries_)) {}

  void set(std::int64_t sequence, std::int64_t head, std::int64_t query) {
    seen_[at(sequence, head, query)].store(true, std::memory_order_relaxed);
  }
  bool has(std::int64_t sequence, std::int64_t head, std::int64_t query) const {
    return seen_[at(sequence, head, query)].load(std::memory_order_relaxed);
  }

 private:
  std::size_t at(std::int64_t b, std::int64_t h, std::int64_t i) const {
    return static_cast<std::size_t>((b * heads_ + h) * queries_ + i);
  }

  std::int64_t heads_, queries_;
  std::vector<std::atomic<bool>> seen_;  // [B, Hq, Tq]
};

}  // namespace rapt
