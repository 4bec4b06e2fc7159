#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "base/elementary.h"
#include "kernels/observe/observe.h"
#include "rapt/problem.h"

namespace rapt {

/// Weights of some rows of one sequence and kv head over a chunk of keys.
struct WeightStrip {
  const AttentionTile& tile;  ///< s holds p = 2^(s - m); m and l are those of the chunk
  const ObserveKernels& kernels;
  std::int64_t sequence;
  std::int64_t chunk;
  const std::int64_t* query;  ///< [tile.rows] query tokens
  const std::int64_t* head;   ///< [tile.rows] query heads
  const std::int64_t*
      offset;  ///< [tile.rows] the query's place, counted from the chunk's first key

  const float* p(int r) const { return tile.s + r * kScoreStride; }

  /// Sum of p of row r over keys [begin, end) of the chunk, which may reach beyond it.
  float mass(int r, std::int64_t begin, std::int64_t end) const {
    begin = std::max<std::int64_t>(begin, 0);
    end = std::min<std::int64_t>(end, kChunkKeys);
    if (begin >= end) return 0.0f;
    if (end - begin == kChunkKeys) return tile.l[r];  // the same sum
    return kernels.mass(p(r), tile.seen[r], static_cast<int>(begin), static_cast<int>(end));
  }
};

/// A row once all its keys have been summed; l > 0 or NaN.
struct RowSums {
  std::int64_t sequence, query, head;
  std::int64_t place, slots;                      ///< of the query, and of its sequence
  double m, l;                                    ///< of the keys, without the sink
  double share;                                   ///< 1 - p_s
  double entropy_sum, squares, largest, visible;  ///< the columns of these names

  static constexpr double kLn2 = 0x1.62e42fefa39efp-1;

  /// H of the keys alone.
  double entropy() const {
    const double h = elementary::log(l) - kLn2 * entropy_sum / l;
    return h < 0.0 ? 0.0 : h;  // by rounding; NaN stays
  }

  /// Sum of A of what `column` is the sum of p of.
  double mass(float column) const { return share * static_cast<double>(column) / l; }
};

/// One statistic: what it sums up of each chunk, and what it makes of the sums. A file each in
/// `observers/`; called by several workers at once.
class RowObserver {
 public:
  virtual ~RowObserver() = default;

  /// Its sums a row, linear in p; and numbers that it gives, kDistanceBins at most.
  virtual int columns() const { return 0; }
  virtual int outputs() const { return 1; }

  /// Whether the sums of a StatisticColumn are used.
  virtual bool needs(StatisticColumn) const { return false; }

  /// Writes sums[r stride + n], n < columns(), which hold 0. @pre columns() > 0
  virtual void add(const WeightStrip&, float* /*sums*/, std::int64_t /*stride*/) const noexcept {}

  /// Whether the row counts.
  virtual bool counts(const RowSums&) const noexcept { return true; }

  /// out[n], n < outputs(); one that gives none keeps what it needs itself.
  virtual void values(const RowSums& row, const float* sums, double* out) const noexcept = 0;
};

}  // namespace rapt
