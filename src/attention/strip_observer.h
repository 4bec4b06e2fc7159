#pragma once

#include <cstdint>

#include "kernels/attention/attention.h"

namespace rapt {

/// Some rows of a kv head against a chunk of keys: the scores are computed, changed and masked, the
/// softmax is yet to come. What an observer leaves in `tile.acc` is the value of their node.
struct ObservedStrip {
  const AttentionTile& tile;  ///< m, l and acc are to be written; acc is [rows, v_stride]
  std::int64_t sequence, kv_head;
  std::int64_t row;    ///< the first, numbered by RowOrder
  std::int64_t chunk;  ///< its first key is slot chunk kChunkKeys
  float* scores;       ///< [rows, kScoreStride], memory for a copy of the scores
};

/// Who takes the weights of every row in the place of the values: a pass that looks at attention.
/// A plan for one reads no values, and its states carry the observer's sums for acc.
class StripObserver {
 public:
  virtual ~StripObserver() = default;

  /// Floats of a row's sums, a multiple of 16.
  virtual std::int64_t columns() const = 0;

  /// m, l and the sums of one strip. Called by several workers at once.
  virtual void observe(const ObservedStrip& strip) const noexcept = 0;

  /// Step 5 of docs/numerics.md for such sums.
  virtual void merge(std::int64_t rows, const StateRows* sides, int count,
                     const StateRows& into) const noexcept = 0;

  /// The node of all keys of query i, head h. Sinks have not joined. Called once for each row.
  virtual void finish(std::int64_t sequence, std::int64_t i, std::int64_t h, float m, float l,
                      const float* sums) const noexcept = 0;
};

}  // namespace rapt
